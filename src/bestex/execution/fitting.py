"""What one transaction can carry: the terms that the router keeps to, from the real instructions."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

import msgspec
from solders.instruction import Instruction
from solders.pubkey import Pubkey

from bestex.errors import NoRoute
from bestex.execution.building import Composer
from bestex.routing.legs import KEY_BYTES, LegTerms, Limits, Rules
from bestex.routing.quote import Route
from bestex.solana.transaction import (
    MAX_ACCOUNT_LOCKS,
    MAX_BYTES,
    MAX_COMPUTE_UNITS,
    envelope_bytes,
    fee_lamports,
    instruction_bytes,
)
from bestex.types import Mint, SwapMode, Token
from bestex.venues import PROGRAMS
from bestex.venues.math import ceil_div
from bestex.venues.pool import ComputeUnits, Pool, SwapAccounts, Venue

# Every wallet, order and blockhash takes up the same room.
_ANYONE, _SOURCE, _TARGET = (Pubkey(bytes([number]) * 32) for number in (1, 2, 3))
_ANY_ORDER = "00000000-0000-7000-8000-000000000000"
_LAST_ATTEMPT = 10
_ANY_BLOCKHASH = str(Pubkey.default())
_MICRO = 1_000_000

_UNITS_AROUND = 40_000
"""Compute units of what stands around the swaps, about."""
_UNITS_OF_A_MINT = 20_000
_UNITS: Mapping[Venue, ComputeUnits] = {program.VENUE: program.COMPUTE_UNITS for program in PROGRAMS.values()}

_REMEMBERED = 64
"""Markets, and sets of legs, that are kept."""

LamportWorth = tuple[int, int]
"""Base units of the token that a route is measured in, per lamport, as a fraction."""


class _Weight(NamedTuple):
    """What instructions take up."""

    size: int
    keys: frozenset[Pubkey]


class _Weighed(NamedTuple):
    """Terms of the legs of a market, without what they cost."""

    pools: Sequence[Pool]
    frame: LegTerms
    legs: Mapping[Pubkey, LegTerms]
    mints: Mapping[Mint, LegTerms]
    most_legs: int


class Fitting:
    """Weighs legs, and tries whether whole routes fit."""

    def __init__(self) -> None:
        self._composer = Composer(_ANYONE)
        self._legs: dict[Pubkey, tuple[Pool, _Weight]] = {}
        self._markets: dict[tuple[object, ...], _Weighed] = {}
        self._composed: dict[tuple[object, ...], tuple[list[Pool], bool]] = {}
        """By legs: their pools, which keep the identities in the key alive, and whether they fit."""

    def rules(
        self,
        pools: Sequence[Pool],
        ends: tuple[Token, Token],
        between: Sequence[Token],
        unit_price: int,
        worth: LamportWorth,
    ) -> Rules:
        """For routes between these tokens. `unit_price`: micro-lamports per compute unit."""

        def priced(terms: LegTerms, lamports: int = 0) -> LegTerms:
            micro_lamports = lamports * _MICRO + _with_margin(terms.compute_units) * unit_price
            cost = ceil_div(micro_lamports * worth[0], worth[1] * _MICRO)
            return msgspec.structs.replace(terms, cost=cost)

        weighed = self._weighed(pools, ends, between)
        return Rules(
            terms={pool: priced(leg) for pool, leg in weighed.legs.items()},
            limits=Limits(
                legs=weighed.most_legs, accounts=MAX_ACCOUNT_LOCKS, size=MAX_BYTES, compute_units=MAX_COMPUTE_UNITS
            ),
            frame=priced(weighed.frame, fee_lamports(0, 0)),
            mints={mint: priced(terms) for mint, terms in weighed.mints.items()},
        )

    def fits(self, route: Route, token_of: Callable[[Mint], Token]) -> bool:
        """Whether the route's transaction is within the network's limits: by composing it.

        The amounts take up the same room whatever they are, so that each set of legs is composed once.
        """
        key = (route.swap_mode, *((id(leg.pool), leg.in_mint) for leg in route.legs))
        known = self._composed.get(key)
        if known is None:
            if len(self._composed) >= _REMEMBERED:
                self._composed.clear()
            known = self._composed[key] = [leg.pool for leg in route.legs], self._can_compose(route, token_of)
        return known[1]

    def _can_compose(self, route: Route, token_of: Callable[[Mint], Token]) -> bool:
        try:
            self._composer.compose(
                route,
                [token_of(mint) for mint in route.mints],
                reference=_ANY_ORDER,
                attempt=_LAST_ATTEMPT,
                blockhash=_ANY_BLOCKHASH,
                unit_limit=MAX_COMPUTE_UNITS,
                unit_price_micro_lamports=0,
            )
        except NoRoute:
            return False
        return True

    def _weighed(self, pools: Sequence[Pool], ends: tuple[Token, Token], between: Sequence[Token]) -> _Weighed:
        """Remembered as long as the pools are the same objects."""
        key = (*ends, *between, None, *map(id, pools))
        known = self._markets.get(key)
        if known is None:
            if len(self._markets) >= _REMEMBERED:
                self._markets.clear()
            known = self._markets[key] = self._weigh(pools, ends, between)
        return known

    def _weigh(self, pools: Sequence[Pool], ends: tuple[Token, Token], between: Sequence[Token]) -> _Weighed:
        bits = _Bits()
        around = self._frame(ends)
        frame = LegTerms(size=around.size, compute_units=_UNITS_AROUND, keys=bits.of(around.keys))
        weights = {pool.address: self._leg(pool) for pool in pools}
        named = Counter(key for weight in weights.values() for key in weight.keys - around.keys)
        legs = {}
        for pool in pools:
            weight, units = weights[pool.address], _UNITS[pool.venue]
            own = sum(named[key] == 1 for key in weight.keys - around.keys)
            legs[pool.address] = LegTerms(
                size=weight.size,
                compute_units=units.swap + units.per_step,
                keys=bits.of(weight.keys),
                least_size=weight.size + KEY_BYTES * own,
            )
        mints = {token.mint: self._mint(ends, token, bits) for token in between}
        return _Weighed(pools, frame, legs, mints, _most_legs(frame, [leg.least_size for leg in legs.values()]))

    def _frame(self, tokens: Sequence[Token]) -> _Weight:
        before, accounts, after = self._composer.surroundings(
            tokens, 0, reference=_ANY_ORDER, attempt=_LAST_ATTEMPT, unit_limit=0, unit_price_micro_lamports=0
        )
        own = _weight([step.instruction for step in (*before, *after)])
        return _Weight(own.size + envelope_bytes(), own.keys | {_ANYONE, *accounts.values()})

    def _mint(self, ends: tuple[Token, Token], token: Token, bits: "_Bits") -> LegTerms:
        without, over = self._frame(ends), self._frame((ends[0], token, ends[1]))
        keys = bits.of(over.keys - without.keys)
        return LegTerms(size=over.size - without.size, compute_units=_UNITS_OF_A_MINT, keys=keys)

    def _leg(self, pool: Pool) -> _Weight:
        known = self._legs.get(pool.address)
        if known is None or known[0] is not pool:
            known = self._legs[pool.address] = (
                pool,
                max((_leg(pool, mint) for mint in pool.mints), key=lambda weight: weight.size),
            )
        return known[1]


class _Bits:
    """A bit for each address."""

    def __init__(self) -> None:
        self._bits: dict[Pubkey, int] = {}

    def of(self, keys: Iterable[Pubkey]) -> int:
        """All of them together."""
        together = 0
        for key in keys:
            together |= self._bits.setdefault(key, 1 << len(self._bits))
        return together


def _leg(pool: Pool, in_mint: Mint) -> _Weight:
    swap = pool.swap_instruction(SwapAccounts(_ANYONE, _SOURCE, _TARGET), in_mint, 1, 1, SwapMode.EXACT_IN)
    own = _weight([swap])
    return _Weight(own.size, own.keys - {_SOURCE, _TARGET})


def _weight(instructions: Sequence[Instruction]) -> _Weight:
    keys = {meta.pubkey for instruction in instructions for meta in instruction.accounts}
    return _Weight(
        sum(map(instruction_bytes, instructions)),
        frozenset(keys | {instruction.program_id for instruction in instructions}),
    )


def _most_legs(frame: LegTerms, least_sizes: Iterable[int]) -> int:
    """No more legs than this fit, whichever."""
    room = MAX_BYTES - frame.all_bytes
    reached = accumulate(sorted(least_sizes))
    return max(1, sum(size <= room for size in reached))


def _with_margin(units: int) -> int:
    """The compute unit limit that pays for so many."""
    return ceil_div(units * 6, 5)
