"""The WebSocket: every event once, in order, from any sequence number; and how it ends."""

import asyncio
import contextlib
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import connect

import websockets
from bestex.api import stream_watch
from bestex.errors import StoreUnavailable
from bestex.ports import Committed
from bestex.types import OrderId
from tests.api.conftest import Served, WatchedBus, World, until
from tests.support.orders import Life, attempt


def quick(monkeypatch: pytest.MonkeyPatch, tick_s: float = 0.02) -> None:
    """Look after sockets more often than real ones need it."""
    monkeypatch.setattr(stream_watch, "TICK_S", tick_s)


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


class Asked:
    """The questions that the store is asked about orders in the hope of news, and reads of events."""

    def __init__(self, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.questions: list[list[OrderId]] = []
        self.reads = 0
        self._open_seqs, self._events = store.open_seqs, store.events
        monkeypatch.setattr(store, "open_seqs", self.open_seqs)
        monkeypatch.setattr(store, "events", self.events)

    async def open_seqs(self, order_ids: list[OrderId]) -> dict[OrderId, int]:
        self.questions.append(order_ids)
        answer: dict[OrderId, int] = await self._open_seqs(order_ids)
        return answer

    async def events(self, *arguments: Any) -> list[Committed]:
        self.reads += 1
        answer: list[Committed] = await self._events(*arguments)
        return answer


async def test_a_quiet_order_is_looked_up_more_and_more_rarely(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch, tick_s=0.005)
    life = await served.world.placed()
    asked = Asked(served.world.store, monkeypatch)
    ticks = 0
    sleep = served.world.front.clock.sleep

    async def ticking(seconds: float) -> None:
        nonlocal ticks
        await sleep(seconds)
        ticks += seconds == stream_watch.TICK_S

    monkeypatch.setattr(served.world.front.clock, "sleep", ticking)
    async with connect(f"ws://127.0.0.1:{served.port}/api/orders/{life.order.id}/ws"):
        await until(lambda: ticks >= 49)
        # After 1, 2, 4 and 8 ticks, and then at every twelfth; the first event may have come between two ticks.
        assert 7 <= len(asked.questions) <= 4 + ticks // 12
        assert asked.reads == 1, "who is not behind reads nothing"


async def test_all_quiet_orders_are_looked_up_at_once(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch, tick_s=0.1)
    monkeypatch.setattr(stream_watch, "_MOST_ORDERS", 8)
    lives = [await served.world.placed(clientOrderId=str(number)) for number in range(10)]
    lose(served.world.bus, {2}, monkeypatch)
    asked = Asked(served.world.store, monkeypatch)
    async with contextlib.AsyncExitStack() as stack:
        url = f"ws://127.0.0.1:{served.port}/api/orders/{{}}/ws"
        twice = [*lives, lives[0]]
        sockets = [await stack.enter_async_context(connect(url.format(life.order.id))) for life in twice]
        for socket in sockets:
            assert msgspec.json.decode(await socket.recv())["seq"] == 1
        await served.world.record(lives[3], lives[3].routed())
        assert msgspec.json.decode(await sockets[3].recv())["seq"] == 2
        reads = asked.reads
        await until(lambda: len(asked.questions) >= 4)
    assert reads == 12, "one at the beginning of each, and one of the stream that was behind"
    assert max(map(len, asked.questions)) == 8
    assert {order_id for question in asked.questions for order_id in question} == {life.order.id for life in lives}


async def test_a_store_that_does_not_answer_when_a_quiet_order_is_looked_up(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    life = await served.world.placed()

    async def silent(_: list[OrderId]) -> dict[OrderId, int]:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(served.world.store, "open_seqs", silent)
    async with connect(f"ws://127.0.0.1:{served.port}/api/orders/{life.order.id}/ws") as socket:
        assert [event["seq"] for event in await read_all(socket)] == [1]
    assert (socket.close_code, socket.close_reason) == (1013, "the store does not answer; resume with fromSeq=2")
    await until(lambda: served.world.bus.open == 0)


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
