"""Puts an engine together from whoever stands behind its ports."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from solders.pubkey import Pubkey

from bestex.api.front import Front
from bestex.api.metrics import Metrics
from bestex.config import Settings
from bestex.execution.conditions import Conditions
from bestex.execution.engine import Engine, EngineSettings
from bestex.execution.intake import Intake
from bestex.execution.landing import Landing
from bestex.execution.quoting import Quoting
from bestex.execution.reconcile import Reconciler
from bestex.execution.worker import Worker
from bestex.market.book import Book
from bestex.market.tokens import Tokens
from bestex.ports import Bus, Clock, Cluster, Entropy, Limits, Signer, Store
from bestex.types import Commitment, Token


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
    limits: Limits | None = None
    """Of all processes together, beside the store's own count."""


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
    conditions = Conditions(
        cluster,
        clock,
        percentile=settings.priority_fee_percentile,
        max_unit_price_micro_lamports=settings.priority_fee_max_micro_lamports,
    )
    quoting = Quoting(book, tokens, conditions)
    engine = _engine(settings, ports, tokens, quoting, conditions)

    async def ready() -> None:
        check()
        await store.ping()
        if workers:  # without any, orders are taken whatever becomes of the chain
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


def _engine(settings: Settings, ports: Ports, tokens: Tokens, quoting: Quoting, conditions: Conditions) -> Engine:
    cluster, clock = ports.cluster, ports.clock
    return Engine(
        store=ports.store,
        cluster=cluster,
        clock=clock,
        entropy=ports.entropy,
        signer=ports.signer,
        tokens=tokens,
        quoting=quoting,
        conditions=conditions,
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
        limits=ports.limits,
        global_concurrency=settings.global_concurrency,
    )
