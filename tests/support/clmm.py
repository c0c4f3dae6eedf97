"""Raydium CLMM pools for tests: the recorded ones, and synthetic ones."""

import gzip
from collections.abc import Mapping, Sequence
from functools import cache

import msgspec
from hypothesis import strategies as st
from solders.pubkey import Pubkey

from bestex.types import Account
from bestex.venues import raydium_clmm
from bestex.venues.clmm_ticks import sqrt_at
from bestex.venues.pool import Venue
from bestex.venues.raydium_clmm import ClmmPool, FeeRates
from bestex.venues.token import TransferFeeConfig
from tests.support.venues import first, golden, golden_path, synthetic_mints, transfer_fees

depths = st.integers(1, 10**6) | st.integers(1, 10**17)


class ClmmParams(msgspec.Struct):
    """What a recorded pool was made of, as far as `synthesize` takes it; amounts are text in the file."""

    tick_spacing: int
    trade_fee_rate: int
    protocol_fee_rate: int
    fund_fee_rate: int
    sqrt_price_x64: int
    open_time: int
    vault0: int
    vault1: int
    positions: list[tuple[int, int, int]]
    reachable_without_fees: dict[str, tuple[int, int, int]]
    """Input, output and steps until no tick is left, by direction."""

    @property
    def offered(self) -> tuple[int, int]:
        """Base units of both tokens that swaps can take."""
        return self.reachable_without_fees["one_for_zero"][1], self.reachable_without_fees["zero_for_one"][1]


class _Pool(msgspec.Struct):
    name: str
    params: ClmmParams


class _File(msgspec.Struct):
    pools: list[_Pool]


@cache
def recorded_params() -> Mapping[str, ClmmParams]:
    """The parameters of all recorded pools, by name."""
    raw = gzip.decompress(golden_path(Venue.RAYDIUM_CLMM).read_bytes())
    return {pool.name: pool.params for pool in msgspec.json.decode(raw, type=_File, strict=False).pools}


@cache
def recorded_pool(name: str) -> ClmmPool:
    """A recorded pool, decoded with all of its accounts."""
    recorded = golden(Venue.RAYDIUM_CLMM).pool(name)
    return raydium_clmm.decode(recorded.address, recorded.loaded())


def clmm_accounts(
    positions: Sequence[tuple[int, int, int]],
    *,
    tick: int = 0,
    sqrt_price_x64: int | None = None,
    tick_spacing: int = 10,
    rates: FeeRates = FeeRates(),  # noqa: B008 - frozen
    open_time: int = 0,
    vaults: tuple[int, int] | None = None,
    mints: Mapping[Pubkey, Account] | None = None,
) -> dict[Pubkey, Account]:
    """All accounts of a synthetic pool of A and B, the pool first."""
    mints = mints or synthetic_mints()
    accounts = raydium_clmm.synthesize(
        mints,
        positions,
        tick=tick,
        sqrt_price_x64=sqrt_price_x64,
        tick_spacing=tick_spacing,
        rates=rates,
        open_time=open_time,
        vaults=vaults,
    )
    return {**accounts, **mints}


@st.composite
def pool_accounts(
    draw: st.DrawFn, fees: st.SearchStrategy[TransferFeeConfig | None] = transfer_fees
) -> dict[Pubkey, Account]:
    """All accounts of a pool, the pool first: up to nine ranges around or beside the price, with any fees."""
    spacing = draw(st.sampled_from([1, 10, 60]))
    tick = draw(st.integers(-50_000, 50_000))
    price = draw(st.integers(sqrt_at(tick), sqrt_at(tick + 1) - 1))
    home = tick // spacing
    ends = st.tuples(st.integers(-200, 200), st.integers(1, 200), depths)
    ranges = [
        ((home + start) * spacing, (home + start + width) * spacing, depth)
        for start, width, depth in draw(st.lists(ends, max_size=8))
    ]
    ranges.append(((home - 300) * spacing, (home + 300) * spacing, draw(depths)))
    return clmm_accounts(
        ranges,
        sqrt_price_x64=price,
        tick_spacing=spacing,
        rates=FeeRates(
            trade=draw(st.integers(0, 100_000)),
            protocol=draw(st.integers(0, 300_000)),
            fund=draw(st.integers(0, 300_000)),
        ),
        mints=synthetic_mints(draw(fees), draw(fees)),
    )


def pools(fees: st.SearchStrategy[TransferFeeConfig | None] = transfer_fees) -> st.SearchStrategy[ClmmPool]:
    """The same, decoded."""
    return pool_accounts(fees).map(lambda accounts: raydium_clmm.decode(first(accounts), accounts))
