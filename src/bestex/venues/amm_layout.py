"""The accounts of a Raydium AMM v4 pool: where they live, how their bytes lie, how to make new ones.

Source: the program's published account layout, and its own bytes in tests/golden.
"""

import math
import struct
from collections.abc import Mapping

from solders.pubkey import Pubkey

from bestex.types import Account, Mint
from bestex.venues import token
from bestex.venues.math import rent_exempt
from bestex.venues.pool import Accounts

PROGRAM_ID: Pubkey = Pubkey.from_string("675kPX9MHTjS2zt1qfr1NYHuzeLXfQM9H24wFSUt1Mp8")
AUTHORITY = Pubkey.from_string("5Q544fKrFoe6tsEbD7S8EmxGTJYAKtTVhAW5Q5pge4j1")
"""Owner of all vaults."""
AUTHORITY_NONCE = 254
"""Seed that leads to `AUTHORITY`; a pool of another nonce would have another authority."""

ORDER_BOOK_PROGRAM = Pubkey.from_string("srmqPvymJeFKQ4zGQed1GFppgkRHL9kaELCbyksJtPX")
"""The market program that pools name; a pool that only swaps does not use it."""

INITIALIZED, ORDER_BOOK_ONLY, SWAP_ONLY, WAITING_TRADE = 1, 5, 6, 7
"""Values of a pool's status; 2 to 4 take no swaps."""

POOL_SIZE = 752
STATUS = struct.Struct("<QQ")
"""Status and nonce, at the start: the account has no discriminator."""
SETTINGS = struct.Struct("<22Q")
RATE = struct.Struct("<QQ")
SWAP_FEE_AT = 176
OWED = struct.Struct("<QQ")
OWED_AT = 192
"""Profit of coin and pc that lies in the vaults but belongs to Raydium (need_take_pnl)."""
OPEN_TIME_AT = 224
COIN_PAID_AT, PC_RECEIVED_AT, COIN_FEES_AT = 256, 272, 328
PC_PAID_AT, COIN_RECEIVED_AT, PC_FEES_AT = 296, 312, 288
"""What all swaps so far have paid and received in each direction (u128), and their fees (u64), in base units."""
KEYS = struct.Struct("<32s32s32s32s")
KEYS_AT = 336
OTHER_KEYS = struct.Struct("<" + "32s" * 8)
OTHER_KEYS_AT = 464
LP_SUPPLY_AT = 720
EPOCH_AT = 736
U64 = struct.Struct("<Q")
U128_SIZE = 16

_LOT = 1_000_000
_SYSTEM_UNITS = 1_000_000_000


def synthesize(
    mints: Accounts,
    coin_mint: Mint,
    pc_mint: Mint,
    reserves: Mapping[Mint, int],
    *,
    fee_numerator: int = 25,
    fee_denominator: int = 10_000,
    owed: tuple[int, int] = (0, 0),
    status: int = SWAP_ONLY,
    open_time: int = 0,
    epoch: int = 0,
    address: Pubkey | None = None,
) -> dict[Pubkey, Account]:
    """The accounts of a new pool, the pool itself first: pool, coin vault, pc vault.

    `mints` are the two mint accounts by address, `reserves` the tradable base units of each. `owed` are coin and pc
    that the vaults hold on top for Raydium. `open_time` is a unix timestamp that counts with status 7 only. A real
    pool's address derives from its order book market, which a synthetic one has not: by default it derives from the
    mints in a way of our own, so a second pool of the same mints needs an `address`.
    """
    pool = address or _address(b"pool", bytes(coin_mint), bytes(pc_mint))
    sides = (coin_mint, b"coin_vault_associated_seed"), (pc_mint, b"pc_vault_associated_seed")
    vaults = [_address(bytes(pool), seed) for _, seed in sides]
    decimals = [token.decode_mint(mints[mint]).decimals for mint, _ in sides]
    data = bytearray(POOL_SIZE)
    SETTINGS.pack_into(data, 0, status, AUTHORITY_NONCE, *_settings(decimals))
    RATE.pack_into(data, SWAP_FEE_AT, fee_numerator, fee_denominator)
    OWED.pack_into(data, OWED_AT, *owed)
    U64.pack_into(data, OPEN_TIME_AT, open_time)
    KEYS.pack_into(data, KEYS_AT, *map(bytes, (*vaults, coin_mint, pc_mint)))
    OTHER_KEYS.pack_into(data, OTHER_KEYS_AT, *map(bytes, _other_keys(pool)))
    U64.pack_into(data, LP_SUPPLY_AT, math.isqrt(reserves[coin_mint] * reserves[pc_mint]))
    U64.pack_into(data, EPOCH_AT, epoch)
    accounts = {pool: Account(PROGRAM_ID, rent_exempt(POOL_SIZE), bytes(data))}
    for (mint, _), vault, extra in zip(sides, vaults, owed, strict=True):
        accounts[vault] = token.token_account(mint, AUTHORITY, reserves[mint] + extra, mints[mint].owner)
    return accounts


def _settings(decimals: list[int]) -> tuple[int, ...]:
    """What follows status and nonce up to the swap fee; most of it drives the market making of old."""
    order_num, depth, state, reset_flag = 7, 3, 1, 0
    volume_cut, amount_wave = 500, 0
    least_price, greatest_price = 1, _SYSTEM_UNITS
    separation, trade_fee, profit = (5, 10_000), (25, 10_000), (12, 100)
    return (
        *(order_num, depth, *decimals, state, reset_flag),
        *(_LOT, volume_cut, amount_wave, _LOT, _LOT),
        *(least_price, greatest_price, _SYSTEM_UNITS),
        *(*separation, *trade_fee, *profit),
    )


def _other_keys(pool: Pubkey) -> tuple[Pubkey, ...]:
    """LP mint, open orders, market, its program, target orders, two unused ones, and the pool for its owner."""
    none = Pubkey.default()
    lp_mint, open_orders, market, target_orders = (
        _address(bytes(pool), seed) for seed in (b"lp_mint", b"open_orders", b"market", b"target_orders")
    )
    return lp_mint, open_orders, market, ORDER_BOOK_PROGRAM, target_orders, none, none, pool


def _address(*seeds: bytes) -> Pubkey:
    return Pubkey.find_program_address(list(seeds), PROGRAM_ID)[0]
