"""What one transaction can carry: the terms that the router keeps to, from the real instructions."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate

import msgspec
from solders.instruction import Instruction
from solders.pubkey import Pubkey

from bestex.errors import NoRoute
from bestex.execution.building import Composer
from bestex.routing.legs import LegTerms, Limits, Rules
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

LamportWorth = tuple[int, int]
"""Base units of the token that a route is measured in, per lamport, as a fraction."""


class Fitting:
    """Weighs legs, and tries whether whole routes fit."""

    def __init__(self) -> None:
        self._composer = Composer(_ANYONE)
        self._legs: dict[Pubkey, tuple[Pool, LegTerms]] = {}

    def rules(
        self,
        pools: Iterable[Pool],
        ends: tuple[Token, Token],
        between: Iterable[Token],
        unit_price: int,
        worth: LamportWorth,
    ) -> Rules:
        """For routes between these tokens. `unit_price`: micro-lamports per compute unit."""

        frame = self._frame(ends)
        legs = {pool.address: self._leg(pool) for pool in pools}
        least = _least_sizes(frame, legs)

        def priced(terms: LegTerms, lamports: int = 0, least_size: int = 0) -> LegTerms:
            micro_lamports = lamports * _MICRO + _with_margin(terms.compute_units) * unit_price
            cost = ceil_div(micro_lamports * worth[0], worth[1] * _MICRO)
            return msgspec.structs.replace(terms, cost=cost, least_size=least_size)

        return Rules(
            terms={pool: priced(leg, least_size=least[pool]) for pool, leg in legs.items()},
            limits=Limits(
                legs=_most_legs(frame, least.values()),
                accounts=MAX_ACCOUNT_LOCKS,
                size=MAX_BYTES,
                compute_units=MAX_COMPUTE_UNITS,
            ),
            frame=priced(frame, fee_lamports(0, 0)),
            mints={token.mint: priced(self._mint(ends, token)) for token in between},
        )

    def fits(self, route: Route, token_of: Callable[[Mint], Token]) -> bool:
        """Whether the route's transaction is within the network's limits: by composing it."""
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

    def _frame(self, tokens: Sequence[Token]) -> LegTerms:
        before, accounts, after = self._composer.surroundings(
            tokens, 0, reference=_ANY_ORDER, attempt=_LAST_ATTEMPT, unit_limit=0, unit_price_micro_lamports=0
        )
        own = _weigh([step.instruction for step in (*before, *after)])
        return LegTerms(
            size=own.size + envelope_bytes(),
            compute_units=_UNITS_AROUND,
            keys=own.keys | {_ANYONE, *accounts.values()},
        )

    def _mint(self, ends: tuple[Token, Token], token: Token) -> LegTerms:
        without, over = self._frame(ends), self._frame((ends[0], token, ends[1]))
        return LegTerms(size=over.size - without.size, compute_units=_UNITS_OF_A_MINT, keys=over.keys - without.keys)

    def _leg(self, pool: Pool) -> LegTerms:
        known = self._legs.get(pool.address)
        if known is None or known[0] is not pool:
            known = self._legs[pool.address] = (
                pool,
                max((_leg(pool, mint) for mint in pool.mints), key=lambda terms: terms.size),
            )
        return known[1]


def _leg(pool: Pool, in_mint: Mint) -> LegTerms:
    swap = pool.swap_instruction(SwapAccounts(_ANYONE, _SOURCE, _TARGET), in_mint, 1, 1, SwapMode.EXACT_IN)
    own, units = _weigh([swap]), _UNITS[pool.venue]
    return LegTerms(size=own.size, compute_units=units.swap + units.per_step, keys=own.keys - {_SOURCE, _TARGET})


def _weigh(instructions: Sequence[Instruction]) -> LegTerms:
    keys = {meta.pubkey for instruction in instructions for meta in instruction.accounts}
    return LegTerms(
        size=sum(map(instruction_bytes, instructions)),
        keys=frozenset(keys | {instruction.program_id for instruction in instructions}),
    )


def _least_sizes(frame: LegTerms, legs: Mapping[Pubkey, LegTerms]) -> dict[Pubkey, int]:
    """Bytes that each leg adds whichever are beside it: its own, and the keys that no other one names."""
    named = Counter(key for leg in legs.values() for key in leg.keys)
    return {
        pool: leg.size + LegTerms(keys=frozenset(key for key in leg.keys - frame.keys if named[key] == 1)).all_bytes
        for pool, leg in legs.items()
    }


def _most_legs(frame: LegTerms, least_sizes: Iterable[int]) -> int:
    """No more legs than this fit, whichever."""
    room = MAX_BYTES - frame.all_bytes
    reached = accumulate(sorted(least_sizes))
    return max(1, sum(size <= room for size in reached))


def _with_margin(units: int) -> int:
    """The compute unit limit that pays for so many."""
    return ceil_div(units * 6, 5)
