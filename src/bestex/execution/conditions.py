"""What a transaction needs to know of the network, and orders need not each ask for: blockhash and priority fees."""

import asyncio
from collections.abc import Sequence
from functools import partial

from solders.pubkey import Pubkey

from bestex.market.freshness import Fresh
from bestex.ports import Blockhash, Clock, Cluster
from bestex.types import Commitment

_BLOCKHASH_MAX_AGE_S = 1.0
"""Of the about 60 s that a blockhash lives."""

_FEES_MAX_AGE_S = 2.0
_MOST_POOLS = 1_000


class Conditions:
    """Asks the cluster when what it knows is too old, once for all orders that want it."""

    def __init__(self, cluster: Cluster, clock: Clock, *, percentile: int, max_unit_price_micro_lamports: int) -> None:
        self._cluster = cluster
        self._clock = clock
        self._percentile = percentile
        self._max_unit_price = max_unit_price_micro_lamports
        self._blockhash = Fresh(
            partial(cluster.latest_blockhash, Commitment.CONFIRMED), clock, max_age_s=_BLOCKHASH_MAX_AGE_S
        )
        self._fees: dict[tuple[Pubkey, ...], Fresh[list[int]]] = {}

    async def of(self, pools: Sequence[Pubkey]) -> tuple[Blockhash, int]:
        """A recent blockhash at `confirmed`, and the priority fee for a swap that locks these pools.

        The fee is in micro-lamports per compute unit: the percentile of what others paid lately, clamped. Raises
        ClusterUnavailable.
        """
        fees = self._fees_of(tuple(pools))
        if self._blockhash.is_fresh() and fees.is_fresh():
            return await self._blockhash.get(), self._unit_price(await fees.get())
        blockhash, recent = await asyncio.gather(self._blockhash.get(), fees.get())
        return blockhash, self._unit_price(recent)

    async def unit_price(self, pools: Sequence[Pubkey]) -> int:
        """The priority fee alone. Raises ClusterUnavailable."""
        return self._unit_price(await self._fees_of(tuple(pools)).get())

    def _fees_of(self, pools: tuple[Pubkey, ...]) -> Fresh[list[int]]:
        fees = self._fees.get(pools)
        if fees is None:
            if len(self._fees) >= _MOST_POOLS:
                self._fees.clear()
            fees = Fresh(partial(self._cluster.priority_fees, pools), self._clock, max_age_s=_FEES_MAX_AGE_S)
            self._fees[pools] = fees
        return fees

    def _unit_price(self, recent: list[int]) -> int:
        if not recent:
            return 0
        ranked = sorted(recent)
        return min(ranked[(len(ranked) - 1) * self._percentile // 100], self._max_unit_price)
