"""What must hold of every Raydium AMM v4 pool and every swap on it, whatever the numbers."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from solders.pubkey import Pubkey

from bestex.errors import SwapRefused, UnsupportedPool
from bestex.types import U64_MAX, Account, Mint, SwapMode
from bestex.venues import raydium_amm_v4, token
from bestex.venues.pool import Quote, SwapAccounts, SwapCall
from bestex.venues.raydium_amm_v4 import AmmPool, Rounding
from tests.support.amm import amounts, pools
from tests.support.venues import CLOCK, MINT_A, MINT_B, with_data

thorough = settings(deadline=None, max_examples=100, derandomize=True)

IN, OUT = SwapMode.EXACT_IN, SwapMode.EXACT_OUT
keys = st.binary(min_size=32, max_size=32).map(Pubkey)
u64 = st.integers(0, U64_MAX)
mints = st.sampled_from([MINT_A, MINT_B])
modes = st.sampled_from(SwapMode)
STRICT = st.just(Rounding.STRICT)


def other(mint: Mint) -> Mint:
    return MINT_B if mint == MINT_A else MINT_A


def ask(pool: AmmPool, mint: Mint, amount: int, mode: SwapMode) -> Quote | None:
    """The quote, or None where the program would refuse."""
    try:
        return pool.quote(mint, amount, mode, CLOCK)
    except SwapRefused:
        return None


def agreed(pool: AmmPool, mint: Mint, amount: int, mode: SwapMode) -> Quote:
    """The quote; an example that the program would refuse is dropped."""
    quoted = ask(pool, mint, amount, mode)
    assume(quoted is not None)
    assert quoted is not None
    return quoted


@thorough
@given(pools(), mints, amounts, modes)
def test_no_swap_pays_the_whole_reserve(pool: AmmPool, mint: Mint, amount: int, mode: SwapMode) -> None:
    quoted = agreed(pool, mint, amount, mode)
    assert 0 < quoted.out_amount < pool.reserves[pool.mints.index(other(mint))]
    assert 0 <= quoted.fee_amount < quoted.in_amount
    assert amount == (quoted.in_amount if mode is IN else quoted.out_amount)


@thorough
@given(pools(), mints, amounts, amounts, modes)
def test_more_never_gives_less_nor_costs_less(pool: AmmPool, mint: Mint, one: int, two: int, mode: SwapMode) -> None:
    less, more = (ask(pool, mint, amount, mode) for amount in sorted((one, two)))
    if less is not None and more is not None:
        assert less.out_amount <= more.out_amount
        assert less.in_amount <= more.in_amount


@thorough
@given(pools(), mints, amounts)
def test_the_price_of_an_exact_output_buys_it(pool: AmmPool, mint: Mint, wanted: int) -> None:
    price = agreed(pool, mint, wanted, OUT)
    assert pool.quote(mint, price.in_amount, IN, CLOCK).out_amount >= wanted


@thorough
@given(pools(STRICT), mints, amounts)
def test_a_unit_less_does_not_buy_it(pool: AmmPool, mint: Mint, wanted: int) -> None:
    """Of strict builds only: legacy ones charge an exact output the fee that they waive for the same exact input."""
    price = agreed(pool, mint, wanted, OUT)
    bought = ask(pool, mint, price.in_amount - 1, IN)
    assert bought is None or bought.out_amount < wanted


@thorough
@given(pools(), mints, amounts, modes)
def test_a_round_trip_never_gains(pool: AmmPool, mint: Mint, amount: int, mode: SwapMode) -> None:
    agreed(pool, mint, amount, mode)
    after, there = pool.apply(mint, amount, mode, CLOCK)
    back = ask(after, other(mint), there.out_amount, IN)
    assert back is None or back.out_amount <= there.in_amount


@thorough
@given(pools(), mints, amounts, modes)
def test_no_swap_beats_the_spot_price(pool: AmmPool, mint: Mint, amount: int, mode: SwapMode) -> None:
    quoted = agreed(pool, mint, amount, mode)
    assert quoted.out_amount << 64 <= quoted.in_amount * (pool.spot_price_x64(mint) + 1)


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
@given(pools(), st.lists(st.tuples(mints, amounts, modes), min_size=1, max_size=5))
def test_a_pool_survives_its_bytes(pool: AmmPool, swaps: list[tuple[Mint, int, SwapMode]]) -> None:
    for mint, amount, mode in swaps:
        if ask(pool, mint, amount, mode) is not None:
            before, (pool, _) = pool, pool.apply(mint, amount, mode, CLOCK)
            assert pool != before
    again = raydium_amm_v4.decode(pool.address, pool.encode(), rounding=pool.rounding)
    assert again == pool
    assert hash(again) == hash(pool)
    for mint, amount, mode in swaps:
        assert ask(again, mint, amount, mode) == ask(pool, mint, amount, mode)


@thorough
@given(pools(), mints, amounts, modes)
def test_what_the_user_pays_and_gets_is_what_the_vaults_gain_and_lose(
    pool: AmmPool, mint: Mint, amount: int, mode: SwapMode
) -> None:
    quoted = agreed(pool, mint, amount, mode)
    after, applied = pool.apply(mint, amount, mode, CLOCK)
    assert applied == quoted
    moved = dict(zip(pool.mints, (balance(after, i) - balance(pool, i) for i in (1, 2)), strict=True))
    assert moved == {mint: quoted.in_amount, other(mint): -quoted.out_amount}


def balance(pool: AmmPool, index: int) -> int:
    return token.decode_token_account(pool.encode()[pool.accounts()[index]]).amount


@thorough
@given(pools(), keys, keys, keys, mints, u64, u64, modes)
def test_a_swap_instruction_reads_back(
    pool: AmmPool,
    owner: Pubkey,
    source: Pubkey,
    target: Pubkey,
    mint: Mint,
    amount: int,
    threshold: int,
    mode: SwapMode,
) -> None:
    user = SwapAccounts(owner, source, target)
    instruction = pool.swap_instruction(user, mint, amount, threshold, mode)
    assert instruction.program_id == raydium_amm_v4.PROGRAM_ID
    assert [meta.pubkey for meta in instruction.accounts if meta.is_signer] == [owner]
    read = raydium_amm_v4.read_swap(tuple(meta.pubkey for meta in instruction.accounts), bytes(instruction.data))
    assert read == SwapCall(pool.address, user, amount, threshold, mode)


@st.composite
def damaged(draw: st.DrawFn) -> tuple[Pubkey, dict[Pubkey, Account]]:
    """A sound pool's accounts of which one is cut, filled at random, or changed in a few places."""
    pool = draw(pools())
    accounts = pool.encode()
    key = draw(st.sampled_from(list(accounts)))
    data = bytearray(accounts[key].data)
    kind = draw(st.sampled_from(["cut", "random", "fields"]))
    if kind == "cut":
        data = data[: draw(st.integers(0, len(data)))]
    elif kind == "random":
        data[16:] = draw(st.randoms(use_true_random=False)).randbytes(len(data) - 16)
    else:
        for _ in range(draw(st.integers(1, 6))):
            at = draw(st.integers(0, (len(data) - 1) // 8)) * 8
            new = draw(st.binary(min_size=1, max_size=16) | st.sampled_from([b"\xff" * 8, bytes(16)]))
            data[at : at + len(new)] = new[: len(data) - at]
    return pool.address, {**accounts, key: with_data(accounts[key], bytes(data))}


@settings(thorough, max_examples=300)
@given(damaged(), mints, st.integers(-1, 1 << 65) | amounts, modes, st.sampled_from(Rounding))
def test_damaged_bytes_are_refused_or_quoted_but_never_crash(
    damage: tuple[Pubkey, dict[Pubkey, Account]], mint: Mint, amount: int, mode: SwapMode, rounding: Rounding
) -> None:
    address, accounts = damage
    try:
        pool = raydium_amm_v4.decode(address, accounts, rounding=rounding)
    except UnsupportedPool:
        return
    assert pool.encode() == accounts
    assert 0 <= pool.fee_bps_hundredths <= 1_000_000
    if ask(pool, mint, amount, mode) is not None:
        after, _ = pool.apply(mint, amount, mode, CLOCK)
        assert raydium_amm_v4.decode(address, after.encode(), rounding=rounding) == after


@thorough
@given(st.binary(max_size=1_000), keys)
def test_random_bytes_are_no_pool(data: bytes, owner: Pubkey) -> None:
    for account in (Account(owner, 1, data), Account(raydium_amm_v4.PROGRAM_ID, 1, data)):
        assert not raydium_amm_v4.is_pool(account)
        with pytest.raises(UnsupportedPool):
            raydium_amm_v4.decode(owner, {owner: account})
