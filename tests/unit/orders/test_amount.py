"""Amounts are exact: nothing is rounded, nothing passes through a float."""

from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bestex.errors import AmountOutOfRange
from bestex.orders.amount import price, to_raw, to_units
from bestex.types import U64_MAX


@pytest.mark.parametrize(
    ("text", "decimals", "raw"),
    [
        ("1000", 6, 1_000_000_000),
        ("0.1", 9, 100_000_000),
        ("0.000001", 6, 1),
        ("1.50", 2, 150),
        ("1.5000000000000", 1, 15),
        ("1e3", 6, 1_000_000_000),
        ("1.5E2", 0, 150),
        ("15e-1", 1, 15),
        ("5e-7", 8, 50),
        ("007", 0, 7),
        ("18446744073709551615", 0, U64_MAX),
        ("9007199254740993", 0, 9007199254740993),  # 2**53 + 1: a float would lose the last digit
    ],
)
def test_exact_amounts(text: str, decimals: int, raw: int) -> None:
    assert to_raw(text, decimals) == raw


@pytest.mark.parametrize(
    "text",
    [
        "0", "0.0", "0e5", "-1", "+1", " 1", "1 ", "1_000", "1,000", ".5", "5.", "", "abc", "NaN", "Infinity", "0x10",
        "1e400", "1e-400", "1e1000", "٣", "1.2.3", "18446744073709551616", "1" * 101, "0.0000001", "--1", "1e", "e1",
    ],
)  # fmt: skip
def test_what_is_no_amount(text: str) -> None:
    with pytest.raises(AmountOutOfRange):
        to_raw(text, 6 if text != "18446744073709551616" else 0)


@given(raw=st.integers(1, U64_MAX), decimals=st.integers(0, 18))
def test_units_and_back(raw: int, decimals: int) -> None:
    assert to_raw(to_units(raw, decimals), decimals) == raw


@given(raw=st.integers(1, U64_MAX), decimals=st.integers(0, 18), shift=st.integers(-12, 12))
def test_exponent_means_what_decimal_means(raw: int, decimals: int, shift: int) -> None:
    with localcontext(prec=60):
        text = f"{to_units(raw, decimals)}e{shift}"
        exact = Decimal(text) * 10**decimals
        if exact != exact.to_integral_value() or not 0 < exact <= U64_MAX:
            with pytest.raises(AmountOutOfRange):
                to_raw(text, decimals)
        else:
            assert to_raw(text, decimals) == int(exact)


@given(
    paid=st.integers(1, U64_MAX),
    received=st.integers(0, U64_MAX),
    in_decimals=st.integers(0, 12),
    out_decimals=st.integers(0, 12),
)
def test_price_is_the_ratio_rounded_down(paid: int, received: int, in_decimals: int, out_decimals: int) -> None:
    told = Decimal(price(paid, in_decimals, received, out_decimals))
    with localcontext(prec=80):
        exact = Decimal(received).scaleb(-out_decimals) / Decimal(paid).scaleb(-in_decimals)
        assert told <= exact
        assert exact - told <= exact * Decimal("1e-11")
