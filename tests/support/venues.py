"""Pools for tests: golden vectors, read (what the real programs answered, see tests/golden), and synthetic pools."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from solders.pubkey import Pubkey

from bestex.errors import SwapRefused
from bestex.types import U64_MAX, Account, ChainClock, Mint, SwapMode
from bestex.venues import PROGRAMS, raydium_amm_v4, token
from bestex.venues.pool import Pool, Quote, SwapAccounts, Venue, VenueProgram
from bestex.venues.raydium_amm_v4 import AmmPool
from bestex.venues.recording import Recording, read_recording
from bestex.venues.token import TOKEN_2022_PROGRAM, TOKEN_PROGRAM, TransferFeeConfig
from bestex.venues.verification import rounding_of

IN, OUT = SwapMode.EXACT_IN, SwapMode.EXACT_OUT
MINT_A, MINT_B = (Pubkey(bytes([byte]) * 32) for byte in (1, 2))
STRANGER = Pubkey(bytes([77]) * 32)
USER = SwapAccounts(*(Pubkey(bytes([byte]) * 32) for byte in (70, 71, 72)))
CLOCK = ChainClock(slot=1_000, unix_timestamp=1_000_000, epoch=10)

amounts = st.integers(1, 10**4) | st.integers(1, 10**15)
"""Base units: as often a few as many."""
mints = st.sampled_from([MINT_A, MINT_B])
u64 = st.integers(0, U64_MAX)
transfer_fees = st.none() | st.builds(TransferFeeConfig.constant, st.integers(0, 5_000), amounts)

thorough = settings(
    deadline=None, max_examples=100, derandomize=True, suppress_health_check=[HealthCheck.filter_too_much]
)
"""How much each property is tried."""

_DIRECTORY = Path(__file__).parent.parent / "golden"


@cache
def golden(venue: Venue) -> Recording:
    """The vectors of a venue."""
    return read_recording(golden_path(venue).read_bytes())


def golden_path(venue: Venue) -> Path:
    """The file of a venue's vectors."""
    return _DIRECTORY / f"{venue.value}.json.gz"


@cache
def golden_pool(venue: Venue, name: str) -> Pool:
    """A pool of the file, decoded with all of its accounts."""
    recorded = golden(venue).pool(name)
    if venue is Venue.RAYDIUM_AMM_V4:
        return raydium_amm_v4.decode(recorded.address, recorded.loaded(), rounding=rounding_of(golden(venue)))
    return program_of(venue).decode(recorded.address, recorded.loaded())


def decoded(like: Pool, accounts: Mapping[Pubkey, Account]) -> Pool:
    """A pool of the same address, from these accounts."""
    if isinstance(like, AmmPool):
        return raydium_amm_v4.decode(like.address, accounts, rounding=like.rounding)
    return program_of(like.venue).decode(like.address, accounts)


def program_of(venue: Venue) -> VenueProgram:
    """The module of a venue."""
    return next(program for program in PROGRAMS.values() if program.VENUE is venue)


def synthetic_mints(
    fee_a: TransferFeeConfig | None = None, fee_b: TransferFeeConfig | None = None
) -> dict[Pubkey, Account]:
    """Two mints, A before B; a mint with a transfer fee is one of Token-2022."""
    return {
        mint: token.mint_account(6, 10**18, TOKEN_2022_PROGRAM if fee else TOKEN_PROGRAM, fee)
        for mint, fee in ((MINT_A, fee_a), (MINT_B, fee_b))
    }


def first(accounts: Mapping[Pubkey, Account]) -> Pubkey:
    """The pool's address in what the builders return."""
    return next(iter(accounts))


def patched(accounts: Mapping[Pubkey, Account], key: Pubkey, at: int, new: bytes) -> dict[Pubkey, Account]:
    """The accounts with some bytes of one of them overwritten."""
    data = bytearray(accounts[key].data)
    data[at : at + len(new)] = new
    return {**accounts, key: with_data(accounts[key], bytes(data))}


def with_data(account: Account, data: bytes) -> Account:
    """The account with other bytes."""
    return Account(account.owner, account.lamports, data)


def without(accounts: Mapping[Pubkey, Account], key: Pubkey) -> dict[Pubkey, Account]:
    """The accounts but one."""
    return {other: account for other, account in accounts.items() if other != key}


def owned_by(accounts: Mapping[Pubkey, Account], key: Pubkey, owner: Pubkey) -> dict[Pubkey, Account]:
    """The accounts, one of them another program's."""
    return {**accounts, key: Account(owner, accounts[key].lamports, accounts[key].data)}


def shortened(accounts: Mapping[Pubkey, Account], key: Pubkey) -> dict[Pubkey, Account]:
    """The accounts, the last byte of one of them cut off."""
    return {**accounts, key: with_data(accounts[key], accounts[key].data[:-1])}


def vaults_of(accounts: Mapping[Pubkey, Account]) -> list[Pubkey]:
    """The token accounts among the accounts of a pool."""
    programs = (TOKEN_PROGRAM, TOKEN_2022_PROGRAM)
    return [
        key
        for key, account in accounts.items()
        if account.owner in programs and len(account.data) >= token.ACCOUNT_SIZE and account.data[165:166] != b"\x01"
    ]


def refused(
    pool: Pool, mint: Mint, amount: int, mode: SwapMode, clock: ChainClock = CLOCK, **options: Any
) -> SwapRefused:
    """How a quote is refused; `apply` must say the same."""
    answers = []
    for swap in (pool.quote, pool.apply):
        with pytest.raises(SwapRefused) as caught:
            swap(mint, amount, mode, clock, **options)
        answers.append(caught.value)
    assert answers[0].context == answers[1].context
    return answers[0]


def refusal(
    pool: Pool, mint: Mint, amount: int, mode: SwapMode, clock: ChainClock = CLOCK, **options: Any
) -> tuple[int | None, str]:
    """The same in short: the program's error code, and why."""
    caught = refused(pool, mint, amount, mode, clock, **options)
    return caught.program_code, caught.kind


def other(mint: Mint) -> Mint:
    """The other one of the two."""
    return MINT_B if mint == MINT_A else MINT_A


def ask(pool: Any, mint: Mint, amount: int, mode: SwapMode, **options: Any) -> Quote | None:
    """The quote, or None where the program would refuse."""
    try:
        quoted: Quote = pool.quote(mint, amount, mode, CLOCK, **options)
    except SwapRefused:
        return None
    return quoted


def agreed(pool: Any, mint: Mint, amount: int, mode: SwapMode, **options: Any) -> Quote:
    """The quote; an example that the program would refuse is dropped."""
    quoted = ask(pool, mint, amount, mode, **options)
    assume(quoted is not None)
    assert quoted is not None
    return quoted


def differences(one: bytes, other: bytes, ignored: list[tuple[int, int]]) -> list[int]:
    """Where two accounts differ, but for some ranges."""
    assert len(one) == len(other)
    return [
        at for at in range(len(one)) if one[at] != other[at] and not any(start <= at < end for start, end in ignored)
    ]
