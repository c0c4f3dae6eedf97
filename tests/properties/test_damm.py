"""What must hold of every Meteora DAMM v2 pool and every swap on it, whatever the numbers."""

import struct

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from solders.pubkey import Pubkey

from bestex.errors import SwapRefused, UnsupportedPool
from bestex.types import Account, Mint, SwapMode
from bestex.venues import damm_layout, meteora_damm_v2, token
from bestex.venues.meteora_damm_v2 import DammPool, DammSwapCall
from bestex.venues.pool import Quote, SwapAccounts
from tests.support.damm import amounts, limiters, plain, pools, schedules
from tests.support.venues import CLOCK, MINT_A, MINT_B, with_data

thorough = settings(
    deadline=None, max_examples=100, derandomize=True, suppress_health_check=[HealthCheck.filter_too_much]
)

IN, OUT = SwapMode.EXACT_IN, SwapMode.EXACT_OUT
PLAIN = st.none()
keys = st.binary(min_size=32, max_size=32).map(Pubkey)
mints = st.sampled_from([MINT_A, MINT_B])
kinds = st.sampled_from([(IN, False), (IN, True), (OUT, False)])


def other(mint: Mint) -> Mint:
    return MINT_B if mint == MINT_A else MINT_A


def ask(pool: DammPool, mint: Mint, amount: int, mode: SwapMode, partial: bool = False) -> Quote | None:
    """The quote, or None where the program would refuse."""
    try:
        return pool.quote(mint, amount, mode, CLOCK, partial_fill=partial)
    except SwapRefused:
        return None


def asked(pool: DammPool, mint: Mint, amount: int, mode: SwapMode, partial: bool = False) -> Quote:
    quoted = ask(pool, mint, amount, mode, partial)
    assume(quoted is not None)
    assert quoted is not None
    return quoted


@thorough
@given(pools(), mints, amounts, kinds)
def test_no_swap_pays_more_than_the_reserve(
    pool: DammPool, mint: Mint, amount: int, kind: tuple[SwapMode, bool]
) -> None:
    mode, partial = kind
    quoted = asked(pool, mint, amount, mode, partial)
    reserve = pool.reserves[pool.mints.index(other(mint))]
    assert 0 <= quoted.out_amount <= reserve
    assert quoted.in_amount > 0
    assert 0 <= quoted.fee_amount <= max(quoted.in_amount, reserve)
    if partial:
        assert quoted.in_amount <= amount
    else:
        assert amount == (quoted.in_amount if mode is IN else quoted.out_amount)


@thorough
@given(pools(), mints, amounts, amounts, st.booleans())
def test_more_in_never_gives_less_out(pool: DammPool, mint: Mint, one: int, two: int, partial: bool) -> None:
    less, more = (ask(pool, mint, amount, IN, partial) for amount in sorted((one, two)))
    if less is not None and more is not None:
        assert less.out_amount <= more.out_amount


@thorough
@given(pools(), mints, amounts, amounts)
def test_more_out_never_costs_less(pool: DammPool, mint: Mint, one: int, two: int) -> None:
    less, more = (ask(pool, mint, amount, OUT) for amount in sorted((one, two)))
    if less is not None and more is not None:
        assert less.in_amount <= more.in_amount


@thorough
@given(pools(), mints, amounts)
def test_the_price_of_an_exact_output_buys_it(pool: DammPool, mint: Mint, wanted: int) -> None:
    """Or it reaches past the end of the range by its rounding, and buys all that is left where it may stop there."""
    price = asked(pool, mint, wanted, OUT)
    bought = ask(pool, mint, price.in_amount, IN) or ask(pool, mint, price.in_amount, IN, True)
    assert bought is not None
    assert bought.out_amount >= wanted


@thorough
@given(pools(PLAIN, plain | schedules), mints, amounts)
def test_a_unit_less_does_not_buy_it(pool: DammPool, mint: Mint, wanted: int) -> None:
    """A rate limiter's fee of an amount that excludes it is only about that of the amount that includes it."""
    price = asked(pool, mint, wanted, OUT)
    bought = ask(pool, mint, price.in_amount - 1, IN)
    assert bought is None or bought.out_amount < wanted


@thorough
@given(pools(), mints, amounts)
def test_a_partial_fill_is_never_worse_than_a_whole_one(pool: DammPool, mint: Mint, amount: int) -> None:
    """At the very end of the range roundings differ: there it goes all the way, or refuses where nothing is left."""
    whole = asked(pool, mint, amount, IN)
    part = ask(pool, mint, amount, IN, True)
    if part is None:
        assert whole.out_amount == 0
    else:
        assert part.in_amount <= whole.in_amount
        assert part.out_amount >= whole.out_amount


@thorough
@given(pools(), mints, amounts, kinds)
def test_a_round_trip_never_gains(pool: DammPool, mint: Mint, amount: int, kind: tuple[SwapMode, bool]) -> None:
    mode, partial = kind
    asked(pool, mint, amount, mode, partial)
    after, there = pool.apply(mint, amount, mode, CLOCK, partial_fill=partial)
    assume(there.out_amount)
    back = ask(after, other(mint), there.out_amount, IN)
    assert back is None or back.out_amount <= there.in_amount


@thorough
@given(pools(), mints, amounts, kinds)
def test_no_swap_beats_the_spot_price(pool: DammPool, mint: Mint, amount: int, kind: tuple[SwapMode, bool]) -> None:
    quoted = asked(pool, mint, amount, *kind)
    assert quoted.out_amount << 64 <= quoted.in_amount * (pool.spot_price_x64(mint) + 1)


@thorough
@given(pools(), st.lists(st.tuples(mints, amounts, kinds), min_size=1, max_size=5))
def test_a_pool_survives_its_bytes(pool: DammPool, swaps: list[tuple[Mint, int, tuple[SwapMode, bool]]]) -> None:
    assert meteora_damm_v2.decode(pool.address, pool.encode()) == pool
    for mint, amount, (mode, partial) in swaps:
        if ask(pool, mint, amount, mode, partial) is not None:
            before, (pool, _) = pool, pool.apply(mint, amount, mode, CLOCK, partial_fill=partial)
            assert pool != before
    again = meteora_damm_v2.decode(pool.address, pool.encode())
    assert again == pool
    assert hash(again) == hash(pool)
    assert again.reserves == pool.reserves
    for mint, amount, (mode, partial) in swaps:
        assert ask(again, mint, amount, mode, partial) == ask(pool, mint, amount, mode, partial)


def moved(before: DammPool, after: DammPool, mint: Mint) -> tuple[int, int]:
    """By how much the vault's balance and its withheld fees grew."""
    vault = damm_layout.vault_address(before.address, mint)
    states = []
    for pool in (before, after):
        account = pool.encode()[vault]
        balance = token.decode_token_account(account)
        offset = balance.withheld_at
        states.append((balance.amount, struct.unpack_from("<Q", account.data, offset)[0] if offset else 0))
    return states[1][0] - states[0][0], states[1][1] - states[0][1]


@thorough
@given(pools(), mints, amounts, kinds)
def test_what_the_user_pays_and_gets_is_what_the_vaults_gain_and_lose(
    pool: DammPool, mint: Mint, amount: int, kind: tuple[SwapMode, bool]
) -> None:
    mode, partial = kind
    quoted = asked(pool, mint, amount, mode, partial)
    after, applied = pool.apply(mint, amount, mode, CLOCK, partial_fill=partial)
    assert applied == quoted
    gained, withheld = moved(pool, after, mint)
    lost, kept = moved(pool, after, other(mint))
    assert gained + withheld == applied.in_amount
    assert kept == 0
    fees = [token.decode_mint(pool.encode()[key]).transfer_fee for key in (mint, other(mint))]
    assert withheld == (fees[0].newer.on(applied.in_amount) if fees[0] else 0)
    assert applied.out_amount == -lost - (fees[1].newer.on(-lost) if fees[1] else 0)


@thorough
@given(pools(), mints, amounts, amounts, kinds, keys, keys, keys)
def test_instruction_reads_back(
    pool: DammPool,
    mint: Mint,
    amount: int,
    threshold: int,
    kind: tuple[SwapMode, bool],
    owner: Pubkey,
    source: Pubkey,
    destination: Pubkey,
) -> None:
    mode, partial = kind
    user = SwapAccounts(owner, source, destination)
    written = pool.swap_instruction(user, mint, amount, threshold, mode, partial_fill=partial)
    read = meteora_damm_v2.read_swap(tuple(meta.pubkey for meta in written.accounts), bytes(written.data))
    assert read == DammSwapCall(pool.address, user, amount, threshold, mode, partial)
    assert [meta.pubkey for meta in written.accounts if meta.is_signer] == [owner]


@thorough
@given(pools(base_fees=limiters), amounts, amounts)
def test_a_rate_limiter_charges_more_for_more(pool: DammPool, one: int, two: int) -> None:
    less, more = (ask(pool, MINT_B, amount, IN) for amount in sorted((one, two)))
    if less is not None and more is not None:
        assert less.fee_amount <= more.fee_amount


@st.composite
def damaged(draw: st.DrawFn) -> tuple[Pubkey, dict[Pubkey, Account]]:
    """A pool's accounts with bytes of one of them cut off or overwritten."""
    pool = draw(pools())
    accounts = pool.encode()
    key = draw(st.sampled_from([pool.address, pool.address, *accounts]))
    data = bytearray(accounts[key].data)
    if draw(st.booleans()) and draw(st.booleans()):
        data = data[: draw(st.integers(0, len(data)))]
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(8, 700) if key == pool.address else st.integers(0, len(data)))
        new = draw(st.sampled_from([b"\x00", b"\x01", b"\x02", b"\xff"])) * draw(st.sampled_from([1, 2, 4, 8, 16]))
        if start + len(new) <= len(data):
            data[start : start + len(new)] = new
    return pool.address, {**accounts, key: with_data(accounts[key], bytes(data))}


@settings(thorough, max_examples=500)
@given(damaged(), mints, amounts, kinds)
def test_damaged_bytes_are_refused_or_quoted_but_never_crash(
    damage: tuple[Pubkey, dict[Pubkey, Account]], mint: Mint, amount: int, kind: tuple[SwapMode, bool]
) -> None:
    address, accounts = damage
    mode, partial = kind
    try:
        pool = meteora_damm_v2.decode(address, accounts)
    except UnsupportedPool:
        return
    assert pool.encode() == {key: accounts[key] for key in pool.encode()}
    assert pool.fee_bps_hundredths >= 0
    assert min(pool.reserves) >= 0
    if mint in pool.mints and ask(pool, mint, amount, mode, partial) is not None:
        try:
            after, _ = pool.apply(mint, amount, mode, CLOCK, partial_fill=partial)
        except SwapRefused as refused:
            assert refused.kind == "overflow"  # noqa: PT017 - the only refusal that a quote does not foresee
        else:
            after.encode()
            assert pool.spot_price_x64(mint) >= 0


@thorough
@given(st.binary(max_size=1_200), keys)
def test_random_bytes_are_no_pool(data: bytes, owner: Pubkey) -> None:
    for account in (Account(owner, 1, data), Account(meteora_damm_v2.PROGRAM_ID, 1, data)):
        assert not meteora_damm_v2.is_pool(account)
        with pytest.raises(UnsupportedPool):
            meteora_damm_v2.decode(owner, {owner: account})


@thorough
@given(st.binary(min_size=1_104, max_size=1_104), keys)
def test_random_pools_are_refused_or_decoded(data: bytes, owner: Pubkey) -> None:
    account = Account(meteora_damm_v2.PROGRAM_ID, 1, damm_layout.POOL_TAG + data)
    with pytest.raises(UnsupportedPool):
        meteora_damm_v2.decode(owner, {owner: account})
