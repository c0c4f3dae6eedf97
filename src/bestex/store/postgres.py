"""The store on PostgreSQL: any number of processes, one database. Read `pg_writer.py` for what happens to a batch."""

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import asyncpg

from bestex.errors import OrderNotFound, StoreUnavailable
from bestex.orders.attempt import Attempt
from bestex.orders.events import Event
from bestex.orders.order import IdempotencyKeys, Order
from bestex.orders.status import Status
from bestex.ports import Acceptance, Change, Claims, Clock, Committed, OrderPage, QueueStats, RateLimit
from bestex.store import cursors, pg_rows, statements
from bestex.store.commit import Operation, failed
from bestex.store.news import News
from bestex.store.operations import Accept, Claim, ClaimUnfinal, Ping, Record, Renew
from bestex.store.pg_session import Session
from bestex.types import OrderId

_sql = statements.load("postgres/read")
_NEWEST = "ffffffff-ffff-ffff-ffff-ffffffffffff"
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Answer = TypeVar("Answer")


class PostgresStore:
    """A `Store` in a PostgreSQL database that others write to as well, for one event loop."""

    def __init__(
        self,
        dsn: str,
        *,
        clock: Clock,
        on_batch: Callable[[int, float], None] | None = None,
        retry_for_s: float = 10.0,
        answer_s: float = 30.0,
        retain_days: int | None = None,
        readers: int = 4,
    ) -> None:
        """`dsn` may name several servers: the one that takes writes is used.

        `on_batch` is told the number of operations and the seconds of every batch. While the server is out of reach,
        a request is tried again for `retry_for_s` seconds; once that was in vain, requests fail at their first try
        until one succeeds. A server that says nothing for `answer_s` seconds is taken for lost.
        Orders that have ended are removed `retain_days` days after they were placed, with all that belongs to them;
        None: never. Names of workers must be unique among all processes: `close` gives up leases by these names.
        """
        if retain_days is not None and retain_days < 1:
            raise ValueError(f"retain_days is {retain_days}, must be at least 1")
        self._dsn = dsn
        self._clock = clock
        self._retry_for_s = retry_for_s
        self._answer_s = answer_s
        self._retain_days = retain_days
        self._readers = readers
        self._news = News(on_batch)
        self._session: Session | None = None

    async def open(self) -> None:
        """Connect and migrate. What a process left claimed that died is taken over when its leases have ended.

        Raises StoreUnavailable, and ConfigError for a server or a schema of another version.
        """
        session = Session(self._dsn, self._clock, self._retry_for_s, self._answer_s, self._retain_days)
        await session.open(self._readers, self._news.written)
        self._session = session

    async def close(self) -> None:
        """Finish what was asked for, give up the leases of our workers, and close. Does nothing when closed."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def abandon(self) -> None:
        """Let go of the server as a killed process does: for tests of crashes."""
        session, self._session = self._session, None
        if session is not None:
            session.abandon()

    def on_commit(self, listener: Callable[[Sequence[Committed]], None]) -> None:
        """As `Store.on_commit`; of commits of this store."""
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
        rows = await self._read("order", order_id) if _UUID.fullmatch(order_id) else []
        if not rows:
            raise OrderNotFound(f"no order has the id {order_id}", order_id=order_id)
        return pg_rows.order(rows[0])

    async def events(self, order_id: OrderId, from_seq: int = 1) -> list[Committed]:
        """As `Store.events`."""
        if self._session is None:
            raise StoreUnavailable("the store is not open")
        return await self._session.events.events(order_id, from_seq) if _UUID.fullmatch(order_id) else []

    async def open_seqs(self, order_ids: Sequence[OrderId]) -> dict[OrderId, int]:
        """As `Store.open_seqs`."""
        asked = [order_id for order_id in order_ids if _UUID.fullmatch(order_id)]
        return {OrderId(str(row["id"])): row["seq"] for row in await self._read("open_seqs", asked)}

    async def attempts(self, order_id: OrderId) -> list[Attempt]:
        """As `Store.attempts`."""
        rows = await self._read("attempts", order_id) if _UUID.fullmatch(order_id) else []
        return [pg_rows.attempt(row) for row in rows]

    async def orders(self, *, user_id: str | None, status: Status | None, cursor: str | None, limit: int) -> OrderPage:
        """As `Store.orders`."""
        before = _NEWEST if cursor is None else _decode_cursor(cursor)
        name = "page"
        if user_id is not None and status is not None:
            name = "page_of_user_and_status"
        elif user_id is not None:
            name = "page_of_user"
        elif status is not None:
            name = "page_of_status"
        given = [value for value in (user_id, status) if value is not None]
        found = [pg_rows.order(row) for row in await self._read(name, before, limit + 1, *given)]
        shown = found[:limit]
        return OrderPage(shown, _encode_cursor(shown[-1].id) if shown and len(found) > limit else None)

    async def active(self, limit: int) -> list[Order]:
        """As `Store.active`."""
        return [pg_rows.order(row) for row in await self._read("active", limit)]

    async def stats(self, now_ms: int, window_ms: int) -> QueueStats:
        """As `Store.stats`."""
        counts = {row["status"]: row["orders"] for row in await self._read("counts")}
        (queue,) = await self._read("queue", now_ms, now_ms - window_ms)
        return QueueStats(by_status={status: counts.get(str(status), 0) for status in Status}, **dict(queue))

    async def history_from_ms(self) -> int | None:
        """When the oldest order was placed that has ended and is kept; None: there is none."""
        rows = await self._read("history_from")
        return rows[0]["placed_ms"] if rows else None

    # --- inside -------------------------------------------------------------------------------------------------------

    async def _read(self, name: str, *arguments: object) -> list[asyncpg.Record]:
        if self._session is None:
            raise StoreUnavailable("the store is not open")
        return await self._session.read(_sql[name], *arguments)

    def _write(self, operation: Operation[Answer], *, patient: bool = False) -> Awaitable[Answer]:
        if self._session is None:
            return failed(StoreUnavailable("the store is not open"))
        return self._session.writes.submit(operation, patient=patient)


def _encode_cursor(order_id: OrderId) -> str:
    """The place after this order."""
    return cursors.encode(bytes.fromhex(order_id.replace("-", "")))


def _decode_cursor(cursor: str) -> OrderId:
    """The inverse of `_encode_cursor`. Raises ValueError for a text that is not ours."""
    text = cursors.decode(cursor).hex()
    order_id = OrderId(f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}")
    if _UUID.fullmatch(order_id) is None:
        raise cursors.refused(cursor)
    return order_id
