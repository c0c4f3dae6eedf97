"""The composition root: Settings in, a running engine out. The only file that names concrete classes."""

import asyncio
import gc
import hashlib
import os
import random
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import structlog
import uvicorn
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from bestex.api.app import create_app
from bestex.api.front import Front
from bestex.api.metrics import Metrics
from bestex.api.server import listen, loop_factory, make_server
from bestex.bus.local import LocalBus
from bestex.config import Settings
from bestex.errors import ClusterUnavailable, ConfigError
from bestex.execution.conditions import Conditions
from bestex.execution.engine import Engine, EngineSettings
from bestex.execution.intake import Intake
from bestex.execution.landing import Landing
from bestex.execution.quoting import Quoting
from bestex.execution.reconcile import Reconciler
from bestex.execution.worker import Worker
from bestex.logs import configure_logs
from bestex.market.book import Book
from bestex.market.tokens import Tokens
from bestex.paper.cluster import PaperCluster
from bestex.paper.network import PROFILES
from bestex.ports import Bus, Clock, Cluster, Entropy, Signer, Store
from bestex.solana.signer import KeypairSigner
from bestex.store.sqlite import SqliteStore
from bestex.types import Commitment, Token

_log = structlog.get_logger(__name__)

_GIL_SWITCH_S = 0.0005
"""The store's and the ledger's threads need the interpreter for microseconds at a time; with Python's own 5 ms between
switches they would wait that long for it at every statement."""

_GC_THRESHOLD = 50_000
"""Objects more than were freed before a collection; Python's own 700 cost a tenth of the time under load."""


class SystemClock:
    """The machine's own time."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SystemEntropy:
    """The operating system's randomness."""

    def bytes(self, count: int) -> bytes:
        return os.urandom(count)

    def uniform(self, low: float, high: float) -> float:
        return random.SystemRandom().uniform(low, high)


class Running:
    """A serving engine."""

    def __init__(self, server: uvicorn.Server, serving: asyncio.Task[None], url: str) -> None:
        self.url = url
        self._server = server
        self._serving = serving

    async def wait_closed(self) -> None:
        """Until the server is told to stop (SIGINT, SIGTERM) or fails."""
        await asyncio.shield(self._serving)

    def stop(self) -> None:
        """Tell the server to stop: no new connections, open streams are closed with a reason."""
        self._server.should_exit = True


class _Background:
    """Tasks that must run as long as the engine does."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopping = False
        self.failure: str | None = None
        """Which part has stopped by itself."""
        self.on_failure: Callable[[], None] = lambda: None

    def start(self, name: str, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine, name=name)
        self._tasks[name] = task
        task.add_done_callback(self._ended)

    def check(self) -> None:
        """Raise if one of the tasks has ended."""
        for name, task in self._tasks.items():
            if task.done():
                raise ClusterUnavailable(f"the {name} has stopped")

    def expect_stop(self) -> None:
        """From here on, tasks may end."""
        self._stopping = True

    async def stop(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and not self._stopping:
            _log.critical("a part of the engine has stopped", part=task.get_name(), exc_info=task.exception())
            self.failure = f"the {task.get_name()} has stopped: {task.exception()}"
            self.on_failure()


class Ports(NamedTuple):
    """Who stands behind each port of one process, and what its cluster trades."""

    clock: Clock
    entropy: Entropy
    store: Store
    bus: Bus
    cluster: Cluster
    signer: Signer
    tokens: Sequence[Token]
    pools: Sequence[Pubkey]


class _Stop:
    """The end of a process, from the moment when it is asked for: one deadline for all that has to be finished."""

    def __init__(self, clock: Clock, within_s: float, actions: Sequence[Callable[[], None]]) -> None:
        self._clock = clock
        self._within_s = within_s
        self._actions = actions
        self._since_s: float | None = None

    def begin(self) -> None:
        """Begin nothing new, and tell those who listen."""
        if self._since_s is None:
            self._since_s = self._clock.monotonic_s()
            for act in self._actions:
                act()

    async def drain(self, worker: Worker) -> None:
        """Let a worker finish what it has in work, in the time that is left."""
        self.begin()
        assert self._since_s is not None
        await worker.drain(max(0.0, self._within_s - (self._clock.monotonic_s() - self._since_s)))


class Engines(NamedTuple):
    """An engine that is put together and does nothing yet."""

    front: Front
    book: Book
    """To be loaded first."""
    workers: list[Worker]
    reconciler: Reconciler


def compose(
    settings: Settings,
    ports: Ports,
    name: str,
    *,
    metrics: Metrics,
    workers: int = 1,
    check: Callable[[], None] = lambda: None,
) -> Engines:
    """Put an engine together. `name` is that of its leases; `check` raises when a part of the process has stopped."""
    clock, entropy, store, bus, cluster = ports.clock, ports.entropy, ports.store, ports.bus, ports.cluster
    tokens = Tokens(ports.tokens)
    book = Book(cluster, clock, ports.pools, max_age_s=settings.market_max_age_s)
    quoting = Quoting(book)
    engine = _engine(settings, ports, tokens, quoting)

    async def ready() -> None:
        check()
        await store.ping()
        await cluster.height(Commitment.CONFIRMED)

    intake = Intake(
        store=store,
        bus=bus,
        clock=clock,
        entropy=entropy,
        tokens=tokens,
        has_pools=quoting.has_pools,
        slippage_bps=settings.slippage_bps,
        max_attempts=settings.max_attempts,
    )
    front = Front(
        settings=settings,
        store=store,
        bus=bus,
        intake=intake,
        quoting=quoting,
        book=book,
        tokens=tokens,
        clock=clock,
        metrics=metrics,
        simulated=cluster.simulated,
        ready=ready,
    )
    return Engines(
        front=front,
        book=book,
        workers=[_worker(settings, ports, engine, f"{name}/{number}") for number in range(1, workers + 1)],
        reconciler=Reconciler(
            f"{name}/reconciler",
            store=store,
            cluster=cluster,
            bus=bus,
            clock=clock,
            interval_s=settings.reconcile_s,
        ),
    )


def _engine(settings: Settings, ports: Ports, tokens: Tokens, quoting: Quoting) -> Engine:
    cluster, clock = ports.cluster, ports.clock
    return Engine(
        store=ports.store,
        cluster=cluster,
        clock=clock,
        entropy=ports.entropy,
        signer=ports.signer,
        tokens=tokens,
        quoting=quoting,
        conditions=Conditions(
            cluster,
            clock,
            percentile=settings.priority_fee_percentile,
            max_unit_price_micro_lamports=settings.priority_fee_max_micro_lamports,
        ),
        landing=Landing(cluster, clock, resend_s=settings.resend_s, status_poll_s=settings.status_poll_s),
        settings=EngineSettings(retry_base_s=settings.retry_base_s, retry_max_s=settings.retry_max_s),
    )


def _worker(settings: Settings, ports: Ports, engine: Engine, name: str) -> Worker:
    return Worker(
        name,
        engine=engine,
        store=ports.store,
        bus=ports.bus,
        clock=ports.clock,
        concurrency=settings.concurrency,
        rate_per_minute=settings.rate_per_minute,
        lease_s=settings.lease_s,
        poll_s=settings.poll_s,
    )


@asynccontextmanager
async def assembled(settings: Settings) -> AsyncIterator[tuple[Front, _Background, _Stop]]:
    """A working engine without its HTTP server. Ends by finishing the orders in work, as far as time allows."""
    clock, entropy = SystemClock(), SystemEntropy()
    metrics = Metrics(clock)
    bus = LocalBus(buffer_events=settings.stream_buffer_events)
    name = f"{socket.gethostname()}-{os.getpid()}-{entropy.bytes(4).hex()}"
    async with AsyncExitStack() as exits:
        store = SqliteStore(settings.store_path, clock=clock, on_batch=metrics.observe_batch)
        await store.open()
        exits.push_async_callback(store.close)
        store.on_commit(bus.publish)
        store.on_commit(metrics.observe_commits)
        signer = _signer(settings)
        cluster = await PaperCluster.open(
            profile=PROFILES[settings.network],
            clock=clock,
            entropy=entropy,
            path=settings.ledger_path,
            seed=settings.paper_seed,
            wallet=signer.pubkey,
            traders=settings.paper_traders,
        )
        exits.push_async_callback(cluster.close)
        background = _Background()
        exits.push_async_callback(background.stop)
        background.start("paper cluster", cluster.run())
        ports = Ports(clock, entropy, store, bus, cluster, signer, cluster.tokens, cluster.pools)
        engines = compose(settings, ports, name, metrics=metrics, check=background.check)
        await engines.book.load()
        background.start("reconciler", engines.reconciler.run())
        stop = _Stop(clock, settings.shutdown_s, [*(each.stop_claiming for each in engines.workers), bus.close])
        for worker in engines.workers:
            background.start("worker", worker.run())
            exits.push_async_callback(stop.drain, worker)
        exits.callback(background.expect_stop)
        yield engines.front, background, stop


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Running]:
    """A serving engine in this event loop. Port 0 takes any free port.

    Raises ConfigError when the port is taken, and at its end ClusterUnavailable if a part of the engine had failed.
    """
    _make_data_dir(settings)
    with listen(settings) as listener:
        async with assembled(settings) as (front, background, stop):

            def begin_stop() -> None:
                background.expect_stop()
                stop.begin()

            server = make_server(create_app(front), settings, begin_stop)
            background.on_failure = lambda: setattr(server, "should_exit", True)
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            host, port = listener.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            started = Running(server, serving, f"http://{shown}:{port}")
            while not server.started and not serving.done():
                await front.clock.sleep(0.005)
            try:
                yield started
            finally:
                started.stop()
                await serving
        if background.failure is not None:
            raise ClusterUnavailable(background.failure)


def serve(settings: Settings, on_ready: Callable[[str], None] | None = None) -> None:
    """Serve until SIGINT or SIGTERM. Raises ConfigError, StoreUnavailable, ClusterUnavailable."""
    configure_logs(settings)
    sys.setswitchinterval(_GIL_SWITCH_S)

    async def main() -> None:
        async with running(settings) as started:
            # What is there now stays: the collector need not look at it again and again.
            gc.collect()
            gc.freeze()
            gc.set_threshold(_GC_THRESHOLD)
            if on_ready is not None:
                on_ready(started.url)
            await started.wait_closed()

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(main())


def _make_data_dir(settings: Settings) -> None:
    try:
        Path(settings.data_dir).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make data_dir {settings.data_dir}: {error.strerror}") from error


def _signer(settings: Settings) -> KeypairSigner:
    if settings.wallet_secret:
        return KeypairSigner.from_base58(settings.wallet_secret)
    # Worth nothing outside this paper market, and the same at every start, as its ledger remembers it.
    return KeypairSigner(Keypair.from_seed(hashlib.sha256(f"paper wallet {settings.paper_seed}".encode()).digest()))
