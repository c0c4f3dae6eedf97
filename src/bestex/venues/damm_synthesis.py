"""New Meteora DAMM v2 pools, account by account: for the paper cluster and for tests."""

import math
from collections.abc import Mapping

import msgspec
from solders.pubkey import Pubkey

from bestex.types import BPS, U64_MAX, Account, Mint
from bestex.venues import damm_layout as layout
from bestex.venues import token
from bestex.venues.damm_curve import RangeCurve
from bestex.venues.math import Q64, U128_MAX, rent_exempt
from bestex.venues.pool import Accounts

MIN_SQRT_PRICE, MAX_SQRT_PRICE = 4_295_048_016, 79_226_673_521_066_979_257_578_248_091
"""The widest range of a pool."""

_DYNAMIC_BIN_STEP = 1
_LAYOUT_VERSION = 1
_REFERRAL_PERCENT = 20


class BaseFee(msgspec.Struct, frozen=True, kw_only=True):
    """A base fee of 0.25 % unless said otherwise; numerators over 10**9."""

    cliff: int = 2_500_000
    """The fee to begin with."""
    mode: int = layout.TIME_LINEAR
    periods: int = 0
    """Steps of a schedule; a rate limiter's increment in basis points."""
    period: int = 0
    """Slots or seconds (over time) or basis points of square-root price (over price) of a step."""
    expiration: int = 0
    """Slots or seconds from activation until a schedule over price, or a rate limiter, ends."""
    reduction: int = 0
    """By step: a numerator (linear) or basis points (exponential); a rate limiter's reference amount in B."""
    max_fee_bps: int = 0
    """Of a rate limiter."""


class DynamicFee(msgspec.Struct, frozen=True, kw_only=True):
    """How a pool's fee follows its volatility."""

    control: int = 956
    max_volatility: int = 14_460_000
    filter_period_s: int = 10
    decay_period_s: int = 120
    reduction_bps: int = 5_000
    volatility: int = 0
    """Stored to begin with."""
    reference: int = 0
    """Stored to begin with."""
    updated: int = 0
    """Unix timestamp."""


def synthesize(
    mints: Accounts,
    mint_a: Mint,
    mint_b: Mint,
    *,
    liquidity: int,
    sqrt_price: int,
    sqrt_min: int = MIN_SQRT_PRICE,
    sqrt_max: int = MAX_SQRT_PRICE,
    amounts: tuple[int, int] | None = None,
    base_fee: BaseFee = BaseFee(),  # noqa: B008 - frozen
    dynamic_fee: DynamicFee | None = None,
    collect_fee_mode: int = layout.FEE_ON_OUTPUT,
    compounding_bps: int = 0,
    protocol_percent: int = 20,
    fee_version: int = 1,
    activation_point: int = 0,
    activation_by_time: bool = True,
    init_price: int | None = None,
    config: Pubkey | None = None,
    address: Pubkey | None = None,
) -> dict[Pubkey, Account]:
    """The accounts of a new pool, the pool itself first: pool and both vaults.

    `mints` holds both mint accounts by address. `liquidity` is in the program's units: 2**64 times that of whole base
    units. Prices are square roots of B per A in Q64.64; `init_price` is where a schedule over price begins (default:
    the present price). A range pool holds what its liquidity takes. A compounding pool (`collect_fee_mode` 2) has no
    range, holds `amounts` (base units), and has the price that follows. `activation_point` is a unix timestamp, or
    a slot. Raises ValueError for a price outside of the range, or missing amounts; OverflowError for too large ones.
    """
    if collect_fee_mode == layout.COMPOUNDING:
        if amounts is None or not all(amounts):
            raise ValueError("A compounding pool needs amounts")
        sqrt_price, sqrt_min, sqrt_max = math.isqrt((amounts[1] << 128) // amounts[0]), 0, U128_MAX
    elif not 0 < sqrt_min <= sqrt_price <= sqrt_max:
        raise ValueError("The price lies outside of the range")
    else:
        amounts = RangeCurve(liquidity, sqrt_price, sqrt_min, sqrt_max).deposits()
    if max(amounts) > U64_MAX:
        raise OverflowError("The liquidity takes more than a vault can hold")
    pool = address or layout.pool_address(mint_a, mint_b, config)
    data = bytearray(layout.POOL_SIZE)
    data[:8] = layout.POOL_TAG
    _write_base_fee(data, base_fee)
    shares = (protocol_percent, _REFERRAL_PERCENT, compounding_bps, dynamic_fee is not None)
    layout.SHARES.pack_into(data, layout.SHARES_AT, *shares)
    if dynamic_fee is not None:
        layout.write_dynamic(data, _dynamic(dynamic_fee, sqrt_price))
    layout.write_u128(data, layout.INIT_PRICE_AT, sqrt_price if init_price is None else init_price)
    layout.write_u128(data, layout.LIQUIDITY_AT, liquidity)
    layout.PRICES.pack_into(data, layout.PRICES_AT, *map(layout.u128, (sqrt_min, sqrt_max, sqrt_price)))
    programs = [mints[mint].owner == token.TOKEN_2022_PROGRAM for mint in (mint_a, mint_b)]
    flags = (activation_by_time, 0, *programs, collect_fee_mode, config is None, fee_version)
    layout.FLAGS.pack_into(data, layout.FLAGS_AT, activation_point, *flags)
    layout.TWO_U64.pack_into(data, layout.AMOUNTS_AT, *amounts)
    data[layout.LAYOUT_VERSION_AT] = _LAYOUT_VERSION
    return _accounts(pool, data, mints, {mint_a: amounts[0], mint_b: amounts[1]})


def _accounts(pool: Pubkey, data: bytearray, mints: Accounts, amounts: Mapping[Mint, int]) -> dict[Pubkey, Account]:
    """The pool, with its keys filled in and itself for its creator, and its vaults."""
    vaults = [layout.vault_address(pool, mint) for mint in amounts]
    layout.KEYS.pack_into(data, layout.KEYS_AT, *map(bytes, (*amounts, *vaults)))
    data[layout.CREATOR_AT : layout.CREATOR_AT + 32] = bytes(pool)
    accounts = {pool: Account(layout.PROGRAM_ID, rent_exempt(len(data)), bytes(data))}
    for vault, (mint, amount) in zip(vaults, amounts.items(), strict=True):
        info = token.decode_mint(mints[mint])
        withholds = info.transfer_fee is not None
        accounts[vault] = token.token_account(mint, layout.AUTHORITY, amount, info.program, withholds_fees=withholds)
    return accounts


def _write_base_fee(data: bytearray, fee: BaseFee) -> None:
    if fee.mode == layout.RATE_LIMITER:
        second = fee.expiration | fee.max_fee_bps << 32
    elif fee.mode > layout.RATE_LIMITER:
        second = fee.period | fee.expiration << 32
    else:
        second = fee.period
    layout.BASE_FEE.pack_into(data, layout.BASE_FEE_AT, fee.cliff, fee.mode, fee.periods, second, fee.reduction)


def _dynamic(fee: DynamicFee, price: int) -> layout.Dynamic:
    return layout.Dynamic(
        max_volatility=fee.max_volatility,
        control=fee.control,
        bin_step=_DYNAMIC_BIN_STEP,
        filter_period=fee.filter_period_s,
        decay_period=fee.decay_period_s,
        reduction_bps=fee.reduction_bps,
        updated=fee.updated,
        bin_step_u128=_DYNAMIC_BIN_STEP * Q64 // BPS,
        reference_price=price,
        volatility=fee.volatility,
        reference=fee.reference,
    )
