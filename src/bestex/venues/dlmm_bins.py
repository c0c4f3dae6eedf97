"""Which bins of a Meteora DLMM pair a swap meets, in what order, and what each of them pays.

A bin pays from up to three layers at one price: the market makers' tokens, then limit orders that are being processed,
then limit orders that are open. Source: the on-chain program, whose own answers are in tests/golden.
"""

from bisect import bisect_right
from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from bestex.errors import SwapRefused
from bestex.types import BPS, U64_MAX
from bestex.venues import dlmm_layout as layout
from bestex.venues.dlmm_layout import BINS_PER_ARRAY, Bin, Bitmap, Pair
from bestex.venues.math import U32_MAX, ceil_div
from bestex.venues.pool import Refusal

_NOT_ENOUGH_KEYS, _NO_MORE_BINS, _MATH_OVERFLOW, _NO_EXTENSION, _NO_MORE_ARRAYS, _UNDETERMINED = (
    3005,
    6012,
    6018,
    6036,
    6037,
    6085,
)

FEE_ONE = 1_000_000_000
"""Denominator of fee rates."""
_FEE_CAP = 100_000_000
_VARIABLE_FEE_SCALE = 100_000_000_000
_VOLATILITY_PER_BIN = 10_000
_ORDERS_SHARE_BPS = 5_000
"""Part of the fees on limit orders that belongs to the orders' owners."""

ERRORS: Mapping[int, str] = {
    1: "token:InsufficientFunds",
    14: "token:Overflow",
    3005: "AccountNotEnoughKeys",
    6002: "InvalidInput",
    6003: "ExceededAmountSlippageTolerance",
    6012: "PairInsufficientLiquidity",
    6018: "MathOverflow",
    6036: "BitmapExtensionAccountIsNotProvided",
    6037: "CannotFindNonZeroLiquidityBinArrayId",
    6039: "InsufficientOutAmount",
    6042: "PoolDisabled",
    6085: "UndeterminedError",
    6104: "InsufficientInAmount",
}

Rung: TypeAlias = tuple[int, int, int, int, tuple[int, ...] | None]
"""A bin that has something to give: id, price, input that drains it (before fees), output, layers if more than one."""

Fill: TypeAlias = tuple[int, int, int, int]
"""What a swap did in one bin: bin id, input without fee, output with fee, fee. Base units."""


def refused(code: int, kind: Refusal, message: str) -> SwapRefused:
    """The program's refusal, by its number."""
    return SwapRefused(message, program_code=code, name=ERRORS[code], kind=kind)


class FeeCurve(msgspec.Struct, frozen=True, gc=False):
    """The fee rate of each bin during one swap: it grows with the distance from where the swap's reference lies."""

    base: int
    control: int
    bin_step: int
    max_volatility: int
    reference: int
    """Volatility that earlier swaps have left."""
    index: int
    """Bin from which the distance counts."""

    def volatility(self, bin_id: int) -> int:
        """The volatility accumulator once a swap has reached this bin."""
        return min(self.reference + abs(self.index - bin_id) * _VOLATILITY_PER_BIN, self.max_volatility)

    def rate(self, bin_id: int) -> int:
        """Fee rate in billionths."""
        return fee_rate(self.base, self.control, self.volatility(bin_id) * self.bin_step)


class Motion(msgspec.Struct, frozen=True, gc=False):
    """Where a pair's price is and how it has moved of late."""

    active_id: int
    volatility: int
    """Accumulator that the last swap left."""
    reference: int
    index: int
    updated: int
    """Unix timestamp at which the active bin changed last."""

    def fee_curve(self, pair: Pair, base_rate: int, now: int) -> FeeCurve:
        """Fees for a swap at unix time `now`: volatility rests for a while, then decays, then is forgotten."""
        reference, index = self.reference, self.index
        elapsed = now - self.updated
        if elapsed >= pair.filter_period_s:
            reference, index = 0, self.active_id
            if elapsed < pair.decay_period_s:
                product = self.volatility * pair.reduction_bps
                if product > U32_MAX:
                    raise refused(_MATH_OVERFLOW, Refusal.OVERFLOW, "The volatility does not fit u32")
                reference = product // BPS
        return FeeCurve(base_rate, pair.variable_fee_control, pair.bin_step, pair.max_volatility, reference, index)

    def moved(self, active_id: int, fees: FeeCurve, now: int) -> "Motion":
        """After a swap that ended in this bin."""
        updated = self.updated if active_id == self.active_id else now
        return Motion(active_id, fees.volatility(active_id), fees.reference, fees.index, updated)


def fee_rate(base: int, control: int, movement: int) -> int:
    """Base and variable fee in billionths; `movement` is the volatility accumulator times the bin step."""
    rate = base - (-control * movement * movement // _VARIABLE_FEE_SCALE)
    return min(rate, _FEE_CAP)


class Bins(msgspec.Struct, frozen=True):
    """All loaded bins of a pair, read from their arrays when touched."""

    arrays: Mapping[int, bytes]
    """Account bytes by array index."""
    bitmap: Bitmap
    """Which arrays have liquidity, loaded or not."""
    bin_step: int
    has_extension: bool
    has_orders: bool
    """Whether the pair supports limit orders; where not, their fields mean nothing."""
    changed: Mapping[int, Bin]
    """Bins that swaps have changed since decoding."""

    def read(self, bin_id: int) -> Bin:
        """One bin, whole. Its array must be loaded."""
        changed = self.changed.get(bin_id)
        if changed is not None:
            return changed
        return layout.read_bin(self.arrays[bin_id // BINS_PER_ARRAY], bin_id, self.bin_step)

    def rung(self, bin_id: int, down: bool) -> Rung | None:
        """What a bin gives to a swap; None if nothing."""
        changed = self.changed.get(bin_id)
        if changed is None:
            array = self.arrays[bin_id // BINS_PER_ARRAY]
            x, y, low, high, opened, processing, asks = layout.GLANCE.unpack_from(array, layout.bin_offset(bin_id))
            price = low | high << 64
        else:
            (x, y), price, asks = changed.amounts, changed.price, changed.asks
            processing, opened = changed.orders
        offered: int = y if down else x
        if self.has_orders and (opened or processing) and down != bool(asks):
            layers = tuple(amount for amount in (offered, processing, opened) if amount)
            price = price or self.price(bin_id)
            need = sum(cost(amount, price, down) for amount in layers)
            return bin_id, price, need, sum(layers), layers if len(layers) > 1 else None
        if not offered:
            return None
        price = price or self.price(bin_id)
        return bin_id, price, cost(offered, price, down), offered, None

    def price(self, bin_id: int) -> int:
        """Price of a bin whose array does not store it. Raises SwapRefused where the program finds none."""
        try:
            return layout.price_of(bin_id, self.bin_step)
        except ValueError as error:
            raise refused(_MATH_OVERFLOW, Refusal.OVERFLOW, str(error)) from error


class Ladder:
    """The bins ahead of a swap in one direction, found as swaps reach them and kept for the next one."""

    __slots__ = ("_array", "_bins", "_entered", "_next", "down", "rungs")

    def __init__(self, bins: Bins, active_id: int, down: bool) -> None:
        self.down = down
        self.rungs: list[Rung] = []
        self._bins = bins
        self._entered: list[int] = []
        """For each array that was entered, how many rungs were found before it."""
        self._next = active_id
        self._array: int | None = None

    def extend(self) -> None:
        """Find one more bin that gives something. Raises SwapRefused where the program would find none."""
        step = -1 if self.down else 1
        while True:
            if abs(self._next) > layout.MAX_BIN_ID:
                raise refused(_NO_MORE_BINS, Refusal.LIQUIDITY, "The swap runs out of bins")
            index = self._next // BINS_PER_ARRAY
            if index != self._array:
                index = self._enter(index)
            first = index * BINS_PER_ARRAY
            end = first - 1 if self.down else first + BINS_PER_ARRAY
            for bin_id in range(self._next, end, step):
                rung = self._bins.rung(bin_id, self.down)
                if rung is not None:
                    self._next = bin_id + step
                    self.rungs.append(rung)
                    return
            self._next = end

    def arrays_at(self, rung: int) -> int:
        """How many arrays a swap has entered that ends in this rung."""
        return bisect_right(self._entered, rung)

    def all(self) -> list[Rung]:
        """Every bin within reach."""
        try:
            while True:
                self.extend()
        except SwapRefused:
            return self.rungs

    def _enter(self, wanted: int) -> int:
        """Move to the next array with liquidity, which may lie behind empty ones."""
        index = self._bins.bitmap.nearest(wanted, self.down)
        if index is None:
            code = _NO_MORE_ARRAYS if self._bins.has_extension else _NO_EXTENSION
            raise refused(code, Refusal.LIQUIDITY, "No bin array with liquidity is left")
        if index not in self._bins.arrays:
            raise refused(_NOT_ENOUGH_KEYS, Refusal.MISSING_ACCOUNTS, f"Bin array {index} is not loaded")
        if index != wanted:
            self._next = index * BINS_PER_ARRAY + (BINS_PER_ARRAY - 1 if self.down else 0)
        self._entered.append(len(self.rungs))
        self._array = index
        return index


def cost(output: int, price: int, down: bool) -> int:
    """Input before fees that buys `output` at one price, rounded up."""
    return -(-(output << 64) // price) if down else -(-output * price >> 64)


def split(layers: tuple[int, ...], net: int, price: int, down: bool) -> list[tuple[int, int]]:
    """How an input without fee fills layers one after the other: (input, output) of each."""
    filled = []
    for layer in layers:
        need = cost(layer, price, down) if layer else 0
        if net >= need:
            filled.append((need, layer))
            net -= need
        else:
            filled.append((net, net * price >> 64 if down else (net << 64) // price))
            net = 0
    return filled


def fill(rung: Rung, amount: int, rate: int, down: bool, fee_on_input: bool) -> tuple[int, int, int, int]:
    """Spend up to `amount` in one bin: input taken, output paid, fee, input without fee."""
    _, price, need, offered, layers = rung
    fee = -(-amount * rate // FEE_ONE) if fee_on_input else 0
    net = amount - fee
    if net > need:
        net = need
        fee = -(-need * rate // (FEE_ONE - rate)) if fee_on_input else 0
        amount = need + fee
    if net == need:
        output = offered
    elif layers is not None:
        output = sum(given for _, given in split(layers, net, price, down))
    else:
        output = net * price >> 64 if down else (net << 64) // price
    if fee_on_input:
        return amount, output, fee, net
    fee = ceil_div(output * rate, FEE_ONE)
    return amount, output - fee, fee, net


def walk_in(ladder: Ladder, fees: FeeCurve, amount: int, fee_on_input: bool, fills: list[Fill]) -> tuple[int, int]:
    """Spend exactly `amount`: output before transfer fees, and the fees. Raises SwapRefused for lack of liquidity."""
    rungs, down = ladder.rungs, ladder.down
    total = charged = 0
    # `FeeCurve.rate` and `fill` written out: quotes of many bins spend their time here.
    base, control, reference, index = fees.base, fees.control, fees.reference, fees.index
    bin_step, most = fees.bin_step, fees.max_volatility
    while amount:
        if len(fills) == len(rungs):
            ladder.extend()
        rung = rungs[len(fills)]
        bin_id, price, need, offered, layers = rung
        volatility = reference + abs(index - bin_id) * _VOLATILITY_PER_BIN
        movement = (min(most, volatility)) * bin_step
        rate = base - (-control * movement * movement // _VARIABLE_FEE_SCALE)
        rate = min(rate, _FEE_CAP)
        if fee_on_input and layers is None:
            fee = -(-amount * rate // FEE_ONE)
            net = amount - fee
            if net > need:
                net, output = need, offered
                fee = -(-need * rate // (FEE_ONE - rate))
                amount -= need + fee
            else:
                output = offered if net == need else net * price >> 64 if down else (net << 64) // price
                amount = 0
            total += output
            fills.append((bin_id, net, output, fee))
        else:
            taken, output, fee, net = fill(rung, amount, rate, down, fee_on_input)
            amount -= taken
            total += output
            fills.append((bin_id, net, output if fee_on_input else output + fee, fee))
        charged += fee
    return total, charged


def walk_out(ladder: Ladder, fees: FeeCurve, wanted: int, fee_on_input: bool, fills: list[Fill]) -> tuple[int, int]:
    """Buy exactly `wanted`: input before transfer fees, and the fees. Raises SwapRefused as the program would."""
    rungs, down = ladder.rungs, ladder.down
    total = charged = 0
    while wanted > 0:
        if len(fills) == len(rungs):
            ladder.extend()
        rung = rungs[len(fills)]
        bin_id, price, _, offered, _ = rung
        rate = fees.rate(bin_id)
        gross = wanted if fee_on_input else wanted + ceil_div(wanted * rate, FEE_ONE - rate)
        spend = U64_MAX
        if gross < offered:
            # One rounding for the whole amount, though `fill` rounds each layer: the program fails where they differ.
            spend = cost(gross, price, down)
            if fee_on_input:
                spend += ceil_div(spend * rate, FEE_ONE - rate)
        taken, output, fee, net = fill(rung, spend, rate, down, fee_on_input)
        if gross < offered and output < wanted:
            raise refused(_UNDETERMINED, Refusal.LIQUIDITY, "Rounding of limit orders misses the wanted amount")
        wanted -= output
        total += taken
        charged += fee
        fills.append((bin_id, net, output if fee_on_input else output + fee, fee))
    return total, charged


def settle(bins: Bins, side: int, entry: Fill, fee_on_input: bool, protocol_share_bps: int) -> tuple[Bin, int]:
    """A bin after a swap of token `side` (0 X, 1 Y) has passed it, and what the protocol earns of the fee."""
    bin_id, net, _, fee = entry
    old = bins.read(bin_id)
    if net == 0:
        return old, fee
    down = side == 0
    orders = old.orders if bins.has_orders and down != old.asks else (0, 0)
    makers, processing, opened = split((old.amounts[1 - side], *orders), net, old.price, down)
    makers_fee = ceil_div(fee * makers[0], net)
    makers_share = makers_fee - makers_fee * protocol_share_bps // BPS
    orders_share = (fee - makers_fee) * _ORDERS_SHARE_BPS // BPS
    of_fee = side if fee_on_input else 1 - side
    shares = old.supply >> 64
    new = msgspec.structs.replace(
        old,
        amounts=_add(_add(old.amounts, side, makers[0]), 1 - side, -makers[1]),
        filled=_add(old.filled, 1 - side, processing[1] + opened[1]),
        order_fees=_add(old.order_fees, 1 - side, orders_share),
        fees_per_share=_add(old.fees_per_share, of_fee, (makers_share << 64) // shares if shares else 0),
        processing_left=old.processing_left - processing[1],
    )
    if opened[1]:
        new = msgspec.structs.replace(
            new,
            total_processing=old.open_orders,
            processing_left=old.open_orders - opened[1],
            open_orders=0,
            order_age=old.order_age + 1,
        )
    if not new.fits():
        raise refused(_MATH_OVERFLOW, Refusal.OVERFLOW, "The bin cannot hold so much")
    return new, fee - makers_share - orders_share


def _add(pair: tuple[int, int], side: int, amount: int) -> tuple[int, int]:
    return (pair[0] + amount, pair[1]) if side == 0 else (pair[0], pair[1] + amount)
