"""What all venues have in common: the accounts and calls that they refuse, and the pools that we make ourselves."""

import struct
from collections.abc import Callable, Mapping

import pytest
from solders.pubkey import Pubkey

from bestex.errors import SwapRefused, UnsupportedPool
from bestex.types import U64_MAX, Account, Mint
from bestex.venues import (
    meteora_damm_v2,
    meteora_dlmm,
    raydium_amm_v4,
    raydium_clmm,
    raydium_cpmm,
    token,
)
from bestex.venues import program_of as program_of_account
from bestex.venues.pool import Refusal, Venue
from bestex.venues.token import NATIVE_MINT, TOKEN_2022_PROGRAM, TransferFeeConfig
from tests.support.venues import (
    CLOCK,
    IN,
    MINT_A,
    MINT_B,
    STRANGER,
    USER,
    first,
    owned_by,
    patched,
    program_of,
    shortened,
    synthetic_mints,
    vaults_of,
    with_data,
    without,
)

Accounts = dict[Pubkey, Account]
every_venue = pytest.mark.parametrize("venue", list(Venue))


def two(mints: Accounts) -> tuple[Mint, Mint]:
    one, other = mints
    return one, other


SYNTHESIZE: Mapping[Venue, Callable[[Accounts, Pubkey | None], Accounts]] = {
    Venue.RAYDIUM_AMM_V4: lambda mints, address: raydium_amm_v4.synthesize(
        mints, *two(mints), dict.fromkeys(mints, 10**15), address=address
    ),
    Venue.RAYDIUM_CPMM: lambda mints, address: raydium_cpmm.synthesize(
        mints, dict.fromkeys(mints, 10**15), address=address
    ),
    Venue.RAYDIUM_CLMM: lambda mints, address: raydium_clmm.synthesize(
        mints, [(-6_000, 6_000, 10**12)], address=address
    ),
    Venue.METEORA_DLMM: lambda mints, address: meteora_dlmm.synthesize(
        mints, *two(mints), {0: (10**9, 10**9)}, active_id=0, bin_step=10, address=address
    ),
    Venue.METEORA_DAMM_V2: lambda mints, address: meteora_damm_v2.synthesize(
        mints, *two(mints), liquidity=10**12 << 64, sqrt_price=1 << 64, address=address
    ),
}


def made(venue: Venue, mints: Accounts | None = None, address: Pubkey | None = None) -> Accounts:
    """All accounts of a pool like any other, the pool first."""
    mints = mints or synthetic_mints()
    return {**SYNTHESIZE[venue](mints, address), **mints}


FAULTS: Mapping[str, tuple[Callable[[Accounts], Accounts], str]] = {
    "no pool": (lambda pool: without(pool, first(pool)), "missing"),
    "no vault": (lambda pool: without(pool, vaults_of(pool)[0]), "missing"),
    "no other vault": (lambda pool: without(pool, vaults_of(pool)[1]), "missing"),
    "no mint": (lambda pool: without(pool, MINT_A), "missing"),
    "no other mint": (lambda pool: without(pool, MINT_B), "missing"),
    "pool of another program": (lambda pool: owned_by(pool, first(pool), STRANGER), "Not a "),
    "pool cut": (lambda pool: shortened(pool, first(pool)), "Not a "),
    "pool of another kind": (lambda pool: patched(pool, first(pool), 0, bytes(8)), "Not a "),
    "vault of another mint": (lambda pool: patched(pool, vaults_of(pool)[0], 0, bytes(MINT_B)), "disagree"),
    "vault frozen": (lambda pool: patched(pool, vaults_of(pool)[0], 108, b"\x02"), "frozen"),
    "other vault frozen": (lambda pool: patched(pool, vaults_of(pool)[1], 108, b"\x02"), "frozen"),
    "vault of another program": (lambda pool: owned_by(pool, vaults_of(pool)[0], TOKEN_2022_PROGRAM), "disagree"),
    "mint of another program": (lambda pool: owned_by(pool, MINT_A, TOKEN_2022_PROGRAM), "disagree"),
}


@every_venue
@pytest.mark.parametrize(("fault", "feature"), FAULTS.values(), ids=FAULTS)
def test_accounts_that_are_refused(venue: Venue, fault: Callable[[Accounts], Accounts], feature: str) -> None:
    accounts = made(venue)
    program_of(venue).decode(first(accounts), accounts)
    with pytest.raises(UnsupportedPool, match=feature):
        program_of(venue).decode(first(accounts), fault(accounts))


@pytest.mark.parametrize("venue", [venue for venue in Venue if venue is not Venue.RAYDIUM_AMM_V4])
def test_mint_with_a_hook_is_refused(venue: Venue) -> None:
    hook = struct.pack("<HH", 14, 64) + bytes(32) + bytes([9]) * 32
    mints = synthetic_mints(TransferFeeConfig.constant(0))
    accounts = made(venue, mints)
    program_of(venue).decode(first(accounts), accounts)
    accounts[MINT_A] = with_data(mints[MINT_A], mints[MINT_A].data + hook)
    with pytest.raises(UnsupportedPool, match="TransferHook"):
        program_of(venue).decode(first(accounts), accounts)


@every_venue
def test_accounts_of_refuses_what_is_no_pool(venue: Venue) -> None:
    accounts = made(venue)
    for key in accounts.keys() - {first(accounts)}:
        with pytest.raises(UnsupportedPool):
            program_of(venue).accounts_of(key, accounts)
    with pytest.raises(UnsupportedPool, match="missing"):
        program_of(venue).accounts_of(STRANGER, accounts)


def test_program_of_an_unknown_owner() -> None:
    assert program_of_account(Account(STRANGER, 1, b"")) is None


@every_venue
def test_a_mint_that_is_not_traded_is_the_caller_s_mistake(venue: Venue) -> None:
    accounts = made(venue)
    pool = program_of(venue).decode(first(accounts), accounts)
    for call in (
        lambda: pool.quote(STRANGER, 1, IN, CLOCK),
        lambda: pool.apply(STRANGER, 1, IN, CLOCK),
        lambda: pool.spot_price_x64(STRANGER),
        lambda: pool.swap_instruction(USER, STRANGER, 1, 1, IN),
    ):
        with pytest.raises(ValueError, match="does not trade"):
            call()


@every_venue
def test_instructions_that_are_no_swaps(venue: Venue) -> None:
    accounts = made(venue)
    program = program_of(venue)
    swap = program.decode(first(accounts), accounts).swap_instruction(USER, MINT_A, 5, 4, IN)
    keys, data = tuple(meta.pubkey for meta in swap.accounts), bytes(swap.data)
    assert program.read_swap(keys, data).amount == 5
    for wrong_keys, wrong_data in (
        (keys, b""),
        (keys, bytes(8) + data[8:]),
        (keys, data[:-1]),
        (keys, data + b"\x00"),
        (keys[:12], data),
        ((), data),
    ):
        with pytest.raises(ValueError, match="Not "):
            program.read_swap(wrong_keys, wrong_data)


@every_venue
def test_a_vault_cannot_pass_u64(venue: Venue) -> None:
    """AMM v4 finds out before it swaps, the others when they take the input."""
    accounts = made(venue)
    vault = next(key for key in vaults_of(accounts) if accounts[key].data[:32] == bytes(MINT_A))
    full = patched(accounts, vault, 64, struct.pack("<Q", U64_MAX - 5))
    pool = program_of(venue).decode(first(full), full)
    if venue is not Venue.RAYDIUM_AMM_V4:
        assert pool.quote(MINT_A, 10**6, IN, CLOCK).out_amount > 0
    with pytest.raises(SwapRefused) as refused:
        pool.apply(MINT_A, 10**6, IN, CLOCK)
    assert (refused.value.program_code, refused.value.kind) == (14, Refusal.OVERFLOW)
    assert program_of(venue).ERRORS[14] == refused.value.name


@every_venue
def test_a_pool_says_what_it_is_and_is_equal_to_itself_alone(venue: Venue) -> None:
    accounts = made(venue)
    pool = program_of(venue).decode(first(accounts), accounts)
    assert (pool.venue, pool.address, pool.mints) == (venue, first(accounts), (MINT_A, MINT_B))
    assert pool == program_of(venue).decode(first(accounts), accounts)
    assert pool != object()
    after, _ = pool.apply(MINT_A, 10**6, IN, CLOCK)
    assert after != pool
    assert hash(after) == hash(pool)


@every_venue
def test_pools_may_live_elsewhere(venue: Venue) -> None:
    derived, elsewhere = made(venue), made(venue, address=STRANGER)
    assert first(elsewhere) == STRANGER != first(derived)
    assert not set(vaults_of(derived)) & set(vaults_of(elsewhere))
    assert all(derived[key] == elsewhere[key] for key in derived.keys() & elsewhere.keys())
    one, moved = (program_of(venue).decode(first(accounts), accounts) for accounts in (derived, elsewhere))
    assert set(vaults_of(elsewhere)) <= set(moved.accounts())
    assert one.quote(MINT_A, 10**6, IN, CLOCK) == moved.quote(MINT_A, 10**6, IN, CLOCK)


@every_venue
def test_vault_of_wrapped_sol_moves_lamports(venue: Venue) -> None:
    accounts = made(venue, {NATIVE_MINT: token.mint_account(9, 0), MINT_B: token.mint_account(6, 0)})
    pool = program_of(venue).decode(first(accounts), accounts)
    vault = next(key for key in vaults_of(accounts) if accounts[key].data[:32] == bytes(NATIVE_MINT))
    after, _ = pool.apply(NATIVE_MINT, 10**6, IN, CLOCK)
    assert after.encode()[vault].lamports == accounts[vault].lamports + 10**6
    back, sold = after.apply(MINT_B, 10**5, IN, CLOCK)
    assert back.encode()[vault].lamports == accounts[vault].lamports + 10**6 - sold.out_amount
