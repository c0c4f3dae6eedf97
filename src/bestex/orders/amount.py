"""Token units to base units and back, exactly. Decimals exist only at the API edge."""

import re
from decimal import ROUND_DOWN, Context, Decimal

from bestex.errors import AmountOutOfRange
from bestex.types import U64_MAX

_PLAIN = re.compile(r"(?P<whole>\d+)(?:\.(?P<fraction>\d+))?\Z", re.ASCII)
_EXPONENT = re.compile(r"(?P<digits>\d+(?:\.\d+)?)[eE](?P<exponent>[+-]?\d{1,3})\Z", re.ASCII)
_MAX_DIGITS = 100
_PRICE = Context(prec=12, rounding=ROUND_DOWN)


def to_raw(text: str, decimals: int) -> int:
    """Base units of a positive decimal number of token units, such as `1000`, `0.5` or `1e3`.

    Raises AmountOutOfRange when the text is no such number, has more decimals than the token, is zero, or does not
    fit into u64. Nothing is rounded, and nothing passes through a binary float.
    """
    whole, fraction = _digits(text)
    fraction = fraction.rstrip("0")
    if len(fraction) > decimals:
        raise AmountOutOfRange(
            f"amount {text} has {len(fraction)} decimals, the token has {decimals}", amount=text, decimals=decimals
        )
    raw = int(whole + fraction.ljust(decimals, "0"))
    if raw == 0:
        raise AmountOutOfRange("amount must be greater than zero", amount=text)
    if raw > U64_MAX:
        raise AmountOutOfRange(f"amount {text} does not fit into 64 bits of base units", amount=text, decimals=decimals)
    return raw


def to_units(raw: int, decimals: int) -> str:
    """Token units of an amount in base units, as the shortest exact decimal: `1.5`, `1000`."""
    if decimals == 0:
        return str(raw)
    whole, fraction = divmod(raw, 10**decimals)
    text = f"{fraction:0{decimals}d}".rstrip("0")
    return f"{whole}.{text}" if text else str(whole)


def price(in_raw: int, in_decimals: int, out_raw: int, out_decimals: int) -> str:
    """Output token units per input token unit, to 12 significant digits, rounded down."""
    ratio = _PRICE.divide(Decimal(out_raw), Decimal(in_raw))
    return f"{_PRICE.scaleb(ratio, in_decimals - out_decimals).normalize(_PRICE):f}"


def _digits(text: str) -> tuple[str, str]:
    if len(text) > _MAX_DIGITS:
        raise AmountOutOfRange(f"amount is longer than {_MAX_DIGITS} characters")
    if match := _PLAIN.match(text):
        return match["whole"], match["fraction"] or ""
    if match := _EXPONENT.match(text):
        whole, _, fraction = match["digits"].partition(".")
        return _shift(whole, fraction, int(match["exponent"]))
    raise AmountOutOfRange(f"amount {text!r} is not a positive decimal number such as 1000 or 0.5", amount=text)


def _shift(whole: str, fraction: str, exponent: int) -> tuple[str, str]:
    digits, point = whole + fraction, len(whole) + exponent
    if point <= 0:
        return "0", "0" * -point + digits
    if point >= len(digits):
        return digits + "0" * (point - len(digits)), ""
    return digits[:point], digits[point:]
