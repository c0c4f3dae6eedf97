"""The real server told to stop: it ends in bounded time, loses nothing, and says how to go on.

What a second signal does: while requests are still being answered, SIGINT stops waiting for them and SIGTERM changes
nothing; while orders are being finished, either ends the process at once (SIGTERM by the signal, SIGINT with 130).
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import msgspec
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from bestex.client import AsyncClient
from bestex.client.errors import ApiError, ConnectionFailed
from bestex.client.retry import Retry
from bestex.orders.events import Event, Routed, decode_event
from bestex.orders.status import Status
from bestex.store.sqlite import SqliteStore
from tests.crash.books import check_fills, check_streams
from tests.crash.traffic import Traffic, details, place
from tests.support.clock import VirtualClock
from tests.support.process import ServerProcess

ORDERS = 24
IN_WORK = {Status.ROUTING, Status.BUILDING, Status.SUBMITTED}
GRACE_S = 4.0
"""For all that is not waiting: the process has to close its files and the interpreter to end."""

StartServer = Callable[[float], ServerProcess]


@pytest.fixture
async def make_server(tmp_path: Path) -> AsyncIterator[StartServer]:
    made: list[ServerProcess] = []

    def make(shutdown_s: float) -> ServerProcess:
        server = ServerProcess(
            tmp_path / "data",
            network="fast",
            concurrency=10,
            rate_per_minute=0,
            slippage_bps=300,
            shutdown_s=shutdown_s,
        )
        made.append(server)
        return server

    yield make
    for server in made:
        await server.close()


class Listener:
    """A plain WebSocket on one order's stream, from its first event to the server's good-bye."""

    def __init__(self, url: str, order_id: str) -> None:
        self._url = f"ws{url.removeprefix('http')}/api/orders/{order_id}/ws"
        self.events: list[Event] = []
        self.goodbye = asyncio.create_task(self._listen())

    async def _listen(self) -> tuple[int, str] | None:
        async with connect(self._url) as socket:
            try:
                while True:
                    self.events.append(decode_event(await socket.recv(decode=False)))
            except ConnectionClosed as closed:
                return None if closed.rcvd is None else (closed.rcvd.code, closed.rcvd.reason)


async def under_load(server: ServerProcess, traffic: Traffic) -> list[Listener]:
    """Start it and let it work: orders in every status, more that wait, and a socket for each."""
    await server.start()
    await traffic.begin(server.url, range(ORDERS))
    await traffic.until(lambda: len(traffic.accepted) == ORDERS)
    listeners = [Listener(server.url, order_id) for order_id in traffic.accepted.values()]
    await traffic.until(lambda: all(listener.events for listener in listeners))
    await traffic.until(lambda: sum(stream[-1].status is Status.SUBMITTED for stream in traffic.streams.values()) >= 3)
    return listeners


async def refused(url: str) -> list[int]:
    """Place new orders until the server takes no more; the numbers of those that it took."""
    taken: list[int] = []
    async with asyncio.timeout(5), AsyncClient(url, retry=Retry(tries=1)) as client:
        while True:
            number = ORDERS + len(taken)
            try:
                await place(client, number)
            except ConnectionFailed:
                return taken
            except ApiError as error:
                if error.status != 503:
                    raise
                return taken
            taken.append(number)
            await asyncio.sleep(0.01)


@asynccontextmanager
async def stored(data_dir: Path) -> AsyncIterator[SqliteStore]:
    """The database of a server that has ended."""
    store = SqliteStore(data_dir / "bestex.db", clock=VirtualClock())
    await store.open()
    yield store
    await store.close()


async def left_in_work(data_dir: Path) -> int:
    async with stored(data_dir) as store:
        by_status = (await store.stats(0, 1)).by_status
    return sum(by_status.get(status, 0) for status in IN_WORK)


async def last_begun_s(data_dir: Path, traffic: Traffic) -> float:
    """When the last try was begun: Unix time."""
    async with stored(data_dir) as store:
        events = [
            decode_event(each.payload)
            for order_id in traffic.accepted.values()
            for each in await store.events(order_id)  # type: ignore[arg-type]  # ids from JSON
        ]
    return max(event.at.timestamp() for event in events if isinstance(event, Routed))


def drained_at_s(server: ServerProcess) -> float:
    """When the worker was told to stop, as the log has it: Unix time."""
    lines = [msgspec.json.decode(line, type=dict[str, object]) for line in server.log().splitlines()]
    (line,) = [line for line in lines if line["event"] == "finishing the orders in work"]
    return msgspec.convert(line["timestamp"], datetime).timestamp()


async def check_it_goes_on(server: ServerProcess, traffic: Traffic, more: list[int], data_dir: Path) -> None:
    """Start again: every order ends, every stream goes on where it was."""
    await server.start()
    await traffic.begin(server.url, more)
    await traffic.finish(within_s=30)
    orders = await details(server.url, traffic.accepted.values())
    assert await server.terminate() == 0
    check_streams(traffic, orders)
    await check_fills(data_dir, orders)


async def test_orders_in_work_are_finished_and_no_more_are_begun(make_server: StartServer, tmp_path: Path) -> None:
    server, data_dir = make_server(10.0), tmp_path / "data"
    async with Traffic() as traffic:
        listeners = await under_load(server, traffic)
        server.signal(signal.SIGTERM)
        more = await refused(server.url)
        assert await server.exit_code(10.0 + GRACE_S) == 0
        for listener in listeners:
            goodbye = await listener.goodbye
            assert goodbye is not None
            assert goodbye[0] == 1012
            assert [event.seq for event in listener.events] == list(range(1, len(listener.events) + 1))
        assert await left_in_work(data_dir) == 0
        assert await last_begun_s(data_dir, traffic) < drained_at_s(server) + 1.0
        assert traffic.ended < ORDERS
        await check_it_goes_on(server, traffic, more, data_dir)


async def test_orders_that_take_too_long_are_handed_back(make_server: StartServer, tmp_path: Path) -> None:
    server, data_dir = make_server(0.2), tmp_path / "data"
    async with Traffic() as traffic:
        await under_load(server, traffic)
        server.signal(signal.SIGTERM)
        assert await server.exit_code(1.0 + GRACE_S) == 0
        assert await left_in_work(data_dir) > 0
        await check_it_goes_on(server, traffic, [], data_dir)


@pytest.mark.parametrize(("second", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)])
async def test_a_second_signal_ends_it_at_once(
    make_server: StartServer, tmp_path: Path, second: signal.Signals, code: int
) -> None:
    server, data_dir = make_server(30.0), tmp_path / "data"
    async with Traffic() as traffic:
        await under_load(server, traffic)
        server.signal(signal.SIGTERM)
        await traffic.until(lambda: "finishing the orders in work" in server.log())
        server.signal(second)
        assert await server.exit_code(GRACE_S) == code
        assert await left_in_work(data_dir) > 0, "handed back to the next start, as after a SIGKILL"


async def test_a_closed_socket_is_told_how_to_resume(make_server: StartServer) -> None:
    server = make_server(1.0)
    async with Traffic() as traffic:
        listeners = await under_load(server, traffic)
        server.signal(signal.SIGTERM)
        goodbyes = [await listener.goodbye for listener in listeners]
        assert await server.exit_code(2.0 + GRACE_S) == 0
    for listener, goodbye in zip(listeners, goodbyes, strict=True):
        assert goodbye == (1012, f"the server stops; resume with fromSeq={len(listener.events) + 1}")


async def test_a_client_that_dawdles_does_not_keep_it_claiming(make_server: StartServer, tmp_path: Path) -> None:
    server, data_dir = make_server(4.0), tmp_path / "data"
    async with Traffic() as traffic:
        await under_load(server, traffic)
        host, port = server.url.removeprefix("http://").split(":")
        _, half = await asyncio.open_connection(host, int(port))
        half.write(b"POST /api/orders/execute HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        await half.drain()
        await details(server.url, list(traffic.accepted.values())[:1])  # answered after: the server has read the above
        server.signal(signal.SIGTERM)
        stopped_s = time.time()
        assert await server.exit_code(8.0 + GRACE_S) == 0
        half.close()
        assert await last_begun_s(data_dir, traffic) < stopped_s + 1.5
