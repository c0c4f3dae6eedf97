"""How a swap moves the price of a Raydium CLMM pool from one initialized tick to the next, and what each step pays.

Source: the on-chain program, whose own answers are in tests/golden.
"""

import struct
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from itertools import count
from typing import TypeAlias

import msgspec

from bestex.errors import SwapRefused
from bestex.types import U64_MAX, ChainClock
from bestex.venues import clmm_layout as layout
from bestex.venues.clmm_layout import RATE, Bitmap, FeeRates
from bestex.venues.clmm_ticks import (
    MAX_SQRT_PRICE,
    MIN_SQRT_PRICE,
    cost,
    price_after_input,
    price_after_output,
    proceeds,
    sqrt_at,
    tick_at,
)
from bestex.venues.curve import Piece
from bestex.venues.math import U128_MAX
from bestex.venues.pool import ARRAY_LIMIT, Refusal
from bestex.venues.token import TransferFeeConfig

ERRORS: Mapping[int, str] = {
    1: "token:InsufficientFunds",
    14: "token:Overflow",
    2505: "RequireGtViolated",
    6001: "NotApproved",
    6011: "InvalidTickArray",
    6013: "SqrtPriceLimitOverflow",
    6015: "LiquiditySubValueErr",
    6016: "LiquidityAddValueErr",
    6019: "LiquidityInsufficient",
    6022: "TooLittleOutputReceived",
    6023: "TooMuchInputPaid",
    6024: "ZeroAmountSpecified",
    6026: "TooSmallInputOrOutputAmount",
    6027: "NotEnoughTickArrayAccount",
    6040: "MissingTickArrayBitmapExtensionAccount",
    6041: "InsufficientLiquidityForDirection",
    6042: "MaxTokenOverflow",
    6044: "TransferFeeCalculateNotMatch",
}

_INVALID_ARRAY, _PRICE_LIMIT, _LIQUIDITY_BELOW, _LIQUIDITY_ABOVE = 6011, 6013, 6015, 6016
_NO_TICKS, _ARRAY_MISSING, _EXTENSION_MISSING, _NO_ARRAYS = 6019, 6027, 6040, 6041
_NOTHING_WANTED, _NOTHING_MOVED, _TOO_MUCH = 6024, 6026, 6042
_FLOOR, _CEILING = MIN_SQRT_PRICE + 1, MAX_SQRT_PRICE - 1
"""Where the price stops if the swap gives no limit."""

Flow: TypeAlias = tuple[int, int, int, int, int]
"""Base units that the pool gains (with the fee) and pays, the fee; the price at the end; number of steps."""

TransferFees: TypeAlias = tuple[TransferFeeConfig | None, TransferFeeConfig | None]
"""Of input and output."""

Segment: TypeAlias = tuple[int, int, int, int, int, int]
"""One step at full length: price at its start, price at its end, liquidity; the next initialized tick, its price;
arrays entered to find it."""


def refused(code: int | None, kind: Refusal, message: str) -> SwapRefused:
    """The program's refusal, by its number; None where it panics."""
    return SwapRefused(message, program_code=code, name="panic" if code is None else ERRORS[code], kind=kind)


class Position(msgspec.Struct, frozen=True, gc=False):
    """Where a pool's price is."""

    sqrt_price: int
    """Q64.64."""
    tick: int
    """The greatest whose price is not above `sqrt_price`, or one less after the price fell right onto it."""
    liquidity: int


class TickArrays(msgspec.Struct, frozen=True):
    """The tick arrays that are loaded, and which ones there are."""

    data: Mapping[int, bytes]
    """Account bytes by array index, as decoded: swaps do not change where ticks lie."""
    bitmap: Bitmap
    tick_spacing: int

    def index(self, tick: int) -> int:
        """The array that holds a tick."""
        return layout.array_index(tick, self.tick_spacing)


class Ladder:
    """The steps ahead of a swap in one direction (`down` sells token 0), found as swaps reach them and kept.

    The totals count from the present price: entry n is what n full steps take, pay and charge. A step is taken in full
    exactly if what is left covers it, so a swap is a search among the totals and one division for its last step.
    """

    __slots__ = (
        "_arrays",
        "_at",
        "_entered",
        "_paid",
        "_position",
        "_rate",
        "_taken",
        "_ticks",
        "down",
        "fees",
        "segments",
    )

    def __init__(self, arrays: TickArrays, position: Position, rate: int, down: bool) -> None:
        self.down = down
        self.segments: list[Segment] = []
        self.fees = [0]
        self._taken = [0]
        self._paid = [0]
        self._arrays = arrays
        self._rate = rate
        self._position = position
        self._at: int | None = None
        self._entered = 0
        self._ticks: list[tuple[int, int]] = []

    def spend(self, amount: int, limit: int) -> Flow:
        """Sell up to `amount` (positive, base units) until `limit` (0 for none). Raises SwapRefused as the program."""
        taken = self._taken
        step = self._step(taken, self._paid, amount, limit)
        start, end, liquidity, _, _, _ = self.segments[step - 1]
        left = amount - taken[step - 1]
        if limit and end != limit and self._reaches(end, limit):
            fits = self._charge(liquidity, start, limit)[0] <= left
            return self._stop(step, limit) if fits else self._end_in(step, left)
        if taken[step] <= amount:
            return taken[step], self._paid[step], self.fees[step], end, step
        return self._end_in(step, left)

    def buy(self, amount: int, limit: int) -> Flow:
        """Buy up to `amount` (positive, base units) until `limit` (0 for none). Raises SwapRefused as the program."""
        paid = self._paid
        step = self._step(paid, self._taken, amount, limit)
        start, end, liquidity, _, _, _ = self.segments[step - 1]
        left = amount - paid[step - 1]
        if limit and end != limit and self._reaches(end, limit):
            fits = proceeds(liquidity, start, limit) <= left
            return self._stop(step, limit) if fits else self._end_out(step, left)
        if paid[step] <= amount:
            return self._taken[step], paid[step], self.fees[step], end, step
        return self._end_out(step, left)

    def pieces(self) -> Iterator[Piece]:
        """What the steps pay at most, within the arrays that a transaction carries.

        Liquidity L at the square-root price p holds L/p and L*p of the tokens: a hyperbola until the next tick.
        """
        for step in count():
            try:
                while step == len(self.segments):
                    self._extend()
            except SwapRefused:
                return
            start, _, liquidity, _, _, entered = self.segments[step]
            if entered > ARRAY_LIMIT:
                return
            gain, base = liquidity * start * start, liquidity << 128
            if not self.down:
                gain, base = base, gain
            kept = RATE - self._rate
            yield gain * kept, base * RATE, (start << 64) * kept, self._taken[step + 1], self._paid[step + 1]

    def offered(self) -> int:
        """Base units of output within reach."""
        try:
            while True:
                self._extend()
        except SwapRefused:
            return self._paid[-1]

    def _step(self, totals: list[int], others: list[int], amount: int, limit: int) -> int:
        """In which step, counted from 1, the swap ends."""
        while totals[-1] < amount:
            if limit and self.segments and self._reaches(self.segments[-1][1], limit):
                break
            if others[-1] > U64_MAX:
                raise refused(_TOO_MUCH, Refusal.OVERFLOW, "An amount does not fit u64")
            self._extend()
        step = bisect_left(totals, amount)
        if limit:
            for number, segment in enumerate(self.segments[:step], 1):
                if self._reaches(segment[1], limit):
                    return number
        return step

    def _reaches(self, price: int, limit: int) -> bool:
        return price <= limit if self.down else price >= limit

    def _charge(self, liquidity: int, start: int, end: int) -> tuple[int, int]:
        """Input that moves the price so far, with its fee; the fee."""
        net = cost(liquidity, start, end)
        fee = -(-net * self._rate // (RATE - self._rate))
        return net + fee, fee

    def _stop(self, step: int, limit: int) -> Flow:
        """The last step ends at the limit."""
        start, _, liquidity, _, _, _ = self.segments[step - 1]
        taken, fee = self._charge(liquidity, start, limit)
        paid = proceeds(liquidity, start, limit)
        before = step - 1
        return self._taken[before] + taken, self._paid[before] + paid, self.fees[before] + fee, limit, step

    def _end_in(self, step: int, left: int) -> Flow:
        """The last step uses up the input; what its rounding leaves over becomes fee."""
        start, _, liquidity, _, _, _ = self.segments[step - 1]
        price = price_after_input(liquidity, start, left * (RATE - self._rate) // RATE, self.down)
        before = step - 1
        fee = self.fees[before] + left - cost(liquidity, start, price)
        return self._taken[before] + left, self._paid[before] + proceeds(liquidity, start, price), fee, price, step

    def _end_out(self, step: int, left: int) -> Flow:
        """The last step pays what is still wanted."""
        start, _, liquidity, _, _, _ = self.segments[step - 1]
        price = price_after_output(liquidity, start, left, self.down)
        taken, fee = self._charge(liquidity, start, price)
        before = step - 1
        return self._taken[before] + taken, self._paid[before] + left, self.fees[before] + fee, price, step

    def _extend(self) -> None:
        """Find one more step. Raises SwapRefused where the program would find none."""
        position, down = self._position, self.down
        start = position.sqrt_price
        if start <= _FLOOR if down else start >= _CEILING:
            raise self._at_the_end()
        while not self._ticks:
            self._enter()
        tick, net = self._ticks[-1]
        liquidity = position.liquidity
        after = liquidity - net if down else liquidity + net
        if not 0 <= after <= U128_MAX:
            code = _LIQUIDITY_BELOW if after < 0 else _LIQUIDITY_ABOVE
            raise refused(code, Refusal.LIQUIDITY, "The ticks contradict the pool's liquidity")
        price = sqrt_at(tick)
        end = max(price, _FLOOR) if down else min(price, _CEILING)
        taken, fee = self._charge(liquidity, start, end)
        self.segments.append((start, end, liquidity, tick, price, self._entered))
        self._taken.append(self._taken[-1] + taken)
        self._paid.append(self._paid[-1] + proceeds(liquidity, start, end))
        self.fees.append(self.fees[-1] + fee)
        self._ticks.pop()
        self._position = Position(end, tick - 1 if down else tick, after)

    def _enter(self) -> None:
        """Move to the next array with initialized ticks."""
        arrays, down = self._arrays, self.down
        home = arrays.index(self._position.tick)
        indexes = arrays.bitmap.indexes
        at = self._at
        if at is None:
            at = arrays.bitmap.position(home, down)
        if not 0 <= at < len(indexes):
            raise self._exhausted()
        index = indexes[at]
        data = arrays.data.get(index)
        if data is None:
            raise refused(_ARRAY_MISSING, Refusal.MISSING_ACCOUNTS, f"Tick array {index} is not loaded")
        ticks = layout.ticks_of(data, arrays.tick_spacing)
        if not ticks:
            raise refused(_INVALID_ARRAY, Refusal.LIQUIDITY, f"Tick array {index} contradicts the pool's bitmap")
        present = self._position.tick
        ahead = [tick for tick in ticks if (tick[0] <= present) is down]
        self._ticks = ahead if down else ahead[::-1]
        self._at = at - 1 if down else at + 1
        self._entered += 1

    def _at_the_end(self) -> SwapRefused:
        """The swap has reached the last price there is, and still has something to do."""
        if not self.segments:
            return refused(_PRICE_LIMIT, Refusal.PRICE_LIMIT, "The price is at its limit")
        if self._taken[-1] == 0 or self._paid[-1] == 0:
            return refused(_NOTHING_MOVED, Refusal.ZERO_OUTPUT, "The swap moves nothing")
        return refused(_NO_TICKS, Refusal.LIQUIDITY, "The swap reaches the last price there is")

    def _exhausted(self) -> SwapRefused:
        arrays = self._arrays
        if not arrays.bitmap.has_extension and not layout.within_pool_bitmap(arrays.tick_spacing):
            return refused(_EXTENSION_MISSING, Refusal.MISSING_ACCOUNTS, "The bitmap extension is not loaded")
        code = _NO_TICKS if self._entered else _NO_ARRAYS
        return refused(code, Refusal.LIQUIDITY, "No liquidity is left in this direction")


def sell(ladder: Ladder, amount: int, limit: int, fees: TransferFees, epoch: int) -> tuple[int, int, Flow]:
    """What the user pays for an exact input (less if the price stops at the limit), and receives.

    Raises SwapRefused as the program would, as `buy`.
    """
    fee_in, fee_out = fees
    arriving = amount if fee_in is None else amount - fee_in.at(epoch).on(amount)
    _check_wanted(arriving)
    flow = ladder.spend(arriving, limit)
    taken, leaving = flow[0], flow[1]
    _check_moved(taken, leaving)
    paid = amount
    if taken != arriving:
        paid = taken if fee_in is None else taken + fee_in.at(epoch).to_deliver(taken)
    return paid, leaving if fee_out is None else leaving - fee_out.at(epoch).on(leaving), flow


def buy(ladder: Ladder, amount: int, limit: int, fees: TransferFees, epoch: int) -> tuple[int, int, Flow]:
    """What the user pays for an exact output, and receives (less if the price stops at the limit)."""
    fee_in, fee_out = fees
    wanted = amount if fee_out is None else amount + fee_out.at(epoch).to_deliver(amount)
    _check_wanted(wanted)
    flow = ladder.buy(wanted, limit)
    taken, leaving = flow[0], flow[1]
    _check_moved(taken, leaving)
    received = amount
    if leaving != wanted:
        received = leaving if fee_out is None else leaving - fee_out.at(epoch).on(leaving)
    return taken if fee_in is None else taken + fee_in.at(epoch).to_deliver(taken), received, flow


def _check_wanted(amount: int) -> None:
    if amount <= 0:
        raise refused(_NOTHING_WANTED, Refusal.ZERO_AMOUNT, "Nothing is to be swapped")


def _check_moved(taken: int, leaving: int) -> None:
    if taken > U64_MAX or leaving > U64_MAX:
        raise refused(_TOO_MUCH, Refusal.OVERFLOW, "An amount does not fit u64")
    if taken == 0 or leaving == 0:
        raise refused(_NOTHING_MOVED, Refusal.ZERO_OUTPUT, "The swap moves nothing")


def settle(
    pool: bytearray, arrays: dict[int, bytearray], ladder: Ladder, flow: Flow, *, rates: FeeRates, clock: ChainClock
) -> Position:
    """Write a swap into the pool's bytes and into those of the arrays whose ticks it crosses.

    `arrays` must hold the arrays of the ticks that it crosses, by index. Returns where the price is. Raises SwapRefused
    where a counter overflows.
    """
    taken, paid, fee, price, steps = flow
    down = ladder.down
    side = 0 if down else 1
    _emit_rewards(pool, clock.unix_timestamp)
    grown = _grown(pool)
    protocol = fund = 0
    tick = _int(pool, layout.TICK_AT, 4, signed=True)
    liquidity = _int(pool, layout.LIQUIDITY_AT)
    spacing = _int(pool, layout.SPACING_AT, 2)
    for number, (start, end, depth, ahead, ahead_price, _) in enumerate(ladder.segments[:steps]):
        last = number + 1 == steps
        step_fee = (fee if last else ladder.fees[number + 1]) - ladder.fees[number]
        step_protocol, step_fund = step_fee * rates.protocol // RATE, step_fee * rates.fund // RATE
        protocol += step_protocol
        fund += step_fund
        liquidity = depth
        if depth:
            grown[side][1] += ((step_fee - step_protocol - step_fund) << 64) // depth
        reached = price if last else end
        if reached == ahead_price:
            net = _cross(arrays[layout.array_index(ahead, spacing)], layout.tick_offset(ahead, spacing), grown)
            liquidity += -net if down else net
            tick = ahead - 1 if down else ahead
        elif reached != start:
            tick = tick_at(reached)
    _put(pool, layout.GROWTH_AT + 16 * side, grown[side][1] & U128_MAX)
    _add(pool, layout.PROTOCOL_AT + 8 * side, 8, protocol)
    _add(pool, layout.FUND_AT + 8 * side, 8, fund)
    _add(pool, layout.TOTAL_FEES_AT + 16 * side, 8, fee - protocol - fund)
    _add(pool, layout.SWAPPED_AT + 32 * side, 16, taken)
    _add(pool, layout.SWAPPED_AT + 32 * side + 16, 16, paid)
    _put(pool, layout.LIQUIDITY_AT, liquidity)
    _put(pool, layout.PRICE_AT, price)
    struct.pack_into("<i", pool, layout.TICK_AT, tick)
    layout.U64.pack_into(pool, layout.EPOCH_AT, clock.epoch)
    return Position(price, tick, liquidity)


def _grown(pool: bytearray) -> list[list[int]]:
    """What has grown for all liquidity, fees of token 0 and 1, then rewards: offset in a tick, how much (Q64.64)."""
    grown = [[layout.OUTSIDE_AT + 16 * side, _int(pool, layout.GROWTH_AT + 16 * side)] for side in (0, 1)]
    for number in range(layout.REWARDS):
        at = layout.REWARDS_AT + layout.REWARD_SIZE * number
        if pool[at]:
            grown.append([layout.REWARDS_OUTSIDE_AT + 16 * number, _int(pool, at + layout.REWARD_GROWTH_AT)])
    return grown


def _cross(array: bytearray, at: int, grown: list[list[int]]) -> int:
    """Turn the sides of the tick at this offset around; returns the liquidity that begins there."""
    for outside, total in grown:
        _put(array, at + outside, (total - _int(array, at + outside)) & U128_MAX)
    return _int(array, at + layout.NET_AT, signed=True)


def _emit_rewards(pool: bytearray, now: int) -> None:
    """Bring the rewards of liquidity providers up to date, as each swap does."""
    liquidity = _int(pool, layout.LIQUIDITY_AT)
    for number in range(layout.REWARDS):
        at = layout.REWARDS_AT + layout.REWARD_SIZE * number
        state, opens, ends, updated, rate, emitted = layout.REWARD.unpack_from(pool, at)
        latest = min(now, ends)
        if state == 0 or now < opens or latest < updated:
            continue
        if liquidity:
            tokens = (latest - updated) * int.from_bytes(rate, "little")
            growth = _int(pool, at + layout.REWARD_GROWTH_AT) + tokens // liquidity
            _put(pool, at + layout.REWARD_GROWTH_AT, growth & U128_MAX)
            emitted -= -tokens >> 64
            if emitted > U64_MAX:
                raise refused(None, Refusal.OVERFLOW, "The rewards do not fit u64")
        state = layout.REWARD_ENDED if latest == ends else layout.REWARD_RUNNING
        layout.REWARD.pack_into(pool, at, state, opens, ends, latest, rate, emitted)


def _int(data: bytearray, at: int, size: int = 16, *, signed: bool = False) -> int:
    return int.from_bytes(data[at : at + size], "little", signed=signed)


def _put(data: bytearray, at: int, value: int) -> None:
    data[at : at + 16] = value.to_bytes(16, "little")


def _add(data: bytearray, at: int, size: int, amount: int) -> None:
    total = _int(data, at, size) + amount
    if total >> 8 * size:
        raise refused(None, Refusal.OVERFLOW, "A counter of the pool overflows")
    data[at : at + size] = total.to_bytes(size, "little")
