"""Many who ask for events in the same moment cost one statement, and each gets an answer of its own."""

import asyncio
from typing import Any

import pytest

from bestex.errors import StoreUnavailable
from bestex.ports import Committed
from bestex.store.pg_events import EventReader
from bestex.types import OrderId


class Server:
    """Every order has three events."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.error: Exception | None = None
        self.answers = asyncio.Event()
        self.answers.set()

    async def fetch(self, _: str, order_ids: list[str], from_seqs: list[int]) -> list[Any]:
        self.asked.append(order_ids)
        await self.answers.wait()
        if self.error is not None:
            raise self.error
        return [
            {"place": place, "seq": seq, "status": "pending", "final": False, "payload": "{}"}
            for place, from_seq in enumerate(from_seqs, start=1)
            for seq in range(from_seq, 4)
        ]


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def reader(server: Server) -> EventReader:
    return EventReader(server.fetch, lambda: 0.0)


async def asked(reader: EventReader, order_id: str, from_seq: int = 1) -> list[Committed]:
    return await reader.events(OrderId(order_id), from_seq)


async def test_one_statement_for_all_who_ask_in_the_same_moment(server: Server, reader: EventReader) -> None:
    answers = await asyncio.gather(asked(reader, "a"), asked(reader, "b", 3), asked(reader, "c", 9), asked(reader, "a"))
    told = [[(event.order_id, event.seq) for event in events] for events in answers]
    all_of_a = [("a", 1), ("a", 2), ("a", 3)]
    assert told == [all_of_a, [("b", 3)], [], all_of_a]
    assert server.asked == [["a", "b", "c", "a"]]


async def test_who_comes_while_one_is_under_way_goes_with_the_next(server: Server, reader: EventReader) -> None:
    server.answers.clear()
    first = asyncio.create_task(asked(reader, "a"))
    while not server.asked:
        await asyncio.sleep(0)
    others = [asyncio.create_task(asked(reader, order_id)) for order_id in "bcd"]
    await asyncio.sleep(0)
    server.answers.set()
    await asyncio.gather(first, *others)
    assert server.asked == [["a"], ["b", "c", "d"]]


async def test_a_server_that_is_away_is_told_to_each(server: Server, reader: EventReader) -> None:
    server.error = StoreUnavailable("away")
    answers = await asyncio.gather(asked(reader, "a"), asked(reader, "b"), return_exceptions=True)
    assert [str(answer) for answer in answers] == ["away", "away"]
    assert answers[0] is not answers[1], "a traceback belongs to one"
    server.error = None
    assert len(await asked(reader, "a")) == 3


async def test_a_store_that_is_let_go_leaves_nobody_waiting(server: Server, reader: EventReader) -> None:
    server.answers.clear()
    waiting = asyncio.create_task(asked(reader, "a"))
    while not server.asked:
        await asyncio.sleep(0)
    reader.abandon()
    with pytest.raises(StoreUnavailable):
        await waiting
