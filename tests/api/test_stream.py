"""The WebSocket: every event once, in order, from any sequence number; and how it ends."""

import asyncio
import contextlib
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import connect

import websockets
from bestex.api import stream
from bestex.ports import Committed
from tests.api.conftest import Served, WatchedBus, World, until
from tests.support.orders import Life, attempt


def quick(monkeypatch: pytest.MonkeyPatch, tick_s: float = 0.02) -> None:
    """Look after sockets more often than real ones need it."""
    monkeypatch.setattr(stream, "TICK_S", tick_s)


async def live(world: World, life: Life) -> None:
    """From routing to finality, each step written by itself."""
    await world.record(life, life.routed())
    await world.record(life, life.built())
    submitted = life.submitted()
    await world.record(life, submitted, attempt=attempt(life.order))
    await world.record(life, life.confirmed())
    await world.record(life, life.finalized())


EVENTS = ["accepted", "routed", "built", "submitted", "confirmed", "finalized"]


async def read_all(socket: Any) -> list[dict[str, Any]]:
    """All messages until the server closes."""
    read = []
    with contextlib.suppress(websockets.ConnectionClosedError):
        async for message in socket:
            read.append(msgspec.json.decode(message))  # noqa: PERF401 - those before the close are kept
    return read


@pytest.mark.parametrize("path", ["/api/orders/execute?orderId={}", "/api/orders/{}/ws"])
async def test_all_events_then_a_close_that_says_how_it_ended(served: Served, path: str) -> None:
    life = await served.world.placed()
    async with connect(f"ws://127.0.0.1:{served.port}" + path.format(life.order.id)) as socket:
        first = msgspec.json.decode(await socket.recv())
        await live(served.world, life)
        events = [first, *await read_all(socket)]

    assert [event["event"] for event in events] == EVENTS
    assert [event["seq"] for event in events] == [1, 2, 3, 4, 5, 6]
    assert {event["orderId"] for event in events} == {life.order.id}
    assert (socket.close_code, socket.close_reason) == (1000, "order confirmed")


async def test_messages_are_the_stored_bytes(served: Served) -> None:
    life = await served.world.placed()
    await live(served.world, life)
    async with connect(f"ws://127.0.0.1:{served.port}/api/orders/{life.order.id}/ws") as socket:
        messages = [message.encode() async for message in socket if isinstance(message, str)]

    assert messages == [event.payload for event in await served.world.store.events(life.order.id)]


@pytest.mark.parametrize(("from_seq", "expected"), [(1, EVENTS), (4, EVENTS[3:]), (6, EVENTS[5:]), (7, []), (99, [])])
async def test_an_order_that_has_ended_is_replayed(served: Served, from_seq: int, expected: list[str]) -> None:
    life = await served.world.placed()
    await live(served.world, life)
    async with connect(f"ws://127.0.0.1:{served.port}/api/orders/{life.order.id}/ws?fromSeq={from_seq}") as socket:
        events = await read_all(socket)

    assert [event["event"] for event in events] == expected
    assert (socket.close_code, socket.close_reason) == (1000, "order confirmed")


async def test_resuming_ahead_waits_for_that_event(served: Served) -> None:
    life = await served.world.placed()
    async with connect(f"ws://127.0.0.1:{served.port}/api/orders/{life.order.id}/ws?fromSeq=5") as socket:
        await until(lambda: served.world.front.metrics.websockets_open == 1)
        await live(served.world, life)
        assert [event["event"] for event in await read_all(socket)] == ["confirmed", "finalized"]


async def test_resuming_beyond_the_end_is_told_of_the_end(served: Served) -> None:
    life = await served.world.placed()
    async with connect(f"ws://127.0.0.1:{served.port}/api/orders/{life.order.id}/ws?fromSeq=99") as socket:
        await until(lambda: served.world.bus.open == 1)
        await live(served.world, life)
        assert await read_all(socket) == []
    assert (socket.close_code, socket.close_reason) == (1000, "order confirmed")


@pytest.mark.parametrize("end", ["failed", "canceled"])
async def test_other_ends(served: Served, end: str) -> None:
    life = await served.world.placed()
    async with connect(f"ws://127.0.0.1:{served.port}/api/orders/{life.order.id}/ws") as socket:
        await socket.recv()
        await served.world.record(life, getattr(life, end)())
        events = await read_all(socket)

    assert [event["status"] for event in events] == [end]
    assert (socket.close_code, socket.close_reason) == (1000, f"order {end}")


async def test_many_readers_each_see_everything(served: Served) -> None:
    life = await served.world.placed()

    async def reader(from_seq: int) -> list[int]:
        url = f"ws://127.0.0.1:{served.port}/api/orders/{life.order.id}/ws?fromSeq={from_seq}"
        async with connect(url) as socket:
            return [event["seq"] for event in await read_all(socket)]

    readers = [asyncio.create_task(reader(1 + index % 3)) for index in range(30)]
    await until(lambda: served.world.front.metrics.websockets_open == 30)
    await live(served.world, life)
    seen = await asyncio.gather(*readers)
    assert seen == [list(range(1 + index % 3, 7)) for index in range(30)]


async def test_a_lost_bus_message_is_found_by_the_gap(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    life = await served.world.placed()
    lose(served.world.bus, {3, 4}, monkeypatch)
    async with connect(f"ws://127.0.0.1:{served.port}/api/orders/{life.order.id}/ws") as socket:
        await until(lambda: served.world.bus.open == 1)
        await live(served.world, life)
        assert [event["seq"] for event in await read_all(socket)] == [1, 2, 3, 4, 5, 6]


async def test_a_lost_last_message_is_found_by_looking(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch)
    life = await served.world.placed()
    lose(served.world.bus, {5, 6}, monkeypatch)
    async with connect(f"ws://127.0.0.1:{served.port}/api/orders/{life.order.id}/ws") as socket:
        await until(lambda: served.world.bus.open == 1)
        await live(served.world, life)
        assert [event["seq"] for event in await read_all(socket)] == [1, 2, 3, 4, 5, 6]
    assert (socket.close_code, socket.close_reason) == (1000, "order confirmed")


async def test_the_end_is_found_by_looking_from_beyond_it(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch)
    life = await served.world.placed()
    lose(served.world.bus, {2, 3, 4, 5, 6}, monkeypatch)
    async with connect(f"ws://127.0.0.1:{served.port}/api/orders/{life.order.id}/ws?fromSeq=50") as socket:
        await until(lambda: served.world.bus.open == 1)
        await live(served.world, life)
        assert await read_all(socket) == []
    assert socket.close_code == 1000


async def test_a_quiet_order_is_looked_up_more_and_more_rarely(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch, tick_s=0.005)
    life = await served.world.placed()
    reads = 0
    events = served.world.store.events

    async def counted(*arguments: Any) -> list[Committed]:
        nonlocal reads
        reads += 1
        return await events(*arguments)

    monkeypatch.setattr(served.world.store, "events", counted)
    waits = 0
    wait = asyncio.wait

    async def ticking(*arguments: Any, **named: Any) -> Any:
        nonlocal waits
        waits += named.get("timeout") == stream.TICK_S
        return await wait(*arguments, **named)

    monkeypatch.setattr(stream.asyncio, "wait", ticking)  # type: ignore[attr-defined]
    async with connect(f"ws://127.0.0.1:{served.port}/api/orders/{life.order.id}/ws"):
        await until(lambda: waits >= 49)
        assert reads <= 6 + waits // 12  # at first, after 1, 2, 4 and 8 ticks, and then at every twelfth


def lose(bus: WatchedBus, seqs: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the bus loses these events."""
    subscribe = bus.subscribe

    class Losing:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        @property
        def overflowed(self) -> bool:
            return bool(self._inner.overflowed)

        @property
        def lost(self) -> bool:
            return bool(self._inner.lost)

        @property
        def whole(self) -> bool:
            return bool(self._inner.whole)

        async def next(self) -> Committed | None:
            while True:
                event: Committed | None = await self._inner.next()
                if event is None or event.seq not in seqs:
                    return event

        def close(self) -> None:
            self._inner.close()

    monkeypatch.setattr(bus, "subscribe", lambda order_id: Losing(subscribe(order_id)))
