"""Which paths are worth reading pools for: judged by prices that may be a little old."""

from itertools import pairwise

import msgspec

from bestex.errors import SwapRefused
from bestex.routing.graph import Graph
from bestex.types import ChainClock, Mint, SwapMode
from bestex.venues.curve import PRICE_BITS


class Promising(msgspec.Struct, frozen=True, gc=False):
    """Paths over other mints that could pay more than one pool of the pair."""

    paths: tuple[tuple[Mint, ...], ...]
    """Most promising first."""
    left_out: int
    """How many more there are."""

    @property
    def pairs(self) -> tuple[tuple[Mint, Mint], ...]:
        """The pairs on the way, each once, whichever its direction."""
        steps = (step for path in self.paths for step in pairwise(path))
        return tuple({frozenset(step): step for step in steps}.values())


def promising(
    graph: Graph, clock: ChainClock, in_mint: Mint, out_mint: Mint, in_amount: int, *, hops: int, most: int
) -> Promising:
    """The paths whose steepest prices pay more than the best single pool of the pair, at most `most` of them.

    A path pays no more than its steepest prices, at the moment that the graph is of.
    """
    least = _best_single(graph, clock, in_mint, out_mint, in_amount)
    found = []
    for mints in graph.paths(in_mint, out_mint, hops):
        if len(mints) == 2:
            continue
        reached = in_amount
        for one, other in pairwise(mints):
            reached = reached * graph.steepest(one, other, reached, clock) >> PRICE_BITS
        if reached > least:
            found.append((-reached, len(mints), tuple(map(bytes, mints)), mints))
    found.sort()
    return Promising(tuple(mints for *_, mints in found[:most]), max(0, len(found) - most))


def _best_single(graph: Graph, clock: ChainClock, in_mint: Mint, out_mint: Mint, in_amount: int) -> int:
    best = 0
    for pool in graph.pools(in_mint, out_mint):
        try:
            best = max(best, pool.quote(in_mint, in_amount, SwapMode.EXACT_IN, clock).out_amount)
        except SwapRefused:
            continue
    return best
