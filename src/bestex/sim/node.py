"""One incarnation of the engine: a process from its start to its end, whichever way that comes."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from solders.pubkey import Pubkey

from bestex.api.app import create_app
from bestex.api.metrics import Metrics
from bestex.bus.local import LocalBus
from bestex.config import Settings
from bestex.errors import BestexError
from bestex.execution.worker import RATE_WINDOW_MS
from bestex.orders.status import Status
from bestex.ports import Claims, Cluster, QueueStats, Signer
from bestex.runtime import Engines, Ports, compose
from bestex.sim.asgi import Server
from bestex.sim.chance import Chance, StreamEntropy
from bestex.sim.cuts import Cuts
from bestex.sim.faults import Weather
from bestex.sim.loop import Group
from bestex.sim.machine import MachineClock
from bestex.sim.observed import Begun, InWork, SimBus, SimStore
from bestex.sim.trace import Trace
from bestex.store.commit import InlineExecutor
from bestex.store.sqlite import SqliteStore
from bestex.types import Token


class Site(NamedTuple):
    """What every incarnation finds: the machine, and the world around it."""

    settings: Settings
    database: Path
    vfs: str
    clock: MachineClock
    signer: Signer
    tokens: list[Token]
    pools: list[Pubkey]
    workers: int
    chance: Chance
    weather: Weather
    trace: Trace
    begun: list[Begun]
    in_work: list[InWork]
    cluster_of: Callable[[Cuts, str], Cluster]
    """The way to the chain from an incarnation, by its name."""


class Node:
    """An incarnation. `boot`, then it serves until `stop` or `crash`."""

    def __init__(self, site: Site, name: str, cuts_of: Callable[[Group], Cuts]) -> None:
        self.name = name
        self.group = Group(name)
        self.worker_groups: list[Group] = []
        self.server: Server | None = None
        self.engines: Engines | None = None
        self._site = site
        self._store = SqliteStore(
            site.database,
            clock=site.clock,
            write_executor=InlineExecutor(),
            read_executor=InlineExecutor(),
            vfs=site.vfs,
        )
        self._cuts = cuts_of(self.group)
        self._tasks: list[asyncio.Task[None]] = []

    async def boot(self) -> None:
        """Start as `bestex serve` does. Raises BestexError where that would exit with an error."""
        site, chance = self._site, self._site.chance
        bus = SimBus(
            LocalBus(buffer_events=site.settings.stream_buffer_events),
            site.weather,
            chance.stream(f"bus {self.name}"),
            site.trace,
        )
        store = SimStore(self._store, self._cuts, lambda: self.group.dead, self._observe)
        try:
            await store.open()
            self._store.on_commit(bus.publish)
            ports = Ports(
                site.clock,
                StreamEntropy(chance.stream(f"entropy {self.name}")),
                store,
                bus,
                site.cluster_of(self._cuts, self.name),
                site.signer,
                site.tokens,
                site.pools,
            )
            engines = compose(site.settings, ports, self.name, metrics=Metrics(site.clock), workers=site.workers)
            await engines.book.load()
        except BestexError:
            self._store.abandon()
            raise
        self.engines = engines
        for number, worker in enumerate(engines.workers):
            group = Group(f"{self.name}/{number + 1}", self.group)
            self.worker_groups.append(group)
            self._tasks.append(group.start(worker.run()))
        self._tasks.append(self.group.start(engines.reconciler.run()))
        self.server = Server(create_app(engines.front), self.group)

    def _observe(self, name: str, now_ms: int, answer: Claims) -> None:
        """Write down what a worker has claimed, and how much it has in work now."""
        site = self._site
        at_s = site.clock.monotonic_s()
        for claim in answer.claims:
            if claim.order.status is Status.PENDING:
                site.begun.append(Begun(now_ms, at_s, claim.order.id, name))
        workers = self.engines.workers if self.engines is not None else []
        before = sum(worker.in_work for worker in workers if worker.name == name)
        site.in_work.append(InWork(at_s, name, before + len(answer.claims)))

    def crash(self) -> None:
        """Stop everything where it stands: SIGKILL."""
        self.group.kill()
        self._store.abandon()
        if self.server is not None:
            self.server.lost()

    async def idle(self) -> bool:
        """Whether every order that it knows of has ended, finality included."""
        return not await self._store.active(1)

    async def stop(self) -> QueueStats:
        """Stop as on SIGTERM, when nothing is in work any more; the queue as it was then."""
        assert self.engines is not None
        queue = await self._store.stats(self._site.clock.now_ms(), RATE_WINDOW_MS)
        for worker in self.engines.workers:
            await worker.drain(self._site.settings.shutdown_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._store.close()
        return queue
