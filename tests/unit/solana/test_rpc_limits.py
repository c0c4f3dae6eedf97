"""A node that is asked too much: whoever reads comes later, whoever sends hears of it at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import Any

import pytest

from bestex.errors import ClusterUnavailable, RateLimited
from bestex.ports import Height
from bestex.solana.rpc import RpcCluster
from bestex.types import Commitment
from tests.support.rpc import Reply, ScriptedNode, result, scripted

CONFIRMED = Commitment.CONFIRMED
HEIGHT = {"absoluteSlot": 3, "blockHeight": 2}


class Hasty:
    """A clock whose time passes by sleeping only; how long was slept is kept."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now_ms(self) -> int:
        return 1_790_000_000_000 + round(self.monotonic_s() * 1000)

    def monotonic_s(self) -> float:
        return sum(self.slept)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@asynccontextmanager
async def limiting(
    refusals: int, told: dict[str, str], **options: Any
) -> AsyncIterator[tuple[ScriptedNode, RpcCluster, Hasty]]:
    """A node that has had enough, for so many requests."""
    clock, left = Hasty(), refusals

    async def reply(request: dict[str, Any]) -> Reply:
        nonlocal left
        left -= 1
        return (429, told, b"") if left >= 0 else result(request, HEIGHT)

    async with scripted(clock=clock, timeout_s=10.0) as (node, cluster):
        node.reply = reply
        yield node, cluster, clock


async def test_a_node_that_wants_us_later_is_asked_later() -> None:
    async with limiting(1, {"Retry-After": "3"}) as (_, cluster, clock):
        assert await cluster.height(CONFIRMED) == Height(2, 3)
        assert clock.slept == [3.0]
    date = formatdate(Hasty().now_ms() / 1000 + 6, usegmt=True)
    async with limiting(1, {"Retry-After": date}) as (_, cluster, clock):
        assert await cluster.height(CONFIRMED) == Height(2, 3)
        assert clock.slept == [6.0]


@pytest.mark.parametrize("told", [{}, {"Retry-After": "soon"}, {"Retry-After": "nan"}])
async def test_a_node_that_does_not_say_when(told: dict[str, str]) -> None:
    async with limiting(99, told) as (node, cluster, clock):
        with pytest.raises(RateLimited) as limited:
            await cluster.height(CONFIRMED)
        assert limited.value.context == {}
        assert clock.slept == [0.5, 1.0]
        assert len(node.requests) == 1 + 3


async def test_nobody_waits_longer_than_a_call_may_take_or_asks_before_the_time() -> None:
    async with limiting(1, {"Retry-After": "30"}) as (node, cluster, clock):
        for waited_s in (0.0, 1.0):
            with pytest.raises(RateLimited) as limited:
                await cluster.height(CONFIRMED)
            assert limited.value.context == {"retry_after_s": 30.0 - waited_s}
            await clock.sleep(1.0)
        assert len(node.requests) == 1 + 1
        await clock.sleep(20.0)
        assert await cluster.height(CONFIRMED) == Height(2, 3)
        assert clock.slept == [1.0, 1.0, 20.0, 8.0]


async def test_one_method_does_not_wait_for_another() -> None:
    async with limiting(1, {"Retry-After": "30"}) as (node, cluster, clock):
        with pytest.raises(RateLimited):
            await cluster.height(CONFIRMED)
        node.results("sent")
        await cluster.send(b"x")
        assert clock.slept == []


async def test_a_refused_send_is_told_at_once() -> None:
    """Whoever sends has a rhythm of its own."""
    async with limiting(9, {"Retry-After": "1"}) as (node, cluster, clock):
        for _ in range(2):
            with pytest.raises(RateLimited) as limited:
                await cluster.send(b"x")
            assert limited.value.context == {"retry_after_s": 1.0}
        assert clock.slept == []
        assert len(node.requests) == 1 + 2


async def test_too_many_requests_in_json() -> None:
    async with scripted(clock=Hasty()) as (node, cluster):
        node.fails(429, "slow down")
        with pytest.raises(RateLimited, match="slow down"):
            await cluster.height(CONFIRMED)
        assert len(node.requests) == 1 + 3


async def test_a_batch_of_too_many_is_repeated_later() -> None:
    async with limiting(0, {}) as (node, cluster, clock):
        refused = 0

        async def reply(batch: list[dict[str, Any]]) -> Reply:
            nonlocal refused
            refused += 1
            return (429, {"Retry-After": "2"}, b"") if refused == 1 else await node._answer_batch(batch)

        node.reply_to_batch = reply
        assert await asyncio.gather(*(cluster.height(CONFIRMED) for _ in range(3))) == [Height(2, 3)] * 3
        assert set(clock.slept) == {2.0}


async def test_a_second_try_has_only_the_time_that_is_left() -> None:
    """The clock of this client jumps where it would wait, so that less than a second is left to a silent node."""
    stuck = asyncio.Event()
    async with limiting(1, {"Retry-After": "9.5"}) as (node, cluster, clock):
        refuse = node.reply
        assert refuse is not None

        async def reply(request: dict[str, Any]) -> Reply:
            if clock.slept:
                await stuck.wait()
            return await refuse(request)

        node.reply = reply
        async with asyncio.timeout(5.0):
            with pytest.raises(ClusterUnavailable, match="no answer within 10 s"):
                await cluster.height(CONFIRMED)
        assert clock.slept == [9.5]
        stuck.set()
