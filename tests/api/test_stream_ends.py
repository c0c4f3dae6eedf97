"""How a stream ends before its order does: slow and talkative clients, faults, farewells."""

import asyncio
import contextlib
import gc
import weakref
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import connect

import websockets
from bestex.api import stream
from bestex.errors import StoreUnavailable
from bestex.orders.events import Event
from bestex.ports import Committed
from tests.api.conftest import Served, World, served_in, until
from tests.api.raw import RawConnection
from tests.api.test_stream import live, read_all
from tests.support.orders import Life


async def test_an_overflowed_reader_is_told_where_to_resume(tmp_path: Path) -> None:
    async with served_in(tmp_path, stream_buffer_events=2) as served:
        life = await served.world.placed()
        async with connect(f"ws://127.0.0.1:{served.port}/api/orders/{life.order.id}/ws") as socket:
            await until(lambda: served.world.bus.open == 1)
            await socket.recv()
            burst(served.world, life)
            events = await read_all(socket)
        assert socket.close_code == 1013
        resume = events[-1]["seq"] + 1 if events else 2
        assert socket.close_reason == f"slow consumer; resume with fromSeq={resume}"


async def test_a_bus_that_closes_ends_the_stream(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed:
        overflowed = False
        lost = False
        whole = False

        async def next(self) -> None:
            return None

        def close(self) -> None:
            pass

    life = await served.world.placed()
    monkeypatch.setattr(served.world.bus, "subscribe", lambda _: Closed())
    async with connect(f"ws://127.0.0.1:{served.port}/api/orders/{life.order.id}/ws") as socket:
        assert len(await read_all(socket)) == 1
    assert (socket.close_code, socket.close_reason) == (1012, "the server stops; resume with fromSeq=2")


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (StoreUnavailable("no disk"), 1013, "the store does not answer; resume with fromSeq=3"),
        (ZeroDivisionError("secret"), 1011, "a fault of the server; resume with fromSeq=3"),
    ],
)
async def test_faults_while_reading(
    served: Served, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, reason: str
) -> None:
    async def fail(*_: Any) -> Any:
        raise error

    life = await served.world.placed()
    monkeypatch.setattr(served.world.store, "events", fail)
    async with connect(f"ws://127.0.0.1:{served.port}/api/orders/{life.order.id}/ws?fromSeq=3") as socket:
        assert await read_all(socket) == []
    assert (socket.close_code, socket.close_reason) == (code, reason)


async def test_what_clients_say_is_ignored(served: Served) -> None:
    life = await served.world.placed()
    async with connect(f"ws://127.0.0.1:{served.port}/api/orders/{life.order.id}/ws") as socket:
        for _ in range(10):
            await socket.send("hello")
            await socket.send(b"hello")
        await live(served.world, life)
        assert len(await read_all(socket)) == 6


async def test_clients_that_do_not_stop_talking_are_closed(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_MESSAGES_MAX", 20)
    life = await served.world.placed()
    async with connect(f"ws://127.0.0.1:{served.port}/api/orders/{life.order.id}/ws") as socket:
        with contextlib.suppress(websockets.ConnectionClosed):
            async with asyncio.timeout(10):
                while True:
                    await socket.send("hello")
                    await asyncio.sleep(0)
    assert socket.close_code == 1008


async def test_large_messages_are_refused(served: Served) -> None:
    life = await served.world.placed()
    async with connect(f"ws://127.0.0.1:{served.port}/api/orders/{life.order.id}/ws") as socket:
        await socket.send("x" * 5_000)
        await read_all(socket)
    assert socket.close_code == 1009


async def test_pings_are_answered(served: Served) -> None:
    life = await served.world.placed()
    async with await RawConnection.open(served.port) as connection:
        await connection.upgrade(f"/api/orders/{life.order.id}/ws")
        await connection.event()
        await connection.say(9, b"are you there")
        assert await connection.frame() == (10, b"are you there")


@pytest.mark.parametrize("goodbye", [True, False])
async def test_a_client_that_leaves_takes_everything_with_it(served: Served, goodbye: bool) -> None:
    metrics, bus = served.world.front.metrics, served.world.bus
    life = await served.world.placed()
    before = asyncio.all_tasks()
    connection = await RawConnection.open(served.port)
    await connection.upgrade(f"/api/orders/{life.order.id}/ws")
    await connection.event()
    assert (metrics.websockets_open, bus.open) == (1, 1)

    if goodbye:
        await connection.say(8, (1001).to_bytes(2, "big"))
        assert (await connection.closed())[0] == 1001
    connection.writer.transport.abort()

    await until(lambda: metrics.websockets_open == 0 and bus.open == 0)
    await until(lambda: asyncio.all_tasks() <= before)


async def test_a_stream_leaves_no_memory_behind(served: Served) -> None:
    life = await served.world.placed()
    made: list[weakref.ref[object]] = []
    init = stream._Stream.__init__

    def remembered(self: Any, *arguments: Any) -> None:
        init(self, *arguments)
        made.append(weakref.ref(self))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream._Stream, "__init__", remembered)
        for _ in range(5):
            async with connect(f"ws://127.0.0.1:{served.port}/api/orders/{life.order.id}/ws") as socket:
                await socket.recv()
    await until(lambda: served.world.front.metrics.websockets_open == 0)
    await until(lambda: bool(gc.collect() >= 0 and not any(ref() for ref in made)))
    assert len(made) == 5


async def test_a_stopping_server_says_so(tmp_path: Path) -> None:
    async with served_in(tmp_path) as served:
        life = await served.world.placed()
        async with connect(f"ws://127.0.0.1:{served.port}/api/orders/{life.order.id}/ws") as socket:
            await socket.recv()
            served.server.should_exit = True
            await read_all(socket)
        assert socket.close_code == 1012


def burst(world: World, life: Life) -> None:
    """Publish four events at once, before any reader can run."""
    made: list[Event] = [life.routed(), life.built(), life.submitted(), life.confirmed()]
    world.bus.publish(
        [Committed(life.order.id, event.seq, event.status, False, msgspec.json.encode(event)) for event in made]
    )


async def test_an_event_for_a_client_that_has_just_left(world: World) -> None:
    """The server may learn of it from the send, before it hears of it from the client."""
    life = await world.placed()
    sent: list[str] = []

    async def receive() -> dict[str, Any]:
        if not sent:
            return {"type": "websocket.connect"}
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message["type"])
        if message["type"] == "websocket.send":
            raise BrokenPipeError

    scope = {"type": "websocket", "path": f"/api/orders/{life.order.id}/ws", "query_string": b"", "headers": []}
    async with asyncio.timeout(10):
        await world.app(scope, receive, send)
    assert sent == ["websocket.accept", "websocket.send"]
    assert (world.front.metrics.websockets_open, world.bus.open) == (0, 0)
