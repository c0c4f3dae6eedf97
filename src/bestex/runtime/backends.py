"""Who stands behind each port, as the settings say. The only file that names concrete stores, buses and clusters."""

import hashlib
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import structlog
from prometheus_client.metrics_core import CounterMetricFamily as Counter
from prometheus_client.metrics_core import GaugeMetricFamily as Gauge
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from bestex.api.metrics import Metrics
from bestex.bus.local import LocalBus
from bestex.bus.redis import RedisBus
from bestex.bus.redis_limits import RedisLimits
from bestex.bus.redis_link import RedisServer
from bestex.config import Settings
from bestex.errors import ConfigError
from bestex.orders.order import Order
from bestex.paper.cluster import PaperCluster
from bestex.paper.network import PROFILES
from bestex.ports import Clock, Cluster, Entropy, Signer, Store
from bestex.runtime.background import Background
from bestex.runtime.compose import Ports
from bestex.runtime.patience import patiently
from bestex.solana.rpc import RpcCluster
from bestex.solana.signer import KeypairSigner
from bestex.store.postgres import PostgresStore
from bestex.store.sqlite import SqliteStore
from bestex.types import Token

_log = structlog.get_logger(__name__)

_ALL = 1_000_000
"""More open orders than a store ever has."""


class Backends:
    """Opens what stands behind the ports of one process.

    What runs on is given to `background`, what has to be closed to `exits`.
    """

    def __init__(
        self, settings: Settings, clock: Clock, entropy: Entropy, *, background: Background, exits: AsyncExitStack
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._entropy = entropy
        self._background = background
        self._exits = exits

    async def open(self, metrics: Metrics) -> Ports:
        """Raises ConfigError, StoreUnavailable, ClusterUnavailable."""
        store = await self._store(metrics)
        signer = open_signer(self._settings)
        cluster, tokens, pools = await self._cluster(signer, metrics)
        # Before the store and the cluster are closed, and after the bus has told what it has to tell.
        self._exits.push_async_callback(self._background.stop)
        if isinstance(cluster, PaperCluster):
            self._background.start("paper cluster", cluster.run())
        bus, limits = self._redis(store, metrics) if self._settings.redis_url else (self._alone(), None)
        store.on_commit(bus.publish)
        store.on_commit(metrics.observe_commits)
        return Ports(self._clock, self._entropy, store, bus, cluster, signer, tokens, pools, limits)

    async def _store(self, metrics: Metrics) -> Store:
        settings = self._settings
        store: Store
        if settings.database_url:
            store = postgres_store(settings, self._clock, metrics)
        else:
            make_data_dir(settings)
            store = SqliteStore(settings.store_path, clock=self._clock, on_batch=metrics.observe_batch)
        await patiently(store.open, settings.startup_s, self._clock)
        self._exits.push_async_callback(store.close)
        return store

    def _alone(self) -> LocalBus:
        if self._settings.database_url:
            _log.warning("without redis_url, streams show what other processes do only after seconds")
        return LocalBus(buffer_events=self._settings.stream_buffer_events)

    def _redis(self, store: Store, metrics: Metrics) -> tuple[RedisBus, RedisLimits]:
        settings = self._settings

        async def open_orders() -> Sequence[Order]:
            return await store.active(_ALL)

        try:
            server = RedisServer(
                settings.redis_url, clock=self._clock, entropy=self._entropy, timeout_s=settings.redis_timeout_s
            )
        except ValueError as error:
            raise ConfigError(f"setting redis_url: {error}") from error
        bus = RedisBus(
            server, prefix=settings.redis_prefix, buffer_events=settings.stream_buffer_events, open_orders=open_orders
        )
        show_bus(bus, metrics)
        self._background.start("bus", bus.run())
        self._exits.push_async_callback(bus.drain, settings.redis_timeout_s)
        limits = RedisLimits(server, prefix=f"{settings.redis_prefix}limits:")
        self._exits.push_async_callback(limits.close)
        return bus, limits

    async def _cluster(self, signer: Signer, metrics: Metrics) -> tuple[Cluster, Sequence[Token], Sequence[Pubkey]]:
        settings, clock = self._settings, self._clock
        if not settings.cluster_url:
            paper = await open_paper(settings, clock, self._entropy, signer.pubkey)
            self._exits.push_async_callback(paper.close)
            return paper, paper.tokens, paper.pools

        async def connect() -> RpcCluster:
            return await RpcCluster.open(
                settings.cluster_url,
                clock=clock,
                timeout_s=settings.cluster_timeout_s,
                max_connections=settings.cluster_connections,
                on_call=metrics.observe_call,
            )

        remote = await patiently(connect, settings.startup_s, clock)
        self._exits.push_async_callback(remote.close)
        if not remote.simulated:
            raise ConfigError("the node at cluster_url is not a paper cluster: trading on a real one is not built yet")
        await patiently(lambda: remote.fund_wallet(signer.pubkey), settings.startup_s, clock)
        market = await patiently(remote.market, settings.startup_s, clock)
        return remote, market.tokens, market.pools


def make_data_dir(settings: Settings) -> None:
    """Raises ConfigError."""
    try:
        Path(settings.data_dir).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make data_dir {settings.data_dir}: {error.strerror}") from error


def open_signer(settings: Settings) -> KeypairSigner:
    """The wallet's key."""
    if settings.wallet_secret:
        return KeypairSigner.from_base58(settings.wallet_secret)
    # Worth nothing outside this paper market, and the same at every start, as its ledger remembers it.
    return KeypairSigner(Keypair.from_seed(hashlib.sha256(f"paper wallet {settings.paper_seed}".encode()).digest()))


async def open_paper(settings: Settings, clock: Clock, entropy: Entropy, wallet: Pubkey) -> PaperCluster:
    """The paper cluster of `data_dir`. Raises ConfigError."""
    make_data_dir(settings)
    return await PaperCluster.open(
        profile=PROFILES[settings.network],
        clock=clock,
        entropy=entropy,
        path=settings.ledger_path,
        seed=settings.paper_seed,
        wallet=wallet,
        traders=settings.paper_traders,
    )


def postgres_store(settings: Settings, clock: Clock, metrics: Metrics | None = None) -> PostgresStore:
    """The store of many processes, not open yet. Raises ConfigError."""
    if not settings.database_url.startswith(("postgresql://", "postgres://")):
        raise ConfigError("setting database_url: it has to begin with postgresql://")
    return PostgresStore(
        settings.database_url,
        clock=clock,
        on_batch=metrics.observe_batch if metrics else None,
        retry_for_s=settings.database_retry_s,
        retain_days=settings.retain_days or None,
    )


def show_bus(bus: RedisBus, metrics: Metrics) -> None:
    """Let Prometheus see the bus."""
    metrics.watch(Gauge, "bus_connected", "Whether other nodes are heard.", lambda: bus.listening)
    metrics.watch(Gauge, "bus_queued_events", "Events that wait for Redis.", lambda: bus.queued)
    metrics.watch(Counter, "bus_dropped_events", "Events that were not told to other nodes.", lambda: bus.thrown_away)
    metrics.watch(Counter, "bus_connections", "Times that the channel was subscribed to.", lambda: bus.connections)
    metrics.watch(Counter, "bus_sent_events", "Events told to other nodes.", lambda: bus.events_sent)
    metrics.watch(Counter, "bus_received_events", "Events that other nodes told.", lambda: bus.events_received)
