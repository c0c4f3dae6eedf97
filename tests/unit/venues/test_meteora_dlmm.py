"""Meteora DLMM: what it refuses by its own rules, single steps of its swaps, and its synthetic pairs."""

import base64
import struct

import pytest
from solders.pubkey import Pubkey

from bestex.errors import SwapRefused, UnsupportedPool
from bestex.types import U64_MAX, Account
from bestex.venues import dlmm_layout, dlmm_synthesis, meteora_dlmm, token
from bestex.venues.dlmm_bins import Bins, FeeCurve, Motion, cost
from bestex.venues.dlmm_layout import read_pair
from bestex.venues.dlmm_walk import Ladder, fill, split, walk_in
from bestex.venues.math import Q64
from bestex.venues.meteora_dlmm import VariableFee
from bestex.venues.pool import ARRAY_LIMIT, Refusal, Venue
from bestex.venues.recording import RecordedPool
from tests.support.dlmm import dlmm_accounts
from tests.support.venues import (
    CLOCK,
    IN,
    MINT_A,
    MINT_B,
    OUT,
    STRANGER,
    USER,
    differences,
    first,
    golden,
    owned_by,
    patched,
    refusal,
    shortened,
    with_data,
    without,
)

TEN_PERCENT = 100_000_000
PAIR = dlmm_accounts({-1: (0, 10**6), 0: (10**6, 10**6), 1: (10**6, 0)})
KEY = first(PAIR)
RESERVE_A = dlmm_synthesis.reserve_address(KEY, MINT_A)
ARRAY_0 = dlmm_layout.array_address(KEY, 0)


EXTENSION = dlmm_layout.extension_address(KEY)
EXTENSION_ACCOUNT = Account(
    dlmm_layout.PROGRAM_ID, 1, (dlmm_layout.EXTENSION_TAG + bytes(KEY)).ljust(dlmm_layout.EXTENSION_SIZE, b"\x00")
)

FAULTS = {
    "unknown function": patched(PAIR, KEY, 35, b"\x03"),
    "unknown fee mode": patched(PAIR, KEY, 36, b"\x02"),
    "unknown pair type": patched(PAIR, KEY, 75, b"\x04"),
    "active bin out of range": patched(PAIR, KEY, 76, struct.pack("<i", -443_637)),
    "no bin step": patched(PAIR, KEY, 80, bytes(2)),
    "protocol share above 100 %": patched(PAIR, KEY, 32, struct.pack("<H", 10_001)),
    "token program contradicts": patched(PAIR, KEY, 880, b"\x01"),
    "array of another program": owned_by(PAIR, ARRAY_0, STRANGER),
    "array cut": shortened(PAIR, ARRAY_0),
    "array of another kind": patched(PAIR, ARRAY_0, 0, bytes(8)),
    "array of another index": patched(PAIR, ARRAY_0, 8, b"\x01"),
    "array of another pair": patched(PAIR, ARRAY_0, 24, bytes(MINT_B)),
    "extension of another program": {**PAIR, EXTENSION: Account(STRANGER, 1, EXTENSION_ACCOUNT.data)},
    "extension cut": {**PAIR, EXTENSION: with_data(EXTENSION_ACCOUNT, EXTENSION_ACCOUNT.data[:-1])},
    "extension of another pair": patched({**PAIR, EXTENSION: EXTENSION_ACCOUNT}, EXTENSION, 8, bytes(32)),
}


@pytest.mark.parametrize("accounts", FAULTS.values(), ids=FAULTS)
def test_accounts_that_are_refused(accounts: dict[Pubkey, Account]) -> None:
    meteora_dlmm.decode(KEY, {**PAIR, EXTENSION: EXTENSION_ACCOUNT})
    with pytest.raises(UnsupportedPool):
        meteora_dlmm.decode(KEY, accounts)


def test_refusals_are_the_program_s() -> None:
    pool = meteora_dlmm.decode(KEY, PAIR)
    assert refusal(pool, MINT_A, 0, IN) == (6002, Refusal.ZERO_AMOUNT)
    assert refusal(pool, MINT_A, 0, OUT) == (6039, Refusal.ZERO_AMOUNT)
    assert refusal(pool, MINT_A, 1, IN) == (6039, Refusal.ZERO_OUTPUT)
    assert refusal(pool, MINT_A, 10**9, IN) == (6036, Refusal.LIQUIDITY)
    assert refusal(pool, MINT_B, 2 * 10**6 + 1, OUT) == (6036, Refusal.LIQUIDITY)
    assert refusal(pool, MINT_A, U64_MAX + 1, IN) == (6018, Refusal.OVERFLOW)
    with_extension = meteora_dlmm.decode(KEY, {**PAIR, EXTENSION: EXTENSION_ACCOUNT})
    assert refusal(with_extension, MINT_A, 10**9, IN) == (6037, Refusal.LIQUIDITY)


def test_is_closed_by_status_or_before_its_activation() -> None:
    disabled = meteora_dlmm.decode(KEY, patched(PAIR, KEY, 82, b"\x01"))
    assert refusal(disabled, MINT_A, 1_000, IN) == (6042, Refusal.CLOSED)
    for kind, now in ((0, CLOCK.slot), (1, CLOCK.unix_timestamp)):
        accounts = patched(patched(PAIR, KEY, 75, b"\x02"), KEY, 86, bytes([kind]))
        early = meteora_dlmm.decode(KEY, patched(accounts, KEY, 816, struct.pack("<Q", now + 1)))
        assert refusal(early, MINT_A, 1_000, IN) == (6042, Refusal.CLOSED)
        anytime = patched(accounts, KEY, 75, b"\x00")
        anytime = patched(anytime, KEY, 816, struct.pack("<Q", now + 1))
        assert meteora_dlmm.decode(KEY, anytime).quote(MINT_A, 1_000, IN, CLOCK).out_amount > 0
        on_time = meteora_dlmm.decode(KEY, patched(accounts, KEY, 816, struct.pack("<Q", now)))
        assert on_time.quote(MINT_A, 1_000, IN, CLOCK).out_amount > 0


def test_array_that_was_not_loaded() -> None:
    bins = dict.fromkeys((-71, -1), (0, 10**6))
    accounts = dlmm_accounts(bins)
    key = first(accounts)
    whole = meteora_dlmm.decode(key, accounts)
    part = meteora_dlmm.decode(key, without(accounts, dlmm_layout.array_address(key, -2)))
    assert whole.quote(MINT_A, 1_500_000, IN, CLOCK).steps == 2
    assert part.quote(MINT_A, 900_000, IN, CLOCK).steps == 1
    assert refusal(part, MINT_A, 1_500_000, IN) == (3005, Refusal.MISSING_ACCOUNTS)
    assert part.reserves == (0, 10**6)
    assert part.accounts() == whole.accounts()
    assert part != whole


def test_quote_counts_the_arrays_that_the_instruction_must_carry() -> None:
    bins = {70 * index: (10**6, 0) for index in (0, 1, 2, 5, 6)}
    accounts = dlmm_accounts(bins)
    key = first(accounts)
    pool = meteora_dlmm.decode(key, accounts)
    ahead = [dlmm_layout.array_address(key, index) for index in (0, 1, 2, 5, 6)]
    for arrays in (1, 3, 4):
        assert pool.quote(MINT_B, arrays * 10**6, OUT, CLOCK).arrays == arrays
        assert pool.quote(MINT_B, arrays * 10**6 - 1, OUT, CLOCK).arrays == arrays
        assert pool.quote(MINT_B, arrays * 10**6 + 1, OUT, CLOCK).arrays == arrays + 1
        assert pool.arrays_ahead(MINT_B, arrays) == tuple(ahead[:arrays])
        carried = pool.swap_instruction(USER, MINT_B, 1, 1, IN, array_limit=arrays).accounts
        assert [meta.pubkey for meta in carried[meteora_dlmm.SWAP_ACCOUNTS :]] == ahead[:arrays]
    assert len(pool.swap_instruction(USER, MINT_B, 1, 1, IN).accounts) == meteora_dlmm.SWAP_ACCOUNTS + ARRAY_LIMIT
    assert pool.arrays_ahead(MINT_A, 5) == (ahead[0],)


def test_loads_a_bounded_number_of_arrays() -> None:
    bins = {70 * index: (10**6, 0) if index > 0 else (0, 10**6) for index in range(-12, 13)}
    accounts = dlmm_accounts(bins)
    key = first(accounts)
    named = meteora_dlmm.accounts_of(key, accounts)
    expected = [dlmm_layout.array_address(key, index) for index in (*range(0, -8, -1), *range(1, 8))]
    assert list(named[6:]) == expected
    assert named[5] == dlmm_layout.extension_address(key)
    assert list(meteora_dlmm.decode(key, accounts).accounts()[5:]) == expected


def test_reserve_that_holds_less_than_the_bins_promise() -> None:
    accounts = {**PAIR, RESERVE_A: token.credit(PAIR[RESERVE_A], -1_500_000)}
    pool = meteora_dlmm.decode(KEY, accounts)
    assert pool.quote(MINT_B, 400_000, IN, CLOCK).out_amount > 0
    assert refusal(pool, MINT_B, 700_000, IN) == (1, Refusal.LIQUIDITY)


def test_price_that_no_user_can_pay() -> None:
    accounts = dlmm_accounts({-20_000: (0, 10**12)}, active_id=-20_000)
    pool = meteora_dlmm.decode(first(accounts), accounts)
    assert pool.quote(MINT_A, 10**9, OUT, CLOCK).in_amount > 10**17
    assert refusal(pool, MINT_A, 10**12 - 1, OUT) == (6018, Refusal.OVERFLOW)


def test_bin_cannot_pass_u64() -> None:
    at = dlmm_layout.bin_offset(0)
    pool = meteora_dlmm.decode(KEY, patched(PAIR, ARRAY_0, at, struct.pack("<Q", U64_MAX - 5)))
    assert pool.quote(MINT_A, 500_000, IN, CLOCK).out_amount > 0
    with pytest.raises(SwapRefused) as refused:
        pool.apply(MINT_A, 500_000, IN, CLOCK)
    assert (refused.value.program_code, refused.value.kind) == (6018, Refusal.OVERFLOW)


def test_protocol_cannot_be_owed_more_than_u64() -> None:
    pool = meteora_dlmm.decode(KEY, patched(PAIR, KEY, 216, struct.pack("<Q", U64_MAX - 5)))
    assert pool.quote(MINT_A, 500_000, IN, CLOCK).out_amount > 0
    with pytest.raises(SwapRefused) as refused:
        pool.apply(MINT_A, 500_000, IN, CLOCK)
    assert (refused.value.program_code, refused.value.kind) == (6018, Refusal.OVERFLOW)


def test_bin_without_a_price() -> None:
    active_id = -443_000
    accounts = patched(PAIR, KEY, 76, struct.pack("<i", active_id))
    pool = meteora_dlmm.decode(KEY, patched(accounts, KEY, 80, struct.pack("<H", 400)))
    with pytest.raises(SwapRefused) as refused:
        pool.spot_price_x64(MINT_A)
    assert refused.value.program_code == 6018
    assert refusal(pool, MINT_A, 1_000, IN) == (6036, Refusal.LIQUIDITY)


def test_bins_end_where_ids_end() -> None:
    accounts = dlmm_accounts({-443_600: (0, 10**6)}, active_id=-443_600, bin_step=1)
    pool = meteora_dlmm.decode(first(accounts), accounts)
    assert refusal(pool, MINT_A, 10**6 + 1, OUT) == (6012, Refusal.LIQUIDITY)


@pytest.mark.parametrize("bin_id", [1 << 19, -(1 << 19)])
def test_price_of_a_bin_that_no_pair_has(bin_id: int) -> None:
    with pytest.raises(ValueError, match="out of range"):
        dlmm_layout.price_of(bin_id, 1)


@pytest.mark.parametrize("index", [0, 511, -512, 512 + 12 * 512, -513 - 12 * 512])
def test_arrays_that_no_extension_holds(index: int) -> None:
    with pytest.raises(ValueError, match="No bitmap extension"):
        dlmm_layout.extension_bit(index)


def test_bins_on_the_wrong_side_are_not_made() -> None:
    for bins in ({-1: (1, 0)}, {1: (0, 1)}):
        with pytest.raises(ValueError, match="wrong token"):
            dlmm_accounts(bins)


def test_hook_accounts_are_not_understood() -> None:
    swap = meteora_dlmm.decode(KEY, PAIR).swap_instruction(USER, MINT_A, 5, 4, IN)
    keys, data = [meta.pubkey for meta in swap.accounts], bytes(swap.data)
    with pytest.raises(ValueError, match="Not a Meteora DLMM swap"):
        meteora_dlmm.read_swap(tuple(keys), data[:-4] + struct.pack("<I", 1) + b"\x00\x01")
    keys[15] = STRANGER
    with pytest.raises(ValueError, match="Not the accounts"):
        meteora_dlmm.read_swap(tuple(keys), data)


def test_by_hand() -> None:
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


def test_fee_follows_volatility_and_is_capped() -> None:
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


def test_a_unit_too_many_may_still_end_in_the_last_bin() -> None:
    """At 1 %, both 100 and 101 have 99 left after the fee; 102 have 100."""
    accounts = dlmm_accounts({0: (5, 99)}, bin_step=100)
    pool = meteora_dlmm.decode(first(accounts), accounts)
    for amount, fee in ((100, 1), (101, 2)):
        after, quote = pool.apply(MINT_A, amount, IN, CLOCK)
        assert quote == pool.quote(MINT_A, amount, IN, CLOCK)
        assert (quote.in_amount, quote.out_amount, quote.fee_amount, quote.steps) == (amount, 99, fee, 1)
        assert after.reserves[1] == 0
    assert refusal(pool, MINT_A, 102, IN) == (6036, Refusal.LIQUIDITY)


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


PAIR_AT_WILL = [(72, 73), (83, 84), (216, 232), (712, 720), (848, 880)]
"""Bump, whether the address contains the base factor, fees owed, when rewards were counted last, creator."""


def made_of(recorded: RecordedPool) -> tuple[dict[Pubkey, Account], dict[Pubkey, Account]]:
    """A recorded pair's accounts, and ours of the same parameters."""
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
def test_synthetic_pair_is_the_recorded_one(recorded: RecordedPool) -> None:
    loaded, made = made_of(recorded)
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
