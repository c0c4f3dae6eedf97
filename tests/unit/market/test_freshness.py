"""Read when too old, once for all who ask."""

import asyncio

import pytest

from bestex.market.freshness import Fresh
from tests.support.clock import VirtualClock


class Source:
    """Counts its reads; fails while `broken`."""

    def __init__(self) -> None:
        self.reads = 0
        self.broken = False

    async def read(self) -> int:
        self.reads += 1
        await asyncio.sleep(0)
        if self.broken:
            raise OSError("no answer")
        return self.reads


async def test_a_value_lives_as_long_as_it_may() -> None:
    clock, source = VirtualClock(), Source()
    fresh = Fresh(source.read, clock, max_age_s=1.0)
    assert not fresh.is_fresh()
    assert [await fresh.get(), await fresh.get()] == [1, 1]
    clock.advance(1.0)
    assert fresh.is_fresh()
    clock.advance(0.01)
    assert not fresh.is_fresh()
    assert await fresh.get() == 2


async def test_the_age_counts_from_the_question() -> None:
    clock, source = VirtualClock(), Source()

    async def slow() -> int:
        clock.advance(5.0)
        return await source.read()

    fresh = Fresh(slow, clock, max_age_s=1.0)
    await fresh.get()
    assert not fresh.is_fresh()


async def test_askers_share_a_read_and_its_failure() -> None:
    source = Source()
    source.broken = True
    fresh = Fresh(source.read, VirtualClock(), max_age_s=1.0)
    answers = await asyncio.gather(*(fresh.get() for _ in range(5)), return_exceptions=True)
    assert all(isinstance(answer, OSError) for answer in answers)
    assert source.reads == 1
    source.broken = False
    assert await fresh.get() == 2


async def test_one_who_gives_up_does_not_spoil_it() -> None:
    fresh = Fresh(Source().read, VirtualClock(), max_age_s=1.0)
    one, other = asyncio.create_task(fresh.get()), asyncio.create_task(fresh.get())
    await asyncio.sleep(0)
    one.cancel()
    assert await other == 1
    with pytest.raises(asyncio.CancelledError):
        await one
