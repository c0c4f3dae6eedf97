"""Reads events: those of many orders with one statement, where many ask in the same moment, as streams do."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import asyncpg

from bestex.errors import StoreUnavailable
from bestex.ports import Committed
from bestex.store import pg_rows, statements
from bestex.store.commit import Batcher, Operation, on_loop
from bestex.store.operations import ReadEvents
from bestex.types import OrderId

Fetch: TypeAlias = Callable[..., Awaitable[list[asyncpg.Record]]]
"""Of a statement and its arguments. Raises StoreUnavailable."""

_MOST = 200
"""Orders in one statement: the event loop does nothing else while it takes the answer apart."""
_sql = statements.load("postgres/read")


class EventReader:
    """Made in the event loop that it is used in."""

    def __init__(self, fetch: Fetch, monotonic_s: Callable[[], float]) -> None:
        self._fetch = fetch
        self._reads: Batcher[None] = Batcher(on_loop(self._read, monotonic_s), most=_MOST, on_done=_ignore)

    def events(self, order_id: OrderId, from_seq: int) -> Awaitable[list[Committed]]:
        """As `Store.events`, of an id that is a UUID."""
        return self._reads.submit(ReadEvents(order_id, from_seq))

    def abandon(self) -> None:
        """Whoever waits gets StoreUnavailable."""
        self._reads.abandon()

    async def _read(self, reads: list[Operation[Any]]) -> None:
        order_ids, from_seqs = [read.order_id for read in reads], [read.from_seq for read in reads]  # type: ignore[attr-defined]  # ReadEvents
        try:
            rows = await self._fetch(_sql["events"], order_ids, from_seqs)
        except StoreUnavailable as error:
            for read in reads:
                read.answer = StoreUnavailable(error.message, **error.context)
            return
        answers: list[list[Committed]] = [[] for _ in reads]
        for row in rows:
            place = row["place"] - 1
            answers[place].append(pg_rows.committed(row, order_ids[place]))
        for read, answer in zip(reads, answers, strict=True):
            read.answer = answer


def _ignore(_batch: list[Operation[Any]], _news: None, _seconds: float) -> None:
    """Nobody needs to hear about reads."""
