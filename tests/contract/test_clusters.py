"""The contract of all clusters: the paper cluster in this process, and over the wire."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from bestex.api.metrics import Metrics
from bestex.bus.local import LocalBus
from bestex.config import Settings
from bestex.execution.intake import OrderRequest
from bestex.execution.retry import failed_transaction, order_error
from bestex.orders.events import Accepted, Built, Confirmed, Event, Finalized, Routed, Submitted, decode_event
from bestex.orders.order import OrderType
from bestex.paper.cluster import PaperCluster
from bestex.paper.network import INSTANT, NetworkProfile
from bestex.ports import Cluster
from bestex.runtime import Engines, Ports, SystemClock, compose
from bestex.solana.rpc import Market, RpcCluster
from bestex.solana.signer import KeypairSigner
from bestex.store.sqlite import SqliteStore
from tests.contract.cluster_contract import ClusterContract
from tests.support.entropy import SeededEntropy
from tests.support.paper import ETH, USDC, WALLET, Client, pools_of, swap
from tests.support.rpc import connected, opened, served_paper


class Pair(msgspec.Struct):
    """The cluster under test, and the truth behind it."""

    cluster: Cluster
    paper: PaperCluster


class TestPaperCluster(ClusterContract):
    """An object in this process."""

    @pytest.fixture
    async def harness(self, profile: NetworkProfile) -> AsyncIterator[Pair]:
        async with opened(profile) as paper:
            yield Pair(paper, paper)


class TestRpcCluster(ClusterContract):
    """JSON-RPC over HTTP and WebSocket, on loopback."""

    @pytest.fixture
    async def harness(self, profile: NetworkProfile) -> AsyncIterator[Pair]:
        async with opened(profile) as paper, served_paper(paper) as address, connected(address) as cluster:
            yield Pair(cluster, paper)


class TestRpcClusterWithoutWebSocket(ClusterContract):
    """JSON-RPC over HTTP alone: landings are found by asking."""

    @pytest.fixture
    async def harness(self, profile: NetworkProfile) -> AsyncIterator[Pair]:
        async with (
            opened(profile) as paper,
            served_paper(paper) as address,
            connected(address, ws_url="") as cluster,
        ):
            yield Pair(cluster, paper)


# --- the engine on a cluster that is elsewhere ------------------------------------------------------------------------


@asynccontextmanager
async def trading(folder: Path, cluster: RpcCluster, market: Market) -> AsyncIterator[Engines]:
    """The engine as the composition root puts it together, at work."""
    clock, bus = SystemClock(), LocalBus(buffer_events=1_000)
    store = SqliteStore(folder / "bestex.db", clock=clock)
    await store.open()
    store.on_commit(bus.publish)
    ports = Ports(clock, SeededEntropy(1), store, bus, cluster, KeypairSigner(WALLET), market.tokens, market.pools)
    settings = Settings(rate_per_minute=0, reconcile_s=0.05)
    engines = compose(settings, ports, "wire", metrics=Metrics(clock))
    await engines.book.load()
    tasks = [asyncio.create_task(worker.run()) for worker in engines.workers]
    tasks.append(asyncio.create_task(engines.reconciler.run()))
    try:
        yield engines
    finally:
        for worker in engines.workers:
            await worker.drain(5.0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await store.close()


async def finished(engines: Engines, token_in: str, token_out: str, amount: str) -> list[Event]:
    """All events of an order, from its acceptance to its last."""
    request = OrderRequest(type=OrderType.MARKET, token_in=token_in, token_out=token_out, amount_in=amount, user_id="u")
    store = engines.front.store
    accepted = await engines.front.intake.place(request)
    async with asyncio.timeout(30.0):
        while not (told := await store.events(accepted.order.id))[-1].final:
            await asyncio.sleep(0.01)
    return [decode_event(event.payload) for event in told]


async def test_orders_from_acceptance_to_finality_over_the_wire(tmp_path: Path) -> None:
    profile = msgspec.structs.replace(INSTANT, slot_s=0.05, confirmed_after_slots=1, finalized_after_slots=4)
    async with opened(profile) as paper, served_paper(paper) as address, connected(address) as cluster:
        chain = asyncio.create_task(paper.run())
        async with trading(tmp_path, cluster, await cluster.market()) as engines:
            assert not engines.book.refused
            for pair in (("USDC", "ETH", "1000"), ("SOL", "USDC", "2"), ("USDC", "SOL", "300"), ("USDC", "JUP", "5")):
                events = await finished(engines, *pair)
                kinds = [type(event) for event in events]
                assert kinds == [Accepted, Routed, Built, Submitted, Confirmed, Finalized], events
        chain.cancel()
        await asyncio.gather(chain, return_exceptions=True)
        assert len(await paper.history()) == 4


async def test_a_failed_swap_is_named_over_the_wire(tmp_path: Path) -> None:
    """What the engine makes of a landed failure does not depend on where the cluster is."""
    async with opened() as paper, served_paper(paper) as address, connected(address) as cluster:
        pool = pools_of(paper, USDC, ETH)[0]
        signature = await Client(paper).send(swap(pool, USDC, 10**6, threshold=10**15))
        for _ in range(9):
            await paper.validator.tick()
        codes = []
        for each in (paper, cluster):
            (status,) = (await each.statuses([signature], search_history=False)).statuses
            assert status is not None
            assert status.error is not None
            codes.append(order_error(failed_transaction(status.error, landed=True)))
        assert codes[0] == codes[1]
        assert codes[0].code == "SLIPPAGE_EXCEEDED"
