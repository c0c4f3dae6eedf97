"""Slow routers that are obviously right, and the markets of the benchmarks for them."""

from collections.abc import Callable, Sequence

from bench.markets import CLOCK, IN, KINDS, ONE, OUT, PLAIN, TWO, market, mints, pool_of

from bestex.errors import SwapRefused
from bestex.types import ChainClock, Mint, SwapMode
from bestex.venues.pool import ARRAY_LIMIT, Pool, Quote

__all__ = [
    "CLOCK",
    "IN",
    "KINDS",
    "ONE",
    "OUT",
    "PLAIN",
    "TWO",
    "asked",
    "exhaustive",
    "golden_section",
    "market",
    "mints",
    "pool_of",
]


def asked(pool: Pool, in_mint: Mint, amount: int, mode: SwapMode, clock: ChainClock = CLOCK) -> Quote | None:
    """A quote that a transaction can carry, or None."""
    try:
        quoted = pool.quote(in_mint, amount, mode, clock)
    except SwapRefused:
        return None
    return quoted if quoted.arrays <= ARRAY_LIMIT and quoted.out_amount > 0 else None


def exhaustive(pools: Sequence[Pool], in_mint: Mint, amount: int, mode: SwapMode) -> int | None:
    """The best any split of a small amount can do, by dynamic programming over every division into base units.

    The most to receive (exact_in) or the least to pay (exact_out).
    """
    better: Callable[[int, int], int] = max if mode is IN else min
    best: list[int | None] = [0] + [None] * amount
    for pool in pools:
        gives: list[int | None] = [0]
        for part in range(1, amount + 1):
            quoted = asked(pool, in_mint, part, mode)
            gives.append(None if quoted is None else quoted.out_amount if mode is IN else quoted.in_amount)
        found: list[int | None] = []
        for total in range(amount + 1):
            values = [
                one + other
                for part in range(total + 1)
                if (one := best[total - part]) is not None and (other := gives[part]) is not None
            ]
            found.append(None if not values else values[0] if len(values) == 1 else better(*values))
        best = found
    return best[amount]


def golden_section(one: Pool, other: Pool, in_mint: Mint, amount: int) -> int:
    """The best split over two pools, found by narrowing down the part of the first one; exact quotes only."""

    def paid(part: int) -> int:
        total = 0
        for pool, share in ((one, part), (other, amount - part)):
            quoted = asked(pool, in_mint, share, IN) if share else None
            if share and quoted is None:
                return -1
            total += quoted.out_amount if quoted else 0
        return total

    low, high = 0, amount
    best = max(paid(0), paid(amount))
    while high - low > 20:
        left, right = low + (high - low) * 382 // 1000, low + (high - low) * 618 // 1000
        of_left, of_right = paid(left), paid(right)
        best = max(best, of_left, of_right)
        if of_left < of_right:
            low = left
        else:
            high = right
    return max(best, *(paid(part) for part in range(low, high + 1)))
