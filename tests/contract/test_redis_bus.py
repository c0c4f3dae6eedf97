"""The bus over Redis against the contract of all buses: within a node, and from one node to another."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from bestex.types import OrderId
from tests.contract.bus_contract import BusContract, Ends, at_once, events
from tests.support.redis import BINARIES, WAIT_S, RedisProcess, running_node, running_redis

MARK = OrderId("mark")


@pytest.fixture(params=list(BINARIES.values()), ids=list(BINARIES))
async def redis(request: pytest.FixtureRequest) -> AsyncIterator[RedisProcess]:
    async with running_redis(request.param) as process:
        yield process


class TestOneNode(BusContract):
    @pytest.fixture
    async def ends(self, redis: RedisProcess) -> AsyncIterator[Ends]:
        async with running_node(redis) as bus:
            yield Ends(bus, bus, at_once)


class TestTwoNodes(BusContract):
    @pytest.fixture
    async def ends(self, redis: RedisProcess) -> AsyncIterator[Ends]:
        async with running_node(redis) as near, running_node(redis) as far:

            async def arrived() -> None:
                mark = near.subscribe(MARK)
                far.publish(events(MARK, 1))
                async with asyncio.timeout(WAIT_S):
                    assert await mark.next() is not None
                mark.close()

            yield Ends(near, far, arrived)
