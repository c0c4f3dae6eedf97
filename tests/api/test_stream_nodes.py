"""Several nodes: a stream on one shows what another works on, and heals when Redis was away."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from websockets.asyncio.client import connect

from bestex.api import stream_watch
from bestex.api.app import create_app
from bestex.api.front import Front
from bestex.api.metrics import Metrics
from bestex.api.server import make_server
from bestex.bus.redis import RedisBus
from bestex.bus.redis_node import NodeBus
from bestex.listening import listen
from bestex.ports import Committed
from tests.api.conftest import SystemClock, World, until, world_in
from tests.api.test_stream import live
from tests.support.orders import Life, attempt
from tests.support.redis import WAIT_S, RedisProcess, running_node, running_redis

STREAMS = 200


@asynccontextmanager
async def serving(front: Front) -> AsyncIterator[str]:
    """The front door on a loopback port."""
    server = make_server(create_app(front), front.settings, lambda: None)
    with listen(front.settings.host, front.settings.port) as listener:
        running = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await until(lambda: server.started or running.done())
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await running


class Nodes:
    """One node that works on orders, and another whose front door is asked."""

    def __init__(self, world: World, redis: RedisProcess, works: RedisBus, watches: RedisBus, address: str) -> None:
        self.world = world
        self.redis = redis
        self.works = works
        self.watches = watches
        self.address = address

    def stream(self, life: Life) -> connect:
        return connect(f"ws://{self.address}/api/orders/{life.order.id}/ws")

    async def active(self) -> list[dict[str, Any]]:
        async with httpx.AsyncClient(base_url=f"http://{self.address}") as client:
            answer = await client.get("/api/orders/active")
        assert answer.status_code == 200
        orders: list[dict[str, Any]] = answer.json()["orders"]
        return orders


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    async with world_in(tmp_path) as world, running_redis() as redis:

        async def open_orders() -> list[Any]:
            return await world.store.active(1_000)

        async with (
            running_node(redis, open_orders=open_orders) as works,
            running_node(redis, buffer_events=256) as watches,
        ):
            world.store.on_commit(works.publish)
            front = dataclasses.replace(world.front, bus=watches, metrics=Metrics(SystemClock()))
            async with serving(front) as address:
                yield Nodes(world, redis, works, watches, address)


async def read(socket: Any, messages: int) -> list[int]:
    """The sequence numbers of the next messages."""
    async with asyncio.timeout(WAIT_S):
        return [msgspec.json.decode(await socket.recv())["seq"] for _ in range(messages)]


async def rest(socket: Any) -> list[int]:
    """Those of all messages until the server closes."""
    async with asyncio.timeout(WAIT_S):
        return [msgspec.json.decode(message)["seq"] async for message in socket]


async def test_a_stream_shows_what_another_node_works_on(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_watch, "TICK_S", 600.0)
    life = await nodes.world.placed()
    async with nodes.stream(life) as socket:
        assert await read(socket, 1) == [1]
        await live(nodes.world, life)
        assert await rest(socket) == [2, 3, 4, 5, 6]
    assert socket.close_code == 1000
    assert nodes.watches.events_received >= 5


async def test_a_stream_heals_when_redis_was_away(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_watch, "TICK_S", 600.0)
    life = await nodes.world.placed()
    async with nodes.stream(life) as socket:
        await nodes.world.record(life, life.routed())
        assert await read(socket, 2) == [1, 2]
        await nodes.redis.kill()
        await nodes.world.record(life, life.built())
        await nodes.world.record(life, life.submitted(), attempt=attempt(life.order))
        await until(lambda: not nodes.watches.listening)
        await nodes.redis.start()
        assert await read(socket, 2) == [3, 4], "read from the store as soon as Redis is back"
        await nodes.world.record(life, life.confirmed())
        await nodes.world.record(life, life.finalized())
        assert await rest(socket) == [5, 6]
    assert socket.close_code == 1000


async def test_a_stream_goes_on_while_redis_is_away(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_watch, "TICK_S", 0.05)
    life = await nodes.world.placed()
    async with nodes.stream(life) as socket:
        assert await read(socket, 1) == [1]
        await nodes.redis.kill()
        await live(nodes.world, life)
        assert await rest(socket) == [2, 3, 4, 5, 6]
    assert socket.close_code == 1000


async def test_active_orders_come_from_redis_and_without_it_from_the_store(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await nodes.world.placed(clientOrderId="a"), await nodes.world.placed(userId="other")
    await nodes.world.record(first, first.routed(), first.built())
    by_store = await nodes.world.client.get("/api/orders/active")
    reads = 0
    active = nodes.world.store.active

    async def counted(limit: int) -> Any:
        nonlocal reads
        reads += 1
        return await active(limit)

    await until(lambda: _known(nodes.watches))
    monkeypatch.setattr(nodes.world.store, "active", counted)
    assert await nodes.active() == by_store.json()["orders"]
    assert [order["orderId"] for order in by_store.json()["orders"]] == [first.order.id, second.order.id]
    assert reads == 0
    await nodes.redis.kill()
    await nodes.world.record(first, first.failed())
    assert [order["orderId"] for order in await nodes.active()] == [second.order.id]
    assert reads == 1


async def _known(bus: RedisBus) -> bool:
    return await bus.active(1) is not None


# --- very many streams ------------------------------------------------------------------------------------------------


class Socket:
    """A WebSocket without a network."""

    def __init__(self) -> None:
        self.seqs: list[int] = []
        self.closed: tuple[int, str] | None = None
        self._connected = False

    async def receive(self) -> dict[str, Any]:
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        await asyncio.Event().wait()
        raise AssertionError

    async def send(self, message: Any) -> None:
        if message["type"] == "websocket.send":
            self.seqs.append(msgspec.json.decode(message["text"])["seq"])
        elif message["type"] == "websocket.close":
            self.closed = message["code"], message["reason"]


class Herd:
    """Streams of one order, and a store whose answers can be held back."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bus = NodeBus(buffer_events=256)
        self.life: Life
        self.reading = self.most = self.reads = 0
        self.answers = asyncio.Event()
        self._world = world
        self.rebuild()
        self._tasks: list[asyncio.Task[None]] = []
        self._events = world.store.events
        monkeypatch.setattr(world.store, "events", self._read)

    def rebuild(self) -> None:
        """The front door on the present bus."""
        self._app = create_app(dataclasses.replace(self._world.front, bus=self.bus))

    def open(self, query: bytes = b"") -> Socket:
        socket = Socket()
        path = f"/api/orders/{self.life.order.id}/ws"
        scope = {"type": "websocket", "path": path, "query_string": query, "headers": []}
        self._tasks.append(asyncio.create_task(self._serve(scope, socket)))
        return socket

    async def _serve(self, scope: Any, socket: Socket) -> None:
        await self._app(scope, socket.receive, socket.send)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _read(self, *asked: Any) -> list[Committed]:
        self.reading += 1
        self.reads += 1
        self.most = max(self.most, self.reading)
        try:
            await self.answers.wait()
            return await self._events(*asked)
        finally:
            self.reading -= 1


@pytest.fixture
async def herd(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Herd]:
    made = Herd(world, monkeypatch)
    made.life = await world.placed()
    yield made
    await made.close()


async def test_a_herd_that_has_lost_the_bus_does_not_trample_the_store(
    world: World, herd: Herd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_watch, "TICK_S", 0.1)
    herd.answers.set()
    sockets = [herd.open() for _ in range(STREAMS)]
    await until(lambda: all(socket.seqs == [1] for socket in sockets))
    herd.answers.clear()
    herd.most = herd.reads = 0
    await world.record(herd.life, herd.life.routed())
    herd.bus.lose()
    latecomer = herd.open()
    await until(lambda: herd.reading >= 17)
    began_s = SystemClock().monotonic_s()
    await until(lambda: SystemClock().monotonic_s() - began_s > 0.5)  # some ticks, at which nobody loses his turn
    assert (herd.reads, herd.most) == (17, 17), "sixteen of the herd, and one who comes new does not wait behind them"
    herd.answers.set()
    await until(lambda: all(socket.seqs == [1, 2] for socket in (*sockets, latecomer)))
    assert {socket.closed for socket in sockets} == {None}
    assert herd.most <= 17


async def test_a_stream_of_an_order_that_was_just_accepted_here_asks_the_store_only_for_what_is_missing(
    world: World, herd: Herd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_watch, "TICK_S", 0.05)
    herd.bus = NodeBus(buffer_events=256, recent_orders=1)
    herd.rebuild()
    herd.bus.hears = True
    herd.answers.set()
    herd.bus.publish(await world.store.events(herd.life.order.id))
    herd.reads = 0
    resumed, socket = herd.open(b"fromSeq=2"), herd.open()
    await until(lambda: socket.seqs == [1])
    assert herd.reads == 0
    late = herd.open()
    await world.record(herd.life, herd.life.routed())  # and the bus does not say so
    await until(lambda: late.seqs == [1, 2])
    herd.bus.lose()
    await until(lambda: socket.seqs == [1, 2] and resumed.seqs == [2])
