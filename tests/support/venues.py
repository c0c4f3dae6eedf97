"""Pools for tests: golden vectors, read (what the real programs answered, see tests/golden), and synthetic pools."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from hypothesis import strategies as st
from solders.pubkey import Pubkey

from bestex.types import Account, ChainClock
from bestex.venues import PROGRAMS, meteora_dlmm, raydium_cpmm, token
from bestex.venues.meteora_dlmm import VariableFee
from bestex.venues.pool import Pool, Venue, VenueProgram
from bestex.venues.raydium_cpmm import Rates
from bestex.venues.recording import Recording, read_recording
from bestex.venues.token import TOKEN_2022_PROGRAM, TOKEN_PROGRAM, TransferFeeConfig

MINT_A, MINT_B = (Pubkey(bytes([byte]) * 32) for byte in (1, 2))
CLOCK = ChainClock(slot=1_000, unix_timestamp=1_000_000, epoch=10)

amounts = st.integers(1, 10**4) | st.integers(1, 10**15)
"""Base units: as often a few as many."""
transfer_fees = st.none() | st.builds(TransferFeeConfig.constant, st.integers(0, 5_000), amounts)

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
    return program_of(venue).decode(recorded.address, recorded.loaded())


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


def cpmm_accounts(
    reserves: tuple[int, int],
    *,
    rates: Rates = Rates(),  # noqa: B008 - frozen
    creator_fee_on: int | None = None,
    open_time: int = 0,
    mints: Mapping[Pubkey, Account] | None = None,
) -> dict[Pubkey, Account]:
    """All accounts of a synthetic CPMM pool, the pool first."""
    mints = mints or synthetic_mints()
    accounts = raydium_cpmm.synthesize(
        mints,
        dict(zip((MINT_A, MINT_B), reserves, strict=True)),
        rates=rates,
        creator_fee_on=creator_fee_on,
        open_time=open_time,
    )
    return {**accounts, **mints}


def dlmm_accounts(
    bins: Mapping[int, tuple[int, int]],
    *,
    active_id: int = 0,
    bin_step: int = 10,
    base_factor: int = 10_000,
    variable_fee: VariableFee = VariableFee(),  # noqa: B008 - frozen
    mints: Mapping[Pubkey, Account] | None = None,
) -> dict[Pubkey, Account]:
    """All accounts of a synthetic DLMM pair of X = A and Y = B, the pair first."""
    mints = mints or synthetic_mints()
    accounts = meteora_dlmm.synthesize(
        mints,
        MINT_A,
        MINT_B,
        bins,
        active_id=active_id,
        bin_step=bin_step,
        base_factor=base_factor,
        variable_fee=variable_fee,
    )
    return {**accounts, **mints}


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
