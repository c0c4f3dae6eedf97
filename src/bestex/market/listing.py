"""Pools as they were read."""

import msgspec
from solders.pubkey import Pubkey

from bestex.types import Account, ChainClock, Slot
from bestex.venues.pool import Pool, VenueProgram


class Listing(msgspec.Struct):
    """One pool as last read."""

    pool: Pool
    program: VenueProgram
    names: tuple[Pubkey, ...]
    """The accounts that it is decoded from; `accounts` holds those of them that exist."""
    accounts: dict[Pubkey, Account]
    slot: Slot


class PairView(msgspec.Struct, frozen=True):
    """All pools of a pair, fresh enough to quote."""

    pools: tuple[Pool, ...]
    clock: ChainClock
    slot: Slot
    """The oldest slot that a pool was read at."""
    stale: tuple[tuple[Pool, str], ...] = ()
    """Pools that could not be read again, and why: what they hold now is unknown."""


class Picture(msgspec.Struct, frozen=True):
    """All pools as last read, some long ago: good for choosing where to look, not for a quote."""

    pools: tuple[Pool, ...]
    clock: ChainClock
