"""Raydium AMM v4: what its two roundings and its constant product add to what holds of every venue."""

from hypothesis import given
from hypothesis import strategies as st

from bestex.types import Mint, SwapMode
from bestex.venues import raydium_amm_v4
from bestex.venues.raydium_amm_v4 import AmmPool, Rounding
from tests.support.amm import pools
from tests.support.venues import CLOCK, IN, agreed, amounts, ask, mints, other, thorough

modes = st.sampled_from(SwapMode)


@thorough
@given(pools(), mints, amounts, modes)
def test_no_swap_pays_the_whole_reserve(pool: AmmPool, mint: Mint, amount: int, mode: SwapMode) -> None:
    quoted = agreed(pool, mint, amount, mode)
    assert quoted.out_amount < pool.reserves[pool.mints.index(other(mint))]
    assert quoted.fee_amount < quoted.in_amount


@thorough
@given(pools(), mints, amounts, modes)
def test_strict_rounding_never_favors_the_user(pool: AmmPool, mint: Mint, amount: int, mode: SwapMode) -> None:
    legacy, strict = (
        ask(raydium_amm_v4.decode(pool.address, pool.encode(), rounding=rounding), mint, amount, mode)
        for rounding in Rounding
    )
    if legacy is not None and strict is not None:
        assert strict.out_amount <= legacy.out_amount
        assert strict.in_amount >= legacy.in_amount


@thorough
@given(pools(st.just(Rounding.LEGACY)), mints, st.integers(1, 10**4), st.integers(1, 10**4) | amounts)
def test_two_swaps_of_a_legacy_build_save_one_unit_of_fee(pool: AmmPool, mint: Mint, one: int, two: int) -> None:
    """A fee below half a unit is waived. Parts whose fees are waived would have paid at most one unit together."""
    whole = agreed(pool, mint, one + two, IN)
    agreed(pool, mint, one, IN)
    after, half = pool.apply(mint, one, IN, CLOCK)
    rest = ask(after, mint, two, IN)
    if rest is not None:
        side = pool.mints.index(mint)
        spare = whole.in_amount - whole.fee_amount + 1
        best = pool.reserves[1 - side] * spare // (pool.reserves[side] + spare)
        assert half.out_amount + rest.out_amount <= best
