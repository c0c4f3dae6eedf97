"""The words that everyone shares."""

from enum import StrEnum
from typing import NewType, TypeAlias

import msgspec
from solders.pubkey import Pubkey

OrderId = NewType("OrderId", str)
"""A UUIDv7 in text: ids sort by the time of their making."""

Signature = NewType("Signature", str)
"""A transaction's first signature in base58: its id on the chain, and our idempotency key."""

Mint: TypeAlias = Pubkey
"""Address of a token's mint account."""

Slot: TypeAlias = int
"""A period in which one leader may produce a block; slots can be skipped."""

BlockHeight: TypeAlias = int
"""Number of blocks below this one; a blockhash expires by block height, not by slot."""

U64_MAX = 2**64 - 1
"""Greatest amount of base units that a token program can hold."""

BPS = 10_000
"""Basis points in one."""

LAMPORTS_PER_SOL = 1_000_000_000


class SwapMode(StrEnum):
    """Which side of a swap is fixed."""

    EXACT_IN = "exact_in"
    EXACT_OUT = "exact_out"


class Routing(StrEnum):
    """Which routes an order may take."""

    BEST = "best"
    """One pool: the best of Raydium and Meteora."""
    SPLIT = "split"
    """Any of the pair's pools together."""
    AUTO = "auto"
    """Of one pool, a split, and paths over one or two other mints: what nets most after costs."""


class Commitment(StrEnum):
    """How sure a cluster is of a block, from least to most."""

    PROCESSED = "processed"
    CONFIRMED = "confirmed"
    FINALIZED = "finalized"


class Account(msgspec.Struct, frozen=True, gc=False):
    """An on-chain account as a node returns it."""

    owner: Pubkey
    lamports: int
    data: bytes


class ChainClock(msgspec.Struct, frozen=True, gc=False):
    """The Clock sysvar: what a program takes for the time."""

    slot: Slot
    unix_timestamp: int
    epoch: int


class Token(msgspec.Struct, frozen=True, gc=False):
    """A token that the engine knows: its mint, how it is written, who runs it."""

    symbol: str
    mint: Mint
    decimals: int
    program: Pubkey
    """The token program that owns the mint: SPL Token or Token-2022."""
