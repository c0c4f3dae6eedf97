"""Clients against the real engine and API, on virtual time."""

import asyncio
import gc
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bestex.api.app import create_app
from bestex.api.metrics import Metrics
from bestex.bus.local import LocalBus
from bestex.config import Settings
from bestex.orders.events import decode_event
from bestex.paper.cluster import PaperCluster
from bestex.paper.running import InPlace
from bestex.runtime import Ports, compose
from bestex.sim.asgi import Closed, ConnectionRefused, NoConnection, Server
from bestex.sim.chance import Chance, StreamEntropy
from bestex.sim.clients import Clients
from bestex.sim.faults import Fault, Weather
from bestex.sim.loop import Group, SimLoop
from bestex.sim.record import ClientRecord
from bestex.sim.trace import Trace
from bestex.solana.signer import KeypairSigner
from bestex.store.commit import InlineExecutor
from bestex.store.sqlite import SqliteStore
from tests.support.paper import WALLET
from tests.support.world import PROFILE

PAIRS = frozenset({("SOL", "USDC")})
JSON = [(b"content-type", b"application/json")]
EXECUTE = "/api/orders/execute"


class LoopClock:
    """A Clock on the loop's time."""

    def now_ms(self) -> int:
        return 1_790_000_000_000 + round(self.monotonic_s() * 1000)

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Town:
    """A chain, an engine that may crash, and its clients."""

    def __init__(self, path: Path, seed: int, weights: dict[Fault, float], pairs: frozenset[tuple[str, str]]) -> None:
        self.path = path
        self.pairs = pairs
        self.clock = LoopClock()
        self.chance = Chance(seed)
        self.weather = Weather(weights)
        self.record = ClientRecord()
        self.trace = Trace(self.clock.monotonic_s)
        self.incarnations = 0
        self._node: tuple[Group, Server, SqliteStore] | None = None
        self.clients = Clients(self, self.record, self.weather, self.chance, self.trace, sorted(pairs))

    def server(self) -> Server | None:
        return self._node[1] if self._node else None

    def listening(self) -> Server:
        server = self.server()
        if server is None:
            raise ConnectionRefused
        return server

    async def begin(self) -> None:
        self.paper = await PaperCluster.open(
            profile=PROFILE, clock=self.clock, entropy=StreamEntropy(self.chance.stream("chain")), path=None, seed=1,
            wallet=WALLET.pubkey(), pairs=self.pairs, traders=False, runner=InPlace(),
        )  # fmt: skip
        self.chain = asyncio.create_task(self.paper.run())
        await self.start()

    async def start(self) -> None:
        self.incarnations += 1
        group = Group(f"node{self.incarnations}")
        await group.start(self._boot(group))

    async def _boot(self, group: Group) -> None:
        settings = Settings(lease_s=5.0, concurrency=4, rate_per_minute=0)
        bus = LocalBus(buffer_events=settings.stream_buffer_events)
        store = SqliteStore(
            self.path / "bestex.db", clock=self.clock, write_executor=InlineExecutor(), read_executor=InlineExecutor()
        )
        await store.open()
        store.on_commit(bus.publish)
        entropy = StreamEntropy(self.chance.stream(f"entropy {group.name}"))
        ports = Ports(
            self.clock, entropy, store, bus, self.paper, KeypairSigner(WALLET), self.paper.tokens, self.paper.pools
        )
        engines = compose(settings, ports, group.name, metrics=Metrics(self.clock))
        await engines.book.load()
        for worker in engines.workers:
            group.start(worker.run())
        group.start(engines.reconciler.run())
        self._node = (group, Server(create_app(engines.front), group), store)

    def crash(self) -> None:
        assert self._node is not None
        group, server, store = self._node
        group.kill()
        store.abandon()
        server.lost()
        self._node = None

    async def post(self, body: dict[str, Any], key: str | None = None) -> tuple[int, dict[str, Any]]:
        headers = JSON + ([(b"idempotency-key", key.encode())] if key else [])
        answer = await self.listening().request("POST", EXECUTE, headers=headers, body=msgspec.json.encode(body))
        return answer.status, msgspec.json.decode(answer.body)

    async def until_closed(self, path: str) -> tuple[list[int], Closed]:
        socket = await self.listening().connect(path)
        seqs: list[int] = []
        while not isinstance(received := await socket.receive(), Closed):
            seqs.append(msgspec.json.decode(received)["seq"])
        return seqs, received

    async def settle(self, orders: int, over_s: float, heal_after_s: float = 60.0) -> None:
        """Let the clients trade, and the world heal."""
        asyncio.get_running_loop().call_later(heal_after_s, setattr, self.weather, "healed", True)
        async with asyncio.timeout(600):
            await self.clients.run(orders, over_s)


Story = Callable[[Town], Awaitable[None]]


def simulate(
    path: Path,
    story: Story,
    *,
    seed: int = 1,
    weights: dict[Fault, float] | None = None,
    pairs: frozenset[tuple[str, str]] = PAIRS,
) -> Town:
    loop = SimLoop(random.Random(seed))  # type: ignore[abstract]  # no sockets, no processes
    path.mkdir(exist_ok=True)
    town = Town(path, seed, weights or {}, pairs)

    async def main() -> None:
        await town.begin()
        await story(town)
        town.chain.cancel()
        await asyncio.wait([town.chain])
        if town.server() is not None:
            town.crash()
        await town.paper.close()

    gc.collect()
    gc.disable()  # it would unwind killed tasks in the middle of the run
    try:
        loop.run(main())
        assert loop.faults == []
    finally:
        loop.close()
        gc.enable()
    return town


def order(**more: Any) -> dict[str, Any]:
    return {"type": "market", "tokenIn": "USDC", "tokenOut": "SOL", "amountIn": "10", "userId": "u", **more}


def check_record(town: Town, *, orders: int) -> None:
    """What every run promises its clients."""
    record = town.record
    assert record.unexpected == []
    assert len(record.posted) == orders
    for posted in record.posted:
        assert posted.accepted != bool(posted.refused)
        assert posted.accepted == posted.sound, posted
        assert len(set(posted.order_ids)) <= 1
    ids = [posted.order_ids[0] for posted in record.posted if posted.accepted]
    assert len(set(ids)) == len(ids)
    assert {subscriber.order_id for subscriber in record.subscribers} == set(ids)
    for subscriber in record.subscribers:
        assert subscriber.closed_as_ended
        assert subscriber.seqs == list(range(1, len(subscriber.seqs) + 1))
        assert [decode_event(payload).seq for payload in subscriber.payloads] == subscriber.seqs


# --- the engine behind the simulated network --------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_a_post_and_its_stream_give_every_event_once(tmp_path: Path, seed: int) -> None:
    async def story(town: Town) -> None:
        status, view = await town.post(order(clientOrderId="one"))
        assert status == 201
        seqs, closed = await town.until_closed(view["links"]["events"])
        assert seqs == list(range(1, len(seqs) + 1))
        assert closed == Closed(1000, "order confirmed")
        again, closed = await town.until_closed(f"{EXECUTE}?orderId={view['orderId']}&fromSeq={len(seqs)}")
        assert (again, closed.code) == ([len(seqs)], 1000)

    simulate(tmp_path, story, seed=seed)


def test_the_same_key_twice_is_one_order(tmp_path: Path) -> None:
    async def story(town: Town) -> None:
        answers = await asyncio.gather(*[town.post(order(), key="key") for _ in range(4)])
        assert sorted(status for status, _ in answers) == [200, 200, 200, 201]
        assert len({view["orderId"] for _, view in answers}) == 1

    simulate(tmp_path, story)


def test_a_server_killed_in_mid_request_and_its_successor(tmp_path: Path) -> None:
    """Whatever step the crash comes at: the same request again gives one order, and the order is executed."""
    outcomes: Counter[str] = Counter()

    async def story(town: Town) -> None:
        for number in range(24):
            posting = asyncio.create_task(town.post(order(clientOrderId=f"order {number}")))
            for _ in range(number):
                await asyncio.sleep(0)
            town.crash()
            await town.start()
            first: str | None = None
            try:
                _, view = await posting
                first = view["orderId"]
            except NoConnection:
                pass
            status, view = await town.post(order(clientOrderId=f"order {number}"))
            outcomes[f"{'answered' if first else 'lost'} {status}"] += 1
            assert first in {None, view["orderId"]}
            seqs, closed = await town.until_closed(view["links"]["events"])
            assert (seqs, closed.code) == (list(range(1, len(seqs) + 1)), 1000)

    simulate(tmp_path, story)
    assert outcomes["lost 201"]
    assert outcomes["answered 200"]


def test_the_documented_routes_answer(tmp_path: Path) -> None:
    async def story(town: Town) -> None:
        for path in (
            "/health",
            "/metrics",
            "/api/queue/stats",
            "/api/orders/active",
            "/api/tokens",
            "/docs/openapi.json",
        ):
            assert (await town.listening().request("GET", path)).status == 200, path
        assert (await town.listening().request("GET", "/nowhere")).status == 404

    simulate(tmp_path, story)


# --- the population ---------------------------------------------------------------------------------------------------


def test_in_fair_weather_everybody_is_served(tmp_path: Path) -> None:
    town = simulate(tmp_path, lambda town: town.settle(12, 30))
    check_record(town, orders=12)
    assert town.trace.survived == Counter()
    assert all(len(posted.order_ids) <= 1 for posted in town.record.posted)
    ended = {polled.order_id: polled.status for polled in town.record.polled}
    assert set(ended.values()) <= {"confirmed", "failed"}
    assert "confirmed" in ended.values()


def test_clients_differ(tmp_path: Path) -> None:
    town = simulate(tmp_path, lambda town: town.settle(30, 30))
    posted = town.record.posted
    assert {each.key_in_header for each in posted} == {True, False}
    assert len({each.user_id for each in posted}) > 1
    assert len({(each.user_id, each.client_order_id) for each in posted}) == 30
    assert len({each.client_order_id for each in posted}) < 30
    assert len(town.record.subscribers) > sum(each.accepted for each in posted)


def test_what_breaks_a_rule_is_refused_and_written_down(tmp_path: Path) -> None:
    town = simulate(tmp_path, lambda town: town.settle(60, 5), seed=3)
    check_record(town, orders=60)
    refused = [posted for posted in town.record.posted if posted.refused]
    assert refused
    assert all(code for posted in refused for code in posted.refused)


def test_clients_that_post_again_get_the_same_order(tmp_path: Path) -> None:
    town = simulate(tmp_path, lambda town: town.settle(12, 20), weights={Fault.CLIENT_RETRY: 1.0}, seed=2)
    check_record(town, orders=12)
    assert all(len(posted.order_ids) == 2 for posted in town.record.posted if posted.accepted)
    assert town.trace.survived[Fault.CLIENT_RETRY] == 12 - sum(not posted.accepted for posted in town.record.posted)


@pytest.mark.parametrize("seed", range(4))
def test_clients_that_go_away_and_come_back_miss_nothing(tmp_path: Path, seed: int) -> None:
    town = simulate(tmp_path, lambda town: town.settle(8, 20), seed=seed, weights={Fault.CLIENT_DISCONNECT: 0.7})
    check_record(town, orders=8)
    assert town.trace.survived[Fault.CLIENT_DISCONNECT] > 8


def test_clients_that_take_their_orders_back(tmp_path: Path) -> None:
    town = simulate(tmp_path, lambda town: town.settle(24, 20), weights={Fault.CLIENT_CANCEL: 1.0})
    check_record(town, orders=24)
    ended = {polled.order_id: polled.status for polled in town.record.polled}
    assert {"canceled", "confirmed"} <= set(ended.values())
    # A client whose stream ends first does not wait for the answer.
    assert any(posted.cancel_accepted for posted in town.record.posted)


ALL = {Fault.CLIENT_RETRY: 0.5, Fault.CLIENT_DISCONNECT: 0.3, Fault.CLIENT_CANCEL: 0.4}


async def crashing(town: Town) -> None:
    """The last crash is followed by a start."""
    trading = asyncio.create_task(town.settle(10, 40))
    draw = town.chance.stream("crashes")
    for _ in range(10):
        await asyncio.sleep(draw.expovariate(1 / 5.0))
        town.crash()
        await asyncio.sleep(draw.uniform(0.1, 3.0))
        await town.start()
    await trading


@pytest.mark.parametrize("seed", range(4))
def test_clients_outlive_the_engine(tmp_path: Path, seed: int) -> None:
    town = simulate(tmp_path, crashing, seed=seed, weights=ALL)
    check_record(town, orders=10)
    assert town.incarnations == 11


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_seed_is_the_same_run(tmp_path: Path, seed: int) -> None:
    runs = [simulate(tmp_path / name, crashing, seed=seed, weights=ALL) for name in ("one", "two")]
    assert runs[0].trace.count == runs[1].trace.count
    assert runs[0].trace.hash == runs[1].trace.hash
    assert msgspec.json.encode(runs[0].record) == msgspec.json.encode(runs[1].record)


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    runs = [simulate(tmp_path / str(seed), lambda town: town.settle(3, 5), seed=seed) for seed in (1, 2)]
    assert runs[0].trace.hash != runs[1].trace.hash
