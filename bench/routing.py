"""Time and gap of splits and paths: `python -m bench routing`.

Markets are synthetic: pools of all five kinds at about one price, depths spread over a factor of ten. Times are those
of one thread with curves built; "changed" is a split right after a swap has replaced one pool. The gap is proven by the
router itself; the convex solver, where cvxpy is installed, is a second opinion on the same curves.
"""

import argparse
import gc
import importlib
import importlib.util
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from bench.markets import CLOCK, IN, ONE, TWO, Market, market, reserves_of
from bestex.errors import NoRoute
from bestex.routing.certificate import Split
from bestex.routing.graph import Graph
from bestex.routing.legs import LegTerms, Limits, Rules
from bestex.routing.paths import Path, best_path
from bestex.routing.router import compare
from bestex.routing.split import split
from bestex.types import Mint
from bestex.venues.curve import PRICE_BITS, Curve
from bestex.venues.pool import Pool

_SIZES = (2, 8, 32, 128)
_LEGS = 4
_BPS = 10_000


def _timed(run: Callable[[], object], repetitions: int = 5) -> float:
    """Median seconds of a call."""
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _at(values: Sequence[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))] if values else float("nan")


def _spread(values: Sequence[float], scale: float = 1.0, form: str = "9.0f") -> str:
    return f"{_at(values, 0.5) * scale:{form}}{_at(values, 0.99) * scale:{form}}"


class _Pair:
    """Figures of one number of pools on one pair."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.changed: list[float] = []
        self.limited: list[float] = []
        self.gaps_bps: list[float] = []
        self.gaps_by_leg: list[float] = []
        self.legs: list[float] = []
        self.gains_bps: list[float] = []
        self.solver_bps: list[float] = []
        self.solver: list[float] = []

    def measure(self, pools: list[Pool], in_mint: Mint, amount: int, with_solver: bool) -> None:
        found = split(pools, in_mint, amount, IN, CLOCK)
        self.times.append(_timed(lambda: split(pools, in_mint, amount, IN, CLOCK)))
        self.gaps_bps.append(found.optimality_gap * _BPS / found.out_amount)
        price = found.price / 2**PRICE_BITS
        self.gaps_by_leg.append(found.optimality_gap / (1 + price) / len(found.legs))
        self.legs.append(len(found.legs))
        best = compare(pools, in_mint, amount, CLOCK)[0].quote
        if best is not None:
            self.gains_bps.append((found.out_amount - best.out_amount) * _BPS / best.out_amount)
        self._change(pools, in_mint, amount, found)
        rules = Rules({pool.address: LegTerms(cost=amount // 10**7) for pool in pools}, Limits(legs=_LEGS))
        with suppress(NoRoute):
            self.limited.append(_timed(lambda: split(pools, in_mint, amount, IN, CLOCK, rules=rules), 1))
        if with_solver:
            start = time.perf_counter()
            solved = _solve([pool.curve(in_mint, CLOCK) for pool in pools], amount)
            self.solver.append(time.perf_counter() - start)
            self.solver_bps.append((solved - found.out_amount) * _BPS / found.out_amount)

    def _change(self, pools: list[Pool], in_mint: Mint, amount: int, found: Split) -> None:
        """The same after somebody has swapped on the pool with the largest leg."""
        leg = found.legs[0]
        after, _ = leg.pool.apply(in_mint, max(1, leg.quote.in_amount // 100), IN, CLOCK)
        others = [after if pool is leg.pool else pool for pool in pools]
        self.changed.append(_timed(lambda: split(others, in_mint, amount, IN, CLOCK), 1))


def _solve(curves: Sequence[Curve], amount: int) -> float:
    """What a convex solver pays for the amount on the same curves, without rounding."""
    cvxpy: Any = importlib.import_module("cvxpy")
    best = min(curve.ins.starts[0] for curve in curves) ** -2
    taken, paid, limits = [], [], []
    for curve in curves:
        ins = curve.ins
        begin = 0.0
        for number, rate in enumerate(ins.rates):
            part = cvxpy.Variable(nonneg=True)
            taken.append(part)
            limits.append(part <= min((ins.filled[number] - begin) / amount, 1.0))
            price = ins.starts[number] ** -2 / best
            # A hyperbola p*x / (1 + x/r) is p * (x - x**2 / (r + x)).
            bent = cvxpy.quad_over_lin(part, part + (begin - ins.offsets[number]) / amount) if rate else 0.0
            paid.append(price * (part - bent))
            begin = ins.filled[number]
            if begin > amount:
                break
    problem = cvxpy.Problem(cvxpy.Maximize(sum(paid)), [*limits, sum(taken) == 1])
    return float(problem.solve(solver=cvxpy.CLARABEL)) * amount * best


def _pairs(markets: int, with_solver: bool) -> None:
    print(f"{'pools on one pair':26}{'p50':>9}{'p99':>9}")
    for size in _SIZES:
        figures = _Pair()
        for seed in range(markets):
            chance = random.Random(f"{size} {seed}")
            pools = market(chance, size, 0.16, 10**13)
            in_mint = chance.choice([ONE, TWO])
            for exponent in (-4, -3, -2, -1.3):
                amount = int(reserves_of(pools, in_mint) * 10**exponent)
                try:
                    figures.measure(pools, in_mint, amount, with_solver and size <= 32 and seed < 3)
                except NoRoute:
                    continue
        print(f"{size:4} pools, us{'':13}{_spread(figures.times, 1e6)}")
        print(f"{'':5}changed, us{'':10}{_spread(figures.changed, 1e6)}")
        print(f"{'':5}at most {_LEGS} legs, us   {_spread(figures.limited, 1e6)}")
        print(f"{'':5}gap, bps{'':13}{_spread(figures.gaps_bps, 1, '9.1e')}")
        print(f"{'':5}gap by leg, units*{'':3}{_spread(figures.gaps_by_leg, 1, '9.2f')}")
        print(f"{'':5}legs{'':17}{_spread(figures.legs)}")
        print(f"{'':5}over best pool, bps{'':2}{_spread(figures.gains_bps, 1, '9.1f')}")
        if figures.solver:
            print(f"{'':5}convex solver, us{'':4}{_spread(figures.solver, 1e6)}")
            print(f"{'':5}its output, bps{'':6}{_spread(figures.solver_bps, 1, '9.1e')}")
    print("* of one base unit of output and one of input together")


def _paths(mints: int, pools: int, trades: int) -> None:
    chance = random.Random(1)
    world = Market(chance, mints, pools)
    start = time.perf_counter()
    graph = Graph(world.pools)
    print(f"\n{pools} pools between {mints} mints; all pairs found in {(time.perf_counter() - start) * 1e3:.1f} ms")
    print(f"{'paths':26}{'p50':>9}{'p99':>9}")
    for hops in (2, 3):
        first, again, gaps, lengths = [], [], [], []
        for _ in range(trades):
            in_mint, out_mint = chance.sample(world.mints, 2)
            amount = int(10 ** chance.uniform(8, 11.3) / world.worth[in_mint])

            def find(one: Mint = in_mint, other: Mint = out_mint, amount: int = amount, most: int = hops) -> Path:
                return best_path(graph, one, other, amount, CLOCK, hops=most)

            begin = time.perf_counter()
            try:
                found = find()
            except NoRoute:
                continue
            first.append(time.perf_counter() - begin)
            again.append(_timed(find, 3))
            gaps.append(found.optimality_gap * _BPS / found.out_amount)
            lengths.append(len(found.hops))
        print(f"up to {hops} hops, us{'':10}{_spread(again, 1e6)}")
        print(f"{'':5}curves not built, us {_spread(first, 1e6)}")
        print(f"{'':5}gap, bps{'':13}{_spread(gaps, 1, '9.1e')}")
        print(f"{'':5}hops, mean{'':11}{statistics.mean(lengths):9.1f}")


def main(argv: list[str]) -> int:
    """Print the tables; exit status 0."""
    parser = argparse.ArgumentParser(prog="bench routing", description=__doc__)
    parser.add_argument("--markets", type=int, default=25, help="for each number of pools")
    parser.add_argument("--mints", type=int, default=200)
    parser.add_argument("--pools", type=int, default=2_000, help="of the market for paths")
    parser.add_argument("--trades", type=int, default=200, help="paths that are looked for")
    options = parser.parse_args(argv)
    with_solver = importlib.util.find_spec("cvxpy") is not None
    print(
        f"Python {platform.python_version()} on {platform.machine()}; convex solver: {with_solver or 'not installed'}"
    )
    gc.collect()
    gc.freeze()
    _pairs(options.markets, with_solver)
    _paths(options.mints, options.pools, options.trades)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
