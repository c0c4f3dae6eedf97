"""The store on SQLite: one process, one file. Read `writer.py` for what happens to a batch of writes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import TypeVar

from bestex.errors import StoreUnavailable
from bestex.orders.attempt import Attempt
from bestex.orders.events import Event
from bestex.orders.order import IdempotencyKeys, Order
from bestex.orders.status import Status
from bestex.ports import Acceptance, Change, Claims, Clock, Committed, OrderPage, QueueStats, RateLimit
from bestex.store import cursors
from bestex.store.commit import Operation, failed
from bestex.store.news import News
from bestex.store.operations import Accept, Claim, ClaimUnfinal, Ping, ReadEvents, ReadOrder, Record, Renew
from bestex.store.session import Session
from bestex.types import OrderId

_NEWEST = 2**63 - 1
_ENDS = frozenset({Status.CONFIRMED, Status.FAILED, Status.CANCELED, Status.EXPIRED})
"""An order can be terminal in these."""

Answer = TypeVar("Answer")


class SqliteStore:
    """A `Store` in one SQLite file, for one event loop."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        on_batch: Callable[[int, float], None] | None = None,
        write_executor: Executor | None = None,
        read_executor: Executor | None = None,
        vfs: str | None = None,
    ) -> None:
        """`on_batch` is told the number of operations and the seconds of every batch of writes.

        Executors that are given are used and left open; each must run one thing at a time.
        """
        self._path = path
        self._clock = clock
        self._executors = write_executor, read_executor
        self._vfs = vfs
        self._news = News(on_batch)
        self._session: Session | None = None
        self._opening: Session | None = None

    async def open(self) -> None:
        """As `Store.open`. Raises StoreUnavailable, and ConfigError for a database of another version."""
        session = self._opening = Session(self._path, self._vfs, *self._executors)
        await session.open(self._clock.monotonic_s, self._news.written)
        self._session, self._opening = session, None

    async def close(self) -> None:
        """Finish what was asked for, and close. Does nothing when closed."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def abandon(self) -> None:
        """Let go of the file as a killed process does: for simulations and tests of crashes."""
        session, self._session, self._opening = self._session or self._opening, None, None
        if session is not None:
            session.abandon()

    def on_commit(self, listener: Callable[[Sequence[Committed]], None]) -> None:
        """As `Store.on_commit`."""
        self._news.listeners.append(listener)

    @property
    def refused(self) -> int:
        """Writes that ended in an error, whether anyone waited for them or not."""
        return self._news.refused

    # --- writes -------------------------------------------------------------------------------------------------------

    async def accept(self, order: Order, event: Event, keys: IdempotencyKeys) -> Acceptance:
        """As `Store.accept`."""
        return await self._write(Accept.checked(order, event, keys))

    def record(self, change: Change) -> Awaitable[None]:
        """As `Store.record`. Raises Conflict, too, for an attempt that may not exist beside another."""
        return self._write(Record.checked(change), patient=change.patient)

    async def claim(self, worker: str, *, limit: int, now_ms: int, lease_ms: int, rate: RateLimit | None) -> Claims:
        """As `Store.claim`."""
        return await self._write(Claim(worker, limit=limit, now_ms=now_ms, lease_ms=lease_ms, rate=rate))

    async def claim_unfinal(self, worker: str, *, limit: int, now_ms: int, lease_ms: int) -> Claims:
        """As `Store.claim_unfinal`."""
        return await self._write(ClaimUnfinal(worker, limit=limit, now_ms=now_ms, lease_ms=lease_ms))

    async def renew(self, worker: str, order_ids: Sequence[OrderId], *, lease_until_ms: int) -> None:
        """As `Store.renew`."""
        await self._write(Renew(worker, order_ids, lease_until_ms=lease_until_ms))

    async def ping(self) -> None:
        """As `Store.ping`."""
        await self._write(Ping())

    # --- reads --------------------------------------------------------------------------------------------------------

    async def order(self, order_id: OrderId) -> Order:
        """As `Store.order`."""
        session = self._open_session()
        entry = session.writer.open_orders.get(order_id)
        if entry is not None:
            return entry.order
        return await session.reads.submit(ReadOrder(order_id))

    async def events(self, order_id: OrderId, from_seq: int = 1) -> list[Committed]:
        """As `Store.events`."""
        return await self._open_session().reads.submit(ReadEvents(order_id, from_seq))

    async def open_seqs(self, order_ids: Sequence[OrderId]) -> dict[OrderId, int]:
        """As `Store.open_seqs`."""
        get = self._open_session().writer.open_orders.get
        return {order_id: entry.order.seq for order_id in order_ids if (entry := get(order_id)) is not None}

    async def attempts(self, order_id: OrderId) -> list[Attempt]:
        """As `Store.attempts`."""
        session = self._open_session()
        return await session.run_in_reader(session.reader.attempts, order_id)

    async def orders(self, *, user_id: str | None, status: Status | None, cursor: str | None, limit: int) -> OrderPage:
        """As `Store.orders`."""
        before = _NEWEST if cursor is None else _decode_cursor(cursor)
        found = await self._page(user_id, status, before, limit + 1)
        shown = found[:limit]
        next_cursor = _encode_cursor(shown[-1][0]) if shown and len(found) > limit else None
        return OrderPage([order for _, order in shown], next_cursor)

    async def active(self, limit: int) -> list[Order]:
        """As `Store.active`."""
        session = self._open_session()
        return await session.run_in_writer(session.writer.open_orders.oldest, limit)

    async def stats(self, now_ms: int, window_ms: int) -> QueueStats:
        """As `Store.stats`."""
        session = self._open_session()
        return await session.run_in_writer(session.writer.open_orders.stats, now_ms, window_ms)

    async def _page(
        self, user_id: str | None, status: Status | None, before: int, limit: int
    ) -> list[tuple[int, Order]]:
        """Orders with their numbers, newest first, from below the number `before` on."""
        session = self._open_session()
        open_orders, reader = session.writer.open_orders, session.reader
        if status is None:
            stored = await session.run_in_reader(reader.page, user_id, before, limit)
            return [(number, open_orders.with_lease(order)) for number, order in stored]
        # Memory first: an order that ends meanwhile is seen twice then, and not missed.
        found = dict(await session.run_in_writer(open_orders.page, user_id, status, before, limit))
        if status in _ENDS:
            found |= await session.run_in_reader(reader.page_ended, user_id, status, before, limit)
        return sorted(found.items(), key=lambda numbered: numbered[0], reverse=True)[:limit]

    # --- inside -------------------------------------------------------------------------------------------------------

    def _open_session(self) -> Session:
        if self._session is None:
            raise StoreUnavailable("the store is not open")
        return self._session

    def _write(self, operation: Operation[Answer], *, patient: bool = False) -> asyncio.Future[Answer]:
        if self._session is None:
            return failed(StoreUnavailable("the store is not open"))
        return self._session.writes.submit(operation, patient=patient)


def _encode_cursor(number: int) -> str:
    """The place after the order with this number."""
    return cursors.encode(str(number).encode())


def _decode_cursor(cursor: str) -> int:
    """The inverse of `_encode_cursor`. Raises ValueError for a text that is not ours."""
    place = cursors.decode(cursor)
    number = int(place) if place.isdigit() else 0
    if not 0 < number <= _NEWEST or _encode_cursor(number) != cursor:
        raise cursors.refused(cursor)
    return number
