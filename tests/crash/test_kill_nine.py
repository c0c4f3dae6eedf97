"""The real server under SIGKILL at random moments, again and again, with clients that do not give up."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bestex.orders.status import Status
from tests.crash.books import check_fills, check_streams
from tests.crash.traffic import Traffic, details
from tests.support.process import ServerProcess

ORDERS = 60
KILLS = 5
SEED = 2026


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    server = ServerProcess(tmp_path / "data", network="fast", concurrency=25, rate_per_minute=0, slippage_bps=300)
    yield server
    await server.close()


async def test_nothing_is_lost_told_twice_or_filled_twice(server: ServerProcess, tmp_path: Path) -> None:
    draw = random.Random(SEED)
    await server.start()
    async with Traffic() as traffic:
        for batch in range(KILLS):
            # New orders come in all the time: each kill meets some in every status.
            await traffic.begin(server.url, range(batch, ORDERS, KILLS))
            await traffic.until_seen(draw.randrange(20, 100))
            await asyncio.sleep(draw.uniform(0.0, 0.2))
            await server.kill()
            await server.start()
        await traffic.finish(within_s=30)
        assert len(traffic.accepted) == ORDERS
        orders = await details(server.url, traffic.accepted.values())
    assert await server.terminate() == 0

    check_streams(traffic, orders)
    await check_fills(tmp_path / "data", orders)
    confirmed = sum(order.status is Status.CONFIRMED for order in orders.values())
    assert confirmed > ORDERS * 0.8, "most of them were filled, so that the checks have something to check"
