"""One trade over the pools of a pair, in the terms of the solver: lanes, totals behind transfer fees, bounds."""

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from bestex.errors import SwapRefused
from bestex.routing.water import fill
from bestex.types import ChainClock, Mint, SwapMode
from bestex.venues.curve import PRICE_BITS, VALUE_BITS, Curve
from bestex.venues.math import ceil_div
from bestex.venues.pool import ARRAY_LIMIT, Pool, Quote
from bestex.venues.token import TransferFee

_ONE_PRICE = 1 << PRICE_BITS
_VALUE_OVER_PRICE = VALUE_BITS - PRICE_BITS

Legs: TypeAlias = list[tuple["Lane", Quote]]


class Lane(msgspec.Struct, frozen=True, gc=False, eq=False):
    """A pool that can take a part of the trade."""

    pool: Pool
    curve: Curve


class LaneRefused(Exception):
    """A lane cannot take the part that it was given."""

    def __init__(self, lane: Lane, reason: str) -> None:
        super().__init__(reason)
        self.lane = lane


class Task:
    """What is to be traded: `amount` base units, paid (exact_in) or received (exact_out)."""

    def __init__(
        self,
        pools: Sequence[Pool],
        in_mint: Mint,
        amount: int,
        swap_mode: SwapMode,
        clock: ChainClock,
        *,
        bound_amount: int | None = None,
    ) -> None:
        """`bound_amount` (exact_in, at least `amount`): bounds hold for all inputs up to this one."""
        self.in_mint = in_mint
        self.amount = amount
        self.exact_in = swap_mode is SwapMode.EXACT_IN
        self.swap_mode = swap_mode
        self.clock = clock
        self.lanes: list[Lane] = []
        self.refusals: list[tuple[Pool, str]] = []
        self._fees: tuple[TransferFee | None, TransferFee | None] = (None, None)
        self.moving = amount
        """Base units that arrive at the pools (exact_in) or leave them (exact_out), at the most or least."""
        self._bound_amount = self._bounded = max(amount, bound_amount or 0)
        self.extended = bound_amount is not None
        """Whether bounds are to hold for other inputs, too."""
        for pool in pools:
            self._open(pool)

    def _open(self, pool: Pool) -> None:
        try:
            curve = pool.curve(self.in_mint, self.clock)
        except SwapRefused as refusal:
            self.refusals.append((pool, f"{refusal.name}: {refusal.message}"))
            return
        if not self.exact_in and not curve.exact_out:
            self.refusals.append((pool, "Its fee depends on the amount: exact outputs are not offered"))
            return
        if not self.lanes:
            self._behind_fees(curve)
        reached = curve.reach(self._bounded) if self.exact_in else curve.reach_out(self._bounded)
        if reached == 0 or curve.out_amount == 0:
            self.refusals.append((pool, "No liquidity within reach"))
            return
        self.lanes.append(Lane(pool, curve))

    def _behind_fees(self, curve: Curve) -> None:
        """All pools of a pair share its mints' transfer fees."""
        epoch = self.clock.epoch
        config_in, config_out = curve.transfer_fees
        fee_in = config_in.at(epoch) if config_in else None
        fee_out = config_out.at(epoch) if config_out else None
        self._fees = fee_in, fee_out
        if self.exact_in:
            self.moving = self.amount - (fee_in.on(self.amount) if fee_in else 0)
            self._bounded = self._bound_amount - (fee_in.on(self._bound_amount) if fee_in else 0)
        else:
            self.moving = self._bounded = self.amount + (fee_out.to_deliver(self.amount) if fee_out else 0)

    def capacity(self, lane: Lane) -> int:
        """The most that a lane can move, base units of input (exact_in) or output (exact_out), at most all of it."""
        return min(lane.curve.reached if self.exact_in else lane.curve.out_amount, self.moving)

    def level(self, lanes: Sequence[Lane]) -> tuple[int, list[float]]:
        """The marginal price at which these lanes move all of it, PRICE_BITS fraction bits, and what each moves."""
        sketches = [lane.curve.ins if self.exact_in else lane.curve.outs for lane in lanes]
        level, moved = fill(sketches, float(self.moving))
        square = level * level
        return max(1, int(_ONE_PRICE / square if self.exact_in else _ONE_PRICE * square)), moved

    def quotes(self, lanes: Sequence[Lane], moved: Sequence[float]) -> Legs:
        """Exact quotes of a division of the whole amount, for lanes that get a part of it. Raises LaneRefused."""
        legs = []
        for lane, part in zip(lanes, self._parts(lanes, moved), strict=True):
            if part:
                legs.append((lane, self.quote(lane, part)))
        return legs

    def quote(self, lane: Lane, part: int) -> Quote:
        """One leg's exact quote. Raises LaneRefused."""
        try:
            quoted = lane.pool.quote(self.in_mint, part, self.swap_mode, self.clock)
        except SwapRefused as refusal:
            raise LaneRefused(lane, f"{refusal.name}: {refusal.message}") from refusal
        if quoted.out_amount == 0 or quoted.arrays > ARRAY_LIMIT:
            raise LaneRefused(lane, "The swap pays nothing, or needs too many arrays")
        return quoted

    def _parts(self, lanes: Sequence[Lane], moved: Sequence[float]) -> list[int]:
        """Whole base units that the user pays to each lane (exact_in) or receives from it, `amount` together."""
        rooms = [self.capacity(lane) for lane in lanes]
        parts = [min(int(part), room) for part, room in zip(moved, rooms, strict=True)]
        rest = self.moving - sum(parts)
        # The deepest lanes take what rounding has left: there it moves the price least.
        for number in sorted(range(len(lanes)), key=moved.__getitem__, reverse=True):
            if rest == 0:
                break
            change = min(rest, rooms[number] - parts[number]) if rest > 0 else -min(-rest, parts[number])
            parts[number] += change
            rest -= change
        return self._before_fees(parts)

    def _before_fees(self, parts: list[int]) -> list[int]:
        fee_in, fee_out = self._fees
        if self.exact_in:
            if fee_in is None:
                return parts
            parts = [part + fee_in.to_deliver(part) for part in parts]
        elif fee_out is None:
            return parts
        else:
            parts = [part - fee_out.on(part) for part in parts]
        largest = max(range(len(parts)), key=parts.__getitem__)
        parts[largest] += self.amount - sum(parts)
        return [max(part, 0) for part in parts]

    def bound(self, value: int, price: int) -> int:
        """No split pays more (exact_in), or asks less (exact_out): base units.

        `value` is the sum of all lanes' conjugates at `price`.
        """
        fee_in, fee_out = self._fees
        if self.exact_in:
            leaving = value + (price * self._bounded << _VALUE_OVER_PRICE) >> VALUE_BITS
            return leaving - (fee_out.on(leaving) if fee_out else 0)
        arriving = max(0, ceil_div((self._bounded << VALUE_BITS) - value, price << _VALUE_OVER_PRICE))
        return arriving + (fee_in.to_deliver(arriving) if fee_in else 0)

    def worth(self, value: int, price: int) -> int:
        """What a lane's conjugate is worth in base units of the token that routes are measured in, rounded up."""
        return ceil_div(value, 1 << VALUE_BITS) if self.exact_in else ceil_div(value, price << _VALUE_OVER_PRICE)

    def net_bound(self, worth: int, price: int, bound: int) -> int:
        """The same as `bound` after costs; `worth` is the most that lanes can be worth less what they cost."""
        without = self.bound(0, price)
        return min(bound, without + worth) if self.exact_in else max(bound, without - worth)

    def net(self, legs: Legs, cost: int) -> int:
        """Output less cost (exact_in), or the input and cost, negative (exact_out): more is better."""
        if self.exact_in:
            return sum(quote.out_amount for _, quote in legs) - cost
        return -sum(quote.in_amount for _, quote in legs) - cost
