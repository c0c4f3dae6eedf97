"""How the server listens, ends, and what it says of itself."""

import asyncio
import signal
import socket
from pathlib import Path

import pytest

from bestex.api.server import loop_factory, make_server
from bestex.config import Settings
from bestex.errors import ConfigError
from bestex.listening import listen
from tests.api.conftest import BODY, Served, served_in, until
from tests.api.raw import RawConnection


def test_a_port_that_is_taken_is_a_wrong_setting() -> None:
    with (
        listen("127.0.0.1", 0) as taken,
        pytest.raises(ConfigError, match=r"cannot listen on 127\.0\.0\.1:") as error,
    ):
        listen("127.0.0.1", taken.getsockname()[1])
    assert error.value.context["host"] == "127.0.0.1"


@pytest.mark.parametrize("host", ["256.256.256.256", "no.such.host.invalid", "203.0.113.77"])
def test_a_host_that_is_not_ours_is_a_wrong_setting(host: str) -> None:
    with pytest.raises(ConfigError, match="cannot listen on"):
        listen(host, 0)


def test_the_listener_says_that_it_is_tcp() -> None:
    """Else asyncio leaves Nagle's algorithm on, and every second packet of an answer waits 40 ms."""
    with listen("localhost", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


async def test_answers_name_neither_server_nor_version(served: Served) -> None:
    async with await RawConnection.open(served.port) as connection:
        _, headers, _ = await connection.request("GET", "/health")
    assert "server" not in headers


async def test_frames_are_not_compressed(served: Served) -> None:
    life = await served.world.placed()
    async with await RawConnection.open(served.port) as connection:
        await connection.send(
            f"GET /api/orders/{life.order.id}/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n".encode()
        )
        status, headers = await connection.head()
    assert status == 101
    assert "sec-websocket-extensions" not in headers


async def test_a_request_under_way_is_finished_when_the_server_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served_in(tmp_path) as served:
        entered, go_on = asyncio.Event(), asyncio.Event()
        place = served.world.front.intake.place

        async def slow(request: object) -> object:
            entered.set()
            await go_on.wait()
            return await place(request)  # type: ignore[arg-type]

        monkeypatch.setattr(served.world.front.intake, "place", slow)
        async with await RawConnection.open(served.port) as connection:
            body = str(BODY).replace("'", '"').encode()
            asking = asyncio.create_task(connection.request("POST", "/api/orders/execute", body))
            await entered.wait()
            served.server.should_exit = True
            await until(lambda: not any(each.is_serving() for each in served.server.servers))
            go_on.set()
            status, headers, _ = await asking
        assert status == 201
        assert headers["connection"] == "close"
        assert await served.world.stored() == 1


async def test_a_signal_stops_the_server_and_is_not_raised_again(tmp_path: Path) -> None:
    """Raised again, it would kill the process before the engine has finished its orders."""
    before = signal.getsignal(signal.SIGTERM)
    async with served_in(tmp_path) as served:
        signal.raise_signal(signal.SIGTERM)
        await until(lambda: served.server.should_exit)
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_fast_event_loop_is_used_where_it_exists() -> None:
    factory = loop_factory()
    assert factory is not None
    loop = factory()
    try:
        assert "uvloop" in type(loop).__module__
    finally:
        loop.close()


def test_the_grace_period_comes_from_the_settings() -> None:
    async def app(*_: object) -> None:
        raise NotImplementedError

    assert make_server(app, Settings(shutdown_s=2.5), lambda: None).config.timeout_graceful_shutdown == 3


async def test_the_api_works_on_the_fast_event_loop(tmp_path: Path) -> None:
    """The tests run on asyncio's own loop, production on uvloop."""

    async def whole() -> list[int]:
        async with served_in(tmp_path) as served, await RawConnection.open(served.port) as connection:
            life = await served.world.placed()
            await connection.upgrade(f"/api/orders/execute?orderId={life.order.id}")
            await served.world.record(life, life.routed())
            seen = [(await connection.event())["seq"] for _ in range(2)]
            await served.world.record(life, life.failed())
            seen.append((await connection.event())["seq"])
            assert await connection.closed() == (1000, "order failed")
            return seen

    def run() -> list[int]:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(whole())

    assert await asyncio.to_thread(run) == [1, 2, 3]
