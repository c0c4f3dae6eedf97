"""What one worker may take of the limits of the whole deployment. Without such limits it asks nobody."""

from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

from bestex.orders.status import Status
from bestex.ports import Claim, Grant, Limits, RateLimit


class Allowed(NamedTuple):
    """How many orders the worker may claim now."""

    limit: int
    rate: RateLimit | None
    """For the store, which counts for itself. A count of 0: only orders that are begun already."""
    slots: list[str]
    """One for each order, where the global concurrency is limited; those that are left are not used."""
    grant: Grant | None

    @property
    def no_room(self) -> bool:
        """Whether it is known that no order may be begun."""
        return self.rate is not None and self.rate.count == 0

    @property
    def wait_s(self) -> float | None:
        """When to ask again, if no order may be begun."""
        return self.grant.wait_ms / 1000 if self.no_room and self.grant is not None else None


class Allowance:
    """Asks before a claim, and gives back what was not used.

    Without an answer the worker goes on within its own concurrency, and the store's count of the rate decides.
    """

    def __init__(
        self, worker: str, limits: Limits | None, *, rate: RateLimit | None, global_concurrency: int, lease_ms: int
    ) -> None:
        """`global_concurrency`: orders in work over all workers; 0 for no such limit. `lease_ms`: of its slots."""
        self._worker = worker
        self._limits = limits
        self._rate = rate
        self._global_concurrency = global_concurrency if limits is not None else 0
        self._lease_ms = lease_ms
        # A name is used once: what Redis hears late about an old one harms nobody.
        self._names = (f"{worker}:{number}" for number in count())
        self._held: dict[str, None] = {}

    async def ask(self, wanted: int) -> Allowed:
        """How many of `wanted` orders may be claimed. To be answered by `settle`."""
        slots: list[str] = []
        if self._global_concurrency:
            slots = await self._take_slots(wanted)
            wanted = len(slots)
        if self._limits is None or self._rate is None or not wanted:
            return Allowed(wanted, self._rate, slots, None)
        grant = await self._limits.begin(wanted, self._rate)
        if grant is None or grant.granted == wanted:
            return Allowed(wanted, self._rate, slots, grant)
        if grant.granted:
            return Allowed(grant.granted, self._rate, slots, grant)
        # Orders of dead workers are begun already, and do not count.
        return Allowed(wanted, RateLimit(0, self._rate.window_ms), slots, grant)

    async def settle(self, allowed: Allowed, claims: Sequence[Claim]) -> None:
        """Give back what these claims, whose slots were taken out of `allowed`, have not used."""
        if self._limits is None:
            return
        await self.leave(allowed.slots)
        if allowed.grant is not None:
            begun = sum(claim.order.status is Status.PENDING for claim in claims)
            unused = allowed.grant.granted - begun
            if unused > 0:
                await self._limits.give_back(allowed.grant, unused)

    async def leave(self, slots: Sequence[str]) -> None:
        """Free slots: their orders have left this worker, or never came."""
        if self._limits is not None and slots:
            for slot in slots:
                del self._held[slot]
            await self._limits.release(slots)

    async def renew(self) -> None:
        """Prolong the slots in use."""
        if self._limits is not None and self._held:
            await self._limits.hold(list(self._held), [], limit=self._global_concurrency, lease_ms=self._lease_ms)

    async def _take_slots(self, wanted: int) -> list[str]:
        assert self._limits is not None
        new = [next(self._names) for _ in range(wanted)]
        taken = await self._limits.hold(
            list(self._held), new, limit=self._global_concurrency, lease_ms=self._lease_ms
        )  # fmt: skip
        if taken is None:
            taken = new
        self._held.update(dict.fromkeys(taken))
        return taken
