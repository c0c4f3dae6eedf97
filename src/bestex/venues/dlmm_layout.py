"""The accounts of a Meteora DLMM pair: where they live, how their bytes lie, what a bin costs.

Source: the program's interface description (IDL), and its own bytes in tests/golden.
"""

import struct
from functools import lru_cache

import msgspec
from solders.pubkey import Pubkey

from bestex.errors import UnsupportedPool
from bestex.types import BPS, U64_MAX, Account
from bestex.venues.math import Q64, U32_MAX, U128_MAX

PROGRAM_ID: Pubkey = Pubkey.from_string("LBUZKhRxPF3XUpBCjp4YzTKgLccjZhTSDM9YuVaPwxo")

BINS_PER_ARRAY = 70
MAX_BIN_ID = 443_636
"""No bin lies further from zero; the most distant arrays are within reach of the bitmaps."""

PAIR_TAG = bytes.fromhex("210b3162b565b10d")
ARRAY_TAG = bytes.fromhex("5c8e5cdc059446b5")
EXTENSION_TAG = bytes.fromhex("506f7c7137ed1205")
PAIR_SIZE, ARRAY_SIZE, EXTENSION_SIZE = 904, 10_136, 1_576

BITMAP_AT = 584
PAIR_REACH = 512
"""The pair's own bitmap holds array indexes -512..511; the extension holds the 12 * 512 next ones on each side."""
EXTENSION_REACH = 12 * 512
POSITIVE_AT, NEGATIVE_AT = 40, 808

ARRAY_HEAD = struct.Struct("<8sqB7x32s")
BINS_AT, BIN_SIZE = 56, 144
GLANCE = struct.Struct("<QQQQ80xQ8xQ4xB")
"""What a quote reads of a bin: amounts X and Y, price (low, high), open and processed limit orders, their side."""
_BIN = struct.Struct("<QQQQQQQQQQQQQQQQQIB")
_MAX_EXPONENT = 1 << 19


_PAIR = struct.Struct("<8x4HII8xHBBB3xIIi4xq11xBiHB3xBx32s32s32s32sQQ32x32s112x32s112x32s232xQ56xBB")


class Pair(msgspec.Struct, frozen=True, gc=False):
    """An LbPair account, as far as swaps read it."""

    base_factor: int
    filter_period_s: int
    decay_period_s: int
    reduction_bps: int
    variable_fee_control: int
    max_volatility: int
    protocol_share_bps: int
    base_fee_power: int
    function_type: int
    """0 undetermined, 1 liquidity mining, 2 limit orders."""
    collect_fee_mode: int
    """0 fees in the input token, 1 fees in Y only."""
    volatility: int
    reference: int
    index: int
    updated: int
    """Unix timestamp at which the active bin changed last."""
    pair_type: int
    """0 permissionless, 1 permission, 2 customizable, 3 permissionless v2."""
    active_id: int
    bin_step: int
    """Basis points between the prices of two bins."""
    status: int
    activation_type: int
    """0 slot, 1 timestamp."""
    mint_x: bytes
    mint_y: bytes
    reserve_x: bytes
    reserve_y: bytes
    protocol_x: int
    """Base units that the protocol is owed."""
    protocol_y: int
    reward_0: bytes
    reward_1: bytes
    oracle: bytes
    activation_point: int
    x_is_2022: int
    y_is_2022: int


class Bin(msgspec.Struct, frozen=True, gc=False):
    """One bin, whole. Pairs are (X, Y); amounts in base units."""

    amounts: tuple[int, int]
    """Market makers' tokens."""
    price: int
    """Base units of Y per base unit of X, Q64.64."""
    supply: int
    """Market makers' shares, Q64.64."""
    filled: tuple[int, int]
    """Output of limit orders that were filled."""
    order_fees: tuple[int, int]
    """Fees that belong to limit orders, by the token that the orders sell (not the token of the fee)."""
    fees_per_share: tuple[int, int]
    """Market makers' fees so far, Q64.64."""
    open_orders: int
    total_processing: int
    processing_left: int
    order_age: int
    asks: bool
    """Whether the limit orders sell X."""

    def fits(self) -> bool:
        """Whether the account's fields can hold these numbers."""
        amounts = (*self.amounts, *self.filled, *self.order_fees)
        return max(amounts) <= U64_MAX and max(self.fees_per_share) <= U128_MAX and self.order_age <= U32_MAX

    @property
    def orders(self) -> tuple[int, int]:
        """Limit orders in the order in which they are filled."""
        return self.processing_left, self.open_orders


class Bitmap(msgspec.Struct, frozen=True, gc=False):
    """Which bin arrays of a pair have liquidity: bit (index + origin) is set."""

    bits: int
    origin: int

    def nearest(self, index: int, down: bool) -> int | None:
        """The first array with liquidity, from `index` on downwards or upwards."""
        position = index + self.origin
        if down:
            # Below the lowest bit nothing is left; above the highest one everything is.
            below = self.bits & ((2 << position) - 1) if position >= 0 else 0
            return below.bit_length() - 1 - self.origin if below else None
        lowest = max(position, 0)
        above = self.bits >> lowest
        return lowest - self.origin + (above & -above).bit_length() - 1 if above else None

    def ahead(self, index: int, down: bool, limit: int) -> list[int]:
        """The first `limit` arrays with liquidity in the order in which a swap enters them."""
        found: list[int] = []
        step = -1 if down else 1
        at = self.nearest(index, down)
        while at is not None and len(found) < limit:
            found.append(at)
            at = self.nearest(at + step, down)
        return found

    def around(self, index: int, limit: int) -> list[int]:
        """Up to `limit` arrays with liquidity from `index` on downwards, then as many upwards."""
        below = self.ahead(index, True, limit)
        return below + [above for above in self.ahead(index, False, limit) if above not in below]


def read_pair(data: bytes) -> Pair:
    """Decode an LbPair account of the right size."""
    return Pair(*_PAIR.unpack_from(data))


def write_pair(
    data: bytearray, active_id: int, volatility: tuple[int, int, int], updated: int, protocol: tuple[int, int]
) -> None:
    """Put what swaps change into an LbPair; `volatility` is the accumulator, the reference, the reference's bin."""
    struct.pack_into("<IIi", data, 40, *volatility)
    struct.pack_into("<q", data, 56, updated)
    struct.pack_into("<i", data, 76, active_id)
    struct.pack_into("<QQ", data, 216, *protocol)


def read_bin(array: bytes, bin_id: int, bin_step: int) -> Bin:
    """Decode a bin of its array. Raises ValueError where it has no price."""
    at = bin_offset(bin_id)
    x, y, low, high, s0, s1, fx, fy, ox, oy, px0, px1, py0, py1, opened, total, left, age, asks = _BIN.unpack_from(
        array, at
    )
    price = low | high << 64
    return Bin(
        (x, y),
        price or price_of(bin_id, bin_step),
        s0 | s1 << 64,
        (fx, fy),
        (ox, oy),
        (px0 | px1 << 64, py0 | py1 << 64),
        opened,
        total,
        left,
        age,
        asks != 0,
    )


def write_bin(array: bytearray, bin_id: int, new: Bin) -> None:
    """Put what swaps change of a bin into its array."""
    at = bin_offset(bin_id)
    struct.pack_into("<QQ", array, at, *new.amounts)
    per_x, per_y = new.fees_per_share
    fees = (per_x & U64_MAX, per_x >> 64, per_y & U64_MAX, per_y >> 64)
    orders = (new.open_orders, new.total_processing, new.processing_left, new.order_age)
    struct.pack_into("<8QQQQI", array, at + 48, *new.filled, *new.order_fees, *fees, *orders)


def bin_offset(bin_id: int) -> int:
    """Offset of a bin in its array."""
    return BINS_AT + bin_id % BINS_PER_ARRAY * BIN_SIZE


def price_of(bin_id: int, bin_step: int) -> int:
    """Base units of Y per base unit of X in a bin, Q64.64: (1 + bin_step / 10_000) ** bin_id as the program rounds it.

    Raises ValueError for an id whose price the program cannot express.
    """
    if bin_id == 0:
        return Q64
    exponent = abs(bin_id)
    if exponent >= _MAX_EXPONENT:
        raise ValueError(f"Bin id {bin_id} is out of range")
    square = U128_MAX // (Q64 + (bin_step << 64) // BPS)
    result = Q64
    while exponent:
        if exponent & 1:
            result = result * square >> 64
        square = square * square >> 64
        exponent >>= 1
    if result == 0:
        raise ValueError(f"Price of bin {bin_id} is out of range")
    return result if bin_id < 0 else U128_MAX // result


def extension_bytes(account: Account, pair: Pubkey) -> bytes:
    """Data of a bitmap extension. Raises UnsupportedPool unless it is this pair's."""
    data = account.data
    sound = account.owner == PROGRAM_ID and len(data) == EXTENSION_SIZE and data[:8] == EXTENSION_TAG
    if not sound or data[8:40] != bytes(pair):
        raise UnsupportedPool("Bitmap extension is malformed", address=str(pair))
    return data


def array_bytes(account: Account, pair: Pubkey, index: int) -> bytes:
    """Data of a bin array. Raises UnsupportedPool unless it is this one of this pair."""
    data = account.data
    head = ARRAY_TAG + index.to_bytes(8, "little", signed=True)
    if len(data) != ARRAY_SIZE or data[:16] != head or data[24:56] != bytes(pair) or account.owner != PROGRAM_ID:
        raise UnsupportedPool("Bin array is malformed", address=str(pair), index=index)
    return data


def bitmap_of(pair: bytes, extension: bytes | None) -> Bitmap:
    """All bitmaps of a pair in one."""
    own = int.from_bytes(pair[BITMAP_AT : BITMAP_AT + PAIR_REACH // 4], "little")
    if extension is None:
        return Bitmap(own, PAIR_REACH)
    size = EXTENSION_REACH // 8
    positive = int.from_bytes(extension[POSITIVE_AT : POSITIVE_AT + size], "little")
    negative = int.from_bytes(extension[NEGATIVE_AT : NEGATIVE_AT + size], "little")
    if negative:
        # The extension counts downwards from -513; the whole map counts upwards.
        negative = int(f"{negative:0{EXTENSION_REACH}b}"[::-1], 2)
    origin = EXTENSION_REACH + PAIR_REACH
    return Bitmap(negative | own << EXTENSION_REACH | positive << origin + PAIR_REACH, origin)


def extension_bit(index: int) -> tuple[int, int]:
    """Byte offset and mask of an array's bit in the bitmap extension, for an index outside the pair's own bitmap."""
    at = POSITIVE_AT if index >= 0 else NEGATIVE_AT
    bit = (index if index >= 0 else -(index + 1)) - PAIR_REACH
    if not 0 <= bit < EXTENSION_REACH:
        raise ValueError(f"No bitmap extension holds bin array {index}")
    return at + bit // 8, 1 << bit % 8


@lru_cache(maxsize=1 << 16)
def array_address(pair: Pubkey, index: int) -> Pubkey:
    """The account that holds the bins from index * 70 to index * 70 + 69."""
    return address_of(b"bin_array", bytes(pair), struct.pack("<q", index))


@lru_cache(maxsize=1 << 12)
def arrays_around(pair: Pubkey, bitmap: Bitmap, active_id: int, limit: int) -> tuple[tuple[int, Pubkey], ...]:
    """Indexes and addresses of the arrays with liquidity around a bin, see `Bitmap.around`."""
    return tuple((index, array_address(pair, index)) for index in bitmap.around(active_id // BINS_PER_ARRAY, limit))


@lru_cache(maxsize=1 << 12)
def extension_address(pair: Pubkey) -> Pubkey:
    """The bitmap of the arrays outside -512..511; the account exists only where one was needed."""
    return address_of(b"bitmap", bytes(pair))


def address_of(*seeds: bytes) -> Pubkey:
    """Address derived from the DLMM program's id."""
    return Pubkey.find_program_address(list(seeds), PROGRAM_ID)[0]
