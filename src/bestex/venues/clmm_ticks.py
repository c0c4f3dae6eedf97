"""Ticks, prices and amounts of concentrated liquidity, as Raydium's CLMM program rounds them.

A price is the square root of base units of token 1 per base unit of token 0, Q64.64; at tick t it is 1.0001 ** (t / 2).
Source: the on-chain program, whose own answers are in tests/golden.
"""

from functools import lru_cache

from bestex.venues.math import Q64, U128_MAX

MIN_TICK, MAX_TICK = -443_636, 443_636
MIN_SQRT_PRICE, MAX_SQRT_PRICE = 4_295_048_016, 79_226_673_521_066_979_257_578_248_091

_ROOTS = (
    0xFFFCB933BD6FB800,
    0xFFF97272373D4000,
    0xFFF2E50F5F657000,
    0xFFE5CACA7E10F000,
    0xFFCB9843D60F7000,
    0xFF973B41FA98E800,
    0xFF2EA16466C9B000,
    0xFE5DEE046A9A3800,
    0xFCBE86C7900BB000,
    0xF987A7253AC65800,
    0xF3392B0822BB6000,
    0xE7159475A2CAF000,
    0xD097F3BDFD2F2000,
    0xA9F746462D9F8000,
    0x70D869A156F31C00,
    0x31BE135F97ED3200,
    0x9AA508B5B85A500,
    0x5D6AF8DEDC582C,
    0x2216E584F5FA,
)
"""1.0001 ** (-(2 ** i) / 2), Q64.64."""

_LOG_BITS = 16
_TICKS_PER_OCTAVE = 59_543_866_431_248
"""2 / log2(1.0001), Q32.32."""
_ERROR_BELOW, _ERROR_ABOVE = 184_467_440_737_095_516, 15_793_534_762_490_258_745
"""How far the logarithm may be off, in ticks, Q64.64."""


@lru_cache(maxsize=1 << 16)
def sqrt_at(tick: int) -> int:
    """Square root price of a tick, Q64.64. Raises ValueError outside of MIN_TICK..MAX_TICK."""
    if not MIN_TICK <= tick <= MAX_TICK:
        raise ValueError(f"Tick {tick} is out of range")
    price = Q64
    for bit, root in enumerate(_ROOTS):
        if abs(tick) >> bit & 1:
            price = price * root >> 64
    return U128_MAX // price if tick > 0 else price


def tick_at(sqrt_price: int) -> int:
    """The greatest tick whose price is not above this one. Raises ValueError outside of the ticks' prices."""
    if not MIN_SQRT_PRICE <= sqrt_price <= MAX_SQRT_PRICE:
        raise ValueError(f"Price {sqrt_price} is out of range")
    bits = sqrt_price.bit_length()
    mantissa = sqrt_price >> bits - 64 if bits > 64 else sqrt_price << 64 - bits
    logarithm = bits - 65
    for _ in range(_LOG_BITS):
        mantissa *= mantissa
        top = mantissa >> 127
        mantissa >>= 63 + top
        logarithm = logarithm << 1 | top
    ticks = (logarithm << 32 - _LOG_BITS) * _TICKS_PER_OCTAVE
    low, high = ticks - _ERROR_BELOW >> 64, ticks + _ERROR_ABOVE >> 64
    return high if low != high and sqrt_at(high) <= sqrt_price else low


def amount_0(liquidity: int, low: int, high: int) -> int:
    """Base units of token 0 between two prices, rounded down. Negate the liquidity to round up."""
    return (liquidity << 64) * (high - low) // (high * low)


def amount_1(liquidity: int, low: int, high: int) -> int:
    """Base units of token 1 between two prices, rounded down. Negate the liquidity to round up."""
    return liquidity * (high - low) >> 64


def cost(liquidity: int, start: int, end: int) -> int:
    """Base units of input, before fees, that move the price from `start` to `end`, rounded up."""
    if end < start:
        return -amount_0(-liquidity, end, start)
    return -amount_1(-liquidity, start, end)


def proceeds(liquidity: int, start: int, end: int) -> int:
    """Base units of output while the price moves from `start` to `end`, rounded down."""
    if end < start:
        return amount_1(liquidity, end, start)
    return amount_0(liquidity, start, end)


def price_after_input(liquidity: int, price: int, amount: int, down: bool) -> int:
    """Where an input without fee moves the price: `down` for token 0. Never further than it pays for."""
    if down:
        shifted = liquidity << 64
        return -(-shifted * price // (shifted + amount * price))
    return price + (amount << 64) // liquidity


def price_after_output(liquidity: int, price: int, amount: int, down: bool) -> int:
    """Where an output moves the price: `down` for token 1. Raises ValueError if there is not so much."""
    if down:
        return price + (-amount << 64) // liquidity
    shifted = liquidity << 64
    left = shifted - amount * price
    if left <= 0:
        raise ValueError("The liquidity does not give so much")
    return -(-shifted * price // left)
