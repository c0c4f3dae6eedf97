"""Hints about global limits: exact while Redis answers, none when it does not."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from bestex.bus.redis_limits import RedisLimits
from bestex.ports import RateLimit
from tests.support.redis import BINARIES, PREFIX, WAIT_S, RedisProcess, running_redis

LONG_MS = 600_000
SHORT_MS = 400


@pytest.fixture(params=list(BINARIES.values()), ids=list(BINARIES))
async def redis(request: pytest.FixtureRequest) -> AsyncIterator[RedisProcess]:
    async with running_redis(request.param) as process:
        yield process


@pytest.fixture
async def two(redis: RedisProcess) -> AsyncIterator[tuple[RedisLimits, RedisLimits]]:
    """Two nodes' limits."""
    made = RedisLimits(redis.reach(), prefix=PREFIX), RedisLimits(redis.reach(), prefix=PREFIX)
    yield made
    for limits in made:
        await limits.close()


async def begin(limits: RedisLimits, wanted: int, count: int, window_ms: int = LONG_MS) -> tuple[int, int]:
    grant = await limits.begin(wanted, RateLimit(count, window_ms))
    assert grant is not None
    return grant.granted, grant.wait_ms


Two = tuple[RedisLimits, RedisLimits]


async def test_all_nodes_together_begin_no_more_than_the_limit(two: Two) -> None:
    grants = await asyncio.gather(*(begin(two[number % 2], 3, 100) for number in range(60)))
    assert sum(granted for granted, _ in grants) == 100


async def test_who_gets_less_is_told_when_to_ask_again(two: Two) -> None:
    a, b = two
    assert await begin(a, 4, 5) == (4, 0)
    granted, wait_ms = await begin(b, 4, 5)
    assert granted == 1
    assert 0 < wait_ms <= LONG_MS


async def test_a_window_slides(two: Two) -> None:
    a, b = two
    assert await begin(a, 2, 2, SHORT_MS) == (2, 0)
    async with asyncio.timeout(WAIT_S):
        granted, wait_ms = await begin(b, 1, 2, SHORT_MS)
        while not granted:
            assert 0 < wait_ms <= SHORT_MS
            await asyncio.sleep(wait_ms / 1000)
            granted, wait_ms = await begin(b, 1, 2, SHORT_MS)
    assert granted == 1


async def test_what_was_not_used_is_there_for_others(two: Two) -> None:
    a, b = two
    grant = await a.begin(5, RateLimit(5, LONG_MS))
    assert grant is not None
    await a.give_back(grant, 2)
    await a.give_back(grant, 0)
    assert (await begin(b, 5, 5))[0] == 2


async def test_a_lower_limit_waits_until_enough_have_left(two: Two) -> None:
    a, b = two
    assert await begin(a, 5, 5) == (5, 0)
    granted, wait_ms = await begin(b, 1, 2)
    assert granted == 0
    assert 0 < wait_ms <= LONG_MS
    assert await begin(b, 1, 0) == (0, LONG_MS)


async def hold(limits: RedisLimits, in_use: str, new: str, limit: int, lease_ms: int = LONG_MS) -> str:
    taken = await limits.hold(list(in_use), list(new), limit=limit, lease_ms=lease_ms)
    assert taken is not None
    return "".join(taken)


async def test_slots_are_shared_by_all_nodes(two: Two) -> None:
    a, b = two
    assert await hold(a, "", "12", 3) == "12"
    assert await hold(b, "", "34", 3) == "3"
    assert await hold(a, "12", "5", 3) == ""
    await a.release(["2"])
    assert await hold(b, "3", "45", 3) == "4"
    assert await hold(b, "", "", 3) == ""
    await b.release([])


async def test_a_dead_node_keeps_its_slots_until_its_lease_ends(two: Two) -> None:
    a, b = two
    assert await hold(a, "", "1", 1, SHORT_MS) == "1"
    assert await hold(b, "", "2", 1) == ""
    async with asyncio.timeout(WAIT_S):
        while not await hold(b, "", "2", 1):
            await asyncio.sleep(0.02)
    assert await hold(a, "", "3", 1) == ""


async def test_what_is_in_use_counts_though_it_was_forgotten(two: Two) -> None:
    a, b = two
    assert await hold(a, "12", "3", 2) == ""
    assert await hold(b, "45", "6", 2) == ""
    await a.release(["1", "2"])
    assert await hold(a, "", "3", 2) == "", "those of the other node are as many as there may be"
    await b.release(["4"])
    assert await hold(a, "", "37", 2) == "3"


async def test_nothing_is_kept_for_ever(two: Two, redis: RedisProcess) -> None:
    a, _ = two
    await begin(a, 1, 1, SHORT_MS)
    await hold(a, "", "1", 1, SHORT_MS)
    async with asyncio.timeout(WAIT_S):
        while await a._link.ask("DBSIZE"):
            await asyncio.sleep(0.02)


async def test_without_redis_there_is_no_hint_and_no_error(two: Two, redis: RedisProcess) -> None:
    a, _ = two
    grant = await a.begin(1, RateLimit(5, LONG_MS))
    assert grant is not None
    await redis.kill()
    assert await a.begin(1, RateLimit(5, LONG_MS)) is None
    assert await a.hold([], ["1"], limit=1, lease_ms=LONG_MS) is None
    await a.give_back(grant, 1)
    await a.release(["1"])
