"""The accounts of a Raydium CPMM pool: where they live, how their bytes lie, how to make new ones.

Source: the program's interface description (IDL), and its own bytes in tests/golden.
"""

import math
import struct
from collections.abc import Mapping

import msgspec
from solders.pubkey import Pubkey

from bestex.types import Account, Mint
from bestex.venues import token
from bestex.venues.math import rent_exempt
from bestex.venues.pool import Accounts

PROGRAM_ID: Pubkey = Pubkey.from_string("CPMMoo8L3F4NbTegBCKVNunggL7H1ZpdTHKxQB5qKP1C")
AUTHORITY = Pubkey.from_string("GpMZbSM2GgvTKHJirzeGfMFoaZ8UR2X7F4v8vHTvxFbL")
"""Owner of all vaults."""

RATE = 1_000_000
"""Denominator of fee rates."""

POOL_TAG = bytes.fromhex("f7ede3f5d7c3de46")
CONFIG_TAG = bytes.fromhex("daf42168cbcb2b6f")
OBSERVATION_TAG = bytes.fromhex("7aaec5358109a584")
POOL_SIZE, CONFIG_SIZE, OBSERVATION_SIZE = 637, 236, 4075

KEYS = struct.Struct("<8s" + "32s" * 10)
STATUS = struct.Struct("<BBBBB")
STATUS_AT = 328
LP_SUPPLY_AT = 333
OWED = struct.Struct("<QQ")
PROTOCOL_AT, FUND_AT, CREATOR_AT = 341, 357, 397
OPEN_TIME_AT = 373
EPOCH_AT = 381
CREATOR_FEE = struct.Struct("<BB")
CREATOR_FEE_AT = 389
RATES = struct.Struct("<QQQ")
RATES_AT = 12
CREATOR_RATE_AT = 108
U64 = struct.Struct("<Q")
SWAP_DISABLED = 4
LP_DECIMALS = 9


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """Fee rates of an AmmConfig, in hundredths of a basis point."""

    trade: int = 2_500
    protocol: int = 120_000
    """Part of the trade fee that the protocol takes."""
    fund: int = 40_000
    """Part of the trade fee that the fund takes."""
    creator: int = 0
    """Taken beside the trade fee, where the pool has a creator fee."""


def config_address(index: int) -> Pubkey:
    """Where the program keeps the AmmConfig of this index."""
    return _address(b"amm_config", index.to_bytes(2, "big"))


def pool_address(config: Pubkey, mint_0: Mint, mint_1: Mint) -> Pubkey:
    """Where a pool lives unless its creator chose another place."""
    return _address(b"pool", bytes(config), bytes(mint_0), bytes(mint_1))


def vault_address(pool: Pubkey, mint: Mint) -> Pubkey:
    """The pool's token account of one mint."""
    return _address(b"pool_vault", bytes(pool), bytes(mint))


def observation_address(pool: Pubkey) -> Pubkey:
    """The pool's price history, which each swap extends."""
    return _address(b"observation", bytes(pool))


def _address(*seeds: bytes) -> Pubkey:
    return Pubkey.find_program_address(list(seeds), PROGRAM_ID)[0]


def synthesize(
    mints: Accounts,
    reserves: Mapping[Mint, int],
    *,
    rates: Rates = Rates(),  # noqa: B008 - frozen
    config_index: int = 0,
    address: Pubkey | None = None,
    open_time: int = 0,
    creator_fee_on: int | None = None,
) -> dict[Pubkey, Account]:
    """The accounts of a new pool, the pool itself first: pool, config, both vaults, observation.

    `mints` are the two mint accounts by address, `reserves` the base units of each to begin with. `open_time` is a unix
    timestamp. `creator_fee_on`: None without a creator fee; 0 takes it from the input, 1 and 2 in token 0 or 1 only.
    Pools of one `config_index` share the config account and must be given the same `rates`.
    """
    mint_0, mint_1 = sorted(mints, key=bytes)
    config = config_address(config_index)
    pool = address or pool_address(config, mint_0, mint_1)
    data = bytearray(POOL_SIZE)
    infos = [token.decode_mint(mints[mint]) for mint in (mint_0, mint_1)]
    bump = Pubkey.find_program_address([b"vault_and_lp_mint_auth_seed"], PROGRAM_ID)[1]
    KEYS.pack_into(data, 0, POOL_TAG, *map(bytes, _keys(pool, config, mint_0, mint_1, mints)))
    STATUS.pack_into(data, STATUS_AT, bump, 0, LP_DECIMALS, infos[0].decimals, infos[1].decimals)
    U64.pack_into(data, LP_SUPPLY_AT, math.isqrt(reserves[mint_0] * reserves[mint_1]))
    U64.pack_into(data, OPEN_TIME_AT, open_time)
    CREATOR_FEE.pack_into(data, CREATOR_FEE_AT, creator_fee_on or 0, creator_fee_on is not None)
    accounts = {pool: _owned(bytes(data)), config: _config_account(config_index, rates)}
    for mint, info in zip((mint_0, mint_1), infos, strict=True):
        accounts[vault_address(pool, mint)] = token.token_account(
            mint, AUTHORITY, reserves[mint], info.program, withholds_fees=info.transfer_fee is not None
        )
    observation = OBSERVATION_TAG + b"\x01\x00\x00" + bytes(pool)
    accounts[observation_address(pool)] = _owned(observation.ljust(OBSERVATION_SIZE, b"\x00"))
    return accounts


def _keys(pool: Pubkey, config: Pubkey, mint_0: Mint, mint_1: Mint, mints: Accounts) -> tuple[Pubkey, ...]:
    """The keys in a pool account, in their order; the pool stands in for its creator."""
    return (
        config,
        pool,
        vault_address(pool, mint_0),
        vault_address(pool, mint_1),
        _address(b"pool_lp_mint", bytes(pool)),
        mint_0,
        mint_1,
        mints[mint_0].owner,
        mints[mint_1].owner,
        observation_address(pool),
    )


def _config_account(index: int, rates: Rates) -> Account:
    data = bytearray(CONFIG_SIZE)
    data[:8] = CONFIG_TAG
    bump = Pubkey.find_program_address([b"amm_config", index.to_bytes(2, "big")], PROGRAM_ID)[1]
    struct.pack_into("<BBH", data, 8, bump, 0, index)
    RATES.pack_into(data, RATES_AT, rates.trade, rates.protocol, rates.fund)
    U64.pack_into(data, CREATOR_RATE_AT, rates.creator)
    return _owned(bytes(data))


def _owned(data: bytes) -> Account:
    return Account(PROGRAM_ID, rent_exempt(len(data)), data)
