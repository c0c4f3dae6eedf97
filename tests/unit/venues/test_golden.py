"""Every recorded answer of the real programs, reproduced to the last base unit and the last byte."""

import base64
from collections.abc import Iterator

import pytest
from solders.pubkey import Pubkey

from bestex.errors import SwapRefused
from bestex.types import Account, ChainClock, SwapMode
from bestex.venues import PROGRAMS, program_of
from bestex.venues.meteora_dlmm import DlmmPool
from bestex.venues.pool import Quote, SwapAccounts, SwapCall, Venue
from bestex.venues.raydium_cpmm import CpmmPool
from tests.support.venues import MODULES, GoldenPool, GoldenSwap, decode, golden, golden_pool

BALANCE_CLASSES = {"balance", "balance_or_liquidity", "missing_arrays", "compute_budget"}
"""Refusals that depend on what the user holds or sends: a quote may succeed."""


def swaps() -> Iterator[object]:
    for venue in Venue:
        for number, swap in enumerate(golden(venue).swaps):
            yield pytest.param(venue, swap, id=f"{venue.value}-{number}-{swap.pool}-{swap.mode.value}")


def pools() -> Iterator[object]:
    for venue in Venue:
        for pool in golden(venue).pools:
            yield pytest.param(venue, pool, id=f"{venue.value}-{pool.name}")


def sequences() -> Iterator[object]:
    for venue in Venue:
        for sequence in golden(venue).sequences:
            yield pytest.param(venue, sequence.name, id=f"{venue.value}-{sequence.name}")


def quote(pool: CpmmPool | DlmmPool, swap: GoldenSwap, clock: ChainClock) -> Quote:
    return pool.quote(swap.mint, swap.amount, swap.mode, clock)


def misses_threshold(swap: GoldenSwap, quoted: Quote) -> bool:
    if swap.mode is SwapMode.EXACT_IN:
        return quoted.out_amount < swap.threshold
    return quoted.in_amount > swap.threshold


def check_outcome(venue: Venue, pool: CpmmPool | DlmmPool, swap: GoldenSwap, clock: ChainClock) -> None:
    """The quote is what the program did; `apply` agrees with it."""
    if swap.ok:
        quoted = quote(pool, swap, clock)
        assert (quoted.in_amount, quoted.out_amount) == (swap.amount_in, swap.amount_out)
        assert not misses_threshold(swap, quoted)
        assert pool.apply(swap.mint, swap.amount, swap.mode, clock)[1] == quoted
        return
    assert swap.error is not None
    if swap.error.kind == "slippage":
        quoted = quote(pool, swap, clock)
        assert swap.reference == {"amount_in": quoted.in_amount, "amount_out": quoted.out_amount}
        assert misses_threshold(swap, quoted)
        exceeded = MODULES[venue].SLIPPAGE_EXCEEDED[swap.mode]
        assert (exceeded.code, exceeded.name) == (swap.error.custom, swap.error.name)
    elif swap.error.kind not in BALANCE_CLASSES:
        for refuse in (pool.quote, pool.apply):
            with pytest.raises(SwapRefused) as refused:
                refuse(swap.mint, swap.amount, swap.mode, clock)
            assert (refused.value.program_code, refused.value.name) == (swap.error.custom, swap.error.name)


@pytest.mark.parametrize(("venue", "swap"), list(swaps()))
def test_swap_has_the_program_s_outcome(venue: Venue, swap: GoldenSwap) -> None:
    check_outcome(venue, golden_pool(venue, swap.pool), swap, golden(venue).pool(swap.pool).clock)


def recorded_instructions() -> Iterator[object]:
    for venue in Venue:
        for number, swap in enumerate(golden(venue).swaps):
            if swap.ix is not None:
                yield pytest.param(venue, swap, id=f"{venue.value}-{number}-{swap.pool}-{swap.instruction}")


@pytest.mark.parametrize(("venue", "swap"), list(recorded_instructions()))
def test_instruction_is_byte_for_byte_what_was_sent(venue: Venue, swap: GoldenSwap) -> None:
    assert swap.ix is not None
    pool = golden_pool(venue, swap.pool)
    accounts = tuple(Pubkey.from_string(meta.pubkey) for meta in swap.ix.accounts)
    data = bytes.fromhex(swap.ix.data)
    owner = Pubkey.from_string(golden(venue).user["pubkey"])
    source, destination = accounts[4], accounts[5]
    user = SwapAccounts(owner, source, destination)
    read = PROGRAMS[Pubkey.from_string(swap.ix.program_id)].read_swap(accounts, data)
    assert read == SwapCall(pool.address, user, swap.amount, swap.threshold, swap.mode)
    if swap.instruction is not None:
        return  # an older instruction kind, which we read but do not write
    written = pool.swap_instruction(user, swap.mint, swap.amount, swap.threshold, swap.mode)
    metas = [(str(meta.pubkey), meta.is_signer, meta.is_writable) for meta in written.accounts]
    assert metas == [(meta.pubkey, meta.is_signer, meta.is_writable) for meta in swap.ix.accounts]
    assert bytes(written.data) == data
    assert str(written.program_id) == swap.ix.program_id


def check_state(
    pool: CpmmPool | DlmmPool, recorded: GoldenPool, before: dict[Pubkey, Account], changes: dict[str, str]
) -> dict[Pubkey, Account]:
    """Every account of the pool is as the program left it, changed or not; returns them."""
    expected = {key: account.data for key, account in before.items()}
    expected |= {recorded.address_of(role): base64.b64decode(data) for role, data in changes.items()}
    after = pool.encode()
    assert after.keys() >= {recorded.address_of(role) for role in changes}
    for key, account in after.items():
        assert account.data == expected[key], f"{key} differs"
    return {**before, **after}


def swaps_with_state() -> Iterator[object]:
    for venue in Venue:
        for number, swap in enumerate(golden(venue).swaps):
            if swap.post_accounts is not None:
                yield pytest.param(venue, swap, id=f"{venue.value}-{number}-{swap.pool}-{swap.mode.value}")


@pytest.mark.parametrize(("venue", "swap"), list(swaps_with_state()))
def test_apply_leaves_the_program_s_bytes(venue: Venue, swap: GoldenSwap) -> None:
    recorded = golden(venue).pool(swap.pool)
    after, _ = golden_pool(venue, swap.pool).apply(swap.mint, swap.amount, swap.mode, recorded.clock)
    assert swap.post_accounts is not None
    accounts = check_state(after, recorded, recorded.loaded(), swap.post_accounts)
    assert decode(venue, recorded.address, accounts) == after


@pytest.mark.parametrize(("venue", "name"), list(sequences()))
def test_sequence_of_swaps_keeps_the_program_s_state(venue: Venue, name: str) -> None:
    sequence = next(sequence for sequence in golden(venue).sequences if sequence.name == name)
    recorded = golden(venue).pool(sequence.pool)
    pool = golden_pool(venue, sequence.pool)
    accounts = recorded.loaded()
    assert len(sequence.steps) == 20
    for step in sequence.steps:
        assert step.clock is not None
        check_outcome(venue, pool, step, step.clock)
        if step.ok:
            pool = pool.apply(step.mint, step.amount, step.mode, step.clock)[0]
            assert step.post_accounts
            accounts = check_state(pool, recorded, accounts, step.post_accounts)
    assert decode(venue, recorded.address, accounts) == pool


@pytest.mark.parametrize(("venue", "recorded"), list(pools()))
def test_encode_gives_back_the_decoded_bytes(venue: Venue, recorded: GoldenPool) -> None:
    loaded = recorded.loaded()
    pool = golden_pool(venue, recorded.name)
    encoded = pool.encode()
    assert encoded == {key: loaded[key] for key in encoded}
    assert tuple(encoded) == pool.accounts()
    assert pool == decode(venue, recorded.address, encoded)


@pytest.mark.parametrize(("venue", "recorded"), list(pools()))
def test_pool_account_names_the_accounts_to_load(venue: Venue, recorded: GoldenPool) -> None:
    loaded = recorded.loaded()
    program = program_of(loaded[recorded.address])
    assert program is MODULES[venue]
    assert program.is_pool(loaded[recorded.address])
    named = program.accounts_of(recorded.address, loaded[recorded.address])
    assert named[0] == recorded.address
    pool = golden_pool(venue, recorded.name)
    in_extension = {key for key in pool.accounts() if key not in named}
    roles = {recorded.address_of(role): role for role in recorded.accounts}
    assert all(abs(int(roles[key].removeprefix("bin_array_"))) >= 512 for key in in_extension)
    assert all(key in roles for key in pool.accounts())


@pytest.mark.parametrize(("venue", "recorded"), list(pools()))
def test_no_other_account_is_taken_for_a_pool(venue: Venue, recorded: GoldenPool) -> None:
    for key, account in recorded.loaded().items():
        program = program_of(account)
        if key != recorded.address and program is not None:
            assert not program.is_pool(account)
