"""What must hold of every pool of every venue and every swap on it, whatever the numbers."""

import struct
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from solders.pubkey import Pubkey

from bestex.errors import SwapRefused, UnsupportedPool
from bestex.routing.quote import min_out_amount
from bestex.types import BPS, Account, ChainClock, Mint, SwapMode
from bestex.venues import damm_layout, token
from bestex.venues.clmm_ticks import sqrt_at, tick_at
from bestex.venues.meteora_damm_v2 import DammPool
from bestex.venues.pool import Pool, SwapAccounts, Venue
from bestex.venues.raydium_amm_v4 import Rounding
from bestex.venues.raydium_clmm import ClmmPool
from bestex.venues.token import TransferFee
from tests.support import amm, clmm, cpmm, damm, dlmm
from tests.support.venues import (
    CLOCK,
    IN,
    OUT,
    agreed,
    amounts,
    ask,
    decoded,
    mints,
    other,
    program_of,
    thorough,
    u64,
    with_data,
)

PLAIN = st.none()
"""No transfer fees."""
Asked: TypeAlias = tuple[SwapMode, dict[str, Any]]
"""Mode of a swap, and the venue's own options."""
Strategies: TypeAlias = Mapping[Venue, st.SearchStrategy[Any]]

POOLS: Strategies = {
    Venue.RAYDIUM_AMM_V4: amm.pools(),
    Venue.RAYDIUM_CPMM: cpmm.pools(),
    Venue.RAYDIUM_CLMM: clmm.pools(),
    Venue.METEORA_DLMM: dlmm.pools(),
    Venue.METEORA_DAMM_V2: damm.pools(),
}
EXACTLY_PRICED: Strategies = {
    Venue.RAYDIUM_AMM_V4: amm.pools(st.just(Rounding.STRICT)),
    Venue.RAYDIUM_CPMM: cpmm.pools(PLAIN),
    Venue.RAYDIUM_CLMM: clmm.pools(PLAIN),
    Venue.METEORA_DAMM_V2: damm.pools(PLAIN, damm.plain | damm.schedules),
}
CONCAVE: Strategies = {
    Venue.RAYDIUM_AMM_V4: amm.pools(st.just(Rounding.STRICT)),
    Venue.RAYDIUM_CPMM: cpmm.pools(),
    Venue.RAYDIUM_CLMM: clmm.pools(),
    Venue.METEORA_DLMM: dlmm.pools(),
    Venue.METEORA_DAMM_V2: damm.pools(
        base_fees=damm.plain | damm.schedules_over_time,
        dynamics=st.none(),
        collected=st.sampled_from([damm_layout.FEE_ON_OUTPUT, damm_layout.FEE_IN_B]),
    ),
}
_BOTH_MODES: st.SearchStrategy[Asked] = st.sampled_from(SwapMode).map(lambda mode: (mode, {}))
_PARTIAL: st.SearchStrategy[Asked] = st.sampled_from(
    [(IN, {"partial_fill": False}), (IN, {"partial_fill": True}), (OUT, {"partial_fill": False})]
)
ASKED: Strategies = {venue: _PARTIAL if venue is Venue.METEORA_DAMM_V2 else _BOTH_MODES for venue in Venue}
SWAPS: Strategies = {
    venue: st.lists(st.tuples(mints, amounts, asked), min_size=1, max_size=5) for venue, asked in ASKED.items()
}
keys = st.binary(min_size=32, max_size=32).map(Pubkey)


def of_every_venue(
    *arguments: st.SearchStrategy[Any] | Strategies, pools: Strategies = POOLS, examples: int = 100
) -> Callable[[Callable[..., None]], Callable[[Venue], None]]:
    """A property, tried on each venue's pools; strategies may differ by venue."""

    def decorate(check: Callable[..., None]) -> Callable[[Venue], None]:
        @pytest.mark.parametrize("venue", list(pools))
        def tried(venue: Venue) -> None:
            drawn = [each[venue] if isinstance(each, Mapping) else each for each in arguments]
            settings(thorough, max_examples=examples)(given(pools[venue], *drawn)(check))()

        tried.__name__, tried.__doc__ = check.__name__, check.__doc__
        return tried

    return decorate


def arriving(pool: Pool, mint: Mint, sent: int) -> int:
    """What is left of a transfer after the mint's fee."""
    fee = token.decode_mint(pool.encode()[mint]).transfer_fee
    return sent - (fee.at(CLOCK.epoch).on(sent) if fee else 0)


@of_every_venue(mints, amounts, ASKED)
def test_no_swap_pays_more_than_the_reserve(pool: Pool, mint: Mint, amount: int, asked: Asked) -> None:
    """CLMM and DAMM v2: fees on the output may take all of it."""
    mode, options = asked
    quoted = agreed(pool, mint, amount, mode, **options)
    reserve = pool.reserves[pool.mints.index(other(mint))]
    assert 0 <= quoted.out_amount <= reserve
    if pool.venue not in (Venue.RAYDIUM_CLMM, Venue.METEORA_DAMM_V2):
        assert quoted.out_amount > 0
    assert quoted.in_amount > 0
    assert 0 <= quoted.fee_amount <= (quoted.in_amount if quoted.fee_on_input else reserve)
    if options.get("partial_fill"):
        assert quoted.in_amount <= amount
    else:
        assert amount == (quoted.in_amount if mode is IN else quoted.out_amount)
    assert quoted.steps >= 1
    assert len(pool.arrays_ahead(mint, quoted.arrays)) == quoted.arrays
    assert (quoted.arrays > 0) is (pool.venue in (Venue.RAYDIUM_CLMM, Venue.METEORA_DLMM))


@of_every_venue(mints, amounts, amounts, ASKED)
def test_more_never_gives_less_nor_costs_less(pool: Pool, mint: Mint, one: int, two: int, asked: Asked) -> None:
    mode, options = asked
    less, more = (ask(pool, mint, amount, mode, **options) for amount in sorted((one, two)))
    if less is not None and more is not None:
        assert less.out_amount <= more.out_amount
        assert less.in_amount <= more.in_amount
        assert less.steps <= more.steps
        assert less.arrays <= more.arrays


@of_every_venue(mints, amounts)
def test_the_price_of_an_exact_output_buys_it(pool: Pool, mint: Mint, wanted: int) -> None:
    """DAMM v2: or it reaches past the end of the range by its rounding, and buys all where it may stop there."""
    price = agreed(pool, mint, wanted, OUT)
    bought = ask(pool, mint, price.in_amount, IN)
    if bought is None and isinstance(pool, DammPool):
        bought = ask(pool, mint, price.in_amount, IN, partial_fill=True)
    assert bought is not None
    assert bought.out_amount >= wanted


@of_every_venue(mints, amounts, pools=EXACTLY_PRICED)
def test_a_unit_less_does_not_buy_it(pool: Pool, mint: Mint, wanted: int) -> None:
    """Without transfer fees, and with these exceptions.

    AMM v4: legacy builds charge an exact output the fee that they waive for the same exact input. CLMM: an output that
    ends at a tick pays for the whole way there. DAMM v2: a rate limiter's fee of an amount that excludes it is only
    about that of the amount that includes it. DLMM: each bin on the way rounds by itself.
    """
    price = agreed(pool, mint, wanted, OUT)
    if isinstance(pool, ClmmPool):
        end = pool.apply(mint, wanted, OUT, CLOCK)[0].sqrt_price_x64
        assume(sqrt_at(tick_at(end)) != end)
    bought = ask(pool, mint, price.in_amount - 1, IN)
    assert bought is None or bought.out_amount < wanted


@of_every_venue(mints, amounts, ASKED)
def test_a_round_trip_never_gains(pool: Any, mint: Mint, amount: int, asked: Asked) -> None:
    mode, options = asked
    agreed(pool, mint, amount, mode, **options)
    after, there = pool.apply(mint, amount, mode, CLOCK, **options)
    assume(there.out_amount)
    back = ask(after, other(mint), there.out_amount, IN)
    assert back is None or back.out_amount <= there.in_amount


@of_every_venue(mints, amounts, amounts, pools=CONCAVE)
def test_two_swaps_never_beat_one_of_both(pool: Pool, mint: Mint, one: int, two: int) -> None:
    """Not by a single unit: out(a) + out(b after a) <= out(a + b).

    Fees and prices round against the user in each part, and a sum of roundings is no less than the rounding of the sum.
    The second swap begins at a price that is no better than where one swap would be after as much. DLMM: draining a bin
    may leave one unit of the input unused (two inputs have one net where the fee steps), but that unit alone would
    have been its own fee.

    It does not hold where the fee itself moves, which these pools exclude. AMM v4: legacy builds waive the fee of dust
    (see test_amm). DLMM: an old volatility is reduced again by each swap that stays in its bin. DAMM v2: a rate
    limiter's fee grows with the swap (its program then allows one swap per transaction), a schedule over price or a
    dynamic fee takes the price that the first swap left, and a compounding pool pays its fee back into what the second
    one buys.
    """
    whole = agreed(pool, mint, one + two, IN)
    agreed(pool, mint, one, IN)
    after, half = pool.apply(mint, one, IN, CLOCK)
    rest = ask(after, mint, two, IN)
    assert rest is None or half.out_amount + rest.out_amount <= whole.out_amount


@of_every_venue(mints, amounts, ASKED)
def test_no_swap_beats_the_spot_price(pool: Pool, mint: Mint, amount: int, asked: Asked) -> None:
    mode, options = asked
    quoted = agreed(pool, mint, amount, mode, **options)
    assert quoted.out_amount << 64 <= quoted.in_amount * (pool.spot_price_x64(mint) + 1)


@of_every_venue(SWAPS)
def test_a_pool_survives_its_bytes(pool: Any, swaps: list[tuple[Mint, int, Asked]]) -> None:
    again = decoded(pool, pool.encode())
    assert again == pool
    for mint, amount, (mode, options) in swaps:
        assert ask(again, mint, amount, mode, **options) == ask(pool, mint, amount, mode, **options)
        if ask(pool, mint, amount, mode, **options) is not None:
            before, (pool, _) = pool, pool.apply(mint, amount, mode, CLOCK, **options)
            assert pool != before
            again = decoded(pool, pool.encode())
    assert again == pool
    assert hash(again) == hash(pool)
    assert again.reserves == pool.reserves
    for mint, amount, (mode, options) in swaps:
        assert ask(again, mint, amount, mode, **options) == ask(pool, mint, amount, mode, **options)


@of_every_venue(mints, amounts, ASKED)
def test_what_the_user_pays_and_gets_is_what_the_vaults_gain_and_lose(
    pool: Any, mint: Mint, amount: int, asked: Asked
) -> None:
    mode, options = asked
    quoted = agreed(pool, mint, amount, mode, **options)
    after, applied = pool.apply(mint, amount, mode, CLOCK, **options)
    assert applied == quoted
    gained, withheld = moved(pool, after, mint)
    lost, kept = moved(pool, after, other(mint))
    assert gained + withheld == applied.in_amount
    assert gained == arriving(pool, mint, applied.in_amount)
    assert kept == 0
    assert arriving(pool, other(mint), -lost) == applied.out_amount


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


@of_every_venue(st.builds(SwapAccounts, keys, keys, keys), mints, u64, u64, ASKED)
def test_a_swap_instruction_reads_back(
    pool: Any, user: SwapAccounts, mint: Mint, amount: int, threshold: int, asked: Asked
) -> None:
    mode, options = asked
    instruction = pool.swap_instruction(user, mint, amount, threshold, mode, **options)
    program = program_of(pool.venue)
    assert instruction.program_id == program.PROGRAM_ID
    assert [meta.pubkey for meta in instruction.accounts if meta.is_signer] == [user.owner]
    read = program.read_swap(tuple(meta.pubkey for meta in instruction.accounts), bytes(instruction.data))
    fields = {"pool": pool.address, "user": user, "amount": amount, "threshold": threshold, "swap_mode": mode}
    assert msgspec.structs.asdict(read) | fields | options == msgspec.structs.asdict(read)


@of_every_venue(SWAPS)
def test_quotes_do_not_depend_on_earlier_ones(pool: Pool, swaps: list[tuple[Mint, int, Asked]]) -> None:
    accounts = pool.encode()
    for mint, amount, (mode, options) in swaps:
        fresh = decoded(pool, accounts)
        assert ask(fresh, mint, amount, mode, **options) == ask(pool, mint, amount, mode, **options)


@st.composite
def damages(draw: st.DrawFn) -> Callable[[Pool], dict[Pubkey, Account]]:
    """Something that cuts one account of a pool, fills it at random, or changes it in a few places."""
    which = draw(st.integers(-4, 11))
    kind = draw(st.sampled_from(["cut", "random", "words", "words", "bytes", "bytes"]))
    chance = draw(st.randoms(use_true_random=False))
    places = st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=6)
    values = st.binary(min_size=1, max_size=16) | st.sampled_from(
        [b"\x01", b"\x02", b"\xff", bytes(4), bytes(16), b"\xff" * 8, b"\xff" * 16, b"\xff" * 1024]
    )
    changes = [(place, draw(values)) for place in draw(places)]

    def damaged(pool: Pool) -> dict[Pubkey, Account]:
        accounts = pool.encode()
        key = pool.address if which < 0 else list(accounts)[which % len(accounts)]
        data = bytearray(accounts[key].data)
        if kind == "cut":
            data = data[: int(changes[0][0] * len(data))]
        elif kind == "random":
            kept = chance.choice([8, 16])
            data[kept:] = chance.randbytes(len(data) - kept)
        else:
            for place, new in changes:
                at = int(place * len(data)) & (-8 if kind == "words" else -1)
                data[at : at + len(new)] = new[: len(data) - at]
        return {**accounts, key: with_data(accounts[key], bytes(data))}

    return damaged


@of_every_venue(damages(), mints, st.integers(-1, 1 << 65) | amounts, ASKED, examples=250)
def test_damaged_bytes_are_refused_or_quoted_but_never_crash(
    sound: Pool, damage: Callable[[Pool], dict[Pubkey, Account]], mint: Mint, amount: int, asked: Asked
) -> None:
    accounts = damage(sound)
    mode, options = asked
    try:
        assert program_of(sound.venue).accounts_of(sound.address, accounts)[0] == sound.address
        pool: Any = decoded(sound, accounts)
    except UnsupportedPool:
        return
    assert pool.encode() == {key: accounts[key] for key in pool.encode()}
    assert 0 <= pool.fee_bps_hundredths <= 1_000_000
    if mint not in pool.mints or ask(pool, mint, amount, mode, **options) is None:
        return
    assert pool.spot_price_x64(mint) >= 0
    try:
        after, _ = pool.apply(mint, amount, mode, CLOCK, **options)
    except SwapRefused as refused:
        assert refused.kind == "overflow"  # noqa: PT017 - the only refusal that a quote does not foresee
    else:
        assert decoded(after, after.encode()) == after


@pytest.mark.parametrize("venue", list(Venue))
def test_random_bytes_are_no_pool(venue: Venue) -> None:
    program = program_of(venue)

    @thorough
    @given(st.binary(max_size=2_000), keys)
    def tried(data: bytes, owner: Pubkey) -> None:
        for account in (Account(owner, 1, data), Account(program.PROGRAM_ID, 1, data)):
            assert not program.is_pool(account)
            for read in (program.decode, program.accounts_of):
                with pytest.raises(UnsupportedPool):
                    read(owner, {owner: account})

    tried()


@thorough
@given(u64, st.integers(0, BPS))
def test_the_least_acceptable_output_is_never_above_the_quote(out_amount: int, slippage_bps: int) -> None:
    least = min_out_amount(out_amount, slippage_bps)
    assert least <= out_amount
    assert least * BPS >= out_amount * (BPS - slippage_bps) > (least - 1) * BPS


@thorough
@given(st.integers(0, BPS - 1), u64, u64)
def test_a_transfer_delivers_what_it_is_to_deliver(fee_bps: int, maximum: int, wanted: int) -> None:
    fee = TransferFee(0, maximum, fee_bps)
    added = fee.to_deliver(wanted)
    assert fee.on(wanted + added) == added


@thorough
@given(dlmm.pools(PLAIN), mints, amounts, st.integers(0, 700), st.integers(0, 700))
def test_dlmm_fees_fall_as_volatility_is_forgotten(pool: Any, mint: Mint, amount: int, one: int, two: int) -> None:
    agreed(pool, mint, amount, IN)
    moved_pool, _ = pool.apply(mint, amount, IN, CLOCK)
    fees = []
    for elapsed in sorted((30 + one, 30 + two)):
        later = ChainClock(CLOCK.slot, CLOCK.unix_timestamp + elapsed, CLOCK.epoch)
        try:
            fees.append(moved_pool.quote(mint, 1_000_000, IN, later).out_amount)
        except SwapRefused:
            return
    assert fees[0] <= fees[1]
