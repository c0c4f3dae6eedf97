"""The router compares exact offers and takes the one that pays most."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestex.errors import NoRoute, SwapRefused
from bestex.routing.quote import Route, min_out_amount
from bestex.types import Routing, SwapMode
from bestex.venues import meteora_dlmm
from bestex.venues.pool import ARRAY_LIMIT, Pool
from tests.support.choosing import chosen
from tests.support.market import CLOCK, MINTS, SOL, USDC, cpmm, dlmm

DEEP = cpmm(SOL, USDC, (50_000 * 10**9, 8_000_000 * 10**6), index=1)
CHEAP = cpmm(SOL, USDC, (5_000 * 10**9, 800_000 * 10**6), index=2, fee=100)
# 160 USDC per SOL: 0.16 base units per base unit, bin id ln(0.16) / ln(1.001)
BINS = dlmm(SOL, USDC, (200 * 10**9, 32_000 * 10**6), active_id=-1834)


def route(pools: list[Pool], amount: int, slippage_bps: int = 50) -> Route:
    return chosen(pools, SOL.mint, USDC.mint, amount, slippage_bps=slippage_bps, routing=Routing.BEST)


@given(amount=st.integers(1_000_000, 10**13))
@settings(deadline=None)
def test_no_single_pool_pays_more(amount: int) -> None:
    pools = [DEEP, CHEAP, BINS]
    chosen = route(pools, amount)
    for pool in pools:
        try:
            offered = pool.quote(SOL.mint, amount, SwapMode.EXACT_IN, CLOCK).out_amount
        except SwapRefused:
            continue
        assert offered <= chosen.out_amount


def test_small_trades_go_where_the_fee_is_low_and_large_ones_where_the_depth_is() -> None:
    assert route([DEEP, CHEAP], 10**9).legs[0].pool is CHEAP
    assert route([DEEP, CHEAP], 2_000 * 10**9).legs[0].pool is DEEP


def test_every_pool_is_listed_best_first_and_refusals_say_why() -> None:
    offers = route([BINS, CHEAP, DEEP], 20_000 * 10**9).offers
    paid = [offer.quote.out_amount for offer in offers if offer.quote]
    assert paid == sorted(paid, reverse=True)
    assert offers[-1].pool is BINS
    assert offers[-1].refusal


def test_the_runner_up_is_of_the_other_dex() -> None:
    chosen = route([DEEP, CHEAP, BINS], 10**9)
    assert chosen.runner_up is not None
    assert {chosen.legs[0].pool.venue.dex, chosen.runner_up.pool.venue.dex} == {"Raydium", "Meteora"}


def test_equal_offers_are_ordered_by_address() -> None:
    twins = [cpmm(SOL, USDC, (10**12, 10**12), index=index) for index in (3, 4)]
    first = route(twins, 10**6).legs[0].pool
    assert first.address == route(twins[::-1], 10**6).legs[0].pool.address


def test_no_pool_is_no_route() -> None:
    with pytest.raises(NoRoute):
        route([], 10**9)
    with pytest.raises(NoRoute, match="Meteora DLMM"):
        route([BINS], 10**15)


def test_the_price_impact_leaves_fees_out() -> None:
    tiny, large = route([DEEP], 10**9), route([DEEP], 500 * 10**9)
    assert tiny.price_impact_ppm < 30
    assert 9_000 < large.price_impact_ppm < 11_000  # 1 % of the reserve moves the average price by 1 %


@given(out=st.integers(0, 2**64 - 1), slippage_bps=st.integers(0, 10_000))
def test_the_least_out_never_exceeds_the_quote(out: int, slippage_bps: int) -> None:
    least = min_out_amount(out, slippage_bps)
    assert least <= out
    assert least * 10_000 >= out * (10_000 - slippage_bps)
    assert (least - 1) * 10_000 < out * (10_000 - slippage_bps) or least == 0


def test_a_route_that_needs_more_arrays_than_a_transaction_carries_is_not_offered() -> None:
    def sparse(arrays: int) -> Pool:
        # One bin in each array below the price: so many arrays for so many bins.
        bins = {-1834 - 70 * index: (0, 10**9) for index in range(arrays)}
        mints = {token.mint: MINTS[token.mint] for token in (SOL, USDC)}
        made = meteora_dlmm.synthesize(mints, SOL.mint, USDC.mint, bins, active_id=-1834, bin_step=10)
        return meteora_dlmm.decode(next(iter(made)), mints | made)

    fits, too_many = sparse(ARRAY_LIMIT), sparse(ARRAY_LIMIT + 1)
    in_amount = too_many.quote(SOL.mint, (ARRAY_LIMIT + 1) * 10**9 - 1, SwapMode.EXACT_OUT, CLOCK).in_amount
    assert too_many.quote(SOL.mint, in_amount, SwapMode.EXACT_IN, CLOCK).arrays == ARRAY_LIMIT + 1
    with pytest.raises(NoRoute, match="walks through 4 tick or bin arrays"):
        route([too_many], in_amount)
    within = fits.quote(SOL.mint, ARRAY_LIMIT * 10**9 - 1, SwapMode.EXACT_OUT, CLOCK).in_amount
    assert route([fits], within).legs[0].pool is fits
