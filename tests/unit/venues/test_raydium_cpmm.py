"""Raydium CPMM: what it refuses by its own rules, swaps by hand, and its synthetic pools."""

import struct

import pytest
from solders.pubkey import Pubkey

from bestex.errors import UnsupportedPool
from bestex.types import U64_MAX, Account, ChainClock
from bestex.venues import cpmm_layout, raydium_cpmm, token
from bestex.venues.math import Q64
from bestex.venues.pool import Refusal, Venue
from bestex.venues.raydium_cpmm import CpmmPool, Rates
from bestex.venues.recording import RecordedPool
from bestex.venues.token import TOKEN_2022_PROGRAM, TransferFeeConfig
from tests.support.cpmm import cpmm_accounts
from tests.support.venues import (
    CLOCK,
    IN,
    MINT_A,
    MINT_B,
    OUT,
    STRANGER,
    differences,
    first,
    golden,
    owned_by,
    patched,
    refusal,
    shortened,
    synthetic_mints,
    without,
)

POOL = cpmm_accounts((10**12, 10**12))
KEY = first(POOL)
CONFIG = cpmm_layout.config_address(0)
VAULT_A = cpmm_layout.vault_address(KEY, MINT_A)


FAULTS = {
    "no config": without(POOL, CONFIG),
    "config of another program": owned_by(POOL, CONFIG, STRANGER),
    "config of another kind": patched(POOL, CONFIG, 0, bytes(8)),
    "config cut": shortened(POOL, CONFIG),
    "unknown side of the creator fee": patched(POOL, KEY, 389, b"\x03"),
    "trade fee of 100 %": patched(POOL, CONFIG, 12, struct.pack("<Q", 1_000_000)),
    "vault without room for fees": {
        **cpmm_accounts((1, 1), mints=synthetic_mints(TransferFeeConfig.constant(0))),
        VAULT_A: token.token_account(MINT_A, STRANGER, 1, TOKEN_2022_PROGRAM),
    },
}


@pytest.mark.parametrize("accounts", FAULTS.values(), ids=FAULTS)
def test_accounts_that_are_refused(accounts: dict[Pubkey, Account]) -> None:
    raydium_cpmm.decode(KEY, POOL)
    with pytest.raises(UnsupportedPool):
        raydium_cpmm.decode(KEY, accounts)


def pool_of(reserves: tuple[int, int] = (10**12, 10**12), open_time: int = 0, trade_rate: int = 2_500) -> CpmmPool:
    accounts = cpmm_accounts(reserves, open_time=open_time, rates=Rates(trade=trade_rate))
    return raydium_cpmm.decode(KEY, accounts)


def test_refusals_are_the_program_s() -> None:
    pool = pool_of()
    assert refusal(pool, MINT_A, 0, IN) == (2505, Refusal.ZERO_AMOUNT)
    assert refusal(pool, MINT_A, 0, OUT) == (2505, Refusal.ZERO_AMOUNT)
    assert refusal(pool, MINT_A, 1, IN) == (2505, Refusal.ZERO_OUTPUT)
    assert refusal(pool, MINT_A, 10**12, OUT) == (None, Refusal.LIQUIDITY)
    assert refusal(pool_of((10**18, 10**18)), MINT_A, 10**18 - 1, OUT) == (None, Refusal.OVERFLOW)
    assert refusal(pool, MINT_A, U64_MAX + 1, IN) == (None, Refusal.OVERFLOW)
    assert refusal(pool_of((0, 10)), MINT_A, 5, OUT) == (2505, Refusal.ZERO_AMOUNT)
    assert refusal(pool_of((10, 0)), MINT_A, 5, IN) == (2505, Refusal.ZERO_OUTPUT)


def test_is_closed_until_it_opens() -> None:
    pool = pool_of(open_time=CLOCK.unix_timestamp + 1)
    assert refusal(pool, MINT_A, 1_000, IN) == (6000, Refusal.CLOSED)
    assert refusal(pool, MINT_A, 0, IN) == (6000, Refusal.CLOSED)
    assert refusal(pool, MINT_A, 0, OUT) == (2505, Refusal.ZERO_AMOUNT)
    assert pool.quote(MINT_A, 1_000, IN, ChainClock(1, CLOCK.unix_timestamp + 1, 1)).out_amount > 0


def test_swaps_can_be_disabled() -> None:
    for status, closed in ((3, False), (4, True), (7, True)):
        pool = raydium_cpmm.decode(KEY, patched(POOL, KEY, 329, bytes([status])))
        if closed:
            assert refusal(pool, MINT_A, 1_000, IN) == (6000, Refusal.CLOSED)
        else:
            assert pool.quote(MINT_A, 1_000, IN, CLOCK).out_amount > 0


def test_vault_that_owes_more_than_it_holds() -> None:
    accounts = patched(POOL, KEY, 341, struct.pack("<Q", 10**12 + 1))
    pool = raydium_cpmm.decode(KEY, accounts)
    assert refusal(pool, MINT_A, 1_000, IN) == (6012, Refusal.LIQUIDITY)
    assert pool.spot_price_x64(MINT_A) == 0


def test_by_hand() -> None:
    accounts = cpmm_accounts((1_000_000, 2_000_000), rates=Rates(trade=2_500))
    pool = raydium_cpmm.decode(first(accounts), accounts)
    quote = pool.quote(MINT_A, 10_000, IN, CLOCK)
    # 25 off the input; 9_975 * 2_000_000 // 1_009_975
    assert (quote.in_amount, quote.out_amount, quote.fee_amount, quote.steps) == (10_000, 19_752, 25, 1)
    assert quote.fee_on_input
    assert pool.spot_price_x64(MINT_A) == 2 * Q64
    assert pool.spot_price_x64(MINT_B) == Q64 // 2
    assert pool.fee_bps_hundredths == 2_500
    assert pool.reserves == (1_000_000, 2_000_000)


def test_creator_fee_counts_in_the_rate() -> None:
    accounts = cpmm_accounts((10**6, 10**6), rates=Rates(trade=400, creator=100), creator_fee_on=0)
    assert raydium_cpmm.decode(first(accounts), accounts).fee_bps_hundredths == 500


def test_remembers_the_epoch_of_its_last_swap() -> None:
    accounts = cpmm_accounts((10**6, 10**6))
    pool = raydium_cpmm.decode(first(accounts), accounts)
    after, _ = pool.apply(MINT_A, 1_000, IN, ChainClock(1, 1, 321))
    assert struct.unpack_from("<Q", after.encode()[pool.address].data, 381) == (321,)


POOL_AT_WILL = [(40, 72), (328, 329), (333, 389), (397, 413)]
"""Creator, authority's bump, supply of shares and the state that swaps have made of it."""
CONFIG_AT_WILL = [(36, 108)]
"""Fee of making a pool, and who collects fees."""


def made_of(recorded: RecordedPool) -> tuple[dict[Pubkey, Account], dict[Pubkey, Account]]:
    """A recorded pool's accounts, and ours of the same parameters."""
    loaded = recorded.loaded()
    config = loaded[recorded.address_of("amm_config")].data
    pool = loaded[recorded.address].data
    mints = {recorded.address_of(role): loaded[recorded.address_of(role)] for role in ("mint_0", "mint_1")}
    vaults = [loaded[recorded.address_of(role)].data for role in ("vault_0", "vault_1")]
    trade, protocol, fund = struct.unpack_from("<QQQ", config, 12)
    made = raydium_cpmm.synthesize(
        mints,
        {mint: struct.unpack_from("<Q", vault, 64)[0] for mint, vault in zip(mints, vaults, strict=True)},
        rates=Rates(trade=trade, protocol=protocol, fund=fund, creator=struct.unpack_from("<Q", config, 108)[0]),
        config_index=struct.unpack_from("<H", config, 10)[0],
        open_time=struct.unpack_from("<Q", pool, 373)[0],
        creator_fee_on=pool[389] if pool[390] else None,
    )
    return loaded, made


@pytest.mark.parametrize("recorded", golden(Venue.RAYDIUM_CPMM).pools, ids=lambda pool: pool.name)
def test_synthetic_pool_is_the_recorded_one(recorded: RecordedPool) -> None:
    loaded, made = made_of(recorded)
    roles = {recorded.address_of(role): role for role in recorded.accounts}
    assert {roles[key] for key in made} == set(recorded.accounts) - {"mint_0", "mint_1"}
    ignored = {
        "pool": [*POOL_AT_WILL, (329, 330), (389, 390)],
        "amm_config": CONFIG_AT_WILL,
        "observation": [(11, 4075)],
    }
    for key, account in made.items():
        assert (account.owner, account.lamports) == (loaded[key].owner, loaded[key].lamports)
        assert differences(account.data, loaded[key].data, ignored.get(roles[key], [])) == []
