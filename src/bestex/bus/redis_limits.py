"""Hints about the limits of the whole deployment: they spare the store questions whose answer is no.

The store counts for itself and decides. Without Redis there is no hint, and everybody asks the store.
"""

from collections.abc import Sequence
from typing import NamedTuple

from bestex.bus.redis_link import RedisLink, RedisServer
from bestex.bus.redis_scripts import BEGIN_ORDERS, HOLD_SLOTS
from bestex.errors import BusUnavailable
from bestex.ports import RateLimit
from bestex.types import OrderId

_NAME_BYTES = 8


class Grant(NamedTuple):
    """How many orders may be begun now."""

    name: str
    """To give back what was not used."""
    granted: int
    wait_ms: int
    """When there may be room for more; 0: all that was asked for is granted."""


class RedisLimits:
    """The global rate limit, as an exact sliding window by the clock of Redis, and the global concurrency."""

    def __init__(self, server: RedisServer, *, prefix: str) -> None:
        """`prefix`: in front of every key."""
        self._entropy = server.entropy
        self._link = RedisLink(server)
        self._starts = f"{prefix}starts"
        self._slots = f"{prefix}slots"

    async def begin(self, wanted: int, rate: RateLimit) -> Grant | None:
        """Count up to `wanted` orders as begun. None: Redis does not answer, ask the store."""
        name = self._entropy.bytes(_NAME_BYTES).hex()
        try:
            granted, wait_ms = await self._link.ask(
                "EVAL", BEGIN_ORDERS, 1, self._starts, rate.window_ms, rate.count, wanted, f"{name}:"
            )
        except BusUnavailable:
            return None
        return Grant(name, granted, wait_ms)

    async def give_back(self, grant: Grant, unused: int) -> None:
        """These many of the granted orders were not begun. If Redis does not answer, they leave with their window."""
        members = [f"{grant.name}:{number}" for number in range(grant.granted - unused + 1, grant.granted + 1)]
        if members:
            await self._tell("ZREM", self._starts, *members)

    async def hold(self, order_ids: Sequence[OrderId], *, limit: int, lease_ms: int) -> list[OrderId] | None:
        """Which of these orders have one of `limit` slots, taken or prolonged. None: Redis does not answer."""
        if not order_ids:
            return []
        try:
            held = await self._link.ask("EVAL", HOLD_SLOTS, 1, self._slots, limit, lease_ms, *order_ids)
        except BusUnavailable:
            return None
        return [OrderId(name.decode()) for name in held]

    async def release(self, order_ids: Sequence[OrderId]) -> None:
        """Free these orders' slots. If Redis does not answer, they are free when their leases end."""
        if order_ids:
            await self._tell("ZREM", self._slots, *order_ids)

    async def close(self) -> None:
        await self._link.close()

    async def _tell(self, *command: str) -> None:
        try:
            await self._link.ask(*command)
        except BusUnavailable:
            return
