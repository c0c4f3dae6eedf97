"""Raydium AMM v4 pools for tests: the recorded ones with either rounding, and synthetic ones."""

import gzip
from collections.abc import Mapping
from functools import cache

import msgspec
from hypothesis import strategies as st
from solders.pubkey import Pubkey

from bestex.types import Account
from bestex.venues import amm_layout, raydium_amm_v4
from bestex.venues.pool import Venue
from bestex.venues.raydium_amm_v4 import AmmPool, Rounding
from tests.support.venues import MINT_A, MINT_B, amounts, first, golden, golden_path, synthetic_mints

fees = st.tuples(st.integers(0, 999), st.just(10_000)) | st.integers(2, 10**6).flatmap(
    lambda denominator: st.tuples(st.integers(0, denominator - 1), st.just(denominator))
)


class AmmParams(msgspec.Struct):
    """What a recorded pool was made of, as far as `synthesize` takes it; amounts are text in the file."""

    status: int
    open_time: int
    swap_fee_numerator: int
    swap_fee_denominator: int
    need_take_pnl_coin: int
    need_take_pnl_pc: int
    reserve_coin: int
    reserve_pc: int


class _Pool(msgspec.Struct):
    name: str
    params: AmmParams


class _File(msgspec.Struct):
    pools: list[_Pool]


@cache
def recorded_params() -> Mapping[str, AmmParams]:
    """The parameters of all recorded pools, by name."""
    raw = gzip.decompress(golden_path(Venue.RAYDIUM_AMM_V4).read_bytes())
    return {pool.name: pool.params for pool in msgspec.json.decode(raw, type=_File, strict=False).pools}


@cache
def recorded_pool(name: str, rounding: Rounding = Rounding.LEGACY) -> AmmPool:
    """A recorded pool, decoded; the recorded program rounds the legacy way."""
    recorded = golden(Venue.RAYDIUM_AMM_V4).pool(name)
    return raydium_amm_v4.decode(recorded.address, recorded.loaded(), rounding=rounding)


def amm_accounts(
    reserves: tuple[int, int],
    *,
    fee: tuple[int, int] = (25, 10_000),
    owed: tuple[int, int] = (0, 0),
    status: int = amm_layout.SWAP_ONLY,
    open_time: int = 0,
    mints: Mapping[Pubkey, Account] | None = None,
) -> dict[Pubkey, Account]:
    """All accounts of a synthetic pool of coin A and pc B, the pool first."""
    mints = mints or synthetic_mints()
    accounts = raydium_amm_v4.synthesize(
        mints,
        MINT_A,
        MINT_B,
        dict(zip((MINT_A, MINT_B), reserves, strict=True)),
        fee_numerator=fee[0],
        fee_denominator=fee[1],
        owed=owed,
        status=status,
        open_time=open_time,
    )
    return {**accounts, **mints}


@st.composite
def pool_accounts(draw: st.DrawFn) -> dict[Pubkey, Account]:
    """All accounts of a pool, the pool first: any reserves, fees and profit owed. This venue knows no Token-2022."""
    return amm_accounts(
        (draw(amounts), draw(amounts)),
        fee=draw(fees),
        owed=(draw(st.just(0) | amounts), draw(st.just(0) | amounts)),
        status=draw(st.sampled_from([amm_layout.SWAP_ONLY, amm_layout.WAITING_TRADE])),
    )


@st.composite
def pools(draw: st.DrawFn, rounding: st.SearchStrategy[Rounding] = st.sampled_from(Rounding)) -> AmmPool:  # noqa: B008
    """The same, decoded, with either rounding."""
    accounts = draw(pool_accounts())
    return raydium_amm_v4.decode(first(accounts), accounts, rounding=draw(rounding))
