"""How a swap walks through the bins of a Meteora DLMM pair, and what it leaves in them.

`price_in` and `price_out` find where a swap ends in sums over whole bins; `walk_in` and `walk_out` go from bin to bin
and record what happens in each. Both pay the same. Source: the on-chain program, whose own answers are in tests/golden.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import count
from typing import TypeAlias

import msgspec

from bestex.errors import SwapRefused
from bestex.types import BPS, U64_MAX
from bestex.venues import dlmm_layout as layout
from bestex.venues.curve import Piece
from bestex.venues.dlmm_bins import FEE_ONE, Bins, FeeCurve, Rung, cost, refused
from bestex.venues.dlmm_layout import BINS_PER_ARRAY, Bin
from bestex.venues.math import ceil_div
from bestex.venues.pool import ARRAY_LIMIT, Refusal

_NOT_ENOUGH_KEYS, _NO_MORE_BINS, _MATH_OVERFLOW, _NO_EXTENSION, _NO_MORE_ARRAYS, _UNDETERMINED = (
    3005,
    6012,
    6018,
    6036,
    6037,
    6085,
)
_ORDERS_SHARE_BPS = 5_000
"""Part of the fees on limit orders that belongs to the orders' owners."""

Fill: TypeAlias = tuple[int, int, int, int]
"""What a swap did in one bin: bin id, input without fee, output with fee, fee. Base units."""


Walk: TypeAlias = tuple[int, int, int]
"""The other side's amount before transfer fees, the fees charged, both in base units; bins used."""


class Ladder:
    """The bins ahead of a swap in one direction, found as swaps reach them and kept for the next one."""

    __slots__ = ("_array", "_bins", "_drained", "_entered", "_next", "down", "rungs")

    def __init__(self, bins: Bins, active_id: int, down: bool) -> None:
        self.down = down
        self.rungs: list[Rung] = []
        self._bins = bins
        self._entered: list[int] = []
        """For each array that was entered, how many rungs were found before it."""
        self._next = active_id
        self._array: int | None = None
        self._drained: Drained | None = None

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

    def drained(self, fees: FeeCurve, fee_on_input: bool) -> "Drained":
        """What its bins cost at these fees; kept as long as the same fees are asked for."""
        kept = self._drained
        if kept is None or kept.fee_on_input != fee_on_input or kept.fees != fees:
            self._drained = kept = Drained(self, fees, fee_on_input)
        return kept

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


class Drained:
    """Sums over the first bins of a ladder, each emptied, at the fees of one moment."""

    __slots__ = ("_ladder", "charged", "fee_on_input", "fees", "inputs", "limits", "ordinary", "outputs", "rates")

    def __init__(self, ladder: Ladder, fees: FeeCurve, fee_on_input: bool) -> None:
        self._ladder = ladder
        self.fees = fees
        self.fee_on_input = fee_on_input
        self.rates: list[int] = []
        self.limits: list[int] = []
        """The most that a swap can bring and not go beyond the bin: rounding lets it end there with a little more than
        the bin costs."""
        self.inputs, self.outputs, self.charged = [0], [0], [0]
        self.ordinary = True
        """Whether every bin can be bought up with an amount that fits u64."""

    def pieces(self) -> Iterator[Piece]:
        """What the bins pay at most, each at one price, within the arrays that a transaction carries."""
        for at in count():
            try:
                while at == len(self.rates):
                    self.extend()
            except SwapRefused:
                return
            if self._ladder.arrays_at(at) > ARRAY_LIMIT:
                return
            price, kept = self._ladder.rungs[at][1], FEE_ONE - self.rates[at]
            gain, base = (price, FEE_ONE << 64) if self._ladder.down else (1 << 64, FEE_ONE * price)
            yield gain * kept, base, 0, self.inputs[at + 1], self.outputs[at + 1]

    def extend(self) -> None:
        """One more bin. Raises SwapRefused where there is none."""
        rungs, at = self._ladder.rungs, len(self.rates)
        if at == len(rungs):
            self._ladder.extend()
        bin_id, _, need, offered, _ = rungs[at]
        rate = self.fees.rate(bin_id)
        before, out = self.inputs[at], offered
        if self.fee_on_input:
            fee = ceil_div(need * rate, FEE_ONE - rate)
            taken = need + fee
            most = ceil_div((need + 1) * FEE_ONE, FEE_ONE - rate) - 1
        else:
            fee = ceil_div(offered * rate, FEE_ONE)
            taken = most = need
            out -= fee
        self.ordinary &= taken <= U64_MAX
        self.rates.append(rate)
        self.limits.append(before + most)
        self.inputs.append(before + taken)
        self.outputs.append(self.outputs[at] + out)
        self.charged.append(self.charged[at] + fee)


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


def price_in(ladder: Ladder, fees: FeeCurve, amount: int, fee_on_input: bool) -> Walk:
    """What exactly `amount` buys. Raises SwapRefused for lack of liquidity."""
    if amount <= 0:
        return 0, 0, 0
    drained = ladder.drained(fees, fee_on_input)
    limits = drained.limits
    while not limits or amount > limits[-1]:
        drained.extend()
    last = bisect_left(limits, amount)
    left = amount - drained.inputs[last]
    _, output, fee, _ = fill(ladder.rungs[last], left, drained.rates[last], ladder.down, fee_on_input)
    return drained.outputs[last] + output, drained.charged[last] + fee, last + 1


def price_out(ladder: Ladder, fees: FeeCurve, wanted: int, fee_on_input: bool) -> Walk:
    """What exactly `wanted` costs. Raises SwapRefused as the program would."""
    drained = ladder.drained(fees, fee_on_input)
    outputs = drained.outputs
    while fee_on_input and drained.ordinary and wanted > outputs[-1]:
        drained.extend()
    if not fee_on_input or not drained.ordinary:
        return walk_out(ladder, fees, wanted, fee_on_input, [])
    bins = bisect_right(outputs, wanted) - 1
    left = wanted - outputs[bins]
    if left <= 0:
        return drained.inputs[bins], drained.charged[bins], bins
    taken, _, fee, _ = _fill_out(ladder.rungs[bins], left, drained.rates[bins], ladder.down, fee_on_input)
    return drained.inputs[bins] + taken, drained.charged[bins] + fee, bins + 1


def walk_in(ladder: Ladder, fees: FeeCurve, amount: int, fee_on_input: bool, fills: list[Fill]) -> Walk:
    """Spend exactly `amount`. Raises SwapRefused for lack of liquidity."""
    rungs, down = ladder.rungs, ladder.down
    total = charged = 0
    while amount:
        if len(fills) == len(rungs):
            ladder.extend()
        rung = rungs[len(fills)]
        taken, output, fee, net = fill(rung, amount, fees.rate(rung[0]), down, fee_on_input)
        amount -= taken
        total += output
        charged += fee
        fills.append((rung[0], net, output if fee_on_input else output + fee, fee))
    return total, charged, len(fills)


def walk_out(ladder: Ladder, fees: FeeCurve, wanted: int, fee_on_input: bool, fills: list[Fill]) -> Walk:
    """Buy exactly `wanted`. Raises SwapRefused as the program would."""
    rungs, down = ladder.rungs, ladder.down
    total = charged = 0
    while wanted > 0:
        if len(fills) == len(rungs):
            ladder.extend()
        rung = rungs[len(fills)]
        taken, output, fee, net = _fill_out(rung, wanted, fees.rate(rung[0]), down, fee_on_input)
        wanted -= output
        total += taken
        charged += fee
        fills.append((rung[0], net, output if fee_on_input else output + fee, fee))
    return total, charged, len(fills)


def _fill_out(rung: Rung, wanted: int, rate: int, down: bool, fee_on_input: bool) -> tuple[int, int, int, int]:
    """Buy up to `wanted` in one bin: input taken, output paid, fee, input without fee."""
    _, price, _, offered, _ = rung
    gross = wanted if fee_on_input else wanted + ceil_div(wanted * rate, FEE_ONE - rate)
    if gross >= offered:
        return fill(rung, U64_MAX, rate, down, fee_on_input)
    # One rounding for the whole amount, though `fill` rounds each layer: the program fails where they differ.
    spend = cost(gross, price, down)
    if fee_on_input:
        spend += ceil_div(spend * rate, FEE_ONE - rate)
    filled = fill(rung, spend, rate, down, fee_on_input)
    if filled[1] < wanted:
        raise refused(_UNDETERMINED, Refusal.LIQUIDITY, "Rounding of limit orders misses the wanted amount")
    return filled


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
