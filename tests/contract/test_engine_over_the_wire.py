"""The engine, as the composition root puts it together, on a paper cluster behind sockets."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from bestex.api.metrics import Metrics
from bestex.bus.local import LocalBus
from bestex.config import Settings
from bestex.execution.intake import OrderRequest
from bestex.execution.retry import failed_transaction, order_error
from bestex.orders.events import Accepted, Built, Confirmed, Event, Finalized, Routed, Submitted, decode_event
from bestex.orders.order import OrderType
from bestex.paper.network import FAST, INSTANT
from bestex.paper.server import App, Message, Receive, Scope, Send, paper_app
from bestex.runtime import Engines, Ports, SystemClock, compose
from bestex.solana.rpc import Market, RpcCluster
from bestex.solana.signer import KeypairSigner
from bestex.store.sqlite import SqliteStore
from tests.support.entropy import SeededEntropy
from tests.support.paper import ETH, USDC, WALLET, Client, pools_of, swap
from tests.support.rpc import connected, opened, served, served_paper

LOSSY = msgspec.structs.replace(
    FAST, slot_s=0.04, drop_probability=0.4, inclusion_probability=0.7, skip_probability=0.1, fork_probability=0.1,
    fork_depth_blocks=3, accounts_s=(0.01, 0.05), simulate_s=(0.01, 0.05), priority_fees_s=(0.01, 0.05),
    latest_blockhash_s=(0.01, 0.05), height_s=(0.01, 0.02), send_s=(0.01, 0.03), statuses_s=(0.01, 0.02),
    transaction_s=(0.01, 0.02),
)  # fmt: skip
"""The fast network in fast motion, and much worse."""


@asynccontextmanager
async def trading(folder: Path, cluster: RpcCluster, market: Market, **settings: Any) -> AsyncIterator[Engines]:
    """The engine as the composition root puts it together, at work."""
    clock, bus = SystemClock(), LocalBus(buffer_events=1_000)
    store = SqliteStore(folder / "bestex.db", clock=clock)
    await store.open()
    store.on_commit(bus.publish)
    ports = Ports(clock, SeededEntropy(1), store, bus, cluster, KeypairSigner(WALLET), market.tokens, market.pools)
    wanted = Settings(**{"rate_per_minute": 0, "reconcile_s": 0.05} | settings)
    engines = compose(wanted, ports, "wire", metrics=Metrics(clock))
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


class Listening:
    """Passes requests on to a node, and keeps what they ask for."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.asked: list[list[str]] = []
        """The methods of each request; with the number of accounts that are read."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def heard() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                spoken = msgspec.json.decode(message["body"])
                self.asked.append([self._name(call) for call in (spoken if isinstance(spoken, list) else [spoken])])
            return message

        await self._app(scope, heard, send)

    def _name(self, call: dict[str, Any]) -> str:
        read = len(call["params"][0]) if call["method"] == "getMultipleAccounts" else None
        return call["method"] if read is None else f"accounts: {read}"


async def test_an_order_takes_three_requests(tmp_path: Path) -> None:
    """To simulate, to send, and to look at the landing; none to look into the wallet, which the simulation does."""
    async with opened(INSTANT) as paper:
        node = Listening(paper_app(paper, SystemClock()))
        async with served(node) as address, connected(address) as cluster:
            chain = asyncio.create_task(paper.run())
            async with trading(tmp_path, cluster, await cluster.market(), status_poll_s=30.0) as engines:
                await finished(engines, "USDC", "ETH", "10")
                node.asked.clear()
                for _ in range(3):
                    await finished(engines, "USDC", "ETH", "10")
            chain.cancel()
            await asyncio.gather(chain, return_exceptions=True)
    own = {"simulateTransaction", "sendTransaction", "getSignatureStatuses", "getTransaction", "accounts: 3"}
    of_orders = [sorted(methods) for methods in node.asked if not own.isdisjoint(methods)]
    assert of_orders == [["simulateTransaction"], ["sendTransaction"], ["getSignatureStatuses", "getTransaction"]] * 3


async def test_orders_through_loss_delay_and_forks_over_the_wire(tmp_path: Path) -> None:
    """Each of them is filled once, and the chain says so."""
    async with opened(LOSSY) as paper, served_paper(paper) as address, connected(address) as cluster:
        chain = asyncio.create_task(paper.run())
        market = await cluster.market()
        hasty = {"resend_s": 0.1, "status_poll_s": 0.05, "retry_base_s": 0.05, "slippage_bps": 300}
        async with trading(tmp_path, cluster, market, **hasty) as engines:
            pairs = [("USDC", "ETH", "100"), ("SOL", "USDC", "1"), ("USDC", "SOL", "30"), ("ETH", "USDC", "0.01")]
            told = await asyncio.gather(*(finished(engines, *pair) for pair in pairs * 5))
            stored = (await engines.front.store.orders(user_id=None, status=None, cursor=None, limit=100)).orders
        chain.cancel()
        await asyncio.gather(chain, return_exceptions=True)
        assert {type(events[-1]) for events in told} == {Finalized}
        logs = [line for landed in await paper.history() if landed.error is None for line in landed.logs]
        filled = Counter(order.id for order in stored for line in logs if f"bestex:{order.id}:" in line)
        assert filled == Counter(order.id for order in stored)


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
