"""A reader that does not read holds up nobody, and costs a bounded amount of memory for a bounded time."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from bestex.api import server, stream, stream_watch
from bestex.orders.status import Status
from bestex.ports import Committed
from tests.api.conftest import Served, served_in, until
from tests.api.raw import RawConnection
from tests.support.orders import Life

MEGABYTE = 1_000_000
BUFFER_EVENTS = 8


class Deaf:
    """A TCP client that upgrades and then never reads again."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect(("127.0.0.1", port))

    def upgrade(self, path: str) -> None:
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )

    def __enter__(self) -> "Deaf":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines of a few hundredths of a second."""
    monkeypatch.setattr(stream_watch, "TICK_S", 0.05)
    monkeypatch.setattr(stream, "_CLOSE_TIMEOUT_S", 0.05)
    monkeypatch.setattr(server, "_CLOSING_S", 0.05)


def large(life: Life, seq: int) -> Committed:
    return Committed(life.order.id, seq, Status.ROUTING, False, b'"' + b"x" * MEGABYTE + b'"')


def transports(served: Served) -> list[Any]:
    return [connection.transport for connection in served.server.server_state.connections]


async def clogged(served: Served, deaf: Deaf) -> Life:
    """An order whose stream has a reader that is stuck."""
    life = await served.world.placed()
    deaf.upgrade(f"/api/orders/{life.order.id}/ws")
    await until(lambda: served.world.bus.open == 1)
    held = 0
    for seq in range(2, 100):
        served.world.bus.publish([large(life, seq)])
        await asyncio.sleep(0)
        held = max(held, *(transport.get_write_buffer_size() for transport in transports(served)))
    assert held < 3 * MEGABYTE
    return life


@pytest.mark.usefixtures("quick")
async def test_a_reader_that_is_stuck_is_dropped(tmp_path: Path) -> None:
    async with served_in(tmp_path, stream_buffer_events=BUFFER_EVENTS) as served:
        with Deaf(served.port) as deaf:
            await clogged(served, deaf)
            await until(lambda: served.world.front.metrics.websockets_open == 0)
            assert served.world.bus.open == 0
            await until(lambda: not transports(served))


async def test_others_do_not_notice(tmp_path: Path) -> None:
    async with served_in(tmp_path, stream_buffer_events=BUFFER_EVENTS) as served:
        with Deaf(served.port) as deaf:
            life = await clogged(served, deaf)
            async with await RawConnection.open(served.port) as other:
                await other.upgrade(f"/api/orders/{life.order.id}/ws")
                assert (await other.event())["seq"] == 1
                await served.world.record(life, life.routed())
                assert (await other.event())["seq"] == 2
                assert (await served.world.post()).status_code == 201
            assert served.world.front.metrics.websockets_open >= 1, "the deaf one is still there"


async def test_a_reader_that_was_slow_learns_where_to_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads again before anybody loses patience, but after its buffer was full."""
    monkeypatch.setattr(stream_watch, "TICK_S", 60.0)
    async with served_in(tmp_path, stream_buffer_events=BUFFER_EVENTS) as served:
        life = await served.world.placed()
        async with await RawConnection.open(served.port) as slow:
            slow.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await slow.send(
                f"GET /api/orders/{life.order.id}/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
            )
            await until(lambda: served.world.bus.open == 1)
            for seq in range(2, 100):
                served.world.bus.publish([large(life, seq)])
                await asyncio.sleep(0)
            slow.writer.transport.resume_reading()  # type: ignore[attr-defined]
            assert (await slow.head())[0] == 101
            read = 0
            while (frame := await slow.frame())[0] == 1:
                read += 1
            assert frame[0] == 8
            assert int.from_bytes(frame[1][:2], "big") == 1013
            assert frame[1][2:].decode() == f"slow consumer; resume with fromSeq={read + 1}"
            assert BUFFER_EVENTS < read < 99


async def test_a_peer_that_answers_no_ping_is_dropped(tmp_path: Path) -> None:
    async with served_in(tmp_path) as served:
        served.server.config.ws_ping_interval = served.server.config.ws_ping_timeout = 0.05
        life = await served.world.placed()
        async with await RawConnection.open(served.port) as connection:
            await connection.upgrade(f"/api/orders/{life.order.id}/ws")
            await connection.event()
            assert (await connection.frame())[0] == 9
            assert await connection.closed() == (1011, "keepalive ping timeout")
        await until(lambda: served.world.front.metrics.websockets_open == 0)
        await until(lambda: not transports(served))


async def test_a_stuck_peer_that_answers_no_ping_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its buffer never empties, so that a polite close would never end."""
    monkeypatch.setattr(server, "_STOPPING_S", 0.05)
    monkeypatch.setattr(server, "_CLOSING_S", 0.05)
    async with served_in(tmp_path, stream_buffer_events=BUFFER_EVENTS) as served:
        served.server.config.ws_ping_interval = served.server.config.ws_ping_timeout = 0.2
        with Deaf(served.port) as deaf:
            await clogged(served, deaf)
            await until(lambda: served.world.front.metrics.websockets_open == 0)
            await until(lambda: not transports(served))


async def test_a_stuck_peer_does_not_hold_up_the_end_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_STOPPING_S", 0.05)
    async with served_in(tmp_path, stream_buffer_events=BUFFER_EVENTS, shutdown_s=60) as served:
        with Deaf(served.port) as deaf:
            await clogged(served, deaf)
            served.server.should_exit = True
            async with asyncio.timeout(5):
                await until(lambda: not transports(served))
