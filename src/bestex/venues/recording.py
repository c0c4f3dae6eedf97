"""Recordings: what a real on-chain program answered to swaps, with the account bytes that it was given.

A recording is one JSON document, gzipped or not. docs/reference/venues.md describes the format; `verification` holds
our own venues against it.
"""

import base64
import binascii
import gzip
import zlib
from enum import StrEnum

import msgspec
from solders.pubkey import Pubkey

from bestex.types import Account, ChainClock, SwapMode

_GZIP = b"\x1f\x8b"


class Mode(StrEnum):
    """How a recorded swap was asked for."""

    EXACT_IN = "exact_in"
    EXACT_OUT = "exact_out"
    PARTIAL_FILL = "partial_fill"
    """Exact in, but the program may leave part of the input with the user."""

    @property
    def swap_mode(self) -> SwapMode:
        return SwapMode.EXACT_OUT if self is Mode.EXACT_OUT else SwapMode.EXACT_IN


class ProgramFailure(msgspec.Struct, frozen=True):
    """How the program refused a swap."""

    custom: int | None
    """Its error number; None where it panicked."""
    name: str
    kind: str = msgspec.field(name="class")
    """What the refusal depends on: the pool (`slippage`, `liquidity`...), or the user (`balance`...)."""


class RecordedMeta(msgspec.Struct, frozen=True):
    """One account of a recorded instruction."""

    pubkey: str
    is_signer: bool
    is_writable: bool


class RecordedInstruction(msgspec.Struct, frozen=True):
    """An instruction as it was sent; `data` is hexadecimal."""

    program_id: str
    accounts: tuple[RecordedMeta, ...]
    data: str


class RecordedSwap(msgspec.Struct, frozen=True, kw_only=True):
    """A swap and the program's answer. Amounts are base units; the file has them as text."""

    pool: str = ""
    """Name of the pool; a step of a sequence has none."""
    clock: ChainClock | None = None
    """A step's own time; otherwise the pool's clock holds."""
    mode: Mode
    input: str
    """The side that is paid, as the program calls it: `token0`, `coin`, `x`, `a`..."""
    input_mint: str
    amount: int
    """What the user is to pay, or (exact_out) to receive."""
    threshold: int
    """The least to receive, or (exact_out) the most to pay."""
    sqrt_price_limit: int = 0
    """Where the swap was to stop, Q64.64; 0 without a limit."""
    instruction: str | None = None
    """The kind of instruction, where it was not the newest one."""
    ok: bool
    amount_in: int | None
    """By how much the user's balance fell."""
    amount_out: int | None
    """By how much the user's balance rose."""
    error: ProgramFailure | None
    reference: dict[str, int] | None = None
    """The amounts without the threshold that was missed."""
    strict_ceil: int | None = None
    """What a program with strict rounding would pay (exact_in) or charge (exact_out), where this one differs."""
    ix: RecordedInstruction | None = None
    post_accounts: dict[str, str] | None = None
    """The accounts that the swap changed, by role, base64."""

    @property
    def mint(self) -> Pubkey:
        return Pubkey.from_string(self.input_mint)


class RecordedAccount(msgspec.Struct, frozen=True):
    """An account as the program was given it; `data` is base64."""

    pubkey: str
    owner: str
    lamports: int
    data: str

    def account(self) -> Account:
        return Account(Pubkey.from_string(self.owner), self.lamports, base64.b64decode(self.data))


class PoolParams(msgspec.Struct, frozen=True):
    """Of the readable description of a pool, what verification needs."""

    optional_feature: str | None = None
    """Set where a decoder may refuse the pool instead of quoting it."""


class RecordedPool(msgspec.Struct, frozen=True):
    """A pool by the roles of its accounts; the first one is the pool itself."""

    name: str
    clock: ChainClock
    accounts: dict[str, RecordedAccount]
    what: str = ""
    params: PoolParams = PoolParams()

    def address_of(self, role: str) -> Pubkey:
        return Pubkey.from_string(self.accounts[role].pubkey)

    @property
    def address(self) -> Pubkey:
        return self.address_of(next(iter(self.accounts)))

    def loaded(self) -> dict[Pubkey, Account]:
        """All accounts as bytes."""
        return {Pubkey.from_string(recorded.pubkey): recorded.account() for recorded in self.accounts.values()}


class RecordedSequence(msgspec.Struct, frozen=True):
    """Swaps on one pool, each after the other."""

    name: str
    pool: str
    steps: tuple[RecordedSwap, ...]


class RecordedUser(msgspec.Struct, frozen=True):
    """Who swapped."""

    pubkey: str
    balance_of_each_token_account: int
    """Base units, before each independent swap."""


class Recording(msgspec.Struct, frozen=True):
    """One file."""

    program_id: str
    program_sha256: str
    user: RecordedUser
    pools: tuple[RecordedPool, ...]
    swaps: tuple[RecordedSwap, ...]
    sequences: tuple[RecordedSequence, ...] = ()
    program_variant: str = ""

    def pool(self, name: str) -> RecordedPool:
        """Raises KeyError for a name that is not in the file."""
        for pool in self.pools:
            if pool.name == name:
                return pool
        raise KeyError(name)


def read_recording(raw: bytes) -> Recording:
    """Parse a file, gzipped or plain. Raises ValueError, saying where, for anything that is not a recording."""
    try:
        text = gzip.decompress(raw) if raw.startswith(_GZIP) else raw
        recording = msgspec.json.decode(text, type=Recording, strict=False)
        _check(recording)
    except (OSError, EOFError, zlib.error, binascii.Error, msgspec.DecodeError, ValueError) as error:
        raise ValueError(f"not a recording: {error}") from error
    return recording


def _check(recording: Recording) -> None:
    """What the types cannot say: that names and keys lead somewhere."""
    Pubkey.from_string(recording.program_id)
    names = {pool.name for pool in recording.pools}
    for pool in recording.pools:
        if not pool.accounts:
            raise ValueError(f"pool {pool.name} has no accounts")
        pool.loaded()
    used = {swap.pool for swap in recording.swaps} | {sequence.pool for sequence in recording.sequences}
    if not used <= names:
        raise ValueError(f"swaps name pools that are not in the file: {sorted(used - names)}")
    swaps = [*recording.swaps, *(step for sequence in recording.sequences for step in sequence.steps)]
    for swap in swaps:
        Pubkey.from_string(swap.input_mint)
        if swap.ok != (swap.error is None) or (swap.ok and None in (swap.amount_in, swap.amount_out)):
            raise ValueError(f"a swap on {swap.pool or 'a sequence'} is neither accepted nor refused")
