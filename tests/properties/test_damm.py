"""Meteora DAMM v2: partial fills and rate limiters, beside what holds of every venue."""

from hypothesis import given

from bestex.types import Mint
from bestex.venues.meteora_damm_v2 import DammPool
from tests.support.damm import limiters, pools
from tests.support.venues import IN, MINT_B, agreed, amounts, ask, mints, thorough


@thorough
@given(pools(), mints, amounts)
def test_a_partial_fill_is_never_worse_than_a_whole_one(pool: DammPool, mint: Mint, amount: int) -> None:
    """At the very end of the range roundings differ: there it goes all the way, or refuses where nothing is left."""
    whole = agreed(pool, mint, amount, IN)
    part = ask(pool, mint, amount, IN, partial_fill=True)
    if part is None:
        assert whole.out_amount == 0
    else:
        assert part.in_amount <= whole.in_amount
        assert part.out_amount >= whole.out_amount


@thorough
@given(pools(base_fees=limiters), amounts, amounts)
def test_a_rate_limiter_charges_more_for_more(pool: DammPool, one: int, two: int) -> None:
    less, more = (ask(pool, MINT_B, amount, IN) for amount in sorted((one, two)))
    if less is not None and more is not None:
        assert less.fee_amount <= more.fee_amount
