"""What a leg costs beside the swap itself, and what legs may take up together: they share one transaction."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from solders.pubkey import Pubkey

from bestex.types import Mint
from bestex.venues.math import ceil_div

KEY_BYTES = 32


class LegTerms(msgspec.Struct, frozen=True, gc=False):
    """What one pool's leg takes up."""

    cost: int = 0
    """Base units of the token that the route is measured in: the output (exact_in) or the input (exact_out)."""
    accounts: int = 0
    """Accounts that it adds to the transaction."""
    size: int = 0
    """Bytes."""
    compute_units: int = 0
    keys: int = 0
    """Accounts that are known by address, a bit for each: those that several legs name are in the transaction once."""
    least_size: int = 0
    """Bytes that it adds to a transaction whatever else is in it."""

    @property
    def all_accounts(self) -> int:
        """With those that are known by address."""
        return self.accounts + self.keys.bit_count()

    @property
    def all_bytes(self) -> int:
        """With the addresses."""
        return self.size + KEY_BYTES * self.keys.bit_count()


class Limits(msgspec.Struct, frozen=True, gc=False):
    """What the legs of one route may take up together; None for no limit."""

    legs: int | None = None
    accounts: int | None = None
    size: int | None = None
    """Bytes."""
    compute_units: int | None = None

    def room_for(self, used: LegTerms, legs: int) -> bool:
        """Whether so many legs that use so much altogether fit."""
        return (
            (self.legs is None or legs <= self.legs)
            and (self.accounts is None or used.all_accounts <= self.accounts)
            and (self.size is None or used.all_bytes <= self.size)
            and (self.compute_units is None or used.compute_units <= self.compute_units)
        )


class LegCost(msgspec.Struct, frozen=True, gc=False):
    """Lamports that legs cost, and what a lamport is worth."""

    lamports: int
    """For any leg."""
    micro_lamports_per_unit: int
    """Priority fee of a compute unit."""
    worth: tuple[int, int]
    """Base units of the token that the route is measured in, per lamport, as a fraction."""

    def of(self, compute_units: int) -> int:
        """Base units that a leg with so many compute units costs, rounded up."""
        micro_lamports = self.lamports * 1_000_000 + compute_units * self.micro_lamports_per_unit
        return ceil_div(micro_lamports * self.worth[0], self.worth[1] * 1_000_000)


class Rules(msgspec.Struct, frozen=True, gc=False):
    """Terms by pool, and the limits of all legs together. Without terms a leg is free and takes up nothing."""

    terms: Mapping[Pubkey, LegTerms] = {}
    limits: Limits = Limits()
    frame: LegTerms = LegTerms()
    """What stands around the legs of any route."""
    mints: Mapping[Mint, LegTerms] = {}
    """What a path over a mint takes up, its legs aside."""

    def of(self, pool: Pubkey) -> LegTerms:
        """The terms of a pool's leg."""
        return self.terms.get(pool, _FREE)

    def whole(self, pools: Iterable[Pubkey], between: Iterable[Mint] = ()) -> LegTerms:
        """What a route of these legs over these intermediate mints takes up, and costs, altogether."""
        parts = [self.frame, *map(self.of, pools)]
        parts += [self.mints.get(mint, _FREE) for mint in between]
        return together(parts)

    def room_for(self, pools: Sequence[Pubkey], between: Iterable[Mint] = ()) -> bool:
        """Whether such a route fits."""
        return self.limits.room_for(self.whole(pools, between), len(pools))


def together(terms: Iterable[LegTerms]) -> LegTerms:
    """The sum of several legs; accounts that are known by address are in it once."""
    cost = accounts = size = compute_units = keys = 0
    for leg in terms:
        cost += leg.cost
        accounts += leg.accounts
        size += leg.size
        compute_units += leg.compute_units
        keys |= leg.keys
    return LegTerms(cost, accounts, size, compute_units, keys)


_FREE = LegTerms()
