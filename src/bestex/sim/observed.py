"""The store and the bus as one incarnation meets them: every call is a cut point, and what counts is written down."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec

from bestex.bus.local import LocalBus
from bestex.orders.attempt import Attempt
from bestex.orders.events import Event
from bestex.orders.order import IdempotencyKeys, Order
from bestex.orders.status import Status
from bestex.ports import Acceptance, Change, Claims, Committed, OrderPage, QueueStats, RateLimit, Subscription
from bestex.sim.cuts import Cut, Cuts
from bestex.sim.faults import Fault, Weather
from bestex.sim.trace import Trace
from bestex.store.sqlite import SqliteStore
from bestex.types import OrderId

T = TypeVar("T")


class Begun(msgspec.Struct, frozen=True):
    """An order that a worker took from the queue."""

    time_ms: int
    """Wall clock, as the engine saw it."""
    at_s: float
    """Virtual time."""
    order_id: str
    worker: str


class InWork(msgspec.Struct, frozen=True):
    """How many orders a worker had in work when it had just claimed some."""

    at_s: float
    worker: str
    count: int


class SimStore:
    """A `Store` behind cut points."""

    def __init__(
        self, inner: SqliteStore, cuts: Cuts, dead: Callable[[], bool], observed: Callable[[str, int, Claims], None]
    ) -> None:
        """`observed` is told of every claim: by which worker, when by the wall clock, and the answer."""
        self._inner = inner
        self._cuts = cuts
        self._dead = dead
        self._observed = observed

    async def open(self) -> None:
        await self._call("open", self._inner.open)

    async def close(self) -> None:
        await self._inner.close()

    def on_commit(self, listener: Callable[[Sequence[Committed]], None]) -> None:
        self._inner.on_commit(listener)

    async def accept(self, order: Order, event: Event, keys: IdempotencyKeys) -> Acceptance:
        return await self._call("accept", lambda: self._inner.accept(order, event, keys))

    async def claim(self, worker: str, *, limit: int, now_ms: int, lease_ms: int, rate: RateLimit | None) -> Claims:
        def claim() -> Awaitable[Claims]:
            return self._inner.claim(worker, limit=limit, now_ms=now_ms, lease_ms=lease_ms, rate=rate)

        async def observed() -> Claims:
            answer = await claim()
            self._observed(worker, now_ms, answer)
            return answer

        return await self._call("claim", observed)

    async def claim_unfinal(self, worker: str, *, limit: int, now_ms: int, lease_ms: int) -> Claims:
        return await self._call(
            "claim_unfinal",
            lambda: self._inner.claim_unfinal(worker, limit=limit, now_ms=now_ms, lease_ms=lease_ms),
        )

    async def renew(self, worker: str, order_ids: Sequence[OrderId], *, lease_until_ms: int) -> None:
        await self._call("renew", lambda: self._inner.renew(worker, order_ids, lease_until_ms=lease_until_ms))

    def record(self, change: Change) -> Awaitable[None]:
        """Writes are queued in the order of the calls, so this one must not wait before it calls."""
        if self._dead():
            return asyncio.get_running_loop().create_future()
        cut = self._cuts.decide("store.record")
        if cut is Cut.CRASH_BEFORE:
            self._cuts.crash_now("before store.record")
            return asyncio.get_running_loop().create_future()
        written = asyncio.ensure_future(self._inner.record(change))
        if cut is Cut.CRASH_AFTER:
            written.add_done_callback(lambda _: self._cuts.crash_now("after store.record"))
        # An error that nobody waits for is told by the store itself.
        written.add_done_callback(lambda done: done.cancelled() or done.exception())
        return written

    async def order(self, order_id: OrderId) -> Order:
        return await self._call("order", lambda: self._inner.order(order_id))

    async def events(self, order_id: OrderId, from_seq: int = 1) -> list[Committed]:
        return await self._call("events", lambda: self._inner.events(order_id, from_seq))

    async def open_seqs(self, order_ids: Sequence[OrderId]) -> dict[OrderId, int]:
        return await self._call("open_seqs", lambda: self._inner.open_seqs(order_ids))

    async def attempts(self, order_id: OrderId) -> list[Attempt]:
        return await self._call("attempts", lambda: self._inner.attempts(order_id))

    async def orders(self, *, user_id: str | None, status: Status | None, cursor: str | None, limit: int) -> OrderPage:
        return await self._call(
            "orders", lambda: self._inner.orders(user_id=user_id, status=status, cursor=cursor, limit=limit)
        )

    async def active(self, limit: int) -> list[Order]:
        return await self._call("active", lambda: self._inner.active(limit))

    async def stats(self, now_ms: int, window_ms: int) -> QueueStats:
        return await self._call("stats", lambda: self._inner.stats(now_ms, window_ms))

    async def ping(self) -> None:
        await self._call("ping", self._inner.ping)

    async def _call(self, name: str, effect: Callable[[], Awaitable[T]]) -> T:
        return await self._cuts.call(f"store.{name}", effect, remote=False)


class SimBus:
    """A `Bus` that loses what it may lose."""

    def __init__(self, inner: LocalBus, weather: Weather, draw: random.Random, trace: Trace) -> None:
        self._inner = inner
        self._weather = weather
        self._draw = draw
        self._trace = trace

    def publish(self, events: Sequence[Committed]) -> None:
        kept = [event for event in events if not self._lost(f"event {event.order_id} {event.seq}")]
        if kept:
            self._inner.publish(kept)

    def subscribe(self, order_id: OrderId) -> Subscription:
        return self._inner.subscribe(order_id)

    async def active(self, limit: int) -> list[Order] | None:
        return await self._inner.active(limit)

    def wake(self) -> None:
        if not self._lost("wake-up"):
            self._inner.wake()

    async def wait_for_work(self, timeout_s: float) -> None:
        await self._inner.wait_for_work(timeout_s)

    def close(self) -> None:
        self._inner.close()

    def _lost(self, what: str) -> bool:
        lost = self._weather.happens(Fault.LOST_BUS, self._draw)
        if lost:
            self._trace.fault(Fault.LOST_BUS, what)
        return lost
