"""The curves of Meteora DAMM v2: one price range of constant liquidity, or constant product on stored amounts.

Prices are square roots of B per A in Q64.64. Both curves take and give amounts without trading fees, and raise
SwapRefused as the program would. Source: the on-chain program's answers in tests/golden.
"""

from collections.abc import Callable, Mapping
from typing import NoReturn, TypeAlias

from bestex.errors import SwapRefused
from bestex.venues.math import ceil_div
from bestex.venues.pool import Refusal

ERRORS: Mapping[int, str] = {
    1: "token:InsufficientFunds",
    14: "token:Overflow",
    6000: "MathOverflow",
    6002: "ExceededSlippage",
    6003: "PoolDisabled",
    6006: "AmountIsZero",
    6015: "PriceRangeViolation",
    6023: "InsufficientLiquidity",
}
MATH_OVERFLOW, PRICE_RANGE, INSUFFICIENT_LIQUIDITY = 6000, 6015, 6023

Move: TypeAlias = tuple[int, int]
"""The amount on the other side, and the square-root price after the swap."""
Leg: TypeAlias = Callable[[int], Move]
End: TypeAlias = tuple[int, int, int]
"""Input that reaches the end of the range, its output, the end's square-root price."""


class RangeCurve:
    """Liquidity `liquidity` between two prices, `0 < lowest <= price <= highest`."""

    __slots__ = ("_highest", "_liquidity", "_lowest", "_price", "_scaled")

    def __init__(self, liquidity: int, price: int, lowest: int, highest: int) -> None:
        self._liquidity = liquidity
        self._price = price
        self._lowest = lowest
        self._highest = highest
        self._scaled = liquidity * price

    def a_in(self, amount: int) -> Move:
        """B out for A in."""
        price = self._price
        liquidity = self._liquidity
        after = -(-self._scaled // (liquidity + amount * price))
        if after < self._lowest:
            _out_of_range()
        return liquidity * (price - after) >> 128, after

    def b_in(self, amount: int) -> Move:
        """A out for B in."""
        price = self._price
        liquidity = self._liquidity
        after = price + (amount << 128) // liquidity
        if after > self._highest:
            _out_of_range()
        return liquidity * (after - price) // (price * after), after

    def b_out(self, amount: int) -> Move:
        """A in for B out."""
        price = self._price
        liquidity = self._liquidity
        after = price + (-amount << 128) // liquidity
        if after < 0:
            raise refused(MATH_OVERFLOW, Refusal.LIQUIDITY, "The pool does not hold so much")
        if after < self._lowest:
            _out_of_range()
        return -(-liquidity * (price - after) // (price * after)), after

    def a_out(self, amount: int) -> Move:
        """B in for A out."""
        price = self._price
        liquidity = self._liquidity
        rest = liquidity - amount * price
        if rest <= 0:
            raise refused(MATH_OVERFLOW, Refusal.LIQUIDITY, "The pool does not hold so much")
        after = -(-self._scaled // rest)
        if after > self._highest:
            _out_of_range()
        return -(-liquidity * (after - price) >> 128), after

    def hyperbola(self, forward: bool) -> tuple[int, int, int]:
        """Gain, base and drag of its curve for A in (`forward`) or B in, see `bestex.venues.curve`."""
        square, unit = self._scaled * self._price, self._liquidity << 128
        gain, base = (square, unit) if forward else (unit, square)
        return gain, base, self._price << 128

    def lower_end(self) -> End:
        """The swap of A that reaches the lowest price."""
        price, lowest = self._price, self._lowest
        room = self._liquidity * (price - lowest)
        return ceil_div(room, price * lowest), room >> 128, lowest

    def upper_end(self) -> End:
        """The swap of B that reaches the highest price."""
        price, highest = self._price, self._highest
        room = self._liquidity * (highest - price)
        return -(-room >> 128), room // (price * highest), highest

    def amounts(self) -> tuple[int, int]:
        """A and B that the range can pay out."""
        return self.upper_end()[1], self.lower_end()[1]

    def deposits(self) -> tuple[int, int]:
        """A and B that the liquidity took to provide: what it can pay out, rounded up."""
        price, liquidity = self._price, self._liquidity
        room = liquidity * (self._highest - price)
        return ceil_div(room, price * self._highest), -(-liquidity * (price - self._lowest) >> 128)


class ProductCurve:
    """Constant product on two amounts, without a price range. The price after a swap is 0: it depends on the fees."""

    __slots__ = ("_a", "_b")

    def __init__(self, amount_a: int, amount_b: int) -> None:
        self._a = amount_a
        self._b = amount_b

    def a_in(self, amount: int) -> Move:
        """B out for A in."""
        return self._b * amount // (self._a + amount), 0

    def b_in(self, amount: int) -> Move:
        """A out for B in."""
        return self._a * amount // (self._b + amount), 0

    def b_out(self, amount: int) -> Move:
        """A in for B out."""
        return _product_in(self._a, self._b, amount), 0

    def a_out(self, amount: int) -> Move:
        """B in for A out."""
        return _product_in(self._b, self._a, amount), 0

    def hyperbola(self, forward: bool) -> tuple[int, int, int]:
        """Gain, base and drag of its curve for A in (`forward`) or B in, see `bestex.venues.curve`."""
        return (self._b, self._a, 1) if forward else (self._a, self._b, 1)

    def lower_end(self) -> None:
        """There is none."""

    upper_end = lower_end


def _product_in(reserve_in: int, reserve_out: int, amount: int) -> int:
    if amount > reserve_out:
        raise refused(MATH_OVERFLOW, Refusal.LIQUIDITY, "The pool does not hold so much")
    if amount == reserve_out:
        raise refused(INSUFFICIENT_LIQUIDITY, Refusal.LIQUIDITY, "The pool does not hold so much")
    return ceil_div(reserve_in * amount, reserve_out - amount)


def refused(code: int, kind: Refusal, message: str) -> SwapRefused:
    """A refusal with the program's own error."""
    return SwapRefused(message, program_code=code, name=ERRORS[code], kind=kind)


def _out_of_range() -> NoReturn:
    raise refused(PRICE_RANGE, Refusal.LIQUIDITY, "The price would leave the pool's range")
