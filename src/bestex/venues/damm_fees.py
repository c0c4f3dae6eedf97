"""The trading fee of Meteora DAMM v2: schedulers over time or price, the rate limiter, the dynamic part.

Fees are numerators over `RATE`. Source: the on-chain program's answers in tests/golden.
"""

import math
from collections.abc import Iterator
from functools import lru_cache

import msgspec

from bestex.errors import UnsupportedPool
from bestex.types import BPS, U64_MAX
from bestex.venues import damm_layout as layout
from bestex.venues.damm_curve import MATH_OVERFLOW, refused
from bestex.venues.math import Q64, U128_MAX, ceil_div
from bestex.venues.pool import Refusal

RATE = 10**9
"""Denominator of fees."""

_CAPS = (500_000_000, 990_000_000)
"""Greatest fee by fee version."""
_DYNAMIC_SCALE = 10**11
_LATEST = 2**63 - 1
"""Unix timestamps are signed."""


class Fees(msgspec.Struct, frozen=True):
    """A pool's base fee, decoded and checked."""

    cliff: int
    mode: int
    periods: int
    """Steps of a schedule."""
    period: int
    """Slots or seconds of a step in time; basis points of square-root price of a step in price."""
    expiration: int
    """Slots or seconds from activation until a schedule over price, or a rate limiter, ends."""
    reduction: int
    """By step: a numerator (linear) or basis points (exponential)."""
    activation: int
    cap: int
    init_price: int
    limiter: "Limiter | None"

    def at(self, point: int, price: int) -> int:
        """The base fee at a slot or time of an open pool, at a square-root price; without the rate limiter."""
        if self.mode <= layout.TIME_EXPONENTIAL:
            step = (point - self.activation) // self.period if self.period else 0
            return self.after(min(max(step, 0), self.periods))
        if self.mode == layout.RATE_LIMITER:
            return self.cliff
        if not self.activation <= point <= self.activation + self.expiration:
            return self.after(self.periods)
        rise = max(price - self.init_price, 0) * BPS // self.init_price
        return self.after(min(rise // self.period, self.periods))

    def after(self, steps: int) -> int:
        """The base fee after so many steps of the schedule."""
        if self.mode in (layout.TIME_EXPONENTIAL, layout.MARKET_CAP_EXPONENTIAL):
            return _exponential(self.cliff, self.reduction, steps)
        return self.cliff - steps * self.reduction

    @property
    def final(self) -> int:
        """The base fee at the end of the schedule."""
        if self.mode == layout.RATE_LIMITER or (self.mode <= layout.TIME_EXPONENTIAL and not self.period):
            return self.cliff
        return self.after(self.periods)

    @property
    def changes(self) -> bool:
        """Whether a schedule is set that the clock moves."""
        if self.mode == layout.RATE_LIMITER or not (self.periods and self.reduction):
            return False
        return self.mode > layout.TIME_EXPONENTIAL or self.period > 0


class Limiter(msgspec.Struct, frozen=True, gc=False):
    """A rate limiter: the more B a swap pays, the higher its fee. Each reference amount costs one increment more."""

    cliff: int
    increment: int
    greatest: int
    """The fee of what lies beyond the last increment."""
    reference: int
    """Base units of B."""
    cap: int
    ends: int
    """The last slot or time at which it applies."""
    dynamic: int = 0
    """Added to each fee."""

    def on(self, amount: int) -> int:
        """The fee of an amount that includes it."""
        return min(self._base_on(amount) + self.dynamic, self.cap)

    def beside(self, net: int) -> int:
        """The fee of an amount that excludes it. Raises SwapRefused where the program's numbers overflow."""
        return min(self._base_beside(net) + self.dynamic, self.cap)

    def marginal(self, increments: int) -> Iterator[tuple[int, int]]:
        """The fee of each further base unit, and until which amount it holds, for so many increments.

        The whole fee is never less than their sum.
        """
        amount = 0
        for number in range(min(self._increments, increments) + 1):
            amount += self.reference
            if amount >= U64_MAX:
                break
            yield min(self.cliff + number * self.increment + self.dynamic, self.cap), amount
        last = self.greatest if self._increments <= increments else self.cliff + increments * self.increment
        yield min(last + self.dynamic, self.cap), U64_MAX

    @property
    def _increments(self) -> int:
        return (self.greatest - self.cliff) // self.increment

    def _base_on(self, amount: int) -> int:
        x0, cliff, step = self.reference, self.cliff, self.increment
        if amount <= x0:
            return cliff
        whole, rest = divmod(amount - x0, x0)
        most = self._increments
        if whole < most:
            scaled = x0 * (cliff + cliff * whole + step * whole * (whole + 1) // 2) + rest * (
                cliff + step * (whole + 1)
            )
        else:
            scaled = x0 * (cliff + cliff * most + step * most * (most + 1) // 2)
            scaled += ((whole - most) * x0 + rest) * self.greatest
        return ceil_div(ceil_div(scaled, RATE) * RATE, amount)

    def _without(self, amount: int) -> int:
        return amount - ceil_div(amount * self._base_on(amount), RATE)

    def _base_beside(self, net: int) -> int:
        if net <= self._without(self.reference):
            return self.cliff
        most = (self._increments + 1) * self.reference
        last = min(most, U64_MAX)
        net_last = self._without(last)
        if net == net_last:
            return self._base_on(last)
        if net < net_last:
            gross = self._on_the_slope(net)
        elif most > U64_MAX:
            raise _overflow()
        else:
            gross = last + ceil_div((net - net_last) * RATE, RATE - self.greatest)
        if not net <= gross <= U64_MAX:
            raise _overflow()
        numerator = ceil_div((gross - net) * RATE, gross)
        if numerator < self.cliff:
            raise _overflow()
        return numerator

    def _on_the_slope(self, net: int) -> int:
        """The amount that leaves `net`: root of a quadratic, then the rest at the increment reached."""
        x0, step = self.reference, self.increment
        linear = 2 * RATE * x0 + step * x0 - 2 * self.cliff * x0
        square = linear * linear - 8 * step * net * RATE * x0
        if square < 0:
            raise _overflow()
        gross = (linear - math.isqrt(square)) // (2 * step)
        rate = self.cliff + step * (gross // x0)
        if gross <= 0 or rate >= RATE:
            raise _overflow()
        return gross + ceil_div((net - self._without(gross)) * RATE, RATE - rate)


def dynamic_fee(dynamic: layout.Dynamic) -> int:
    """The dynamic part of the fee at the stored volatility."""
    return ceil_div(dynamic.control * (dynamic.volatility * dynamic.bin_step) ** 2, _DYNAMIC_SCALE)


def read_dynamic(data: bytes) -> layout.Dynamic:
    """A pool's dynamic fee. Raises UnsupportedPool for parameters and states that no working pool has."""
    dynamic = layout.read_dynamic(data)
    sound = dynamic.bin_step_u128 and dynamic.reduction_bps <= BPS and dynamic.volatility <= U64_MAX
    sound = sound and dynamic.reference <= U64_MAX and dynamic.updated <= _LATEST
    if not sound or dynamic.control * (dynamic.volatility * dynamic.bin_step) ** 2 > U128_MAX:
        raise UnsupportedPool("Dynamic fee is contradictory")
    return dynamic


def read_fees(data: bytes, activation: int, collect_mode: int, fee_version: int) -> Fees:
    """A pool's base fee. `activation` is a slot or unix timestamp.

    Raises UnsupportedPool for an unknown mode or version, and for parameters that no working pool has.
    """
    cliff, mode, periods, second, third = layout.BASE_FEE.unpack_from(data, layout.BASE_FEE_AT)
    low, high = layout.PAIR_OF_U32.unpack_from(data, layout.SECOND_PARAMETER_AT)
    if mode > layout.MARKET_CAP_EXPONENTIAL or fee_version >= len(_CAPS) or cliff >= RATE:
        raise UnsupportedPool("Fee is of an unknown kind or reaches 100 %", mode=mode, fee_version=fee_version)
    cap = _CAPS[fee_version]
    init_price = layout.read_u128(data, layout.INIT_PRICE_AT)
    limiter = None
    period, expiration, reduction = second, 0, third
    if mode == layout.RATE_LIMITER:
        if any((periods, second, third)):
            increment, greatest = periods * RATE // BPS, high * RATE // BPS
            limiter = Limiter(cliff, increment, greatest, reference=third, cap=cap, ends=activation + low)
            _check_limiter(limiter, collect_mode)
        periods = period = reduction = 0
    elif mode > layout.RATE_LIMITER:
        period, expiration = low, high
        if period == 0 or init_price == 0:
            raise UnsupportedPool("Market cap scheduler has no steps", step_bps=period, init_price=init_price)
    fees = Fees(cliff, mode, periods, period, expiration, reduction, activation, cap, init_price, limiter)
    _check_schedule(fees)
    return fees


def _check_limiter(limiter: Limiter, collect_mode: int) -> None:
    sound = limiter.increment and limiter.reference and limiter.cliff <= limiter.greatest <= limiter.cap
    if not sound or collect_mode != layout.FEE_IN_B:
        raise UnsupportedPool("Rate limiter is contradictory", collect_fee_mode=collect_mode)


def _check_schedule(fees: Fees) -> None:
    exponential = fees.mode in (layout.TIME_EXPONENTIAL, layout.MARKET_CAP_EXPONENTIAL)
    if fees.reduction > BPS if exponential else fees.periods * fees.reduction > fees.cliff:
        raise UnsupportedPool("Fee schedule falls below zero", cliff=fees.cliff, reduction=fees.reduction)


@lru_cache(maxsize=4_096)
def _exponential(cliff: int, reduction_bps: int, steps: int) -> int:
    base = Q64 - (reduction_bps << 64) // BPS
    power = Q64
    while steps:
        if steps & 1:
            power = power * base >> 64
        base = base * base >> 64
        steps >>= 1
    return cliff * power >> 64


def _overflow() -> Exception:
    return refused(MATH_OVERFLOW, Refusal.OVERFLOW, "The rate limiter's numbers do not fit u64")
