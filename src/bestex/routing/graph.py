"""All pools of a market by the pairs that they trade, and the steepest price of each pair: where paths can lead."""

from collections.abc import Iterator, Sequence

from bestex.errors import SwapRefused
from bestex.types import ChainClock, Mint
from bestex.venues.pool import Pool


class Graph:
    """A market at one moment; immutable but for what it remembers.

    A new one is cheap where pools are the same objects: they keep their curves.
    """

    def __init__(self, pools: Sequence[Pool]) -> None:
        self._pools: dict[Mint, dict[Mint, list[Pool]]] = {}
        self._steepest: dict[tuple[Mint, Mint], tuple[ChainClock, int, int]] = {}
        for pool in pools:
            one, other = pool.mints
            for mint, to in ((one, other), (other, one)):
                self._pools.setdefault(mint, {}).setdefault(to, []).append(pool)

    def __iter__(self) -> Iterator[Pool]:
        """All pools."""
        seen = {pool.address: pool for beside in self._pools.values() for pools in beside.values() for pool in pools}
        return iter(seen.values())

    def pools(self, in_mint: Mint, out_mint: Mint) -> Sequence[Pool]:
        """The pools of a pair."""
        return self._pools.get(in_mint, {}).get(out_mint, ())

    def steepest(self, in_mint: Mint, out_mint: Mint, amount: int, clock: ChainClock) -> int:
        """No pool of the pair pays more per base unit for inputs up to `amount`: PRICE_BITS fraction bits.

        Zero where none trades.
        """
        key = in_mint, out_mint
        known = self._steepest.get(key)
        if known is not None and known[0] == clock and amount <= known[1]:
            return known[2]
        found = 0
        for pool in self.pools(in_mint, out_mint):
            try:
                curve = pool.curve(in_mint, clock)
            except SwapRefused:
                continue
            if curve.reach(amount) and curve.out_amount:
                found = max(found, curve.steepest)
        self._steepest[key] = clock, amount, found
        return found

    def paths(self, in_mint: Mint, out_mint: Mint, hops: int) -> Iterator[tuple[Mint, ...]]:
        """All sequences of mints from one to the other, each next to each other's pools, with at most so many hops.

        `hops` is 1, 2 or 3. No mint comes twice.
        """
        after, before = self._pools.get(in_mint, {}), self._pools.get(out_mint, {})
        if out_mint in after:
            yield in_mint, out_mint
        ends = {in_mint, out_mint}
        if hops > 1:
            for middle in after:
                if middle in before and middle not in ends:
                    yield in_mint, middle, out_mint
        if hops > 2:
            for first in after:
                if first not in ends:
                    beside = self._pools[first]
                    for second in before:
                        if second in beside and second not in ends:
                            yield in_mint, first, second, out_mint
