"""Meteora DLMM pairs for tests: random ones, limit orders included, with every account that the program needs."""

import struct
from collections.abc import Mapping

from hypothesis import strategies as st
from solders.pubkey import Pubkey

from bestex.types import Account
from bestex.venues import dlmm_layout, meteora_dlmm, token
from bestex.venues.math import U128_MAX
from bestex.venues.meteora_dlmm import DlmmPool, VariableFee
from bestex.venues.token import TransferFeeConfig
from tests.support.venues import MINT_A, MINT_B, amounts, first, synthetic_mints, transfer_fees, with_data


def dlmm_accounts(
    bins: Mapping[int, tuple[int, int]],
    *,
    active_id: int = 0,
    bin_step: int = 10,
    base_factor: int = 10_000,
    variable_fee: VariableFee = VariableFee(),  # noqa: B008 - frozen
    mints: Mapping[Pubkey, Account] | None = None,
) -> dict[Pubkey, Account]:
    """All accounts of a synthetic DLMM pair of X = A and Y = B, the pair first."""
    mints = mints or synthetic_mints()
    accounts = meteora_dlmm.synthesize(
        mints,
        MINT_A,
        MINT_B,
        bins,
        active_id=active_id,
        bin_step=bin_step,
        base_factor=base_factor,
        variable_fee=variable_fee,
    )
    return {**accounts, **mints}


def with_orders(
    accounts: dict[Pubkey, Account], active_id: int, orders: Mapping[int, tuple[int, int]]
) -> dict[Pubkey, Account]:
    """Add limit orders (processing, open) to bins: bids at the price and below it, asks above."""
    pair = first(accounts)
    for bin_id, (processing, opened) in orders.items():
        key = dlmm_layout.array_address(pair, bin_id // dlmm_layout.BINS_PER_ARRAY)
        if key in accounts:
            data = bytearray(accounts[key].data)
            at = dlmm_layout.bin_offset(bin_id)
            struct.pack_into("<QQQ", data, at + 112, opened, processing, processing)
            data[at + 140] = bin_id > active_id
            accounts[key] = with_data(accounts[key], bytes(data))
    for key, account in accounts.items():
        if account.owner == token.TOKEN_PROGRAM and len(account.data) == token.ACCOUNT_SIZE:
            accounts[key] = token.credit(account, sum(map(sum, orders.values())))
    return accounts


@st.composite
def pool_accounts(
    draw: st.DrawFn,
    fees: st.SearchStrategy[TransferFeeConfig | None] = transfer_fees,
    orders: st.SearchStrategy[tuple[int, int]] = st.tuples(st.just(0) | amounts, amounts),  # noqa: B008
) -> dict[Pubkey, Account]:
    """All accounts of a pair, the pair first."""
    active_id, bin_step = draw(st.integers(-2_000, 2_000)), draw(st.sampled_from([1, 10, 25, 100]))
    below = draw(st.dictionaries(st.integers(-90, 0), st.tuples(st.just(0), amounts), max_size=8))
    above = draw(st.dictionaries(st.integers(0, 90), st.tuples(amounts, st.just(0)), max_size=8))
    bins = {active_id + offset: pair for offset, pair in {**below, **above}.items()}
    bins[active_id] = (draw(amounts), draw(amounts))
    # A bin's liquidity, in units of Y, is a u128 with 64 bits of fraction: no program lets anybody deposit more.
    bins = {
        bin_id: (min(x, U128_MAX // 2 // dlmm_layout.price_of(bin_id, bin_step)), y) for bin_id, (x, y) in bins.items()
    }
    accounts = dlmm_accounts(
        bins,
        active_id=active_id,
        bin_step=bin_step,
        base_factor=draw(st.integers(0, 20_000)),
        variable_fee=VariableFee(control=draw(st.sampled_from([0, 10_000, 10**7]))),
        mints=synthetic_mints(draw(fees), draw(fees)),
    )
    placed = draw(st.dictionaries(st.integers(-20, 20), orders, max_size=4))
    return with_orders(accounts, active_id, {active_id + offset: order for offset, order in placed.items()})


def pools(fees: st.SearchStrategy[TransferFeeConfig | None] = transfer_fees) -> st.SearchStrategy[DlmmPool]:
    """The same, decoded."""
    return pool_accounts(fees).map(lambda accounts: meteora_dlmm.decode(first(accounts), accounts))
