"""Raydium CPMM pools for tests: random ones, with every account that the program needs."""

from collections.abc import Mapping

from hypothesis import strategies as st
from solders.pubkey import Pubkey

from bestex.types import Account
from bestex.venues import raydium_cpmm
from bestex.venues.raydium_cpmm import CpmmPool, Rates
from bestex.venues.token import TransferFeeConfig
from tests.support.venues import MINT_A, MINT_B, amounts, first, synthetic_mints, transfer_fees


def cpmm_accounts(
    reserves: tuple[int, int],
    *,
    rates: Rates = Rates(),  # noqa: B008 - frozen
    creator_fee_on: int | None = None,
    open_time: int = 0,
    mints: Mapping[Pubkey, Account] | None = None,
) -> dict[Pubkey, Account]:
    """All accounts of a synthetic CPMM pool, the pool first."""
    mints = mints or synthetic_mints()
    accounts = raydium_cpmm.synthesize(
        mints,
        dict(zip((MINT_A, MINT_B), reserves, strict=True)),
        rates=rates,
        creator_fee_on=creator_fee_on,
        open_time=open_time,
    )
    return {**accounts, **mints}


@st.composite
def pool_accounts(
    draw: st.DrawFn, fees: st.SearchStrategy[TransferFeeConfig | None] = transfer_fees
) -> dict[Pubkey, Account]:
    """All accounts of a pool, the pool first: any reserves, fees, creator fee."""
    rates = Rates(
        trade=draw(st.integers(0, 100_000)),
        protocol=draw(st.integers(0, 300_000)),
        fund=draw(st.integers(0, 300_000)),
        creator=draw(st.integers(0, 50_000)),
    )
    return cpmm_accounts(
        (draw(amounts), draw(amounts)),
        rates=rates,
        creator_fee_on=draw(st.sampled_from([None, 0, 1, 2])),
        mints=synthetic_mints(draw(fees), draw(fees)),
    )


def pools(fees: st.SearchStrategy[TransferFeeConfig | None] = transfer_fees) -> st.SearchStrategy[CpmmPool]:
    """The same, decoded."""
    return pool_accounts(fees).map(lambda accounts: raydium_cpmm.decode(first(accounts), accounts))
