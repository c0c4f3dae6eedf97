"""Raydium CLMM: its price limit, its loop over ticks and its prices, beside what holds of every venue."""

import struct
from bisect import bisect_right

from hypothesis import given, settings
from hypothesis import strategies as st

from bestex.types import U64_MAX, Mint, SwapMode
from bestex.venues import clmm_layout, raydium_clmm
from bestex.venues.clmm_layout import RATE
from bestex.venues.clmm_ticks import (
    MAX_SQRT_PRICE,
    MAX_TICK,
    MIN_SQRT_PRICE,
    MIN_TICK,
    cost,
    price_after_input,
    price_after_output,
    proceeds,
    sqrt_at,
    tick_at,
)
from bestex.venues.math import ceil_div
from bestex.venues.raydium_clmm import ClmmPool, ClmmSwapCall
from tests.support.clmm import pools
from tests.support.venues import CLOCK, IN, MINT_A, OUT, USER, agreed, amounts, ask, mints, thorough, u64

modes = st.sampled_from(SwapMode)


@thorough
@given(pools(), mints, amounts, modes, st.integers(1, 10**6))
def test_a_limit_stops_the_price_and_fills_what_lies_before_it(
    pool: ClmmPool, mint: Mint, amount: int, mode: SwapMode, distance: int
) -> None:
    down = mint == MINT_A
    price = pool.sqrt_price_x64
    limit = price - price * distance // 10**7 - 1 if down else price + price * distance // 10**7 + 1
    limited = agreed(pool, mint, amount, mode, sqrt_price_limit_x64=limit)
    after, applied = pool.apply(mint, amount, mode, CLOCK, sqrt_price_limit_x64=limit)
    assert applied == limited
    assert limit <= after.sqrt_price_x64 < price if down else price < after.sqrt_price_x64 <= limit
    free = ask(pool, mint, amount, mode)
    if after.sqrt_price_x64 != limit:
        assert limited == free
    elif free is not None:
        assert mode is OUT or limited.in_amount <= free.in_amount  # an output that ends at the limit pays all the way
        assert limited.out_amount <= free.out_amount
    assert raydium_clmm.decode(after.address, after.encode()) == after


def walked(
    pool: ClmmPool, mint: Mint, amount: int, mode: SwapMode, limit: int
) -> tuple[int, int, int, int, int] | None:
    """In, out, fee, price and steps as the program's loop finds them, tick by tick; None where ticks or u64 run out."""
    accounts = pool.encode()
    data = accounts[pool.address].data
    spacing = struct.unpack_from("<H", data, 235)[0]
    down, price = mint == MINT_A, pool.sqrt_price_x64
    liquidity = int.from_bytes(data[237:253], "little")
    ticks: dict[int, int] = {}
    for account in accounts.values():
        if len(account.data) == clmm_layout.ARRAY_SIZE:
            ticks.update(clmm_layout.ticks_of(account.data, spacing) or ())
    present = struct.unpack_from("<i", data, 269)[0]
    ahead = sorted((tick for tick in ticks if (tick <= present) is down), reverse=down)
    rate, left, other_side, charged = pool.fee_bps_hundredths, amount, 0, 0
    for steps, tick in enumerate(ahead, 1):
        target = max(sqrt_at(tick), limit) if down else min(sqrt_at(tick), limit or MAX_SQRT_PRICE)
        if mode is IN:
            usable, need = left * (RATE - rate) // RATE, cost(liquidity, price, target)
            end = target if usable >= need else price_after_input(liquidity, price, usable, down)
        else:
            reached = left >= proceeds(liquidity, price, target)
            end = target if reached else price_after_output(liquidity, price, left, down)
        taken, paid = cost(liquidity, price, end), proceeds(liquidity, price, end)
        fee = left - taken if mode is IN and end != target else ceil_div(taken * rate, RATE - rate)
        paid = paid if mode is IN else min(paid, left)
        if max(taken, paid) > U64_MAX:
            return None
        left -= taken + fee if mode is IN else paid
        other_side += paid if mode is IN else taken + fee
        charged += fee
        price = end
        if left == 0 or price == limit:
            amounts_of = (amount - left, other_side) if mode is IN else (other_side, amount - left)
            return *amounts_of, charged, price, steps
        liquidity += -ticks[tick] if down else ticks[tick]
    return None


@settings(thorough, max_examples=400)
@given(pools(st.none()), mints, amounts, modes, st.just(0) | st.integers(1, 10**6))
def test_quotes_are_those_of_the_program_s_loop(
    pool: ClmmPool, mint: Mint, amount: int, mode: SwapMode, distance: int
) -> None:
    price, limit = pool.sqrt_price_x64, 0
    if distance:
        limit = price - price * distance // 10**7 - 1 if mint == MINT_A else price + price * distance // 10**7 + 1
    expected = walked(pool, mint, amount, mode, limit)
    if expected is None or 0 in expected[:2]:
        assert ask(pool, mint, amount, mode, sqrt_price_limit_x64=limit) is None
        return
    quoted = agreed(pool, mint, amount, mode, sqrt_price_limit_x64=limit)
    after, _ = pool.apply(mint, amount, mode, CLOCK, sqrt_price_limit_x64=limit)
    actual = quoted.in_amount, quoted.out_amount, quoted.fee_amount, after.sqrt_price_x64, quoted.steps
    assert actual == expected


@thorough
@given(pools(), mints, u64, u64, modes, st.integers(0, 2**128 - 1), st.integers(0, 8))
def test_a_limit_and_any_number_of_arrays_read_back(
    pool: ClmmPool, mint: Mint, amount: int, threshold: int, mode: SwapMode, limit: int, array_limit: int
) -> None:
    instruction = pool.swap_instruction(
        USER, mint, amount, threshold, mode, sqrt_price_limit_x64=limit, array_limit=array_limit
    )
    listed = tuple(meta.pubkey for meta in instruction.accounts)
    assert raydium_clmm.read_swap(listed, bytes(instruction.data)) == ClmmSwapCall(
        pool.address, USER, amount, threshold, mode, limit
    )


@settings(thorough, max_examples=500)
@given(
    st.integers(MIN_SQRT_PRICE, MAX_SQRT_PRICE) | st.integers(32, 95).flatmap(lambda b: st.integers(2**b, 2 ** (b + 1)))
)
def test_tick_of_a_price_is_the_greatest_that_is_not_above_it(price: int) -> None:
    price = min(max(price, MIN_SQRT_PRICE), MAX_SQRT_PRICE)
    assert tick_at(price) == MIN_TICK - 1 + bisect_right(range(MIN_TICK, MAX_TICK + 1), price, key=sqrt_at)


@settings(thorough, max_examples=500)
@given(st.integers(MIN_TICK + 1, MAX_TICK - 1))
def test_tick_and_price_agree_at_each_tick_s_edge(tick: int) -> None:
    price = sqrt_at(tick)
    assert sqrt_at(tick - 1) < price < sqrt_at(tick + 1)
    assert [tick_at(near) for near in (price - 1, price, price + 1)] == [tick - 1, tick, tick]


@thorough
@given(
    st.integers(1, 2**100),
    st.lists(st.integers(MIN_SQRT_PRICE, MAX_SQRT_PRICE), min_size=2, max_size=2, unique=True),
)
def test_the_cost_is_rounded_up_once_as_the_program_s_two_divisions_are(liquidity: int, ends: list[int]) -> None:
    low, high = sorted(ends)
    assert cost(liquidity, high, low) == ceil_div(ceil_div((liquidity << 64) * (high - low), high), low)
    assert cost(liquidity, low, high) == ceil_div(liquidity * (high - low), 2**64)
