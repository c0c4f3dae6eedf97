"""Pools that we make ourselves are what the programs themselves would have made."""

import base64
import struct

import pytest
from solders.pubkey import Pubkey

from bestex.types import Account, SwapMode
from bestex.venues import cpmm_layout, dlmm_layout, dlmm_synthesis, meteora_dlmm, raydium_cpmm
from bestex.venues.meteora_dlmm import VariableFee
from bestex.venues.pool import Venue
from bestex.venues.raydium_cpmm import Rates
from bestex.venues.recording import RecordedPool
from tests.support.venues import CLOCK, MINT_A, MINT_B, dlmm_accounts, first, golden, synthetic_mints

POOL_AT_WILL = [(40, 72), (328, 329), (333, 389), (397, 413)]
"""Creator, authority's bump, supply of shares and the state that swaps have made of it."""
CONFIG_AT_WILL = [(36, 108)]
"""Fee of making a pool, and who collects fees."""
PAIR_AT_WILL = [(72, 73), (83, 84), (216, 232), (712, 720), (848, 880)]
"""Bump, whether the address contains the base factor, fees owed, when rewards were counted last, creator."""


def differences(one: bytes, other: bytes, ignored: list[tuple[int, int]]) -> list[int]:
    assert len(one) == len(other)
    return [
        at for at in range(len(one)) if one[at] != other[at] and not any(start <= at < end for start, end in ignored)
    ]


def cpmm_of(recorded: RecordedPool) -> tuple[dict[Pubkey, Account], dict[Pubkey, Account]]:
    """A golden pool's accounts, and ours of the same parameters."""
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
def test_cpmm_pool_is_the_golden_one(recorded: RecordedPool) -> None:
    loaded, made = cpmm_of(recorded)
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


def dlmm_of(recorded: RecordedPool) -> tuple[dict[Pubkey, Account], dict[Pubkey, Account]]:
    """A golden pair's accounts, and ours of the same parameters."""
    loaded = recorded.loaded()
    pair = dlmm_layout.read_pair(loaded[recorded.address].data)
    bins: dict[int, tuple[int, int]] = {}
    for role, account in recorded.accounts.items():
        if role.startswith("bin_array_"):
            data = base64.b64decode(account.data)
            start = int(role.removeprefix("bin_array_")) * dlmm_layout.BINS_PER_ARRAY
            for bin_id in range(start, start + dlmm_layout.BINS_PER_ARRAY):
                amounts = dlmm_layout.read_bin(data, bin_id, pair.bin_step).amounts
                if any(amounts):
                    bins[bin_id] = amounts
    mint_x, mint_y = recorded.address_of("mint_x"), recorded.address_of("mint_y")
    made = meteora_dlmm.synthesize(
        {mint: loaded[mint] for mint in (mint_x, mint_y)},
        mint_x,
        mint_y,
        bins,
        active_id=pair.active_id,
        bin_step=pair.bin_step,
        base_factor=pair.base_factor,
        variable_fee=VariableFee(
            control=pair.variable_fee_control,
            filter_period_s=pair.filter_period_s,
            decay_period_s=pair.decay_period_s,
            reduction_bps=pair.reduction_bps,
            max_volatility=pair.max_volatility,
        ),
        protocol_share_bps=pair.protocol_share_bps,
        last_update=pair.updated,
        address=recorded.address,
    )
    return loaded, made


def plain_pairs() -> list[RecordedPool]:
    """Pairs of the kind that we make, before any swap and without limit orders."""
    found = []
    for recorded in golden(Venue.METEORA_DLMM).pools:
        pair = dlmm_layout.read_pair(recorded.loaded()[recorded.address].data)
        kind = (pair.pair_type, pair.function_type, pair.collect_fee_mode, pair.status, pair.base_fee_power)
        untouched = pair.volatility == pair.reference == 0 and pair.index == pair.active_id
        if kind == (0, 0, 0, 0, 0) and pair.reward_0 == bytes(32) and untouched:
            found.append(recorded)
    return found


@pytest.mark.parametrize("recorded", plain_pairs(), ids=lambda pool: pool.name)
def test_dlmm_pair_is_the_golden_one(recorded: RecordedPool) -> None:
    loaded, made = dlmm_of(recorded)
    assert made.keys() <= loaded.keys()
    roles = {recorded.address_of(role): role for role in recorded.accounts}
    for key, account in made.items():
        assert (account.owner, account.lamports) == (loaded[key].owner, loaded[key].lamports)
        if key == recorded.address:
            assert differences(account.data, loaded[key].data, PAIR_AT_WILL) == []
        elif roles[key] in ("oracle", "bitmap_extension"):
            assert account.data == loaded[key].data
        elif roles[key].startswith("reserve"):
            assert differences(account.data, loaded[key].data, [(64, 72)]) == []
        else:
            index = int(roles[key].removeprefix("bin_array_"))
            assert dlmm_layout.array_bytes(account, recorded.address, index)[:56] == loaded[key].data[:56]


def test_plain_pairs_are_many() -> None:
    assert len(plain_pairs()) >= 15


@pytest.mark.parametrize("indexes", [(-513, -512, 511, 512), (-6338, 6337), (-600, 0, 600), (0,)])
def test_bitmap_finds_the_arrays_that_were_marked(indexes: tuple[int, ...]) -> None:
    bins = {index * 70 + 35: (0, 1) for index in indexes}
    accounts = dlmm_accounts(bins, active_id=max(bins), bin_step=1)
    pair = first(accounts)
    extension = accounts.get(dlmm_layout.extension_address(pair))
    bitmap = dlmm_layout.bitmap_of(accounts[pair].data, extension.data if extension else None)
    assert set(bitmap.around(0, 100)) == {at // 70 for at in bins}


def test_pair_lives_at_its_derived_address() -> None:
    accounts = dlmm_accounts({0: (5, 5)}, bin_step=25, base_factor=8_000)
    assert first(accounts) == dlmm_synthesis.pair_address(MINT_B, MINT_A, 25, 8_000)


def test_pools_may_live_elsewhere() -> None:
    elsewhere = Pubkey(bytes([9]) * 32)
    mints = synthetic_mints()
    made = raydium_cpmm.synthesize(mints, {MINT_A: 10**6, MINT_B: 10**6}, address=elsewhere)
    pool = raydium_cpmm.decode(elsewhere, {**made, **mints})
    assert cpmm_layout.vault_address(elsewhere, MINT_A) in pool.accounts()
    assert pool.quote(MINT_A, 1_000, SwapMode.EXACT_IN, CLOCK).out_amount == 996
