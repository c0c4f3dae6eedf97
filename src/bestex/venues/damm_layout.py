"""A Meteora DAMM v2 pool's account: where it lives and how its bytes lie.

Source: the interface description in the MIT-licensed cp-amm-sdk, and the program's own bytes in tests/golden.
"""

import struct

import msgspec
from solders.pubkey import Pubkey

from bestex.types import Mint

PROGRAM_ID: Pubkey = Pubkey.from_string("cpamdpZCGKUy5JxQXB4dcpGPiikHawvSWAd6mEn1sGG")
AUTHORITY = Pubkey.from_string("HLnpSz9h2S4hiLQ43rnSD9XkcUThA7B8hQMKmDaiTLcC")
"""Owner of all vaults."""
EVENT_AUTHORITY = Pubkey.from_string("3rmHSu74h1ZcmAisVcWerTCiRDQbUrBKmcwptYGjHfet")

POOL_TAG = bytes.fromhex("f19a6d0411b16dbc")
POOL_SIZE = 1112

BASE_FEE = struct.Struct("<QB5xHQQ")
"""Cliff numerator, mode, and three parameters whose meaning depends on the mode."""
BASE_FEE_AT = 8
PAIR_OF_U32 = struct.Struct("<II")
SECOND_PARAMETER_AT = 24
SHARES = struct.Struct("<BxB3xHB")
"""Percent of fees to the protocol, to a referrer; compounded basis points; whether there is a dynamic fee."""
SHARES_AT = 48
DYNAMIC = struct.Struct("<IIHHHHQ16s16s16s16s")
DYNAMIC_AT = 64
VOLATILITY_RANGES = ((80, 88), (104, 152))
"""What swaps change of the dynamic fee."""
INIT_PRICE_AT = 152
KEYS = struct.Struct("<32s32s32s32s")
KEYS_AT = 168
LIQUIDITY_AT = 360
PROTOCOL_FEES_AT = 392
PRICES = struct.Struct("<16s16s16s")
PRICES_AT = 424
PRICE_AT = 456
FLAGS = struct.Struct("<QBBBBBBB")
"""Activation point; activation type, status, Token-2022 for A and B, collect fee mode, pool type, fee version."""
FLAGS_AT = 472
PER_LIQUIDITY = struct.Struct("<32s32s")
PER_LIQUIDITY_AT = 488
"""Fees earned by a unit of liquidity, in A and B: two u256, Q128."""
TOTALS = struct.Struct("<16s16sQQ")
"""All fees ever earned by liquidity in A and B, then by the protocol."""
TOTALS_AT = 568
CREATOR_AT = 648
AMOUNTS_AT = 680
LAYOUT_VERSION_AT = 696
TWO_U64 = struct.Struct("<QQ")

TIME_LINEAR, TIME_EXPONENTIAL, RATE_LIMITER, MARKET_CAP_LINEAR, MARKET_CAP_EXPONENTIAL = range(5)
FEE_ON_OUTPUT, FEE_IN_B, COMPOUNDING = range(3)
"""Collect fee modes."""


class Dynamic(msgspec.Struct, frozen=True, gc=False):
    """A pool's dynamic fee: how it follows volatility, and the volatility that was stored last."""

    max_volatility: int
    control: int
    bin_step: int
    filter_period: int
    decay_period: int
    reduction_bps: int
    updated: int
    """Unix timestamp."""
    bin_step_u128: int
    reference_price: int
    """Square root, Q64.64."""
    volatility: int
    reference: int


def read_dynamic(data: bytes) -> Dynamic:
    """The dynamic fee's fields, whether they are in use or not."""
    *numbers, step, price, volatility, reference = DYNAMIC.unpack_from(data, DYNAMIC_AT)
    return Dynamic(*numbers, *map(from_little, (step, price, volatility, reference)))


def read_u128(data: bytes, at: int) -> int:
    """An unsigned integer of 16 bytes."""
    return int.from_bytes(data[at : at + 16], "little")


def write_u128(data: bytearray, at: int, value: int) -> None:
    """The inverse of `read_u128`. Raises OverflowError."""
    data[at : at + 16] = u128(value)


def write_dynamic(data: bytearray, dynamic: Dynamic) -> None:
    """The inverse of `read_dynamic`."""
    d = dynamic
    numbers = (d.max_volatility, d.control, d.bin_step, d.filter_period, d.decay_period, d.reduction_bps, d.updated)
    wide = (d.bin_step_u128, d.reference_price, d.volatility, d.reference)
    DYNAMIC.pack_into(data, DYNAMIC_AT, *numbers, *map(u128, wide))


def from_little(data: bytes) -> int:
    """An unsigned integer of any width, little endian."""
    return int.from_bytes(data, "little")


def u128(value: int) -> bytes:
    """16 bytes, little endian. Raises OverflowError."""
    return value.to_bytes(16, "little")


def u256(value: int) -> bytes:
    """32 bytes, little endian. Raises OverflowError."""
    return value.to_bytes(32, "little")


def pool_address(mint_a: Mint, mint_b: Mint, config: Pubkey | None) -> Pubkey:
    """Where a pool lives: one of its config, or without one the pair's only customizable pool."""
    low, high = sorted((bytes(mint_a), bytes(mint_b)))
    head = [b"cpool"] if config is None else [b"pool", bytes(config)]
    return Pubkey.find_program_address([*head, high, low], PROGRAM_ID)[0]


def vault_address(pool: Pubkey, mint: Mint) -> Pubkey:
    """The pool's token account of one mint."""
    return Pubkey.find_program_address([b"token_vault", bytes(mint), bytes(pool)], PROGRAM_ID)[0]
