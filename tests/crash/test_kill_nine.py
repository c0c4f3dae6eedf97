"""The real server under SIGKILL: every accepted order ends, and none is filled twice by the chain's own account."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from solders.pubkey import Pubkey

from bestex.client import AsyncClient
from bestex.client.errors import ClientError
from bestex.paper.cluster import PaperCluster
from bestex.paper.network import FAST
from tests.support.clock import VirtualClock
from tests.support.entropy import SeededEntropy
from tests.support.process import ServerProcess

ORDERS = 100
PAIRS = [
    ("USDC", "SOL", "150.5"),
    ("SOL", "USDC", "1.25"),
    ("USDC", "ETH", "900"),
    ("SOL", "JUP", "2"),
    ("USDT", "USDC", "75"),
]
MEMO = re.compile(r"bestex:([0-9a-f-]{36}):(\d+)")
ENDED = {"confirmed", "failed", "canceled", "expired"}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    server = ServerProcess(tmp_path, network="fast", concurrency=25, rate_per_minute=0, slippage_bps=300)
    yield server
    await server.close()


async def place(client: AsyncClient, number: int, accepted: dict[int, str]) -> None:
    token_in, token_out, amount = PAIRS[number % len(PAIRS)]
    try:
        order = await client.place(token_in, token_out, amount, user_id="crash", client_order_id=f"order-{number}")
    except ClientError:
        return  # never acknowledged: nothing is promised
    accepted[number] = order.order_id


async def ended(client: AsyncClient) -> int:
    stats = await client.queue_stats()
    return sum(count for status, count in stats.by_status.items() if status in ENDED)


async def until(client: AsyncClient, count: int) -> None:
    async with asyncio.timeout(90):
        while await ended(client) < count:
            await asyncio.sleep(0.05)


async def fills_on_chain(ledger: Path) -> Counter[str]:
    """How often each order was filled, by the ledger alone: successful transactions by the order in their memo."""
    cluster = await PaperCluster.open(
        profile=FAST, clock=VirtualClock(), entropy=SeededEntropy(), path=ledger, seed=1, wallet=Pubkey.default(),
        traders=False,
    )  # fmt: skip
    fills: Counter[str] = Counter()
    for transaction in await cluster.history():
        memo = MEMO.search("\n".join(transaction.logs))
        if memo is not None and transaction.error is None:
            fills[memo[1]] += 1
    await cluster.close()
    return fills


async def test_nothing_is_lost_and_nothing_is_filled_twice(server: ServerProcess, tmp_path: Path) -> None:
    accepted: dict[int, str] = {}
    await server.start()
    async with AsyncClient(server.url) as client:
        placing = [asyncio.create_task(place(client, number, accepted)) for number in range(ORDERS)]
        await until(client, 15)
        await server.kill()
        await asyncio.gather(*placing)
    assert accepted

    await server.start()
    async with AsyncClient(server.url) as client:
        await until(client, min(len(accepted), 50))
    await server.kill()

    await server.start()
    async with AsyncClient(server.url) as client:
        await asyncio.gather(*(place(client, number, accepted) for number in range(ORDERS)))
        assert len(accepted) == ORDERS, "the same key finds the same order, or makes the one that was never accepted"
        assert len(set(accepted.values())) == ORDERS
        await until(client, ORDERS)
        orders = {order_id: await client.order(order_id) for order_id in accepted.values()}
    assert await server.terminate() == 0

    fills = await fills_on_chain(tmp_path / "paper.db")
    for order_id, order in orders.items():
        assert order.status in ENDED
        assert fills[order_id] == (1 if order.status == "confirmed" else 0), (order_id, order.status)
        assert [event.seq for event in order.events] == list(range(1, len(order.events) + 1))
    assert set(fills) <= set(orders), "the chain knows of no fill that we do not"
    assert sum(order.status == "confirmed" for order in orders.values()) > ORDERS * 0.8
