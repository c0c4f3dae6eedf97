"""Meteora DAMM v2 pools for tests: the recorded vectors, read, and pools that we make ourselves."""

from collections.abc import Mapping
from functools import cache

from hypothesis import strategies as st
from solders.pubkey import Pubkey

from bestex.types import Account
from bestex.venues import damm_layout, meteora_damm_v2
from bestex.venues.damm_synthesis import MAX_SQRT_PRICE, MIN_SQRT_PRICE
from bestex.venues.meteora_damm_v2 import BaseFee, DammPool, DynamicFee
from bestex.venues.pool import Venue
from bestex.venues.token import TransferFeeConfig
from tests.support.venues import CLOCK, MINT_A, MINT_B, amounts, first, golden, synthetic_mints, transfer_fees

Q64 = 1 << 64


@cache
def recorded_pool(name: str) -> DammPool:
    """A pool of the file, decoded."""
    recorded = golden(Venue.METEORA_DAMM_V2).pool(name)
    return meteora_damm_v2.decode(recorded.address, recorded.loaded())


def damm_accounts(
    *,
    liquidity: int = 10**12 << 64,
    sqrt_price: int = Q64,
    sqrt_min: int = MIN_SQRT_PRICE,
    sqrt_max: int = MAX_SQRT_PRICE,
    amounts: tuple[int, int] | None = None,
    base_fee: BaseFee = BaseFee(),  # noqa: B008 - frozen
    dynamic_fee: DynamicFee | None = None,
    collect_fee_mode: int = damm_layout.FEE_ON_OUTPUT,
    compounding_bps: int = 0,
    activation_point: int = 0,
    mints: Mapping[Pubkey, Account] | None = None,
) -> dict[Pubkey, Account]:
    """All accounts of a synthetic DAMM v2 pool, the pool first."""
    mints = mints or synthetic_mints()
    accounts = meteora_damm_v2.synthesize(
        mints,
        MINT_A,
        MINT_B,
        liquidity=liquidity,
        sqrt_price=sqrt_price,
        sqrt_min=sqrt_min,
        sqrt_max=sqrt_max,
        amounts=amounts,
        base_fee=base_fee,
        dynamic_fee=dynamic_fee,
        collect_fee_mode=collect_fee_mode,
        compounding_bps=compounding_bps,
        activation_point=activation_point,
    )
    return {**accounts, **mints}


def made(accounts: Mapping[Pubkey, Account]) -> DammPool:
    """Decode what `damm_accounts` gives."""
    return meteora_damm_v2.decode(first(accounts), accounts)


_NOW = CLOCK.unix_timestamp
_CLIFFS = st.integers(0, 500_000_000)
plain = st.builds(BaseFee, cliff=_CLIFFS)


def _scheduled(linear: int, exponential: int) -> st.SearchStrategy[BaseFee]:
    return st.builds(
        BaseFee,
        cliff=st.integers(10**6, 500_000_000),
        mode=st.just(linear),
        periods=st.integers(0, 100),
        period=st.integers(1, 1_000),
        expiration=st.integers(0, 2 * _NOW),
        reduction=st.integers(0, 10_000),
    ) | st.builds(
        BaseFee,
        cliff=_CLIFFS,
        mode=st.just(exponential),
        periods=st.integers(0, 200),
        period=st.integers(1, 1_000),
        expiration=st.integers(0, 2 * _NOW),
        reduction=st.integers(0, 1_000),
    )


schedules_over_time = _scheduled(damm_layout.TIME_LINEAR, damm_layout.TIME_EXPONENTIAL)
schedules_over_price = _scheduled(damm_layout.MARKET_CAP_LINEAR, damm_layout.MARKET_CAP_EXPONENTIAL)
schedules = schedules_over_time | schedules_over_price
limiters = st.builds(
    BaseFee,
    cliff=st.integers(10**5, 10**8),
    mode=st.just(damm_layout.RATE_LIMITER),
    periods=st.integers(1, 500),
    expiration=st.sampled_from([0, 2 * _NOW]),
    reduction=amounts,
    max_fee_bps=st.integers(1_000, 9_000),
)
dynamic_fees = st.none() | st.builds(
    DynamicFee,
    control=st.integers(0, 10**6),
    volatility=st.integers(0, 14_460_000),
    reference=st.integers(0, 14_460_000),
    updated=st.integers(_NOW - 200, _NOW),
)


any_base_fee = plain | schedules | limiters


@st.composite
def pool_accounts(
    draw: st.DrawFn,
    fees: st.SearchStrategy[TransferFeeConfig | None] = transfer_fees,
    base_fees: st.SearchStrategy[BaseFee] = any_base_fee,
    dynamics: st.SearchStrategy[DynamicFee | None] = dynamic_fees,
    collected: st.SearchStrategy[int] = st.integers(0, 2),  # noqa: B008
) -> dict[Pubkey, Account]:
    """All accounts of a pool, the pool first: narrow and wide ranges, the price anywhere in them, any fees."""
    base_fee = draw(base_fees)
    limited = base_fee.mode == damm_layout.RATE_LIMITER
    price = draw(st.integers(1 << 60, 1 << 68) | st.integers(1 << 52, 1 << 76))
    width = draw(st.sampled_from([10**7, 10**6, 10**3, 0]))
    return damm_accounts(
        liquidity=draw(st.integers(10**9, 10**15) | amounts) << 64,
        sqrt_price=price,
        sqrt_min=price - price * draw(st.integers(0, width)) // (10**7 + 1),
        sqrt_max=price + price * draw(st.integers(0, width)) // 10**3,
        amounts=(draw(amounts), draw(amounts)),
        base_fee=base_fee,
        dynamic_fee=draw(dynamics),
        collect_fee_mode=damm_layout.FEE_IN_B if limited else draw(collected),
        compounding_bps=draw(st.integers(0, 10_000)),
        mints=synthetic_mints(draw(fees), draw(fees)),
    )


def pools(
    fees: st.SearchStrategy[TransferFeeConfig | None] = transfer_fees,
    base_fees: st.SearchStrategy[BaseFee] = any_base_fee,
    dynamics: st.SearchStrategy[DynamicFee | None] = dynamic_fees,
    collected: st.SearchStrategy[int] = st.integers(0, 2),  # noqa: B008
) -> st.SearchStrategy[DammPool]:
    """The same, decoded."""
    return pool_accounts(fees, base_fees, dynamics, collected).map(made)
