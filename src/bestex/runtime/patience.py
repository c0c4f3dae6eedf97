"""Processes that are started together are not ready together."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from bestex.errors import Unavailable
from bestex.ports import Clock

_log = structlog.get_logger(__name__)

_AGAIN_S = 0.5

Answer = TypeVar("Answer")


async def patiently(ask: Callable[[], Awaitable[Answer]], within_s: float, clock: Clock) -> Answer:
    """Ask again for a while. Raises Unavailable when the time is over, and everything else at once."""
    until_s = clock.monotonic_s() + within_s
    while True:
        try:
            return await ask()
        except Unavailable as error:
            if clock.monotonic_s() >= until_s:
                raise
            _log.warning("not there yet, trying again", reason=error.message)
        await clock.sleep(_AGAIN_S)
