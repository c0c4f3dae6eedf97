"""A convex solver as second opinion, and what breaks when one venue's curve is wrong."""

import random
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
import pytest
from scipy.optimize import minimize

from bestex.routing.split import split
from bestex.types import ChainClock, Mint
from bestex.venues import raydium_cpmm
from bestex.venues.clmm_walk import Ladder as TickLadder
from bestex.venues.curve import PRICE_BITS, Curve, Piece, Sketch, product_pieces
from bestex.venues.dlmm_walk import Drained
from bestex.venues.pool import Pool
from bestex.venues.raydium_clmm import ClmmPool
from bestex.venues.raydium_cpmm import CpmmPool
from tests.properties.test_routing_split import made, roundings
from tests.support.routing import CLOCK, IN, ONE, TWO, asked, market, pool_of


@pytest.mark.parametrize("seed", range(40))
def test_a_convex_solver_finds_nothing_better(seed: int) -> None:
    chance = random.Random(seed)
    pools = [pool_of(chance.choice(["amm", "cpmm"]), chance, 0.2, 10**11) for _ in range(chance.randint(2, 6))]
    in_mint = chance.choice([ONE, TWO])
    amount = int(sum(pool.reserves[0] for pool in pools) * 10 ** chance.uniform(-3, -0.5))
    found = made(pools, in_mint, amount, IN)
    assert found is not None
    parts = _solved(pools, in_mint, amount)
    paid = 0
    for pool, part in zip(pools, parts, strict=True):
        quoted = asked(pool, in_mint, part, IN)
        paid += quoted.out_amount if quoted else 0
    assert paid <= found.bound
    assert paid <= found.out_amount + roundings(found)
    assert paid >= found.out_amount * 0.999, "the solver has not converged: it proves nothing"


def _solved(pools: Sequence[Pool], in_mint: Mint, amount: int) -> list[int]:
    """The solver's division of the amount over constant-product pools, from reserves and fees alone."""
    sides = [pool.reserves if pool.mints[0] == in_mint else pool.reserves[::-1] for pool in pools]
    kept = np.array([1 - pool.fee_bps_hundredths / 1_000_000 for pool in pools])
    reserve_in = np.array([side[0] for side in sides]) / amount
    reserve_out = np.array([side[1] for side in sides]) / sum(side[1] for side in sides)

    def lost(parts: np.ndarray) -> float:
        net = parts * kept
        return -float(np.sum(reserve_out * net / (reserve_in + net)))

    def slopes(parts: np.ndarray) -> np.ndarray:
        slope: np.ndarray = -reserve_out * reserve_in * kept / (reserve_in + parts * kept) ** 2
        return slope

    # The solver does not converge from everywhere.
    starts = (np.full(len(pools), 1 / len(pools)), reserve_in / np.sum(reserve_in))
    results = [
        minimize(
            lost,
            start,
            bounds=[(0, 1)] * len(pools),
            constraints={"type": "eq", "fun": lambda parts: float(np.sum(parts)) - 1},
            method="SLSQP",
            jac=slopes,
            options={"ftol": 1e-14, "maxiter": 500},
        )
        for start in starts
    ]
    best = min(results, key=lambda result: lost(np.clip(result.x, 0, 1)))
    parts = [int(part * amount) for part in np.clip(best.x, 0, 1)]
    largest = max(range(len(parts)), key=parts.__getitem__)
    parts[largest] += amount - sum(parts)
    return parts


def _check(kind: str) -> None:
    """What the other tests check, on a few markets: the bound covers what is paid, and the gap is rounding."""
    for seed in range(5):
        chance = random.Random(seed)
        pools = [*market(chance, 4, 0.2, 10**11), *(pool_of(kind, chance, 0.2, 10**11) for _ in range(2))]
        amount = sum(pool.reserves[0] for pool in pools) // 20
        found = split(pools, ONE, amount, IN, CLOCK)
        assert 0 <= found.optimality_gap <= roundings(found)


def _distorted(pieces: Iterator[Piece], factor: Fraction) -> Iterator[Piece]:
    """Pieces whose marginal prices are wrong; where they end is right."""
    for gain, base, drag, x, y in pieces:
        yield gain * factor.numerator, base * factor.denominator, drag * factor.denominator, x, y


@pytest.mark.parametrize("kind", ["cpmm", "clmm", "dlmm"])
@pytest.mark.parametrize("factor", [Fraction(99, 100), Fraction(101, 100)])
def test_a_wrong_marginal_price_of_one_venue_shows(
    monkeypatch: pytest.MonkeyPatch, kind: str, factor: Fraction
) -> None:
    _check(kind)
    if kind == "cpmm":
        monkeypatch.setattr(raydium_cpmm, "product_pieces", lambda *of: _distorted(product_pieces(*of), factor))
    else:
        walk = TickLadder if kind == "clmm" else Drained
        pieces = walk.pieces
        monkeypatch.setattr(walk, "pieces", lambda self: _distorted(pieces(self), factor))
    with pytest.raises(AssertionError):
        _check(kind)


def test_a_wrong_search_shows_in_the_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound does not depend on the floats that find the split: when these are wrong, the gap says so."""
    add = Sketch.add

    def skewed(self: Sketch, start: float, end: float, offset: float, rate: float, filled: float) -> None:
        add(self, start, end, offset, rate * 1.001 if rate > 10**10 else rate, filled)

    _check("clmm")
    monkeypatch.setattr(Sketch, "add", skewed)
    with pytest.raises(AssertionError):
        _check("clmm")


def test_a_curve_is_kept_with_its_pool_and_built_anew_when_the_clock_changes_fees() -> None:
    chance = random.Random(1)
    later = ChainClock(CLOCK.slot, CLOCK.unix_timestamp + 5, CLOCK.epoch)
    for pool in market(chance, 5, 0.2, 10**11):
        assert pool.curve(ONE, CLOCK) is pool.curve(ONE, CLOCK)
        assert pool.curve(ONE, later) is pool.curve(ONE, CLOCK)
        after, _ = pool.apply(ONE, 10**6, IN, CLOCK)
        assert after.curve(ONE, CLOCK) is not pool.curve(ONE, CLOCK)
    assert isinstance(pool_of("cpmm", chance, 1.0, 10**9), CpmmPool)
    ticks = pool_of("clmm", chance, 1.0, 10**12)
    assert isinstance(ticks, ClmmPool)
    curve = ticks.curve(ONE, CLOCK)
    assert curve.reach(1) == 1
    few = curve.reached
    assert curve.reach(2**64 - 1) > few, "further pieces are built when they are asked for"


def test_accounts_that_contradict_themselves_end_the_curve() -> None:
    flat, steep = (1, 2, 1, 10, 3), (5, 2, 1, 20, 9)
    curve = Curve(iter([flat, steep]))
    assert curve.reach(20) == 10
    assert curve.out_amount == 3
    assert curve.conjugate(1 << PRICE_BITS) == 0
