"""The limits of the whole deployment, as Redis knows them: see `ports.Limits`.

A Redis that comes back empty has forgotten what was begun and who has a slot. The rate limit holds nevertheless, by the
store's count; the global concurrency can be exceeded until each worker has renewed its leases once.
"""

from collections.abc import Sequence

from bestex.bus.redis_link import RedisLink, RedisServer
from bestex.bus.redis_scripts import BEGIN_ORDERS, HOLD_SLOTS
from bestex.errors import BusUnavailable
from bestex.ports import Grant, RateLimit

_NAME_BYTES = 8


class RedisLimits:
    """The rate as an exact sliding window by the clock of Redis, and slots that end with their leases."""

    def __init__(self, server: RedisServer, *, prefix: str) -> None:
        """`prefix`: in front of every key."""
        self._entropy = server.entropy
        self._link = RedisLink(server)
        self._starts = f"{prefix}starts"
        self._slots = f"{prefix}slots"

    async def begin(self, wanted: int, rate: RateLimit) -> Grant | None:
        """As `Limits.begin`."""
        name = self._entropy.bytes(_NAME_BYTES).hex()
        try:
            granted, wait_ms = await self._link.ask(
                "EVAL", BEGIN_ORDERS, 1, self._starts, rate.window_ms, rate.count, wanted, f"{name}:"
            )
        except BusUnavailable:
            return None
        return Grant(name, granted, wait_ms)

    async def give_back(self, grant: Grant, unused: int) -> None:
        """As `Limits.give_back`. If Redis does not answer, they leave with their window."""
        members = [f"{grant.name}:{number}" for number in range(grant.granted - unused + 1, grant.granted + 1)]
        if members:
            await self._tell("ZREM", self._starts, *members)

    async def hold(self, in_use: Sequence[str], new: Sequence[str], *, limit: int, lease_ms: int) -> list[str] | None:
        """As `Limits.hold`."""
        if not in_use and not new:
            return []
        try:
            taken = await self._link.ask(
                "EVAL", HOLD_SLOTS, 1, self._slots, limit, lease_ms, len(in_use), *in_use, *new
            )  # fmt: skip
        except BusUnavailable:
            return None
        return [name.decode() for name in taken]

    async def release(self, names: Sequence[str]) -> None:
        """As `Limits.release`. If Redis does not answer, they are free when their leases end."""
        if names:
            await self._tell("ZREM", self._slots, *names)

    async def close(self) -> None:
        await self._link.close()

    async def _tell(self, *command: str) -> None:
        try:
            await self._link.ask(*command)
        except BusUnavailable:
            return
