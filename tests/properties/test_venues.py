"""What must hold of every pool and every swap, whatever the numbers."""

import struct
from collections.abc import Mapping

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from solders.pubkey import Pubkey

from bestex.errors import SwapRefused, UnsupportedPool
from bestex.types import BPS, U64_MAX, Account, ChainClock, Mint, SwapMode
from bestex.venues import dlmm_layout, meteora_dlmm, raydium_cpmm, token
from bestex.venues.meteora_dlmm import DlmmPool, VariableFee
from bestex.venues.pool import Pool, Quote, SwapAccounts, SwapCall
from bestex.venues.raydium_cpmm import CpmmPool, Rates
from bestex.venues.token import TransferFee, TransferFeeConfig
from tests.support.venues import CLOCK, MINT_A, MINT_B, cpmm_accounts, dlmm_accounts, first, synthetic_mints, with_data

settings.register_profile("venues", deadline=None, max_examples=100, derandomize=True)
thorough = settings(settings.get_profile("venues"))

IN, OUT = SwapMode.EXACT_IN, SwapMode.EXACT_OUT
GREATEST = 10**15
amounts = st.integers(1, 10**4) | st.integers(1, GREATEST)
keys = st.binary(min_size=32, max_size=32).map(Pubkey)
transfer_fees = st.none() | st.builds(TransferFeeConfig.constant, st.integers(0, 5_000), amounts)


@st.composite
def cpmm_pools(draw: st.DrawFn, fees: st.SearchStrategy[TransferFeeConfig | None] = transfer_fees) -> CpmmPool:
    rates = Rates(
        trade=draw(st.integers(0, 100_000)),
        protocol=draw(st.integers(0, 300_000)),
        fund=draw(st.integers(0, 300_000)),
        creator=draw(st.integers(0, 50_000)),
    )
    accounts = cpmm_accounts(
        (draw(amounts), draw(amounts)),
        rates=rates,
        creator_fee_on=draw(st.sampled_from([None, 0, 1, 2])),
        mints=synthetic_mints(draw(fees), draw(fees)),
    )
    return raydium_cpmm.decode(first(accounts), accounts)


def with_orders(
    accounts: dict[Pubkey, Account], active_id: int, orders: Mapping[int, tuple[int, int]]
) -> dict[Pubkey, Account]:
    """Add limit orders (processing, open) to bins: bids at the price and below it, asks above."""
    pair = first(accounts)
    for bin_id, (processing, opened) in orders.items():
        key = dlmm_layout.array_address(pair, bin_id // dlmm_layout.BINS_PER_ARRAY)
        if key in accounts:
            data = bytearray(accounts[key].data)
            at = dlmm_layout.bin_offset(bin_id)
            struct.pack_into("<QQQ", data, at + 112, opened, processing, processing)
            data[at + 140] = bin_id > active_id
            accounts[key] = with_data(accounts[key], bytes(data))
    for key, account in accounts.items():
        if account.owner == token.TOKEN_PROGRAM and len(account.data) == token.ACCOUNT_SIZE:
            accounts[key] = token.credit(account, sum(map(sum, orders.values())))
    return accounts


@st.composite
def dlmm_pools(
    draw: st.DrawFn,
    fees: st.SearchStrategy[TransferFeeConfig | None] = transfer_fees,
    orders: st.SearchStrategy[tuple[int, int]] = st.tuples(st.just(0) | amounts, amounts),  # noqa: B008
) -> DlmmPool:
    active_id = draw(st.integers(-2_000, 2_000))
    below = draw(st.dictionaries(st.integers(-90, 0), st.tuples(st.just(0), amounts), max_size=8))
    above = draw(st.dictionaries(st.integers(0, 90), st.tuples(amounts, st.just(0)), max_size=8))
    bins = {active_id + offset: pair for offset, pair in {**below, **above}.items()}
    bins[active_id] = (draw(amounts), draw(amounts))
    accounts = dlmm_accounts(
        bins,
        active_id=active_id,
        bin_step=draw(st.sampled_from([1, 10, 25, 100])),
        base_factor=draw(st.integers(0, 20_000)),
        variable_fee=VariableFee(control=draw(st.sampled_from([0, 10_000, 10**7]))),
        mints=synthetic_mints(draw(fees), draw(fees)),
    )
    placed = draw(st.dictionaries(st.integers(-20, 20), orders, max_size=4))
    accounts = with_orders(accounts, active_id, {active_id + offset: order for offset, order in placed.items()})
    return meteora_dlmm.decode(first(accounts), accounts)


PLAIN = st.none()
pools = cpmm_pools() | dlmm_pools()
mints = st.sampled_from([MINT_A, MINT_B])
modes = st.sampled_from(SwapMode)


def other(mint: Mint) -> Mint:
    return MINT_B if mint == MINT_A else MINT_A


def ask(pool: Pool, mint: Mint, amount: int, mode: SwapMode) -> Quote | None:
    """The quote, or None where the program would refuse."""
    try:
        return pool.quote(mint, amount, mode, CLOCK)
    except SwapRefused:
        return None


@thorough
@given(pools, mints, amounts, modes)
def test_no_swap_pays_more_than_the_reserve(pool: Pool, mint: Mint, amount: int, mode: SwapMode) -> None:
    quoted = ask(pool, mint, amount, mode)
    assume(quoted is not None)
    assert quoted is not None
    reserve = pool.reserves[pool.mints.index(other(mint))]
    assert 0 < quoted.out_amount <= reserve
    assert quoted.in_amount > 0
    assert 0 <= quoted.fee_amount <= max(quoted.in_amount, reserve)
    assert amount == (quoted.in_amount if mode is IN else quoted.out_amount)


@thorough
@given(pools, mints, amounts, amounts)
def test_more_in_never_gives_less_out(pool: Pool, mint: Mint, one: int, two: int) -> None:
    less, more = (ask(pool, mint, amount, IN) for amount in sorted((one, two)))
    if less is not None and more is not None:
        assert less.out_amount <= more.out_amount
        assert less.steps <= more.steps


@thorough
@given(pools, mints, amounts, amounts)
def test_more_out_never_costs_less(pool: Pool, mint: Mint, one: int, two: int) -> None:
    less, more = (ask(pool, mint, amount, OUT) for amount in sorted((one, two)))
    if less is not None and more is not None:
        assert less.in_amount <= more.in_amount


@thorough
@given(pools, mints, amounts)
def test_the_price_of_an_exact_output_buys_it(pool: Pool, mint: Mint, wanted: int) -> None:
    price = ask(pool, mint, wanted, OUT)
    assume(price is not None)
    assert price is not None
    bought = ask(pool, mint, price.in_amount, IN)
    assert bought is not None
    assert bought.out_amount >= wanted


@thorough
@given(cpmm_pools(PLAIN), mints, amounts)
def test_a_unit_less_does_not_buy_it(pool: CpmmPool, mint: Mint, wanted: int) -> None:
    price = ask(pool, mint, wanted, OUT)
    assume(price is not None)
    assert price is not None
    bought = ask(pool, mint, price.in_amount - 1, IN)
    assert bought is None or bought.out_amount < wanted


@thorough
@given(pools, mints, amounts, modes)
def test_a_round_trip_never_gains(pool: Pool, mint: Mint, amount: int, mode: SwapMode) -> None:
    assume(ask(pool, mint, amount, mode) is not None)
    after, there = pool.apply(mint, amount, mode, CLOCK)
    back = ask(after, other(mint), there.out_amount, IN)
    assert back is None or back.out_amount <= there.in_amount


@thorough
@given(pools, mints, amounts)
def test_no_swap_beats_the_spot_price(pool: Pool, mint: Mint, amount: int) -> None:
    quoted = ask(pool, mint, amount, IN)
    assume(quoted is not None)
    assert quoted is not None
    assert quoted.out_amount << 64 <= quoted.in_amount * (pool.spot_price_x64(mint) + 1)


@thorough
@given(pools, st.lists(st.tuples(mints, amounts, modes), min_size=1, max_size=5))
def test_a_pool_survives_its_bytes(pool: Pool, swaps: list[tuple[Mint, int, SwapMode]]) -> None:
    program = raydium_cpmm if isinstance(pool, CpmmPool) else meteora_dlmm
    assert program.decode(pool.address, pool.encode()) == pool
    for mint, amount, mode in swaps:
        if ask(pool, mint, amount, mode) is not None:
            before, (pool, _) = pool, pool.apply(mint, amount, mode, CLOCK)
            assert pool != before
    again = program.decode(pool.address, pool.encode())
    assert again == pool
    assert hash(again) == hash(pool)
    for mint, amount, mode in swaps:
        assert ask(again, mint, amount, mode) == ask(pool, mint, amount, mode)


@thorough
@given(pools, mints, amounts, modes)
def test_what_the_user_pays_and_gets_is_what_the_vaults_gain_and_lose(
    pool: Pool, mint: Mint, amount: int, mode: SwapMode
) -> None:
    quoted = ask(pool, mint, amount, mode)
    assume(quoted is not None)
    after, applied = pool.apply(mint, amount, mode, CLOCK)
    assert applied == quoted
    gained, withheld = moved(pool, after, mint)
    lost, kept = moved(pool, after, other(mint))
    assert gained + withheld == applied.in_amount
    assert kept == 0
    fee = token.decode_mint(pool.encode()[other(mint)]).transfer_fee
    arrives = -lost - (fee.at(CLOCK.epoch).on(-lost) if fee else 0)
    assert arrives == applied.out_amount or (mode is OUT and arrives >= applied.out_amount)


def moved(before: Pool, after: Pool, mint: Mint) -> tuple[int, int]:
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
@given(pools, keys, keys, keys, mints, st.integers(0, U64_MAX), st.integers(0, U64_MAX), modes)
def test_a_swap_instruction_reads_back(
    pool: Pool, owner: Pubkey, source: Pubkey, target: Pubkey, mint: Mint, amount: int, threshold: int, mode: SwapMode
) -> None:
    user = SwapAccounts(owner, source, target)
    instruction = pool.swap_instruction(user, mint, amount, threshold, mode)
    program = raydium_cpmm if isinstance(pool, CpmmPool) else meteora_dlmm
    assert instruction.program_id == program.PROGRAM_ID
    assert [meta.pubkey for meta in instruction.accounts if meta.is_signer] == [owner]
    read = program.read_swap(tuple(meta.pubkey for meta in instruction.accounts), bytes(instruction.data))
    assert read == SwapCall(pool.address, user, amount, threshold, mode)


@st.composite
def damaged(draw: st.DrawFn) -> tuple[Pubkey, dict[Pubkey, Account]]:
    """A sound pool's accounts of which one is cut, filled at random, or changed in a few places."""
    pool = draw(pools)
    accounts = pool.encode()
    key = draw(st.sampled_from(list(accounts)))
    data = bytearray(accounts[key].data)
    kind = draw(st.sampled_from(["cut", "random", "fields"]))
    if kind == "cut":
        data = data[: draw(st.integers(0, len(data)))]
    elif kind == "random":
        data[8:] = draw(st.randoms(use_true_random=False)).randbytes(len(data) - 8)
    else:
        for _ in range(draw(st.integers(1, 6))):
            at = draw(st.integers(0, len(data) - 1))
            new = draw(st.binary(min_size=1, max_size=16) | st.sampled_from([b"\xff" * 8, bytes(16)]))
            data[at : at + len(new)] = new[: len(data) - at]
    return pool.address, {**accounts, key: with_data(accounts[key], bytes(data))}


@settings(thorough, max_examples=250)
@given(damaged(), mints, amounts, modes)
def test_damaged_bytes_are_refused_or_quoted_but_never_crash(
    damage: tuple[Pubkey, dict[Pubkey, Account]], mint: Mint, amount: int, mode: SwapMode
) -> None:
    address, accounts = damage
    for program in (raydium_cpmm, meteora_dlmm):
        try:
            pool: Pool = program.decode(address, accounts)
        except UnsupportedPool:
            continue
        assert pool.encode() == {key: accounts[key] for key in pool.encode()}
        assert pool.fee_bps_hundredths >= 0
        if mint in pool.mints and ask(pool, mint, amount, mode) is not None:
            try:
                pool.apply(mint, amount, mode, CLOCK)[0].encode()
            except SwapRefused as refused:
                assert refused.kind == "overflow"  # noqa: PT017 - the only refusal that a quote does not foresee


@thorough
@given(st.binary(max_size=1_000), keys)
def test_random_bytes_are_no_pool(data: bytes, owner: Pubkey) -> None:
    for program in (raydium_cpmm, meteora_dlmm):
        for account in (Account(owner, 1, data), Account(program.PROGRAM_ID, 1, data)):
            assert not program.is_pool(account)
            with pytest.raises(UnsupportedPool):
                program.decode(owner, {owner: account})


@thorough
@given(st.integers(0, BPS - 1), st.integers(0, U64_MAX), st.integers(0, U64_MAX))
def test_a_transfer_delivers_what_it_is_to_deliver(fee_bps: int, maximum: int, wanted: int) -> None:
    fee = TransferFee(0, maximum, fee_bps)
    added = fee.to_deliver(wanted)
    assert fee.on(wanted + added) == added


@thorough
@given(dlmm_pools(PLAIN), mints, amounts, st.integers(0, 700), st.integers(0, 700))
def test_fees_fall_as_volatility_is_forgotten(pool: DlmmPool, mint: Mint, amount: int, one: int, two: int) -> None:
    assume(ask(pool, mint, amount, IN) is not None)
    moved_pool, _ = pool.apply(mint, amount, IN, CLOCK)
    fees = []
    for elapsed in sorted((30 + one, 30 + two)):
        later = ChainClock(CLOCK.slot, CLOCK.unix_timestamp + elapsed, CLOCK.epoch)
        try:
            fees.append(moved_pool.quote(mint, 1_000_000, IN, later).out_amount)
        except SwapRefused:
            return
    assert fees[0] <= fees[1]
