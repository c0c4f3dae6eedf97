"""The shape that every venue has: what a pool is, what it quotes, how it refuses.

A venue is one file named after its on-chain program. It decodes the program's accounts into a `Pool`, which quotes
swaps exactly as the program would pay them, computes the state that a swap leaves behind, and writes the swap's
instruction. Everything is integer base units and pure: no clock, no network, no chance.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Protocol, Self, TypeVar

import msgspec
from solders.instruction import Instruction
from solders.pubkey import Pubkey

from bestex.errors import UnsupportedPool
from bestex.types import Account, ChainClock, Mint, SwapMode
from bestex.venues.curve import Curve

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

    RAYDIUM_AMM_V4 = "raydium_amm_v4"
    RAYDIUM_CPMM = "raydium_cpmm"
    RAYDIUM_CLMM = "raydium_clmm"
    METEORA_DLMM = "meteora_dlmm"
    METEORA_DAMM_V2 = "meteora_damm_v2"

    @property
    def dex(self) -> str:
        """The exchange that the program belongs to: `Raydium` or `Meteora`."""
        return _LABELS[self].partition(" ")[0]

    @property
    def label(self) -> str:
        """The venue's name for people, as in Jupiter's `swapInfo.label`: `Raydium CPMM`."""
        return _LABELS[self]


_LABELS = {
    Venue.RAYDIUM_AMM_V4: "Raydium AMM v4",
    Venue.RAYDIUM_CPMM: "Raydium CPMM",
    Venue.RAYDIUM_CLMM: "Raydium CLMM",
    Venue.METEORA_DLMM: "Meteora DLMM",
    Venue.METEORA_DAMM_V2: "Meteora DAMM v2",
}

ARRAY_LIMIT = 3
"""Tick or bin arrays that one of our transactions carries: each costs 33 bytes of it and a lock."""


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
    arrays: int = 0
    """Tick or bin arrays that the swap reads: the first so many of `Pool.arrays_ahead`."""


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

    def apply(self, pool: "AnyPool", in_mint: Mint, clock: ChainClock) -> tuple["AnyPool", Quote]:
        """Swap on the pool as the instruction says, see `Pool.apply`; venues with further options override it."""
        return pool.apply(in_mint, self.amount, self.swap_mode, clock)


class ComputeUnits(msgspec.Struct, frozen=True, gc=False):
    """What a venue's swap costs, about: the most that plain swaps of the recorded vectors used."""

    swap: int
    per_step: int
    """On top, for each tick or bin that it uses (`Quote.steps`)."""


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

    def curve(self, in_mint: Mint, clock: ChainClock) -> Curve:
        """The most that swaps of one direction pay, kept with the pool. Raises SwapRefused where it is closed.

        Swaps that need more than ARRAY_LIMIT tick or bin arrays are out of its reach.
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

    def arrays_ahead(self, in_mint: Mint, limit: int) -> tuple[Pubkey, ...]:
        """The first `limit` tick or bin arrays with liquidity, in the order in which a swap would enter them.

        Empty for venues that have none.
        """
        ...

    def accounts(self) -> tuple[Pubkey, ...]:
        """All accounts that `decode` needs to build this pool again, the pool itself first."""
        ...

    def encode(self) -> dict[Pubkey, Account]:
        """The accounts that the pool was decoded from, with what `apply` has changed. decode(encode(p)) == p."""
        ...


AnyPool = TypeVar("AnyPool", bound=Pool)


class VenueProgram(Protocol):
    """What each venue file offers as module-level names."""

    VENUE: Venue
    PROGRAM_ID: Pubkey
    PROGRAM_SHA256: str
    """Of the build whose recorded answers this file reproduces."""
    COMPUTE_UNITS: ComputeUnits
    ERRORS: Mapping[int, str]
    """The program's custom error codes by number, as far as swaps can meet them."""
    SLIPPAGE_EXCEEDED: Mapping[SwapMode, ProgramError]
    """How the program refuses a swap whose quote misses the instruction's threshold; the caller compares the two."""

    def is_pool(self, account: Account) -> bool:
        """Whether an account of this program is a pool (by discriminator and size)."""
        ...

    def accounts_of(self, address: Pubkey, known: Accounts) -> tuple[Pubkey, ...]:
        """The accounts that must be loaded to decode this pool, the pool itself first.

        `known` holds at least the pool. A bitmap extension among the names may name more, once it is known itself: ask
        again with all that was read, until nothing is new. Accounts that do not exist are simply not in `known`.
        Raises UnsupportedPool where the pool is missing or malformed.
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


def gather(
    program: VenueProgram, address: Pubkey, account_at: Callable[[Pubkey], Account | None]
) -> dict[Pubkey, Account]:
    """All existing accounts that `program` decodes the pool from, where reading one costs nothing.

    Raises UnsupportedPool where the pool is missing or malformed.
    """
    names: tuple[Pubkey, ...] = (address,)
    while True:
        known = {name: account for name in names if (account := account_at(name)) is not None}
        named = program.accounts_of(address, known)
        if named == names:
            return known
        names = named
