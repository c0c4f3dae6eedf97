"""Pools for tests: golden vectors, read (what the real programs answered, see tests/golden), and synthetic pools."""

import base64
import gzip
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
from solders.pubkey import Pubkey

from bestex.types import Account, ChainClock, SwapMode
from bestex.venues import meteora_dlmm, raydium_cpmm, token
from bestex.venues.meteora_dlmm import DlmmPool, VariableFee
from bestex.venues.pool import Venue
from bestex.venues.raydium_cpmm import CpmmPool, Rates
from bestex.venues.token import TOKEN_2022_PROGRAM, TOKEN_PROGRAM, TransferFeeConfig

MODULES: Mapping[Venue, ModuleType] = {Venue.RAYDIUM_CPMM: raydium_cpmm, Venue.METEORA_DLMM: meteora_dlmm}
GOLDEN_ARRAY_LIMIT = 8
"""Bin arrays that the vectors' transactions carry."""

MINT_A, MINT_B = (Pubkey(bytes([byte]) * 32) for byte in (1, 2))
CLOCK = ChainClock(slot=1_000, unix_timestamp=1_000_000, epoch=10)

_DIRECTORY = Path(__file__).parent.parent / "golden"


class ProgramFailure(msgspec.Struct):
    """How the program refused: `custom` is None where it panicked."""

    custom: int | None
    name: str
    kind: str = msgspec.field(name="class")


class Meta(msgspec.Struct):
    """One account of a recorded instruction."""

    pubkey: str
    is_signer: bool
    is_writable: bool


class RecordedInstruction(msgspec.Struct):
    """An instruction as it was sent."""

    program_id: str
    accounts: list[Meta]
    data: str


class GoldenSwap(msgspec.Struct):
    """A swap and the program's answer. Amounts are text in the file."""

    mode: SwapMode
    input: str
    input_mint: str
    amount: int
    threshold: int
    ok: bool
    amount_in: int | None
    amount_out: int | None
    error: ProgramFailure | None
    pool: str = ""
    clock: ChainClock | None = None
    instruction: str | None = None
    reference: dict[str, int] | None = None
    ix: RecordedInstruction | None = None
    post_accounts: dict[str, str] | None = None

    @property
    def mint(self) -> Pubkey:
        return Pubkey.from_string(self.input_mint)


class RecordedAccount(msgspec.Struct):
    """An account as it was given to the program."""

    pubkey: str
    owner: str
    lamports: int
    data: str


class GoldenPool(msgspec.Struct):
    """A pool of the file, by role of its accounts."""

    name: str
    clock: ChainClock
    accounts: dict[str, RecordedAccount]

    def address_of(self, role: str) -> Pubkey:
        return Pubkey.from_string(self.accounts[role].pubkey)

    @property
    def address(self) -> Pubkey:
        return self.address_of(next(iter(self.accounts)))

    def loaded(self) -> dict[Pubkey, Account]:
        """All accounts as bytes."""
        return {
            Pubkey.from_string(account.pubkey): Account(
                Pubkey.from_string(account.owner), account.lamports, base64.b64decode(account.data)
            )
            for account in self.accounts.values()
        }


class Sequence(msgspec.Struct):
    """Swaps on one pool, each after the other."""

    name: str
    pool: str
    steps: list[GoldenSwap]


class Golden(msgspec.Struct):
    """One file of vectors."""

    user: dict[str, Any]
    pools: list[GoldenPool]
    swaps: list[GoldenSwap]
    sequences: list[Sequence]

    def pool(self, name: str) -> GoldenPool:
        return next(pool for pool in self.pools if pool.name == name)


@cache
def golden(venue: Venue) -> Golden:
    """The vectors of a venue."""
    raw = gzip.decompress((_DIRECTORY / f"{venue.value}.json.gz").read_bytes())
    return msgspec.json.decode(raw, type=Golden, strict=False)


@cache
def golden_pool(venue: Venue, name: str) -> CpmmPool | DlmmPool:
    """A pool of the file, decoded with all of its accounts."""
    recorded = golden(venue).pool(name)
    return decode(venue, recorded.address, recorded.loaded())


def decode(venue: Venue, address: Pubkey, accounts: Mapping[Pubkey, Account]) -> CpmmPool | DlmmPool:
    """Decode with as many bin arrays as the vectors' transactions carry."""
    if venue is Venue.METEORA_DLMM:
        return meteora_dlmm.decode(address, accounts, array_limit=GOLDEN_ARRAY_LIMIT)
    return raydium_cpmm.decode(address, accounts)


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
