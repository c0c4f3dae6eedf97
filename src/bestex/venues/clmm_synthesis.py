"""New Raydium CLMM pools, account by account: for the paper cluster and for tests."""

import struct
from collections.abc import Sequence
from typing import TypeAlias

from solders.pubkey import Pubkey

from bestex.types import U64_MAX, Account
from bestex.venues import clmm_layout as layout
from bestex.venues import token
from bestex.venues.clmm_layout import FeeRates
from bestex.venues.clmm_ticks import MAX_TICK, cost, sqrt_at, tick_at
from bestex.venues.math import rent_exempt
from bestex.venues.pool import Accounts

Range: TypeAlias = tuple[int, int, int]
"""Lower tick, upper tick, liquidity."""


def synthesize(
    mints: Accounts,
    positions: Sequence[Range],
    *,
    tick: int = 0,
    sqrt_price_x64: int | None = None,
    tick_spacing: int = 10,
    rates: FeeRates = FeeRates(),  # noqa: B008 - frozen
    config_index: int = 0,
    address: Pubkey | None = None,
    open_time: int = 0,
    vaults: tuple[int, int] | None = None,
) -> dict[Pubkey, Account]:
    """The accounts of a new pool, the pool first: pool, config, vaults, bitmap extension, observation, tick arrays.

    `mints` are the two mint accounts by address. `positions` give (lower tick, upper tick, liquidity), ticks being
    multiples of `tick_spacing`. The price is `sqrt_price_x64`, or that of `tick`. `vaults` are the base units that the
    vaults hold, the mint of the lower address first; unless given, what the positions are worth.
    `open_time` is a unix timestamp; swaps are possible after it. Pools of one `config_index` share the config account
    and must be given the same `rates` and `tick_spacing`. Raises ValueError for positions or prices out of range and
    for positions worth more than u64, OverflowError for liquidity beyond u128.
    """
    price = sqrt_at(tick) if sqrt_price_x64 is None else sqrt_price_x64
    for lower, upper, _ in positions:
        if not -MAX_TICK <= lower < upper <= MAX_TICK or lower % tick_spacing or upper % tick_spacing:
            raise ValueError(f"Position from {lower} to {upper} is not one of tick spacing {tick_spacing}")
    mint_0, mint_1 = sorted(mints, key=bytes)
    config = layout.config_address(config_index)
    pool = address or layout.pool_address(config, mint_0, mint_1)
    data = _pool_data(pool, config, mints, tick_spacing)
    liquidity = sum(depth for lower, upper, depth in positions if lower <= tick_at(price) < upper)
    struct.pack_into("<16s16si", data, layout.LIQUIDITY_AT, _u128(liquidity), _u128(price), tick_at(price))
    layout.U64.pack_into(data, layout.OPEN_TIME_AT, open_time)
    ticks = _ticks(positions)
    indexes = sorted({layout.array_index(start, tick_spacing) for start in ticks})
    extension = _set_bits(data, pool, indexes)
    accounts = {pool: _owned(bytes(data)), config: _config(config_index, rates, tick_spacing)}
    held = vaults or _worth(positions, price)
    if max(held) > U64_MAX:
        raise ValueError("The positions are worth more than a vault can hold")
    for mint, amount in zip((mint_0, mint_1), held, strict=True):
        info = token.decode_mint(mints[mint])
        accounts[layout.vault_address(pool, mint)] = token.token_account(
            mint, pool, amount, info.program, withholds_fees=info.transfer_fee is not None
        )
    accounts[layout.extension_address(pool)] = _owned(extension)
    history = layout.OBSERVATION_TAG + bytes(11) + bytes(pool)
    accounts[layout.observation_address(pool)] = _owned(history.ljust(layout.OBSERVATION_SIZE, b"\x00"))
    for index in indexes:
        array = _array(pool, index, tick_spacing, ticks)
        accounts[layout.array_address(pool, index, tick_spacing)] = _owned(array)
    return accounts


def _pool_data(pool: Pubkey, config: Pubkey, mints: Accounts, tick_spacing: int) -> bytearray:
    """A pool without liquidity; it stands in for its creator."""
    mint_0, mint_1 = sorted(mints, key=bytes)
    seeds = [b"pool", bytes(config), bytes(mint_0), bytes(mint_1)]
    vaults = layout.vault_address(pool, mint_0), layout.vault_address(pool, mint_1)
    keys = config, pool, mint_0, mint_1, *vaults, layout.observation_address(pool)
    decimals = [token.decode_mint(mints[mint]).decimals for mint in (mint_0, mint_1)]
    data = bytearray(layout.POOL_SIZE)
    struct.pack_into("<8sB", data, 0, layout.POOL_TAG, Pubkey.find_program_address(seeds, layout.PROGRAM_ID)[1])
    struct.pack_into("<" + "32s" * len(keys) + "BBH", data, 9, *map(bytes, keys), *decimals, tick_spacing)
    for number in range(layout.REWARDS):
        at = layout.REWARDS_AT + layout.REWARD_SIZE * number + layout.REWARD_AUTHORITY_AT
        data[at : at + 32] = bytes(pool)
    return data


def _ticks(positions: Sequence[Range]) -> dict[int, tuple[int, int]]:
    """Net and gross liquidity by tick."""
    ticks: dict[int, tuple[int, int]] = {}
    for lower, upper, liquidity in positions:
        for tick, change in ((lower, liquidity), (upper, -liquidity)):
            net, gross = ticks.get(tick, (0, 0))
            ticks[tick] = net + change, gross + liquidity
    return ticks


def _worth(positions: Sequence[Range], price: int) -> tuple[int, int]:
    """Base units of both tokens in the positions, each rounded up as the program does on deposit."""
    amount_0 = amount_1 = 0
    for lower, upper, liquidity in positions:
        low, high = sqrt_at(lower), sqrt_at(upper)
        middle = min(max(price, low), high)
        amount_0 += cost(liquidity, high, middle)
        amount_1 += cost(liquidity, low, middle)
    return amount_0, amount_1


def _set_bits(pool_data: bytearray, pool: Pubkey, indexes: list[int]) -> bytes:
    """Mark the arrays in the pool's bitmap; returns the bitmap extension, where the others are marked."""
    extension = bytearray(layout.EXTENSION_TAG + bytes(pool)).ljust(layout.EXTENSION_SIZE, b"\x00")
    for index in indexes:
        bit = index + layout.POOL_REACH
        if 0 <= bit < 2 * layout.POOL_REACH:
            pool_data[layout.BITMAP_AT + bit // 8] |= 1 << bit % 8
        else:
            at, mask = layout.extension_bit(index)
            extension[at] |= mask
    return bytes(extension)


def _array(pool: Pubkey, index: int, tick_spacing: int, ticks: dict[int, tuple[int, int]]) -> bytes:
    data = bytearray(layout.ARRAY_SIZE)
    start = index * layout.TICKS_PER_ARRAY * tick_spacing
    layout.ARRAY_HEAD.pack_into(data, 0, layout.ARRAY_TAG, bytes(pool), start)
    own = [tick for tick in ticks if layout.array_index(tick, tick_spacing) == index]
    for tick in own:
        net, gross = ticks[tick]
        signed = net.to_bytes(16, "little", signed=True)
        layout.TICK.pack_into(data, layout.tick_offset(tick, tick_spacing), tick, signed, _u128(gross))
    data[layout.COUNT_AT] = len(own)
    return bytes(data)


def _config(index: int, rates: FeeRates, tick_spacing: int) -> Account:
    data = bytearray(layout.CONFIG_SIZE)
    bump = Pubkey.find_program_address([b"amm_config", index.to_bytes(2, "big")], layout.PROGRAM_ID)[1]
    struct.pack_into("<8sBH", data, 0, layout.CONFIG_TAG, bump, index)
    layout.RATES.pack_into(data, layout.RATES_AT, rates.protocol, rates.trade, tick_spacing, rates.fund)
    return _owned(bytes(data))


def _u128(value: int) -> bytes:
    return value.to_bytes(16, "little")


def _owned(data: bytes) -> Account:
    return Account(layout.PROGRAM_ID, rent_exempt(len(data)), data)
