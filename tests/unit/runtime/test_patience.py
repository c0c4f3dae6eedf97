"""A process that starts waits for what it needs, but not for ever, and not for what will not change."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bestex.errors import ClusterUnavailable, ConfigError, Unavailable
from bestex.runtime.patience import patiently
from tests.support.clock import VirtualClock


class Slow:
    """There after a number of tries."""

    def __init__(self, tries: int, error: Exception) -> None:
        self.tries = tries
        self.asked = 0
        self._error = error

    async def __call__(self) -> str:
        self.asked += 1
        if self.asked < self.tries:
            raise self._error
        return "there"


@asynccontextmanager
async def passing(clock: VirtualClock) -> AsyncIterator[None]:
    """While the block runs, time passes."""
    driving = asyncio.create_task(clock.drive())
    try:
        yield
    finally:
        driving.cancel()


async def test_what_is_there_at_last_is_taken() -> None:
    clock, slow = VirtualClock(), Slow(5, ClusterUnavailable("not yet"))
    async with passing(clock):
        assert await patiently(slow, 30, clock) == "there"

    assert clock.monotonic_s() == 2


async def test_patience_ends() -> None:
    clock, never = VirtualClock(), Slow(1_000, ClusterUnavailable("not yet"))
    async with passing(clock):
        with pytest.raises(Unavailable, match="not yet"):
            await patiently(never, 3, clock)

    assert 3 <= clock.monotonic_s() <= 4


async def test_a_wrong_setting_is_told_at_once() -> None:
    clock, wrong = VirtualClock(), Slow(2, ConfigError("wrong"))
    with pytest.raises(ConfigError):
        await patiently(wrong, 30, clock)

    assert (wrong.asked, clock.monotonic_s()) == (1, 0)
