"""The best path over at most two intermediate mints, each hop split over all pools of its pair.

Paths are looked at in the order of an upper bound: first the product of the steepest prices on the way, then, hop by
hop, the certified bound of the hop's split at the bound of the hop before it. Bounds of hops compose because no bound
is less for more. The search ends when none that is left exceeds what the best path pays.
"""

import heapq
from collections.abc import Iterator
from contextlib import suppress
from itertools import accumulate, count, product
from typing import TypeAlias

import msgspec
from solders.pubkey import Pubkey

from bestex.errors import NoRoute
from bestex.routing.certificate import Split
from bestex.routing.graph import Graph
from bestex.routing.legs import LegTerms, Rules, together
from bestex.routing.split import fit_bound, split
from bestex.types import ChainClock, Mint, SwapMode
from bestex.venues.curve import PRICE_BITS
from bestex.venues.math import ceil_div

_Entry: TypeAlias = tuple[int, int, tuple[Mint, ...], int, int]
"""Negative bound, order of discovery, mints, hops that are solved, bound of what these pay."""


class Path(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A trade over one sequence of mints, each hop taking all that the hop before it pays. Base units."""

    mints: tuple[Mint, ...]
    hops: tuple[Split, ...]
    in_amount: int
    out_amount: int
    cost: int
    """What the legs cost by the rules, in the output's token."""
    bound: int
    """The most that any path of the class could pay before costs: one sequence of mints, at most as many hops as were
    asked for, any split of each hop over the pools of its pair. Not in the class are trades that divide the input among
    several sequences, and sequences in `refused`."""
    fit_bound: int
    """The same for paths that the rules allow."""
    refused: tuple[tuple[tuple[Mint, ...], str], ...]
    """Sequences whose pools could not take all of it, and why."""

    @property
    def optimality_gap(self) -> int:
        """How much more any path of the class could pay."""
        return self.bound - self.out_amount

    @property
    def net(self) -> int:
        """Output less costs."""
        return self.out_amount - self.cost


def best_path(
    graph: Graph,
    in_mint: Mint,
    out_mint: Mint,
    in_amount: int,
    clock: ChainClock,
    *,
    hops: int = 3,
    rules: Rules = Rules(),  # noqa: B008 - frozen
    direct: Split | None = None,
    least_net: int = 0,
) -> Path:
    """The path that nets most for exactly `in_amount` base units.

    The rules' limits hold for all legs of all hops together; costs are in the output's token. `direct`: the split over
    the pair's own pools within these rules, where it is known already. A path that nets no more than `least_net` is
    not looked for, only bounded. Raises NoRoute where no path within the rules trades the amount.
    """
    return _Search(graph, clock, in_amount, rules, least_net).run(in_mint, out_mint, hops, direct)


class _Search:
    def __init__(self, graph: Graph, clock: ChainClock, in_amount: int, rules: Rules, least_net: int) -> None:
        self._graph = graph
        self._clock = clock
        self._in_amount = in_amount
        self._rules = rules
        self._least_net = least_net
        self._order = count()
        self._bound = self._fit_bound = 0
        self._best: tuple[int, int, tuple[Mint, ...], tuple[Split, ...]] | None = None
        """Net output, cost, mints, hops."""
        self._refused: list[tuple[tuple[Mint, ...], str]] = []
        self._solved: dict[tuple[Mint, ...], Split] = {}
        """Splits of the last hop of each path, without costs and limits."""

    def run(self, in_mint: Mint, out_mint: Mint, hops: int, direct: Split | None) -> Path:
        queue: list[_Entry] = []
        if direct is not None:
            self._bound, self._fit_bound = direct.bound, direct.fit_bound
            self._keep((in_mint, out_mint), (direct,))
        if self._in_amount > 0:
            for mints in self._graph.paths(in_mint, out_mint, hops):
                if direct is None or len(mints) > 2:
                    self._queue(queue, mints, 0, self._in_amount)
        while queue:
            most, _, mints, solved, reached = heapq.heappop(queue)
            if self._best is not None and -most <= self._best[0]:
                break
            if solved == len(mints) - 1:
                self._finish(mints, reached)
                continue
            try:
                hop = self._solve(mints[: solved + 2], reached)
            except NoRoute as refusal:
                self._refused.append((mints, refusal.message))
                continue
            self._queue(queue, mints, solved + 1, hop.bound)
        return self._result()

    def _queue(self, queue: list[_Entry], mints: tuple[Mint, ...], solved: int, reached: int) -> None:
        """Bound the path by the steepest prices of the hops that are not solved yet."""
        most = reached
        for at in range(solved, len(mints) - 1):
            most = most * self._graph.steepest(mints[at], mints[at + 1], most, self._clock) >> PRICE_BITS
        if most:
            heapq.heappush(queue, (-most, next(self._order), mints, solved, reached))

    def _solve(self, mints: tuple[Mint, ...], reached: int) -> Split:
        """The last hop of a path; hops before it are solved. Its bound is one for inputs up to `reached`."""
        solved = self._solved.get(mints)
        if solved is None:
            amount = self._solved[mints[:-1]].out_amount if len(mints) > 2 else self._in_amount
            solved = self._split(mints, amount, Rules(), reached)
            self._solved[mints] = solved
        return solved

    def _split(self, mints: tuple[Mint, ...], amount: int, rules: Rules, bound_amount: int | None = None) -> Split:
        """The last hop of a path."""
        one, other = mints[-2:]
        pools = self._graph.pools(one, other)
        return split(pools, one, amount, SwapMode.EXACT_IN, self._clock, rules=rules, bound_amount=bound_amount)

    def _finish(self, mints: tuple[Mint, ...], reached: int) -> None:
        """All hops are solved: `reached` bounds what the path pays. Fit it into the rules."""
        self._bound = max(self._bound, reached)
        free = tuple(self._solved[mints[: end + 1]] for end in range(1, len(mints)))
        kept = self._keep(mints, free)
        if (kept and all(len(hop.legs) == 1 for hop in free)) or self._rules == Rules() or reached <= self._least_net:
            self._fit_bound = max(self._fit_bound, reached)
        elif len(free) == 1:
            with suppress(NoRoute):
                (hop,) = self._in_turn(mints, free, heaviest=False)
                self._keep(mints, (hop,))
                self._fit_bound = max(self._fit_bound, min(reached, hop.fit_bound))
        else:
            for heaviest in (False, True):
                with suppress(NoRoute):
                    self._keep(mints, self._in_turn(mints, free, heaviest=heaviest))
            for shares in self._shares(mints):
                if self._fit_bound < reached:
                    self._fit_bound = max(self._fit_bound, min(reached, self._bound_within(mints, shares, reached)))

    def _in_turn(self, mints: tuple[Mint, ...], free: tuple[Split, ...], *, heaviest: bool) -> tuple[Split, ...]:
        """The hops one after the other, each with the room that is left.

        For each later hop, room is kept for the lightest of its pools, or for the one that its free split uses most.
        """
        if heaviest:
            kept = [self._rules.of(hop.legs[0].pool.address) for hop in free]
        else:
            kept = [min(self._terms(mints, at), key=lambda terms: terms.all_bytes) for at in range(len(free))]
        amount = self._in_amount
        done: list[Split] = []
        for at in range(len(free)):
            worth, unit = 1, 1
            for later in free[at + 1 :]:
                worth, unit = worth * later.in_amount, unit * later.out_amount
            used = [self._rules.of(leg.pool.address) for hop in done for leg in hop.legs]
            frame = together([self._around(mints), *used, *kept[at + 1 :]])
            rules = Rules(self._priced(mints, at, worth, unit), self._rules.limits, frame)
            done.append(self._split(mints[: at + 2], amount, rules))
            amount = done[-1].out_amount
        return tuple(done)

    def _around(self, mints: tuple[Mint, ...]) -> LegTerms:
        return self._rules.whole((), mints[1:-1])

    def _terms(self, mints: tuple[Mint, ...], at: int) -> list[LegTerms]:
        return [self._rules.of(pool.address) for pool in self._graph.pools(mints[at], mints[at + 1])]

    def _priced(self, mints: tuple[Mint, ...], at: int, worth: int, unit: int) -> dict[Pubkey, LegTerms]:
        """The terms of a hop's legs, with costs in the token that the hop pays: `unit` of it are worth `worth`."""
        return {
            pool.address: msgspec.structs.replace(leg, cost=ceil_div(leg.cost * worth, unit))
            for pool in self._graph.pools(mints[at], mints[at + 1])
            for leg in (self._rules.of(pool.address),)
        }

    def _shares(self, mints: tuple[Mint, ...]) -> Iterator[tuple[int, ...]]:
        """How many legs the hops may have together, by the least that they can take up."""
        room = None if self._rules.limits.size is None else self._rules.limits.size - self._around(mints).all_bytes
        hops = [sorted(terms.least_size for terms in self._terms(mints, at)) for at in range(len(mints) - 1)]

        def fits(legs: tuple[int, ...]) -> bool:
            least = sum(sum(sizes[:count]) for sizes, count in zip(hops, legs, strict=True))
            few = self._rules.limits.legs is None or sum(legs) <= self._rules.limits.legs
            return few and (room is None or least <= room)

        alone = [sum(room is None or size <= room for size in accumulate(sizes)) for sizes in hops]
        for legs in product(*(range(1, most + 1) for most in alone)):
            if fits(legs):
                yield legs

    def _bound_within(self, mints: tuple[Mint, ...], legs: tuple[int, ...], reached: int) -> int:
        """No path with so many legs in its hops pays more. Where that cannot be told: `reached`."""
        amount = self._in_amount
        least = [sorted(terms.least_size for terms in self._terms(mints, at)) for at in range(len(legs))]
        around = msgspec.structs.replace(self._around(mints), cost=0)
        for at, most in enumerate(legs):
            others = sum(sum(sizes[: legs[other]]) for other, sizes in enumerate(least) if other != at)
            frame = msgspec.structs.replace(around, size=around.size + others)
            limits = msgspec.structs.replace(self._rules.limits, legs=most)
            rules = Rules(self._priced(mints, at, 0, 1), limits, frame)
            try:
                amount = fit_bound(self._graph.pools(*mints[at : at + 2]), mints[at], amount, self._clock, rules)
            except NoRoute:
                return reached
        return amount

    def _keep(self, mints: tuple[Mint, ...], hops: tuple[Split, ...]) -> bool:
        """Remember it if it is the best so far; whether it is within the rules."""
        pools = [leg.pool.address for hop in hops for leg in hop.legs]
        used = self._rules.whole(pools, mints[1:-1])
        fits = self._rules.limits.room_for(used, len(pools))
        net = hops[-1].out_amount - used.cost
        if fits and (self._best is None or net > self._best[0]):
            self._best = net, used.cost, mints, hops
        return fits

    def _result(self) -> Path:
        if self._best is None:
            why = "; ".join(dict.fromkeys(reason for _, reason in self._refused))
            raise NoRoute("No path can trade this amount" + (f": {why}" if why else ""), retryable=True)
        net, cost, mints, hops = self._best
        return Path(
            mints=mints,
            hops=hops,
            in_amount=self._in_amount,
            out_amount=net + cost,
            cost=cost,
            bound=max(self._bound, net + cost),
            fit_bound=self._fit_bound,
            refused=tuple(self._refused),
        )
