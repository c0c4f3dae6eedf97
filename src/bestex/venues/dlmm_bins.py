"""The bins of a Meteora DLMM pair: what each of them offers, and the fee that its distance from the price adds.

A bin pays from up to three layers at one price: the market makers' tokens, then limit orders that are being processed,
then limit orders that are open. Source: the on-chain program, whose own answers are in tests/golden.
"""

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from bestex.errors import SwapRefused
from bestex.types import BPS
from bestex.venues import dlmm_layout as layout
from bestex.venues.dlmm_layout import BINS_PER_ARRAY, Bin, Bitmap, Pair
from bestex.venues.math import U32_MAX
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


def cost(output: int, price: int, down: bool) -> int:
    """Input before fees that buys `output` at one price, rounded up."""
    return -(-(output << 64) // price) if down else -(-output * price >> 64)
