"""The shape that every venue has: what a pool is, what it quotes, how it refuses.

A venue is one file named after its on-chain program. It decodes the program's accounts into a `Pool`, which quotes
swaps exactly as the program would pay them, computes the state that a swap leaves behind, and writes the swap's
instruction. Everything is integer base units and pure: no clock, no network, no chance.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Protocol, Self

import msgspec
from solders.instruction import Instruction
from solders.pubkey import Pubkey

from bestex.errors import UnsupportedPool
from bestex.types import Account, ChainClock, Mint, SwapMode

Accounts = Mapping[Pubkey, Account]
"""Accounts by address, as read from a cluster at one slot."""


def loaded(accounts: Accounts, keys: Iterable[Pubkey]) -> dict[Pubkey, Account]:
    """These of the accounts, in this order. Raises UnsupportedPool if one is missing."""
    found = {}
    for key in keys:
        account = accounts.get(key)
        if account is None:
            raise UnsupportedPool(f"Account {key} is missing", address=str(key))
        found[key] = account
    return found


class Venue(StrEnum):
    """A DEX program that we trade on. The value is its name in the API."""

    RAYDIUM_CPMM = "raydium_cpmm"
    METEORA_DLMM = "meteora_dlmm"

    @property
    def dex(self) -> str:
        """The exchange that the program belongs to: `Raydium` or `Meteora`."""
        return _DEX[self]

    @property
    def label(self) -> str:
        """The venue's name for people, as in Jupiter's `swapInfo.label`: `Raydium CPMM`."""
        return f"{_DEX[self]} {self.value.split('_', 1)[1].upper()}"


_DEX = {venue: venue.value.split("_", 1)[0].capitalize() for venue in Venue}


class Refusal(StrEnum):
    """Why a swap would be refused, across all programs."""

    SLIPPAGE = "slippage"
    ZERO_AMOUNT = "zero_amount"
    ZERO_OUTPUT = "zero_output"
    LIQUIDITY = "liquidity"
    OVERFLOW = "overflow"
    PRICE_LIMIT = "price_limit"
    CLOSED = "closed"
    MISSING_ACCOUNTS = "missing_accounts"


class ProgramError(msgspec.Struct, frozen=True, gc=False):
    """A program's own error for a failed instruction."""

    code: int
    """The number in `custom program error`."""
    name: str


class Quote(msgspec.Struct, frozen=True, gc=False):
    """What one pool pays for one swap, to the last base unit."""

    in_amount: int
    """Base units that leave the user's token account."""
    out_amount: int
    """Base units that reach the user's token account."""
    fee_amount: int
    """Trading fee in base units of the token it is taken in (`fee_on_input`); transfer fees are not in it."""
    fee_on_input: bool
    steps: int
    """Bins or ticks that the swap used; 1 for constant product. More steps cost more compute units."""


class SwapAccounts(msgspec.Struct, frozen=True, gc=False):
    """The user's side of a swap instruction."""

    owner: Pubkey
    """Signs the swap; authority over both token accounts."""
    source: Pubkey
    """Token account that pays."""
    destination: Pubkey
    """Token account that receives."""


class SwapCall(msgspec.Struct, frozen=True, gc=False):
    """A swap instruction, read back: what the paper cluster executes."""

    pool: Pubkey
    user: SwapAccounts
    amount: int
    """Base units: what the user pays (exact_in) or receives (exact_out)."""
    threshold: int
    """Base units: the least to receive (exact_in) or the most to pay (exact_out)."""
    swap_mode: SwapMode


class Pool(Protocol):
    """One pool of one venue, decoded; immutable."""

    @property
    def venue(self) -> Venue: ...
    @property
    def address(self) -> Pubkey: ...
    @property
    def mints(self) -> tuple[Mint, Mint]:
        """Both mints in the program's own order."""
        ...

    @property
    def reserves(self) -> tuple[int, int]:
        """Tradable base units of each mint, in the order of `mints`; liquidity owed as fees is not in it."""
        ...

    @property
    def fee_bps_hundredths(self) -> int:
        """Present trading fee in hundredths of a basis point (1_000_000 = 100 %), rounded up."""
        ...

    def quote(self, in_mint: Mint, amount: int, swap_mode: SwapMode, clock: ChainClock) -> Quote:
        """The exact outcome of a swap without a threshold.

        `amount` is what the user pays (exact_in) or receives (exact_out). Raises SwapRefused as the program would.
        """
        ...

    def spot_price_x64(self, in_mint: Mint) -> int:
        """Marginal price before fees, output base units per input base unit, Q64.64, rounded down."""
        ...

    def apply(self, in_mint: Mint, amount: int, swap_mode: SwapMode, clock: ChainClock) -> tuple[Self, Quote]:
        """The pool after the swap, and the swap's quote. Raises SwapRefused as the program would."""
        ...

    def swap_instruction(
        self, user: SwapAccounts, in_mint: Mint, amount: int, threshold: int, swap_mode: SwapMode
    ) -> Instruction:
        """The program's newest swap instruction, byte for byte.

        `threshold` is the least to receive (exact_in) or the most to pay (exact_out), in base units.
        """
        ...

    def accounts(self) -> tuple[Pubkey, ...]:
        """All accounts that `decode` needs to build this pool again, the pool itself first."""
        ...

    def encode(self) -> dict[Pubkey, Account]:
        """The accounts that the pool was decoded from, with what `apply` has changed. decode(encode(p)) == p."""
        ...


class VenueProgram(Protocol):
    """What each venue file offers as module-level names."""

    VENUE: Venue
    PROGRAM_ID: Pubkey
    ERRORS: Mapping[int, str]
    """The program's custom error codes by number, as far as swaps can meet them."""
    SLIPPAGE_EXCEEDED: Mapping[SwapMode, ProgramError]
    """How the program refuses a swap whose quote misses the instruction's threshold; the caller compares the two."""

    def is_pool(self, account: Account) -> bool:
        """Whether an account of this program is a pool (by discriminator and size)."""
        ...

    def accounts_of(self, address: Pubkey, pool: Account) -> tuple[Pubkey, ...]:
        """The accounts that must be loaded to decode this pool, the pool itself first.

        Raises UnsupportedPool for a malformed pool account.
        """
        ...

    def decode(self, address: Pubkey, accounts: Accounts) -> Pool:
        """Build the pool from account bytes. Raises UnsupportedPool, naming the feature, rather than misquote."""
        ...

    def read_swap(self, accounts: tuple[Pubkey, ...], data: bytes) -> SwapCall:
        """The inverse of `Pool.swap_instruction`: its account list in order and its data.

        The direction is that of the user's source token account. Raises ValueError for any other instruction.
        """
        ...
