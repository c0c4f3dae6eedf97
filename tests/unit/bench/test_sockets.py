"""The crowd of WebSockets that a benchmark opens: what it calls well, and what it does not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from bench.cluster.sockets import Crowd
from websockets.asyncio.server import ServerConnection, serve

WAIT_S = 20.0
AT = "2026-01-01T00:00:00.001000Z"


def event(seq: int, status: str = "pending") -> str:
    return f'{{"event":"e","orderId":"a","seq":{seq},"status":"{status}","at":"{AT}"}}'


@asynccontextmanager
async def server(*texts: str, code: int = 1000, closes: bool = True) -> AsyncIterator[tuple[str, list[str]]]:
    """Sends the same to every socket, and closes it; its URL, and the paths that it was asked for."""
    asked: list[str] = []
    done = asyncio.Event()

    async def send(connection: ServerConnection) -> None:
        assert connection.request is not None
        asked.append(connection.request.path)
        for text in texts:
            await connection.send(text)
        if not closes:
            await done.wait()
        await connection.close(code, "slow consumer; resume with fromSeq=2" if code != 1000 else "order confirmed")

    async with serve(send, "127.0.0.1", 0, compression=None) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        yield f"http://127.0.0.1:{port}", asked
        done.set()


async def test_streams_to_their_ends() -> None:
    async with server(event(1), event(2), event(3, "confirmed")) as (url, asked):
        crowd = Crowd(url, ["a", "b", "c"])
        opened = await crowd.open(1, 2, WAIT_S)
        answer = await crowd.read(WAIT_S)
    assert (len(opened["took"]), opened["wrong"]) == (3, {})
    assert sorted(asked) == [f"/api/orders/{name}/ws?fromSeq=1" for name in "abc"]
    assert answer["last"] == {"a": 3, "b": 3, "c": 3}
    assert (answer["events"], answer["statuses"], answer["wrong"]) == (9, {"confirmed": 3}, {})
    assert answer["ended"] == 3
    assert len(answer["lags"]) == 6, "of each event but the first"


@pytest.mark.parametrize(
    ("texts", "wrong"),
    [
        ((event(1), event(3, "confirmed")), "event 3 instead of 2"),
        ((event(1), event(1), event(2, "confirmed")), "event 1 instead of 2"),
        ((event(1), "{}"), "not an event"),
    ],
)
async def test_a_gap_a_repetition_and_nonsense_are_told(texts: tuple[str, ...], wrong: str) -> None:
    async with server(*texts) as (url, _):
        crowd = Crowd(url, ["a"])
        await crowd.open(1, 1, WAIT_S)
        assert (await crowd.read(WAIT_S))["wrong"] == {wrong: 1}


async def test_a_stream_that_is_closed_too_early_or_not_at_all() -> None:
    async with server(event(1), code=1013) as (url, _):
        crowd = Crowd(url, ["a"])
        await crowd.open(1, 1, WAIT_S)
        assert (await crowd.read(WAIT_S))["wrong"] == {"closed with 1013 slow consumer": 1}
    async with server(event(1), closes=False) as (url, _):
        crowd = Crowd(url, ["a"])
        await crowd.open(1, 1, WAIT_S)
        answer = await crowd.read(0.05)
        assert (answer["wrong"], answer["ended"]) == ({"no end in time": 1}, 0)
        crowd.close()


@pytest.mark.parametrize(
    ("texts", "why"),
    [((), "no event"), (("",), "no event in time")],
    ids=["closed at once", "says nothing of an order"],
)
async def test_a_socket_without_an_event_is_not_open(texts: tuple[str, ...], why: str) -> None:
    async with server(*texts, closes=not texts) as (url, _):
        crowd = Crowd(url, ["a"])
        opened = await crowd.open(1, 1, WAIT_S if not texts else 0.2)
        assert (opened["took"], opened["wrong"]) == ([], {why: 1})
        crowd.close()


async def test_a_second_opening_begins_where_it_is_told_to() -> None:
    async with server(event(2), event(3, "confirmed")) as (url, asked):
        crowd = Crowd(url, ["a"])
        for _ in range(2):
            await crowd.open(2, 1, WAIT_S)
            answer = await crowd.read(WAIT_S)
            assert (answer["last"], answer["events"], answer["wrong"]) == ({"a": 3}, 2, {})
    assert asked == ["/api/orders/a/ws?fromSeq=2"] * 2
