"""Integer arithmetic that every venue shares."""

Q64 = 1 << 64
"""One in Q64.64 fixed point."""

U32_MAX = 2**32 - 1
U128_MAX = 2**128 - 1

_LAMPORTS_PER_BYTE = 6_960
_ACCOUNT_OVERHEAD_BYTES = 128


def ceil_div(dividend: int, divisor: int) -> int:
    """Quotient rounded up; `divisor` must not be zero."""
    return -(-dividend // divisor)


def rent_exempt(size: int) -> int:
    """Lamports that an account of `size` bytes must hold to live for ever (two years of rent)."""
    return (size + _ACCOUNT_OVERHEAD_BYTES) * _LAMPORTS_PER_BYTE
