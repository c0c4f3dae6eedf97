"""The accounts of a Raydium CLMM pool: where they live, how their bytes lie.

Source: the program's interface description (IDL), and its own bytes in tests/golden.
"""

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import lru_cache

import msgspec
from solders.pubkey import Pubkey

from bestex.errors import UnsupportedPool
from bestex.types import Account, Mint
from bestex.venues.clmm_ticks import MAX_TICK

PROGRAM_ID: Pubkey = Pubkey.from_string("CAMMCzo5YL8w4VFF8KVHrK22GGUsp5VTaW7grrKgrWqK")

RATE = 1_000_000
"""Denominator of fee rates."""

POOL_TAG = bytes.fromhex("f7ede3f5d7c3de46")
CONFIG_TAG = bytes.fromhex("daf42168cbcb2b6f")
ARRAY_TAG = bytes.fromhex("c09b55cd31f9812a")
EXTENSION_TAG = bytes.fromhex("3c9624db61808b99")
OBSERVATION_TAG = bytes.fromhex("7aaec5358109a584")
POOL_SIZE, CONFIG_SIZE, ARRAY_SIZE, EXTENSION_SIZE, OBSERVATION_SIZE = 1_544, 117, 10_240, 1_832, 4_483

_POOL = struct.Struct("<9x32s32x32s32s32s32s32sxxH16s16si116xBB689xQ8x80s")
SPACING_AT, LIQUIDITY_AT, PRICE_AT, TICK_AT = 235, 237, 253, 269
GROWTH_AT = 277
PROTOCOL_AT, FUND_AT = 309, 1064
"""Fees owed: u64 for each token."""
SWAPPED_AT = 325
"""u128 base units swapped so far: token 0 in, token 1 out, token 1 in, token 0 out."""
STATUS_AT = 389
TOTAL_FEES_AT = 1032
"""u64 of token 0, and 16 bytes on of token 1: what liquidity providers have earned so far."""
OPEN_TIME_AT, EPOCH_AT = 1080, 1088
SWAP_DISABLED = 16
VAULT_EMPTIED = 255
"""Status once a swap has taken all that a vault held."""

REWARDS_AT, REWARD_SIZE, REWARDS = 397, 169, 3
REWARD = struct.Struct("<BQQQ16sQ")
"""State, opening time, end time, last update, tokens a second (Q64.64), tokens emitted so far."""
REWARD_AUTHORITY_AT, REWARD_GROWTH_AT = 121, 153
REWARD_RUNNING, REWARD_ENDED = 2, 3

RATES = struct.Struct("<IIHI")
RATES_AT = 43
"""Protocol fee, trade fee, tick spacing, fund fee."""

TICKS_PER_ARRAY = 60
TICKS_AT, TICK_SIZE = 44, 168
ARRAY_HEAD = struct.Struct("<8s32si")
TICK = struct.Struct("<i16s16s")
"""Index, net liquidity (i128), gross liquidity (u128)."""
NET_AT = 4
OUTSIDE_AT, REWARDS_OUTSIDE_AT = 36, 68
"""Offsets in a tick of what grew on its other side: fees of both tokens, then rewards."""
COUNT_AT, ARRAY_EPOCH_AT = 10_124, 10_125
"""How many ticks are initialized; epoch of the last change."""

POOL_REACH = 512
"""The pool's own bitmap holds array indexes -512..511; the extension holds the 14 * 512 next ones on each side."""
BLOCKS, BLOCK_SIZE = 14, 64
BITMAP_AT, BITMAP_SIZE = 904, 128
POSITIVE_AT, NEGATIVE_AT = 40, 936

U64 = struct.Struct("<Q")
_GLANCE = struct.Struct("<iQqQQ132x")
_TICKS_END = TICKS_AT + TICKS_PER_ARRAY * TICK_SIZE
_ORDERS = struct.Struct("<" + "124x16s28x" * TICKS_PER_ARRAY)
_NO_ORDERS = (bytes(16),) * TICKS_PER_ARRAY
_NO_DYNAMIC_FEE = bytes(80)
_NO_BITS = bytes(BLOCKS * BLOCK_SIZE)


class PoolState(msgspec.Struct, frozen=True, gc=False):
    """A pool account, as far as quotes read it."""

    config: bytes
    mint_0: bytes
    mint_1: bytes
    vault_0: bytes
    vault_1: bytes
    observation: bytes
    tick_spacing: int
    liquidity: bytes
    """u128, little endian, as `sqrt_price`."""
    sqrt_price: bytes
    tick: int
    status: int
    fee_on: int
    """0: fees come off the input."""
    open_time: int
    """Unix timestamp; swaps are possible after it."""
    dynamic_fee: bytes

    @property
    def uses_dynamic_fee(self) -> bool:
        return self.dynamic_fee != _NO_DYNAMIC_FEE


class FeeRates(msgspec.Struct, frozen=True, kw_only=True):
    """Fee rates of an AmmConfig, in hundredths of a basis point."""

    trade: int = 2_500
    protocol: int = 120_000
    """Part of the trade fee that the protocol takes."""
    fund: int = 40_000
    """Part of the trade fee that the fund takes."""


class Bitmap:
    """Which tick arrays of a pool have initialized ticks: ascending indexes, an array's start / (60 * tick spacing).

    `has_extension` says whether the indexes beyond -512..511 are known. Compares by identity:
    `bitmap_of` gives the same object for the same bytes.
    """

    __slots__ = ("has_extension", "indexes")

    def __init__(self, indexes: tuple[int, ...], has_extension: bool) -> None:
        self.indexes = indexes
        self.has_extension = has_extension

    def position(self, index: int, down: bool) -> int:
        """Where in `indexes` a walk begins that starts in this array; may be outside at either end."""
        return bisect_right(self.indexes, index) - 1 if down else bisect_left(self.indexes, index)

    def ahead(self, index: int, down: bool, limit: int) -> Sequence[int]:
        """The first `limit` arrays in the order in which a swap enters them."""
        position = self.position(index, down)
        if down:
            return self.indexes[max(position + 1 - limit, 0) : position + 1][::-1]
        return self.indexes[position : position + limit]


class LoadableArray(msgspec.Struct, frozen=True, gc=False):
    """A tick array that exists."""

    index: int
    key: Pubkey
    head: bytes
    """How its data begin."""


def read_pool(data: bytes) -> PoolState:
    """Decode a pool account of the right size."""
    return PoolState(*_POOL.unpack_from(data))


def bitmap_of(pool: bytes, tick_spacing: int, extension: bytes | None) -> Bitmap:
    """All bitmaps of a pool in one, from the data of the pool and of its extension; None where that is not known."""
    own = pool[BITMAP_AT : BITMAP_AT + BITMAP_SIZE]
    return _bitmap(own, None if within_pool_bitmap(tick_spacing) else extension)


@lru_cache(maxsize=1 << 12)
def _bitmap(own: bytes, extension: bytes | None) -> Bitmap:
    indexes = [bit - POOL_REACH for bit in _bits(own)]
    if extension is not None:
        size = BLOCKS * BLOCK_SIZE
        above, below = (extension[at : at + size] for at in (POSITIVE_AT, NEGATIVE_AT))
        if below != _NO_BITS:
            # Blocks count away from zero, the bits in each of them towards it.
            blocks = [below[at : at + BLOCK_SIZE] for at in range(0, size, BLOCK_SIZE)]
            lowest = -POOL_REACH * (BLOCKS + 1)
            indexes = [lowest + bit for bit in _bits(b"".join(reversed(blocks)))] + indexes
        if above != _NO_BITS:
            indexes += [POOL_REACH + bit for bit in _bits(above)]
    return Bitmap(tuple(indexes), extension is not None)


def _bits(data: bytes) -> list[int]:
    """Positions of the bits that are set, ascending."""
    return [at * 8 + bit for at, byte in enumerate(data) if byte for bit in range(8) if byte >> bit & 1]


def extension_bit(index: int) -> tuple[int, int]:
    """Byte offset and mask of an array's bit in the bitmap extension, for an index outside the pool's own bitmap."""
    block = index // POOL_REACH - 1 if index >= 0 else (-index - 1) // POOL_REACH - 1
    if not 0 <= block < BLOCKS:
        raise ValueError(f"No bitmap extension holds tick array {index}")
    at = (POSITIVE_AT if index >= 0 else NEGATIVE_AT) + block * BLOCK_SIZE
    bit = index % POOL_REACH
    return at + bit // 8, 1 << bit % 8


def array_index(tick: int, tick_spacing: int) -> int:
    """Which tick array holds a tick."""
    return tick // (TICKS_PER_ARRAY * tick_spacing)


def within_pool_bitmap(tick_spacing: int) -> bool:
    """Whether ticks are so far apart that the pool's own bitmap holds all arrays."""
    return TICKS_PER_ARRAY * tick_spacing * POOL_REACH > MAX_TICK


def tick_offset(tick: int, tick_spacing: int) -> int:
    """Offset of a tick in its array."""
    return TICKS_AT + tick // tick_spacing % TICKS_PER_ARRAY * TICK_SIZE


@lru_cache(maxsize=1 << 11)
def ticks_of(array: bytes, tick_spacing: int) -> tuple[tuple[int, int], ...] | None:
    """The initialized ticks of an array, ascending, with the liquidity that begins at each; None if malformed."""
    tick = ARRAY_HEAD.unpack_from(array)[2]
    found = []
    for index, low, high, gross_low, gross_high in _GLANCE.iter_unpack(memoryview(array)[TICKS_AT:_TICKS_END]):
        if gross_low or gross_high:
            if index != tick or abs(index) > MAX_TICK:
                return None
            found.append((index, low | high << 64))
        tick += tick_spacing
    return tuple(found)


@lru_cache(maxsize=1 << 11)
def has_orders(array: bytes) -> bool:
    """Whether a tick array holds limit orders (open, or partly filled)."""
    return _ORDERS.unpack_from(array, TICKS_AT) != _NO_ORDERS


def array_bytes(account: Account, array: LoadableArray) -> bytes:
    """Data of a tick array. Raises UnsupportedPool unless it is this one, without limit orders."""
    data = account.data
    if data[:TICKS_AT] != array.head or len(data) != ARRAY_SIZE or account.owner != PROGRAM_ID:
        raise UnsupportedPool("Tick array is malformed", address=str(array.key), index=array.index)
    if has_orders(data):
        raise UnsupportedPool("Pool has limit orders", address=str(array.key), index=array.index)
    return data


def extension_bytes(account: Account, pool: Pubkey) -> bytes:
    """Data of a bitmap extension. Raises UnsupportedPool unless it is this pool's."""
    data = account.data
    sound = account.owner == PROGRAM_ID and len(data) == EXTENSION_SIZE and data[:8] == EXTENSION_TAG
    if not sound or data[8:40] != bytes(pool):
        raise UnsupportedPool("Bitmap extension is malformed", address=str(pool))
    return data


def config_rates(config: Account) -> FeeRates:
    """Fee rates of an AmmConfig. Raises UnsupportedPool unless it is one, with sane rates."""
    data = config.data
    if config.owner != PROGRAM_ID or len(data) != CONFIG_SIZE or data[:8] != CONFIG_TAG:
        raise UnsupportedPool("Not a Raydium CLMM config")
    protocol, trade, _, fund = RATES.unpack_from(data, RATES_AT)
    if trade >= RATE or protocol + fund > RATE:
        raise UnsupportedPool("Fees reach 100 %", trade=trade, protocol=protocol, fund=fund)
    return FeeRates(trade=trade, protocol=protocol, fund=fund)


def config_address(index: int) -> Pubkey:
    """Where the program keeps the AmmConfig of this index."""
    return address_of(b"amm_config", index.to_bytes(2, "big"))


def pool_address(config: Pubkey, mint_0: Mint, mint_1: Mint) -> Pubkey:
    """Where a pool lives; it owns its vaults."""
    return address_of(b"pool", bytes(config), bytes(mint_0), bytes(mint_1))


def vault_address(pool: Pubkey, mint: Mint) -> Pubkey:
    """The pool's token account of one mint."""
    return address_of(b"pool_vault", bytes(pool), bytes(mint))


def observation_address(pool: Pubkey) -> Pubkey:
    """The pool's price history, which each swap extends."""
    return address_of(b"observation", bytes(pool))


@lru_cache(maxsize=1 << 12)
def extension_address(pool: Pubkey) -> Pubkey:
    """The bitmap of the tick arrays outside -512..511."""
    return address_of(b"pool_tick_array_bitmap_extension", bytes(pool))


@lru_cache(maxsize=1 << 16)
def array_address(pool: Pubkey, index: int, tick_spacing: int) -> Pubkey:
    """The account that holds the 60 ticks from index * 60 * tick_spacing on."""
    return address_of(b"tick_array", bytes(pool), struct.pack(">i", index * TICKS_PER_ARRAY * tick_spacing))


@lru_cache(maxsize=1 << 12)
def arrays_around(pool: Pubkey, bitmap: Bitmap, index: int, tick_spacing: int, limit: int) -> tuple[LoadableArray, ...]:
    """Up to `limit` arrays from `index` on downwards, then as many upwards; `index` itself counts on both sides."""
    below = bitmap.ahead(index, True, limit)
    above = [other for other in bitmap.ahead(index, False, limit) if other != index]
    found = []
    for index_found in (*below, *above):
        head = ARRAY_HEAD.pack(ARRAY_TAG, bytes(pool), index_found * TICKS_PER_ARRAY * tick_spacing)
        found.append(LoadableArray(index_found, array_address(pool, index_found, tick_spacing), head))
    return tuple(found)


def address_of(*seeds: bytes) -> Pubkey:
    """Address derived from the CLMM program's id."""
    return Pubkey.find_program_address(list(seeds), PROGRAM_ID)[0]
