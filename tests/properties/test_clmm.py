"""What must hold of every Raydium CLMM pool and every swap on it, whatever the numbers."""

import struct
from bisect import bisect_right

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from solders.pubkey import Pubkey

from bestex.errors import SwapRefused, UnsupportedPool
from bestex.types import U64_MAX, Account, Mint, SwapMode
from bestex.venues import clmm_layout, raydium_clmm, token
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
from bestex.venues.pool import Quote, SwapAccounts
from bestex.venues.raydium_clmm import ClmmPool, ClmmSwapCall
from tests.support.clmm import amounts, pools
from tests.support.venues import CLOCK, MINT_A, MINT_B, with_data

thorough = settings(deadline=None, max_examples=100, derandomize=True)

IN, OUT = SwapMode.EXACT_IN, SwapMode.EXACT_OUT
PLAIN = st.none()
keys = st.binary(min_size=32, max_size=32).map(Pubkey)
u64 = st.integers(0, U64_MAX)
mints = st.sampled_from([MINT_A, MINT_B])
modes = st.sampled_from(SwapMode)


def other(mint: Mint) -> Mint:
    return MINT_B if mint == MINT_A else MINT_A


def ask(pool: ClmmPool, mint: Mint, amount: int, mode: SwapMode, limit: int = 0) -> Quote | None:
    """The quote, or None where the program would refuse."""
    try:
        return pool.quote(mint, amount, mode, CLOCK, sqrt_price_limit_x64=limit)
    except SwapRefused:
        return None


def agreed(pool: ClmmPool, mint: Mint, amount: int, mode: SwapMode, limit: int = 0) -> Quote:
    """The quote; an example that the program would refuse is dropped."""
    quoted = ask(pool, mint, amount, mode, limit)
    assume(quoted is not None)
    assert quoted is not None
    return quoted


@thorough
@given(pools(), mints, amounts, modes)
def test_no_swap_pays_more_than_the_reserve(pool: ClmmPool, mint: Mint, amount: int, mode: SwapMode) -> None:
    quoted = agreed(pool, mint, amount, mode)
    fee = token.decode_mint(pool.encode()[other(mint)]).transfer_fee
    assert quoted.out_amount > 0 or fee is not None  # the program lets a transfer fee take all of it
    assert quoted.out_amount <= pool.reserves[pool.mints.index(other(mint))]
    assert 0 <= quoted.fee_amount < quoted.in_amount
    assert amount == (quoted.in_amount if mode is IN else quoted.out_amount)
    assert quoted.steps >= 1
    assert len(pool.arrays_ahead(mint, quoted.arrays)) == quoted.arrays >= 1


@thorough
@given(pools(), mints, amounts, amounts, modes)
def test_more_never_gives_less_nor_costs_less(pool: ClmmPool, mint: Mint, one: int, two: int, mode: SwapMode) -> None:
    less, more = (ask(pool, mint, amount, mode) for amount in sorted((one, two)))
    if less is not None and more is not None:
        assert less.out_amount <= more.out_amount
        assert less.in_amount <= more.in_amount
        assert less.steps <= more.steps
        assert less.arrays <= more.arrays


@thorough
@given(pools(), mints, amounts)
def test_the_price_of_an_exact_output_buys_it(pool: ClmmPool, mint: Mint, wanted: int) -> None:
    price = agreed(pool, mint, wanted, OUT)
    bought = ask(pool, mint, price.in_amount, IN)
    assert bought is not None
    assert bought.out_amount >= wanted


@thorough
@given(pools(PLAIN), mints, amounts)
def test_a_unit_less_does_not_buy_it(pool: ClmmPool, mint: Mint, wanted: int) -> None:
    """Unless the output is just what a step gives: the program then pays for the whole way to the tick."""
    price = agreed(pool, mint, wanted, OUT)
    end = pool.apply(mint, wanted, OUT, CLOCK)[0].sqrt_price_x64
    assume(sqrt_at(tick_at(end)) != end)
    bought = ask(pool, mint, price.in_amount - 1, IN)
    assert bought is None or bought.out_amount < wanted


@thorough
@given(pools(), mints, amounts, modes)
def test_a_round_trip_never_gains(pool: ClmmPool, mint: Mint, amount: int, mode: SwapMode) -> None:
    agreed(pool, mint, amount, mode)
    after, there = pool.apply(mint, amount, mode, CLOCK)
    back = ask(after, other(mint), there.out_amount, IN)
    assert back is None or back.out_amount <= there.in_amount


@thorough
@given(pools(), mints, amounts)
def test_no_swap_beats_the_spot_price(pool: ClmmPool, mint: Mint, amount: int) -> None:
    quoted = agreed(pool, mint, amount, IN)
    assert quoted.out_amount << 64 <= quoted.in_amount * (pool.spot_price_x64(mint) + 1)


@thorough
@given(pools(), st.lists(st.tuples(mints, amounts, modes), min_size=1, max_size=5))
def test_a_pool_survives_its_bytes(pool: ClmmPool, swaps: list[tuple[Mint, int, SwapMode]]) -> None:
    assert raydium_clmm.decode(pool.address, pool.encode()) == pool
    for mint, amount, mode in swaps:
        if ask(pool, mint, amount, mode) is not None:
            before, (pool, _) = pool, pool.apply(mint, amount, mode, CLOCK)
            assert pool != before
    again = raydium_clmm.decode(pool.address, pool.encode())
    assert again == pool
    assert hash(again) == hash(pool)
    for mint, amount, mode in swaps:
        assert ask(again, mint, amount, mode) == ask(pool, mint, amount, mode)


@thorough
@given(pools(), mints, amounts, modes)
def test_what_the_user_pays_and_gets_is_what_the_vaults_gain_and_lose(
    pool: ClmmPool, mint: Mint, amount: int, mode: SwapMode
) -> None:
    quoted = agreed(pool, mint, amount, mode)
    after, applied = pool.apply(mint, amount, mode, CLOCK)
    assert applied == quoted
    gained, withheld = moved(pool, after, mint)
    lost, kept = moved(pool, after, other(mint))
    assert gained + withheld == applied.in_amount
    assert kept == 0
    fee = token.decode_mint(pool.encode()[other(mint)]).transfer_fee
    assert -lost - (fee.at(CLOCK.epoch).on(-lost) if fee else 0) == applied.out_amount


def moved(before: ClmmPool, after: ClmmPool, mint: Mint) -> tuple[int, int]:
    """By how much the pool's vault of a mint has grown, and what it has withheld as transfer fee."""
    old, new = before.encode(), after.encode()
    for key, account in old.items():
        if account.owner in (token.TOKEN_PROGRAM, token.TOKEN_2022_PROGRAM) and account.data[:32] == bytes(mint):
            held = token.decode_token_account(account)
            withheld = 0
            if held.withheld_at is not None:
                withheld = struct.unpack_from("<Q", new[key].data, held.withheld_at)[0]
            return token.decode_token_account(new[key]).amount - held.amount, withheld
    raise AssertionError("the pool has no vault of this mint")


@thorough
@given(pools(PLAIN), mints, amounts, amounts)
def test_two_halves_pay_no_more_than_the_whole(pool: ClmmPool, mint: Mint, one: int, two: int) -> None:
    """Where the price is between two ticks, each half rounds against the user on its own."""
    whole = agreed(pool, mint, one + two, IN)
    if ask(pool, mint, one, IN) is not None:
        after, half = pool.apply(mint, one, IN, CLOCK)
        rest = ask(after, mint, two, IN)
        assert rest is None or half.out_amount + rest.out_amount <= whole.out_amount


@thorough
@given(pools(), mints, amounts, modes, st.integers(1, 10**6))
def test_a_limit_stops_the_price_and_fills_what_lies_before_it(
    pool: ClmmPool, mint: Mint, amount: int, mode: SwapMode, distance: int
) -> None:
    down = mint == MINT_A
    price = pool.sqrt_price_x64
    limit = price - price * distance // 10**7 - 1 if down else price + price * distance // 10**7 + 1
    limited = agreed(pool, mint, amount, mode, limit)
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
@given(pools(PLAIN), mints, amounts, modes, st.just(0) | st.integers(1, 10**6))
def test_quotes_are_those_of_the_program_s_loop(
    pool: ClmmPool, mint: Mint, amount: int, mode: SwapMode, distance: int
) -> None:
    price, limit = pool.sqrt_price_x64, 0
    if distance:
        limit = price - price * distance // 10**7 - 1 if mint == MINT_A else price + price * distance // 10**7 + 1
    expected = walked(pool, mint, amount, mode, limit)
    if expected is None or 0 in expected[:2]:
        assert ask(pool, mint, amount, mode, limit) is None
        return
    quoted = agreed(pool, mint, amount, mode, limit)
    after, _ = pool.apply(mint, amount, mode, CLOCK, sqrt_price_limit_x64=limit)
    actual = quoted.in_amount, quoted.out_amount, quoted.fee_amount, after.sqrt_price_x64, quoted.steps
    assert actual == expected


@thorough
@given(pools(), st.lists(st.tuples(mints, amounts, modes), min_size=1, max_size=6))
def test_quotes_do_not_depend_on_earlier_ones(pool: ClmmPool, swaps: list[tuple[Mint, int, SwapMode]]) -> None:
    accounts = pool.encode()
    for mint, amount, mode in swaps:
        fresh = raydium_clmm.decode(pool.address, accounts)
        assert ask(fresh, mint, amount, mode) == ask(pool, mint, amount, mode)


@thorough
@given(pools(), keys, keys, keys, mints, u64, u64, modes, st.integers(0, 2**128 - 1), st.integers(0, 8))
def test_a_swap_instruction_reads_back(
    pool: ClmmPool,
    owner: Pubkey,
    source: Pubkey,
    target: Pubkey,
    mint: Mint,
    amount: int,
    threshold: int,
    mode: SwapMode,
    limit: int,
    array_limit: int,
) -> None:
    user = SwapAccounts(owner, source, target)
    instruction = pool.swap_instruction(
        user, mint, amount, threshold, mode, sqrt_price_limit_x64=limit, array_limit=array_limit
    )
    assert instruction.program_id == raydium_clmm.PROGRAM_ID
    assert [meta.pubkey for meta in instruction.accounts if meta.is_signer] == [owner]
    listed = tuple(meta.pubkey for meta in instruction.accounts)
    assert raydium_clmm.read_swap(listed, bytes(instruction.data)) == ClmmSwapCall(
        pool.address, user, amount, threshold, mode, limit
    )


@st.composite
def damaged(draw: st.DrawFn) -> tuple[Pubkey, dict[Pubkey, Account]]:
    """A sound pool's accounts of which one is cut, filled at random, or changed in a few places."""
    pool = draw(pools())
    accounts = pool.encode()
    key = draw(st.sampled_from([pool.address, *accounts]))
    data = bytearray(accounts[key].data)
    kind = draw(st.sampled_from(["cut", "random", "fields", "fields"]))
    if kind == "cut":
        data = data[: draw(st.integers(0, len(data)))]
    elif kind == "random":
        data[8:] = draw(st.randoms(use_true_random=False)).randbytes(len(data) - 8)
    else:
        for _ in range(draw(st.integers(1, 6))):
            at = draw(st.integers(0, len(data) - 1))
            new = draw(st.binary(min_size=1, max_size=16) | st.sampled_from([b"\xff" * 8, bytes(16), b"\xff" * 1024]))
            data[at : at + len(new)] = new[: len(data) - at]
    return pool.address, {**accounts, key: with_data(accounts[key], bytes(data))}


@settings(thorough, max_examples=300)
@given(damaged(), mints, amounts, modes)
def test_damaged_bytes_are_refused_or_quoted_but_never_crash(
    damage: tuple[Pubkey, dict[Pubkey, Account]], mint: Mint, amount: int, mode: SwapMode
) -> None:
    address, accounts = damage
    try:
        assert raydium_clmm.accounts_of(address, accounts)[0] == address
        pool = raydium_clmm.decode(address, accounts)
    except UnsupportedPool:
        return
    assert pool.encode() == {key: accounts[key] for key in pool.encode()}
    assert 0 <= pool.fee_bps_hundredths < 1_000_000
    assert min(pool.reserves) >= 0
    if mint in pool.mints:
        assert pool.spot_price_x64(mint) >= 0
        if ask(pool, mint, amount, mode) is not None:
            try:
                pool.apply(mint, amount, mode, CLOCK)[0].encode()
            except SwapRefused as refused:
                assert refused.kind == "overflow"  # noqa: PT017 - the only refusal that a quote does not foresee


@thorough
@given(st.binary(max_size=2_000), keys)
def test_random_bytes_are_no_pool(data: bytes, owner: Pubkey) -> None:
    for account in (Account(owner, 1, data), Account(raydium_clmm.PROGRAM_ID, 1, data)):
        assert not raydium_clmm.is_pool(account)
        with pytest.raises(UnsupportedPool):
            raydium_clmm.decode(owner, {owner: account})
        with pytest.raises(UnsupportedPool):
            raydium_clmm.accounts_of(owner, {owner: account})


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
