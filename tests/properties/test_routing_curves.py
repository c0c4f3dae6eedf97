"""No pool ever pays more than its curve says: what every certificate rests on."""

import random

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from bestex.errors import SwapRefused
from bestex.types import U64_MAX, SwapMode
from bestex.venues.curve import PRICE_BITS, VALUE_BITS, Curve
from bestex.venues.pool import ARRAY_LIMIT, Pool
from tests.support import amm, clmm, cpmm, damm, dlmm
from tests.support.venues import CLOCK, IN, MINT_A, OUT, ask, mints

pools = st.one_of(amm.pools(), cpmm.pools(), clmm.pools(), dlmm.pools(), damm.pools())
_SLIVER = 1 << VALUE_BITS - PRICE_BITS


@settings(deadline=None, max_examples=120, derandomize=True, suppress_health_check=list(HealthCheck))
@given(pool=pools, mint=mints, seed=st.integers(0, 2**32))
def test_the_conjugate_covers_every_swap(pool: Pool, mint: object, seed: int) -> None:
    chance = random.Random(seed)
    in_mint = pool.mints[0] if mint == MINT_A else pool.mints[1]
    try:
        curve = pool.curve(in_mint, CLOCK)
    except SwapRefused:
        assume(False)
    curve.reach(U64_MAX)
    moves = _moves(pool, curve, chance, in_mint == pool.mints[0])
    assume(moves)
    for arriving, leaving in moves:
        for price in _prices(curve, moves, (arriving, leaving), chance):
            beyond = (leaving << VALUE_BITS) - price * arriving * _SLIVER
            assert curve.conjugate(price) >= beyond
        assert leaving << PRICE_BITS <= curve.steepest * arriving


def _moves(pool: Pool, curve: Curve, chance: random.Random, forward: bool) -> list[tuple[int, int]]:
    """What arrives at the pool and leaves it in swaps of many sizes, those at the ends of pieces among them."""
    in_mint = pool.mints[0 if forward else 1]
    fee_in, fee_out = (fee and fee.at(CLOCK.epoch) for fee in curve.transfer_fees)
    found = []
    for _ in range(25):
        mode = chance.choice([IN, OUT]) if curve.exact_out else IN
        quoted = ask(pool, in_mint, _amount(curve, mode, chance), mode)
        if quoted is not None and quoted.arrays <= ARRAY_LIMIT:
            arriving = quoted.in_amount - (fee_in.on(quoted.in_amount) if fee_in else 0)
            leaving = quoted.out_amount + (fee_out.to_deliver(quoted.out_amount) if fee_out else 0)
            found.append((arriving, leaving))
    return found


def _amount(curve: Curve, mode: SwapMode, chance: random.Random) -> int:
    most = max(1, min(curve.reached, U64_MAX) if mode is IN else curve.out_amount)
    ends = curve.ins.filled if mode is IN else curve.outs.filled
    if ends and chance.random() < 0.3:
        return max(1, int(chance.choice(ends)) + chance.randint(-2, 2))
    return max(1, int(most ** chance.random())) if chance.random() < 0.6 else chance.randint(1, most)


def _prices(curve: Curve, moves: list[tuple[int, int]], move: tuple[int, int], chance: random.Random) -> list[int]:
    """Slopes of chords, and of the pieces' ends: where an error would show."""
    arriving, leaving = move
    prices = [(leaving << PRICE_BITS) // max(arriving, 1)]
    for x, y in chance.sample(moves, min(5, len(moves))):
        if x > arriving and y > leaving:
            prices.append((y - leaving << PRICE_BITS) // (x - arriving))
    for levels in (curve.ins.starts, curve.ins.ends):
        if levels:
            at = 1 / chance.choice(levels) ** 2
            prices += [int(at * factor * 2**PRICE_BITS) for factor in (1.0, chance.uniform(0.9, 1.0))]
    return [price for price in prices if price > 0]
