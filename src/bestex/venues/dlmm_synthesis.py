"""New Meteora DLMM pairs, account by account: for the paper cluster and for tests."""

import struct
from collections.abc import Mapping

import msgspec
from solders.pubkey import Pubkey

from bestex.types import Account, Mint
from bestex.venues import dlmm_layout as layout
from bestex.venues import token
from bestex.venues.dlmm_layout import BINS_PER_ARRAY, address_of
from bestex.venues.math import rent_exempt
from bestex.venues.pool import Accounts

_ORACLE_TAG = bytes.fromhex("8bc283b38cb3e5f4")
_ORACLE_SIZE = 3_232
_ORACLE_SAMPLES = 100
_PAIR_VERSION, _ARRAY_VERSION = 1, 2
_GREATEST_BIN_ID = 436_704


class VariableFee(msgspec.Struct, frozen=True, kw_only=True):
    """How a pair's fee follows its volatility. `control` 0 switches the variable fee off."""

    control: int = 10_000
    filter_period_s: int = 30
    decay_period_s: int = 600
    reduction_bps: int = 5_000
    max_volatility: int = 350_000


def synthesize(
    mints: Accounts,
    mint_x: Mint,
    mint_y: Mint,
    bins: Mapping[int, tuple[int, int]],
    *,
    active_id: int,
    bin_step: int,
    base_factor: int = 10_000,
    variable_fee: VariableFee = VariableFee(),  # noqa: B008 - frozen
    protocol_share_bps: int = 500,
    last_update: int = 0,
    address: Pubkey | None = None,
) -> dict[Pubkey, Account]:
    """The accounts of a new pair, the pair first: pair, reserves, oracle, bin arrays, bitmap extension if needed.

    `mints` holds both mint accounts by address. `bins` gives the base units (X, Y) of each bin by its id: only Y below
    `active_id`, only X above it. Base fee = base_factor * bin_step / 10_000 basis points. `last_update` is a unix
    timestamp. Raises ValueError for bins on the wrong side or without a price, OverflowError for too large amounts.
    """
    for bin_id, (amount_x, amount_y) in bins.items():
        if (bin_id < active_id and amount_x) or (bin_id > active_id and amount_y):
            raise ValueError(f"Bin {bin_id} holds the wrong token for active bin {active_id}")
    pair = address or pair_address(mint_x, mint_y, bin_step, base_factor)
    data = bytearray(layout.PAIR_SIZE)
    v = variable_fee
    periods = (base_factor, v.filter_period_s, v.decay_period_s, v.reduction_bps, v.control, v.max_volatility)
    bounds = (-_GREATEST_BIN_ID, _GREATEST_BIN_ID, protocol_share_bps)
    struct.pack_into("<8sHHHHIIiiH", data, 0, layout.PAIR_TAG, *periods, *bounds)
    struct.pack_into("<iiq", data, 48, active_id, 0, last_update)
    struct.pack_into("<HBiHBBH", data, 73, bin_step, 0, active_id, bin_step, 0, 1, base_factor)
    indexes = sorted({bin_id // BINS_PER_ARRAY for bin_id in bins})
    extension = _set_bits(data, pair, indexes)
    accounts = {pair: _pair_account(data, pair, mints, mint_x, mint_y)}
    for side, mint in enumerate((mint_x, mint_y)):
        info = token.decode_mint(mints[mint])
        amount = sum(amounts[side] for amounts in bins.values())
        accounts[reserve_address(pair, mint)] = token.token_account(
            mint, pair, amount, info.program, withholds_fees=info.transfer_fee is not None
        )
    history = _ORACLE_TAG + struct.pack("<QQQ", 0, 0, _ORACLE_SAMPLES)
    accounts[oracle_address(pair)] = _owned(history.ljust(_ORACLE_SIZE, b"\x00"))
    if extension is not None:
        accounts[layout.extension_address(pair)] = _owned(extension)
    for index in indexes:
        accounts[layout.array_address(pair, index)] = _owned(_array(pair, index, bin_step, bins))
    return accounts


def pair_address(mint_x: Mint, mint_y: Mint, bin_step: int, base_factor: int) -> Pubkey:
    """Where a permissionless pair lives."""
    low, high = sorted((bytes(mint_x), bytes(mint_y)))
    return address_of(low, high, struct.pack("<H", bin_step), struct.pack("<H", base_factor))


def reserve_address(pair: Pubkey, mint: Mint) -> Pubkey:
    """The pair's token account of one mint."""
    return address_of(bytes(pair), bytes(mint))


def oracle_address(pair: Pubkey) -> Pubkey:
    """The pair's price history, which each swap extends."""
    return address_of(b"oracle", bytes(pair))


def _pair_account(data: bytearray, pair: Pubkey, mints: Accounts, mint_x: Mint, mint_y: Mint) -> Account:
    """Fill in the keys."""
    keys = (mint_x, mint_y, reserve_address(pair, mint_x), reserve_address(pair, mint_y))
    struct.pack_into("<32s32s32s32s", data, 88, *map(bytes, keys))
    data[552:584] = bytes(oracle_address(pair))
    programs = [mints[mint].owner == token.TOKEN_2022_PROGRAM for mint in (mint_x, mint_y)]
    struct.pack_into("<BBB", data, 880, *programs, _PAIR_VERSION)
    return _owned(bytes(data))


def _set_bits(pair_data: bytearray, pair: Pubkey, indexes: list[int]) -> bytes | None:
    """Mark the arrays in the pair's bitmap; returns the extension's bytes where some lie outside of it."""
    extension: bytearray | None = None
    for index in indexes:
        bit = index + layout.PAIR_REACH
        if 0 <= bit < 2 * layout.PAIR_REACH:
            pair_data[layout.BITMAP_AT + bit // 8] |= 1 << bit % 8
            continue
        if extension is None:
            extension = bytearray(layout.EXTENSION_TAG + bytes(pair)).ljust(layout.EXTENSION_SIZE, b"\x00")
        at, mask = layout.extension_bit(index)
        extension[at] |= mask
    return None if extension is None else bytes(extension)


def _array(pair: Pubkey, index: int, bin_step: int, bins: Mapping[int, tuple[int, int]]) -> bytes:
    data = bytearray(layout.ARRAY_SIZE)
    layout.ARRAY_HEAD.pack_into(data, 0, layout.ARRAY_TAG, index, _ARRAY_VERSION, bytes(pair))
    for bin_id in range(index * BINS_PER_ARRAY, (index + 1) * BINS_PER_ARRAY):
        amount_x, amount_y = bins.get(bin_id, (0, 0))
        if amount_x or amount_y:
            price = layout.price_of(bin_id, bin_step)
            supply = price * amount_x + (amount_y << 64)
            at = layout.bin_offset(bin_id)
            struct.pack_into("<QQ16s16s", data, at, amount_x, amount_y, _u128(price), _u128(supply))
    return bytes(data)


def _u128(value: int) -> bytes:
    return value.to_bytes(16, "little")


def _owned(data: bytes) -> Account:
    return Account(layout.PROGRAM_ID, rent_exempt(len(data)), data)
