"""What a pool can pay at most, as a concave curve with an exact conjugate: the material of a route's certificate.

Amounts are those that arrive at the pool and leave it: transfer fees of Token-2022 belong to the mints, not to the
curve. A venue describes itself in pieces. On each, `t` base units beyond the piece's start pay at most
`gain * t / (base + drag * t)`: a hyperbola where liquidity is constant (trading fees scale it), a line (`drag` 0) where
the price is. Programs round each swap against the user, so a piece that leaves out the rounding is never below.

`conjugate(v)` is an upper bound of max f(x) - v*x over all amounts within reach, f being what the program pays:
on a piece whose slopes enclose v the maximum is `(sqrt(gain) - sqrt(v*base))**2 / drag` beyond its start; on all others
it lies at an end, and the ends are knots of a concave hull, where it is looked up. Pieces that are not concave together
(a line steeper than the one before it) are covered by the hull.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator
from typing import TypeAlias

from bestex.types import U64_MAX
from bestex.venues.math import ceil_div
from bestex.venues.token import TransferFeeConfig

PRICE_BITS = 96
"""Fraction bits of a price: base units of output per base unit of input."""
VALUE_BITS = 128
"""Fraction bits of a conjugate, in base units of output."""
_KNOT_BITS = VALUE_BITS - PRICE_BITS

Piece: TypeAlias = tuple[int, int, int, int, int]
"""gain, base, drag; the input and output at the piece's end, both counted from the curve's start: base units. The pool
pays no more than that output before that input."""

TransferFees: TypeAlias = tuple[TransferFeeConfig | None, TransferFeeConfig | None]
"""Of input and output."""


class Sketch:
    """How much of something a curve moves until a level is reached, in floats.

    Piece k begins at `starts[k]`, moves `offsets[k] + rates[k] * level` until `ends[k]`, and `filled[k]` from there on.
    A line moves all of it at once: its end is its start.
    """

    __slots__ = ("ends", "filled", "offsets", "rates", "starts")

    def __init__(self) -> None:
        self.starts: list[float] = []
        self.ends: list[float] = []
        self.offsets: list[float] = []
        self.rates: list[float] = []
        self.filled: list[float] = []

    def add(self, start: float, end: float, offset: float, rate: float, filled: float) -> None:
        """A hyperbola behind all pieces so far."""
        self.starts.append(start)
        self.ends.append(end)
        self.offsets.append(offset)
        self.rates.append(rate)
        self.filled.append(filled)

    def add_line(self, start: float, offset: float, filled: float) -> None:
        """A line behind all pieces so far; it moves from `offset` to `filled`.

        Together with lines before it that begin later it makes one line, a chord.
        """
        starts = self.starts
        while starts and starts[-1] > start:
            width, before = filled - offset, self.filled[-1] - self.offsets[-1]
            square = (width + before) / (width / start**2 + before / starts[-1] ** 2)
            start = math.copysign(math.sqrt(square), start)
            offset = self.offsets[-1]
            for floats in (starts, self.ends, self.offsets, self.rates, self.filled):
                floats.pop()
        self.add(start, start, offset, 0.0, filled)


class Curve:
    """One direction of a pool, built piece by piece as far as somebody has asked for.

    `ins` and `outs` are the same curve in floats, for searching.
    """

    __slots__ = (
        "_bends",
        "_ends_below",
        "_hull",
        "_most",
        "_pieces",
        "_source",
        "_tangents",
        "exact_out",
        "ins",
        "out_amount",
        "outs",
        "reached",
        "transfer_fees",
    )

    def __init__(
        self,
        pieces: Iterator[Piece],
        transfer_fees: TransferFees = (None, None),
        *,
        most: int = U64_MAX,
        exact_out: bool = True,
    ) -> None:
        """`most`: base units that the pool can pay in one swap, whatever the pieces say.

        `exact_out`: whether the curve holds for swaps with a fixed output too.
        """
        self.exact_out = exact_out
        self._source: Iterator[Piece] | None = pieces
        self._most = most
        self.transfer_fees = transfer_fees
        self.reached = 0
        """Base units of input that the pieces built so far take."""
        self.out_amount = 0
        """Base units of output that they pay."""
        self._pieces: list[tuple[int, int, int, int, int]] = []
        self._bends: list[int] = []
        self._ends_below: list[int] = []
        self._hull: list[tuple[int, int]] = [(0, 0)]
        self._tangents: list[int] = []
        self.ins = Sketch()
        """Input by `1 / sqrt(price)`."""
        self.outs = Sketch()
        """Output by `-sqrt(price)`."""

    def reach(self, in_amount: int) -> int:
        """Build as far as this input, if the pool goes so far. Returns the greatest input that it takes, at most that.

        Base units.
        """
        while self.reached < in_amount and self._extend():
            pass
        return min(self.reached, in_amount)

    def reach_out(self, out_amount: int) -> int:
        """Build as far as this output, if the pool goes so far. Returns the greatest output it pays, at most that."""
        while self.out_amount < out_amount and self._extend():
            pass
        return min(self.out_amount, out_amount)

    @property
    def steepest(self) -> int:
        """No input within reach pays more per base unit: PRICE_BITS fraction bits."""
        if not self._tangents:
            return 0
        return 1 - min(self._tangents[0], self._bends[0] if self._bends else 0)

    def conjugate(self, price: int) -> int:
        """The most that any input within reach pays beyond `price`, never too little.

        `price` has PRICE_BITS fraction bits and is positive; the result has VALUE_BITS.
        """
        x, y = self._hull[bisect_right(self._tangents, -price)]
        best = (y << PRICE_BITS) - price * x
        at = bisect_right(self._bends, -price) - 1
        if at >= 0 and self._ends_below[at] < price:
            gain, base, drag, x, y = self._pieces[at]
            scaled_gain, scaled_base = gain << VALUE_BITS, price * base << _KNOT_BITS
            root = math.isqrt(scaled_gain * scaled_base)
            inside = ceil_div(scaled_gain + scaled_base - 2 * root, drag)
            best = max(best, inside + (y << VALUE_BITS) - (price * x << _KNOT_BITS))
        return best

    def _extend(self) -> bool:
        """One more piece; False if there is none."""
        if self._source is None:
            return False
        piece = next(self._source, None)
        if piece is None:
            self._source = None
            return False
        gain, base, drag, x, y = piece
        if y > self._most:
            y, self._source = self._most, None
            rise = y - self.out_amount
            left = gain - drag * rise
            x = min(x, self.reached + base * rise // left) if left > 0 else x
        if y > self.out_amount and not self._add(gain, base, drag, x, y):
            self._source = None
            return False
        self.reached, self.out_amount = x, max(y, self.out_amount)
        return True

    def _add(self, gain: int, base: int, drag: int, x: int, y: int) -> bool:
        """Knots have _KNOT_BITS: inputs are rounded down, outputs up. False for a hyperbola that begins too steep.

        Such accounts contradict themselves: what lies beyond is out of reach.
        """
        width, rise = x - self.reached, y - self.out_amount
        steepness = (gain << PRICE_BITS) // base
        if drag and self._ends_below and self._ends_below[-1] < steepness:
            return False
        left = gain - drag * rise
        span = width << _KNOT_BITS
        if left > 0:
            span = min(span, (base * rise << _KNOT_BITS) // left)
        self._knot((self.reached << _KNOT_BITS) + span, y << _KNOT_BITS)
        below = (base << _KNOT_BITS) + drag * span
        flattest = (gain * base << PRICE_BITS + 2 * _KNOT_BITS) // (below * below)
        if drag:
            self._pieces.append((gain, base, drag, self.reached, self.out_amount))
            self._bends.append(-steepness)
            self._ends_below.append(flattest)
        self._sketch(gain, base, drag, x, rise)
        return True

    def _knot(self, x: int, y: int) -> None:
        """Add a point to the concave hull; points that come to lie below it leave."""
        hull, tangents = self._hull, self._tangents
        while len(hull) > 1:
            (x0, y0), (x1, y1) = hull[-2:]
            if (y - y1) * (x1 - x0) < (y1 - y0) * (x - x1):
                break
            hull.pop()
            tangents.pop()
        x1, y1 = hull[-1]
        if x > x1:
            hull.append((x, y))
            tangents.append(-((y - y1 << PRICE_BITS) // (x - x1)))
        elif y > y1:
            hull[-1] = (x1, y)

    def _sketch(self, gain: int, base: int, drag: int, x: int, rise: int) -> None:
        """The same piece in floats."""
        start = math.sqrt(base / gain)
        if not drag:
            self.ins.add_line(start, float(self.reached), float(x))
            self.outs.add_line(-1 / start, float(self.out_amount), float(self.out_amount + rise))
            return
        end = start + start * (drag * (x - self.reached) / base)
        rate = math.sqrt(base / drag) * math.sqrt(gain / drag)
        self.ins.add(start, end, self.reached - base / drag, rate, float(x))
        self.outs.add(-1 / start, -1 / end, self.out_amount + gain / drag, rate, float(self.out_amount + rise))


def product_pieces(
    reserve_in: int, reserve_out: int, kept_in: tuple[int, int], kept_out: tuple[int, int] = (1, 1)
) -> Iterator[Piece]:
    """Constant product: one piece. `kept_*`: what trading fees leave of input and output, as fractions."""
    if reserve_in > 0 and reserve_out > 0 and kept_in[0] > 0 and kept_out[0] > 0:
        gain = reserve_out * kept_in[0] * kept_out[0]
        base, drag = reserve_in * kept_in[1] * kept_out[1], kept_in[0] * kept_out[1]
        yield gain, base, drag, U64_MAX, gain * U64_MAX // (base + drag * U64_MAX)


def beyond(gain: int, base: int, drag: int, net: tuple[int, int], kept: tuple[int, int]) -> tuple[int, int, int]:
    """The rest of a hyperbola over inputs without fees, behind `net` of them, for inputs of which `kept` arrives.

    Both are fractions. Returns gain, base and drag.
    """
    here = base * net[1] + drag * net[0]
    return gain * base * kept[0] * net[1] ** 2, here * here * kept[1], here * drag * kept[0] * net[1]
