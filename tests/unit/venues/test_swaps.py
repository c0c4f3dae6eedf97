"""Single steps of a swap that golden vectors seldom or never meet."""

import struct

import pytest

from bestex.errors import SwapRefused
from bestex.types import ChainClock, SwapMode
from bestex.venues import meteora_dlmm, raydium_cpmm, token
from bestex.venues.dlmm_bins import Bins, FeeCurve, Motion, cost
from bestex.venues.dlmm_layout import read_pair
from bestex.venues.dlmm_walk import Ladder, fill, split, walk_in
from bestex.venues.math import Q64
from bestex.venues.raydium_cpmm import Rates
from bestex.venues.token import NATIVE_MINT
from tests.support.venues import CLOCK, MINT_A, MINT_B, cpmm_accounts, dlmm_accounts, first, patched

IN, OUT = SwapMode.EXACT_IN, SwapMode.EXACT_OUT
TEN_PERCENT = 100_000_000


def test_cpmm_by_hand() -> None:
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


def test_cpmm_creator_fee_counts_in_the_rate() -> None:
    accounts = cpmm_accounts((10**6, 10**6), rates=Rates(trade=400, creator=100), creator_fee_on=0)
    assert raydium_cpmm.decode(first(accounts), accounts).fee_bps_hundredths == 500


def test_cpmm_remembers_the_epoch_of_its_last_swap() -> None:
    accounts = cpmm_accounts((10**6, 10**6))
    pool = raydium_cpmm.decode(first(accounts), accounts)
    after, _ = pool.apply(MINT_A, 1_000, IN, ChainClock(1, 1, 321))
    assert struct.unpack_from("<Q", after.encode()[pool.address].data, 381) == (321,)


def test_vault_of_wrapped_sol_moves_lamports() -> None:
    mints = {NATIVE_MINT: token.mint_account(9, 0), MINT_B: token.mint_account(6, 0)}
    accounts = raydium_cpmm.synthesize(mints, {NATIVE_MINT: 10**9, MINT_B: 10**9})
    pool = raydium_cpmm.decode(first(accounts), {**accounts, **mints})
    after, _ = pool.apply(NATIVE_MINT, 1_000_000, IN, CLOCK)
    vault = next(key for key, account in accounts.items() if account.data[:32] == bytes(NATIVE_MINT))
    assert after.encode()[vault].lamports == accounts[vault].lamports + 1_000_000


def test_dlmm_by_hand() -> None:
    accounts = dlmm_accounts({-1: (0, 1_000), 0: (500, 400), 1: (900, 0)}, bin_step=100, base_factor=10_000)
    pool = meteora_dlmm.decode(first(accounts), accounts)
    assert pool.reserves == (1_400, 1_400)
    assert pool.spot_price_x64(MINT_A) == Q64
    # Base fee 1 %: 4 of 400, so that 396 arrive and buy 396 at a price of one.
    quote = pool.quote(MINT_A, 400, IN, CLOCK)
    assert (quote.out_amount, quote.fee_amount, quote.steps) == (396, 4, 1)
    # The first bin takes 400 and 5 of fee (rounded up); at 1 / 1.01 the other 95, less 1 of fee, buy 93.
    crossing = pool.quote(MINT_A, 500, IN, CLOCK)
    assert (crossing.out_amount, crossing.fee_amount, crossing.steps) == (400 + 93, 5 + 1, 2)


def test_dlmm_fee_follows_volatility_and_is_capped() -> None:
    accounts = dlmm_accounts({0: (5, 5)}, bin_step=100)
    pair = first(accounts)
    assert meteora_dlmm.decode(pair, accounts).fee_bps_hundredths == 10_000
    volatile = patched(accounts, pair, 40, struct.pack("<I", 50_000))
    # 1 % and ceil(10_000 * (50_000 * 100) ** 2 / 10 ** 11) billionths
    assert meteora_dlmm.decode(pair, volatile).fee_bps_hundredths == 10_000 + 2_500
    wild = patched(accounts, pair, 40, struct.pack("<I", 10**9))
    assert meteora_dlmm.decode(pair, wild).fee_bps_hundredths == 100_000


def test_bin_that_is_drained_exactly_takes_the_whole_input() -> None:
    rung = (0, Q64, 9, 9, None)
    assert fill(rung, 10, TEN_PERCENT, True, True) == (10, 9, 1, 9)
    assert fill(rung, 11, TEN_PERCENT, True, True) == (11, 9, 2, 9)
    assert fill(rung, 12, TEN_PERCENT, True, True) == (10, 9, 1, 9)


def test_bin_with_its_fee_on_the_output() -> None:
    rung = (0, Q64, 9, 9, None)
    assert fill(rung, 5, TEN_PERCENT, True, False) == (5, 4, 1, 5)
    assert fill(rung, 100, TEN_PERCENT, True, False) == (9, 8, 1, 9)


def test_layers_are_filled_one_after_the_other() -> None:
    price = 3 * Q64
    layers = (10, 0, 7)
    assert [cost(layer, price, True) for layer in layers] == [4, 0, 3]
    assert split(layers, 7, price, True) == [(4, 10), (0, 0), (3, 7)]
    assert split(layers, 5, price, True) == [(4, 10), (0, 0), (1, 3)]
    assert split(layers, 2, price, True) == [(2, 6), (0, 0), (0, 0)]
    assert split(layers, 0, price, True) == [(0, 0), (0, 0), (0, 0)]


def test_walk_is_kept_for_the_next_swap() -> None:
    accounts = dlmm_accounts(dict.fromkeys(range(-9, 1), (0, 1_000)))
    pool = meteora_dlmm.decode(first(accounts), accounts)
    bins: Bins = pool._bins
    ladder = Ladder(bins, 0, True)
    free = FeeCurve(0, 0, 10, 0, 0, 0)
    for amount, seen in ((500, 1), (2_500, 3), (400, 3)):
        walk_in(ladder, free, amount, True, [])
        assert [rung[0] for rung in ladder.rungs] == [0, -1, -2][:seen]
    assert len(ladder.all()) == 10
    assert ladder.all() == ladder.rungs


def test_volatility_rests_decays_and_is_forgotten() -> None:
    accounts = dlmm_accounts({0: (5, 5)})
    pair = read_pair(accounts[first(accounts)].data)
    assert (pair.filter_period_s, pair.decay_period_s, pair.reduction_bps) == (30, 600, 5_000)
    motion = Motion(active_id=7, volatility=60_001, reference=11, index=3, updated=1_000)
    seen = [motion.fee_curve(pair, 1, 1_000 + elapsed) for elapsed in (-5, 29, 30, 599, 600)]
    assert [(fees.reference, fees.index) for fees in seen] == [(11, 3), (11, 3), (30_000, 7), (30_000, 7), (0, 7)]
    assert motion.moved(7, seen[2], 2_000) == Motion(7, 30_000, 30_000, 7, 1_000)
    assert motion.moved(9, seen[2], 2_000) == Motion(9, 50_000, 30_000, 7, 2_000)


def test_price_may_leave_the_loaded_arrays_behind() -> None:
    whole = dlmm_accounts({70 * index: (0, 10**6) for index in range(0, -20, -1)})
    pair = first(whole)
    pool = meteora_dlmm.decode(pair, whole)
    far, _ = pool.apply(MINT_A, 7_500_000, OUT, CLOCK)
    assert meteora_dlmm.decode(pair, far.encode()) == far
    assert far.accounts() != pool.accounts()
    with pytest.raises(SwapRefused) as refused:
        far.quote(MINT_A, 2_000_000, OUT, CLOCK)
    assert refused.value.program_code == 3005
    read_again = meteora_dlmm.decode(pair, {**whole, **far.encode()})
    assert read_again.quote(MINT_A, 2_000_000, OUT, CLOCK).steps == 3
    assert read_again.accounts() == far.accounts()
