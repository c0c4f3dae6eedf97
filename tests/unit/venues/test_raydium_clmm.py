"""Raydium CLMM: what it refuses by its own rules, its ticks and arrays, and its synthetic pools."""

import struct

import pytest
from solders.pubkey import Pubkey

from bestex.errors import SwapRefused, UnsupportedPool
from bestex.types import U64_MAX, Account, ChainClock, SwapMode
from bestex.venues import clmm_layout, raydium_clmm, token
from bestex.venues.clmm_ticks import MAX_SQRT_PRICE, MAX_TICK, MIN_SQRT_PRICE, MIN_TICK, sqrt_at, tick_at
from bestex.venues.math import Q64
from bestex.venues.pool import Refusal, SwapCall, Venue
from bestex.venues.raydium_clmm import ClmmPool, ClmmSwapCall, FeeRates
from bestex.venues.recording import RecordedPool
from tests.support.clmm import clmm_accounts, recorded_params, recorded_pool
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
    refused,
    shortened,
    with_data,
    without,
)

RECORDING = golden(Venue.RAYDIUM_CLMM)

WIDE = [(-6_000, 6_000, 10**12), (-20, 20, 10**12)]
ACCOUNTS = clmm_accounts(WIDE, tick=3)
KEY = first(ACCOUNTS)
CONFIG = clmm_layout.config_address(0)
VAULT_A, VAULT_B = (clmm_layout.vault_address(KEY, mint) for mint in (MINT_A, MINT_B))
EXTENSION = clmm_layout.extension_address(KEY)
HOME = clmm_layout.array_address(KEY, 0, 10)
BELOW = clmm_layout.array_address(KEY, -1, 10)
POOL = raydium_clmm.decode(KEY, ACCOUNTS)


def refusal(
    pool: ClmmPool, mint: Pubkey, amount: int, mode: SwapMode, clock: ChainClock = CLOCK, limit: int = 0
) -> tuple[int | None, str, str]:
    """Code, name and kind with which a swap is refused."""
    answer = refused(pool, mint, amount, mode, clock, sqrt_price_limit_x64=limit)
    return answer.program_code, answer.name, answer.kind


AT_WILL = {
    "pool": [(8, 9), (41, 73), (277, 325), (397, 904), (1032, 1080), (1088, 1096), (389, 390)],
    "amm_config": [(11, 43), (57, 117)],
    "observation": [],
}
"""Bump, creator, fees so far, rewards, fees owed, epoch of the last swap, status; who sets fees and collects them."""


@pytest.mark.parametrize("recorded", RECORDING.pools, ids=lambda pool: pool.name)
def test_synthetic_pool_is_the_recorded_one(recorded: RecordedPool) -> None:
    loaded = recorded.loaded()
    params = recorded_params()[recorded.name]
    made = raydium_clmm.synthesize(
        {key: loaded[key] for key in (recorded.address_of("mint_0"), recorded.address_of("mint_1"))},
        params.positions,
        sqrt_price_x64=params.sqrt_price_x64,
        tick_spacing=params.tick_spacing,
        rates=FeeRates(trade=params.trade_fee_rate, protocol=params.protocol_fee_rate, fund=params.fund_fee_rate),
        config_index=struct.unpack_from("<H", loaded[recorded.address_of("amm_config")].data, 9)[0],
        open_time=params.open_time,
        vaults=(params.vault0, params.vault1),
    )
    roles = {recorded.address_of(role): role for role in recorded.accounts}
    assert {roles[key] for key in made} == set(recorded.accounts) - {"mint_0", "mint_1"}
    for key, account in made.items():
        role, theirs = roles[key], loaded[key]
        assert (account.owner, account.lamports, len(account.data)) == (theirs.owner, theirs.lamports, len(theirs.data))
        if role.startswith("vault_"):
            assert token.decode_token_account(account) == token.decode_token_account(theirs)
            continue
        ignored = AT_WILL.get(role, [])
        if role.startswith("tick_array_"):
            start, spacing = clmm_layout.ARRAY_HEAD.unpack_from(theirs.data)[2], params.tick_spacing
            assert clmm_layout.ticks_of(account.data, spacing) == clmm_layout.ticks_of(theirs.data, spacing)
            assert account.data[:44] == theirs.data[:44]
            assert account.data[10_124] == theirs.data[10_124], start
            continue
        if role == "pool" and recorded.name == "on_tick_below":
            ignored = [*ignored, (237, 273)]  # the price fell onto the tick; ours begins at it
        assert differences(account.data, theirs.data, ignored) == [], role


TICK_17 = clmm_layout.TICKS_AT + 17 * clmm_layout.TICK_SIZE
FAULTS = {
    "no config": without(ACCOUNTS, CONFIG),
    "one mint twice": patched(ACCOUNTS, KEY, 73, bytes(MINT_B)),
    "tick spacing 0": patched(ACCOUNTS, KEY, 235, bytes(2)),
    "price of another tick": patched(ACCOUNTS, KEY, 253, sqrt_at(5).to_bytes(16, "little")),
    "tick of another price": patched(ACCOUNTS, KEY, 269, struct.pack("<i", 1)),
    "tick below the lowest": patched(ACCOUNTS, KEY, 269, struct.pack("<i", MIN_TICK - 1)),
    "tick above the highest": patched(ACCOUNTS, KEY, 269, struct.pack("<i", MAX_TICK)),
    "config of another program": owned_by(ACCOUNTS, CONFIG, STRANGER),
    "config of another kind": patched(ACCOUNTS, CONFIG, 0, bytes(8)),
    "config cut": shortened(ACCOUNTS, CONFIG),
    "trade fee of 100 %": patched(ACCOUNTS, CONFIG, 47, struct.pack("<I", 1_000_000)),
    "shares of more than the fee": patched(ACCOUNTS, CONFIG, 43, struct.pack("<I", 960_001)),
    "extension of another program": owned_by(ACCOUNTS, EXTENSION, STRANGER),
    "extension of another pool": patched(ACCOUNTS, EXTENSION, 8, bytes(32)),
    "extension cut": shortened(ACCOUNTS, EXTENSION),
    "array of another program": owned_by(ACCOUNTS, HOME, STRANGER),
    "array of another pool": patched(ACCOUNTS, HOME, 8, bytes(32)),
    "array of another place": patched(ACCOUNTS, HOME, 40, struct.pack("<i", 600)),
    "array cut": shortened(ACCOUNTS, HOME),
}
FEATURES = {
    "takes fees from the output": patched(ACCOUNTS, KEY, 390, b"\x01"),
    "dynamic fee": patched(ACCOUNTS, KEY, 1175, b"\x01"),
    "limit orders": patched(ACCOUNTS, BELOW, TICK_17 + 124, b"\x01"),
    "limit orders.": patched(ACCOUNTS, HOME, TICK_17 + 132 + 7, b"\x01"),
}


@pytest.mark.parametrize("accounts", FAULTS.values(), ids=FAULTS)
def test_malformed_accounts_are_refused(accounts: dict[Pubkey, Account]) -> None:
    with pytest.raises(UnsupportedPool):
        raydium_clmm.decode(KEY, accounts)


@pytest.mark.parametrize("feature", FEATURES)
def test_features_that_we_do_not_implement_are_refused_by_name(feature: str) -> None:
    with pytest.raises(UnsupportedPool, match=feature.removesuffix(".")):
        raydium_clmm.decode(KEY, FEATURES[feature])


def test_no_arrays_lie_ahead_of_a_foreign_mint() -> None:
    with pytest.raises(ValueError, match="does not trade"):
        POOL.arrays_ahead(STRANGER, 1)


def test_pool_is_closed_until_after_its_opening_time_or_by_its_status() -> None:
    accounts = clmm_accounts(WIDE, open_time=CLOCK.unix_timestamp)
    at_opening = raydium_clmm.decode(first(accounts), accounts)
    assert refusal(at_opening, MINT_A, 10**6, IN) == (2505, "RequireGtViolated", Refusal.CLOSED)
    later = ChainClock(CLOCK.slot, CLOCK.unix_timestamp + 1, CLOCK.epoch)
    assert at_opening.quote(MINT_A, 10**6, IN, later).out_amount > 0
    disabled = raydium_clmm.decode(KEY, patched(ACCOUNTS, KEY, 389, b"\x10"))
    assert refusal(disabled, MINT_A, 10**6, IN) == (6001, "NotApproved", Refusal.CLOSED)


def test_amounts_that_the_program_refuses() -> None:
    assert refusal(POOL, MINT_A, 0, IN) == (6024, "ZeroAmountSpecified", Refusal.ZERO_AMOUNT)
    assert refusal(POOL, MINT_A, 0, OUT) == (6024, "ZeroAmountSpecified", Refusal.ZERO_AMOUNT)
    assert refusal(POOL, MINT_A, 1, IN) == (6026, "TooSmallInputOrOutputAmount", Refusal.ZERO_OUTPUT)
    assert refusal(POOL, MINT_A, U64_MAX + 1, IN) == (None, "panic", Refusal.OVERFLOW)
    assert refusal(POOL, MINT_B, 10**18, IN) == (6019, "LiquidityInsufficient", Refusal.LIQUIDITY)
    assert refusal(POOL, MINT_B, 10**18, OUT) == (6019, "LiquidityInsufficient", Refusal.LIQUIDITY)


def test_limit_must_lie_ahead_of_the_price() -> None:
    price = POOL.sqrt_price_x64
    for mint, limit in ((MINT_A, price), (MINT_A, MIN_SQRT_PRICE), (MINT_B, price), (MINT_B, MAX_SQRT_PRICE)):
        assert refusal(POOL, mint, 10**6, IN, limit=limit) == (6013, "SqrtPriceLimitOverflow", Refusal.PRICE_LIMIT)


@pytest.mark.parametrize("mode", SwapMode)
@pytest.mark.parametrize(("mint", "edge"), [(MINT_A, -20), (MINT_B, 20)])
def test_limit_on_a_tick_crosses_it_and_stops(mint: Pubkey, edge: int, mode: SwapMode) -> None:
    after, quoted = POOL.apply(mint, 10**15, mode, CLOCK, sqrt_price_limit_x64=sqrt_at(edge))
    assert quoted.steps == 1
    assert after.sqrt_price_x64 == sqrt_at(edge)
    data = after.encode()[KEY].data
    assert struct.unpack_from("<i", data, 269)[0] == (edge - 1 if mint == MINT_A else edge)
    assert int.from_bytes(data[237:253], "little") == 10**12
    assert raydium_clmm.decode(KEY, after.encode()) == after


def test_vault_that_holds_too_little_refuses() -> None:
    poor = raydium_clmm.decode(KEY, {**ACCOUNTS, VAULT_B: token.token_account(MINT_B, KEY, 1_000)})
    assert refusal(poor, MINT_A, 10**6, IN) == (1, "token:InsufficientFunds", Refusal.LIQUIDITY)
    after, _ = poor.apply(MINT_A, 1_000, OUT, CLOCK)
    assert after.encode()[KEY].data[389] == 255
    assert refusal(after, MINT_B, 1_000, IN) == (6001, "NotApproved", Refusal.CLOSED)


@pytest.mark.parametrize("at", [309, 1064, 1032])
def test_counter_of_fees_that_is_full_refuses_to_apply(at: int) -> None:
    full = raydium_clmm.decode(KEY, patched(ACCOUNTS, KEY, at, b"\xff" * 8))
    with pytest.raises(SwapRefused) as caught:
        full.apply(MINT_A, 10**9, IN, CLOCK)
    assert (caught.value.program_code, caught.value.kind) == (None, Refusal.OVERFLOW)


def test_swap_that_needs_an_array_that_is_not_loaded_is_refused() -> None:
    pool = raydium_clmm.decode(KEY, without(ACCOUNTS, BELOW))
    assert refusal(pool, MINT_A, 10**6, IN) == (6027, "NotEnoughTickArrayAccount", Refusal.MISSING_ACCOUNTS)
    assert pool.quote(MINT_B, 10**6, IN, CLOCK) == POOL.quote(MINT_B, 10**6, IN, CLOCK)
    assert BELOW in pool.accounts()
    assert BELOW in raydium_clmm.accounts_of(KEY, pool.encode())
    assert BELOW not in pool.encode()


def test_array_that_contradicts_the_bitmap_or_the_ticks_refuses_the_swap() -> None:
    empty = {**ACCOUNTS, BELOW: with_data(ACCOUNTS[BELOW], ACCOUNTS[BELOW].data[:44].ljust(10_240, b"\0"))}
    moved = patched(ACCOUNTS, BELOW, clmm_layout.tick_offset(-20, 10), struct.pack("<i", -10))
    for accounts in (empty, moved):
        pool = raydium_clmm.decode(KEY, accounts)
        assert refusal(pool, MINT_A, 10**6, IN) == (6011, "InvalidTickArray", Refusal.LIQUIDITY)
    drained = raydium_clmm.decode(KEY, patched(ACCOUNTS, KEY, 237, (1).to_bytes(16, "little")))
    assert refusal(drained, MINT_A, 10**6, IN) == (6015, "LiquiditySubValueErr", Refusal.LIQUIDITY)
    brimming = raydium_clmm.decode(KEY, patched(ACCOUNTS, KEY, 237, b"\xff" * 16))
    wrong = patched(ACCOUNTS, BELOW, clmm_layout.tick_offset(-20, 10) + 4, b"\xff" * 16)
    assert refusal(brimming, MINT_A, 10**18, OUT)[0] is not None
    brimming = raydium_clmm.decode(KEY, patched(wrong, KEY, 237, b"\xff" * 16))
    assert refusal(brimming, MINT_A, 10**6, IN) == (6016, "LiquidityAddValueErr", Refusal.LIQUIDITY)


def test_without_liquidity_ahead_the_program_says_so_by_where_it_is() -> None:
    accounts = clmm_accounts([(600, 1_200, 10**12)], tick_spacing=10)
    pool = raydium_clmm.decode(first(accounts), accounts)
    assert refusal(pool, MINT_A, 10**6, IN) == (6041, "InsufficientLiquidityForDirection", Refusal.LIQUIDITY)
    assert pool.arrays_ahead(MINT_A, 3) == ()
    bare = without(accounts, clmm_layout.extension_address(first(accounts)))
    pool = raydium_clmm.decode(first(accounts), bare)
    missing = (6040, "MissingTickArrayBitmapExtensionAccount", Refusal.MISSING_ACCOUNTS)
    assert refusal(pool, MINT_A, 10**6, IN) == missing
    assert refusal(pool, MINT_B, 10**18, IN) == missing
    accounts = clmm_accounts([(600, 1_200, 10**12)], tick_spacing=60)
    pool = raydium_clmm.decode(first(accounts), without(accounts, clmm_layout.extension_address(first(accounts))))
    assert refusal(pool, MINT_A, 10**6, IN) == (6019, "LiquidityInsufficient", Refusal.LIQUIDITY)


def test_arrays_beyond_the_pool_s_bitmap_are_known_once_the_extension_is() -> None:
    ranges = [(start * 60, start * 60 + 30, 10**12) for start in (-7_000, -1_025, -1_024, -513, 512, 1_024, 7_000)]
    accounts = clmm_accounts([*ranges, (-30, 30, 10**12)], tick_spacing=1)
    pool = first(accounts)
    extension = clmm_layout.extension_address(pool)
    named = raydium_clmm.accounts_of(pool, {pool: accounts[pool]})
    assert extension in named
    assert len(named) == 9
    named = raydium_clmm.accounts_of(pool, {pool: accounts[pool], extension: accounts[extension]})
    observation = clmm_layout.observation_address(pool)
    assert set(named) == set(accounts) - {observation}
    decoded = raydium_clmm.decode(pool, accounts)
    starts = [
        struct.unpack_from("<i", accounts[key].data, 40)[0] // 60
        for mint in (MINT_A, MINT_B)
        for key in decoded.arrays_ahead(mint, 8)
    ]
    assert starts == [0, -1, -513, -1_024, -1_025, -7_000, 0, 512, 1_024, 7_000]
    swept, quoted = decoded.apply(MINT_A, 10**18, IN, CLOCK, sqrt_price_limit_x64=sqrt_at(-7_000 * 60) + 1)
    assert quoted.arrays == 6
    assert raydium_clmm.decode(pool, swept.encode()) == swept


def test_only_so_many_arrays_are_loaded_on_each_side() -> None:
    ranges = [(index * 600, index * 600 + 10, 10**12) for index in range(-20, 21)]
    accounts = clmm_accounts(ranges, tick=5)
    pool = raydium_clmm.decode(first(accounts), accounts)
    arrays = [key for key in pool.encode() if len(accounts[key].data) == clmm_layout.ARRAY_SIZE]
    assert len(arrays) == 2 * raydium_clmm.ARRAYS_PER_SIDE - 1
    assert refusal(pool, MINT_A, 10**18, IN)[0] == 6027
    assert refusal(pool, MINT_B, 10**18, OUT)[0] == 6027


def test_instruction_lists_three_arrays_unless_told_otherwise() -> None:
    ranges = [(index * 600, index * 600 + 10, 10**12) for index in range(-5, 6)]
    accounts = clmm_accounts(ranges, tick=5)
    pool = raydium_clmm.decode(first(accounts), accounts)
    for limit, expected in ((None, 3), (1, 1), (6, 6), (100, 6)):
        options = {} if limit is None else {"array_limit": limit}
        written = pool.swap_instruction(USER, MINT_A, 1, 0, IN, **options)
        listed = [meta.pubkey for meta in written.accounts][raydium_clmm.SWAP_ACCOUNTS :]
        assert listed[0] == clmm_layout.extension_address(pool.address)
        assert tuple(listed[1:]) == pool.arrays_ahead(MINT_A, expected)
        assert len(listed) == 1 + expected


def test_instruction_has_no_extension_where_there_is_none() -> None:
    pool = raydium_clmm.decode(KEY, without(ACCOUNTS, EXTENSION))
    written = pool.swap_instruction(USER, MINT_A, 1, 0, IN)
    listed = tuple(meta.pubkey for meta in written.accounts)[raydium_clmm.SWAP_ACCOUNTS :]
    assert listed == pool.arrays_ahead(MINT_A, 3)
    assert EXTENSION not in pool.accounts()


def test_other_instructions_are_not_read_as_swaps() -> None:
    written = POOL.swap_instruction(USER, MINT_A, 1, 0, IN)
    keys, data = tuple(meta.pubkey for meta in written.accounts), bytes(written.data)
    wrong_flag = data[:-1] + b"\x02"
    for other in (b"", data[:-1], data + b"\0", bytes(8) + data[8:], wrong_flag):
        with pytest.raises(ValueError, match="Not a Raydium CLMM swap"):
            raydium_clmm.read_swap(keys, other)
    for listed in ((), keys[:12], (*keys[:8], STRANGER, *keys[9:])):
        with pytest.raises(ValueError, match="Not the accounts"):
            raydium_clmm.read_swap(listed, data)


def test_swap_that_was_read_back_applies_with_its_limit() -> None:
    limit = sqrt_at(-10)
    written = POOL.swap_instruction(USER, MINT_A, 10**12, 0, IN, sqrt_price_limit_x64=limit)
    call = raydium_clmm.read_swap(tuple(meta.pubkey for meta in written.accounts), bytes(written.data))
    assert call.sqrt_price_limit_x64 == limit
    assert call.apply(POOL, MINT_A, CLOCK) == POOL.apply(MINT_A, 10**12, IN, CLOCK, sqrt_price_limit_x64=limit)
    assert call != SwapCall(KEY, USER, 10**12, 0, IN)
    assert call == ClmmSwapCall(KEY, USER, 10**12, 0, IN, limit)
    assert call != ClmmSwapCall(KEY, USER, 10**12, 0, IN)


def test_spot_price_is_the_square_of_the_root() -> None:
    accounts = clmm_accounts(WIDE, sqrt_price_x64=Q64)
    pool = raydium_clmm.decode(first(accounts), accounts)
    assert pool.spot_price_x64(MINT_A) == pool.spot_price_x64(MINT_B) == Q64
    assert POOL.fee_bps_hundredths == 2_500
    assert POOL.spot_price_x64(MINT_A) == sqrt_at(3) ** 2 >> 64
    assert POOL.spot_price_x64(MINT_B) == (1 << 192) // sqrt_at(3) ** 2


def test_fee_share_without_liquidity_in_a_gap_is_nobody_s() -> None:
    accounts = clmm_accounts([(-600, -300, 10**12), (300, 600, 10**12)])
    pool = raydium_clmm.decode(first(accounts), accounts)
    after, quoted = pool.apply(MINT_B, 10**6, IN, CLOCK)
    assert (quoted.steps, quoted.arrays) == (2, 2)
    assert tick_at(after.sqrt_price_x64) >= 300
    back, _ = after.apply(MINT_A, quoted.out_amount // 2, IN, CLOCK)
    assert back.quote(MINT_A, 10**6, IN, CLOCK).steps == 3


@pytest.mark.parametrize("name", ["mid_sp10", "dense_sp1", "gaps", "full_range", "tiny_liquidity", "t22_both"])
def test_vaults_hold_what_the_positions_are_worth(name: str) -> None:
    params = recorded_params()[name]
    price, spacing = params.sqrt_price_x64, params.tick_spacing
    accounts = clmm_accounts(params.positions, sqrt_price_x64=price, tick_spacing=spacing)
    pool = first(accounts)
    for mint, recorded, offered in zip((MINT_A, MINT_B), (params.vault0, params.vault1), params.offered, strict=True):
        held = token.decode_token_account(accounts[clmm_layout.vault_address(pool, mint)]).amount
        assert offered <= held <= offered + 200  # each step of a swap rounds down, each position up
        assert held <= recorded


@pytest.mark.parametrize("recorded", RECORDING.pools, ids=lambda pool: pool.name)
def test_reserves_are_what_swaps_can_take(recorded: RecordedPool) -> None:
    params = recorded_params()[recorded.name]
    offered_0, offered_1 = params.offered
    expected = min(offered_0, params.vault0), min(offered_1, params.vault1)
    assert recorded_pool(recorded.name).reserves == expected


def test_positions_must_fit_the_vaults() -> None:
    with pytest.raises(ValueError, match="worth more"):
        clmm_accounts([(-600, 600, 10**24)])
    with pytest.raises(OverflowError):
        clmm_accounts([(-600, 600, 2**128)], vaults=(1, 1))


@pytest.mark.parametrize(
    "positions", [[(0, 5, 1)], [(10, 10, 1)], [(20, 10, 1)], [(0, 443_640, 1)], [(-443_640, 0, 1)]]
)
def test_positions_must_fit_the_ticks(positions: list[tuple[int, int, int]]) -> None:
    with pytest.raises(ValueError, match="Position"):
        clmm_accounts(positions)


def test_prices_of_the_outermost_ticks() -> None:
    assert (sqrt_at(MIN_TICK), sqrt_at(MAX_TICK), sqrt_at(0)) == (MIN_SQRT_PRICE, MAX_SQRT_PRICE, Q64)
    assert (tick_at(MIN_SQRT_PRICE), tick_at(MAX_SQRT_PRICE)) == (MIN_TICK, MAX_TICK)
    for tick in (MIN_TICK - 1, MAX_TICK + 1):
        with pytest.raises(ValueError, match="out of range"):
            sqrt_at(tick)
    for price in (MIN_SQRT_PRICE - 1, MAX_SQRT_PRICE + 1):
        with pytest.raises(ValueError, match="out of range"):
            tick_at(price)


REWARD = clmm_layout.REWARDS_AT


@pytest.mark.parametrize(
    ("now", "state", "updated", "emitted"), [(999, 1, 1_000, 0), (1_500, 2, 1_500, 1_000), (2_500, 3, 2_000, 2_000)]
)
def test_rewards_run_from_their_opening_to_their_end(now: int, state: int, updated: int, emitted: int) -> None:
    new = clmm_layout.REWARD.pack(1, 1_000, 2_000, 1_000, (2 * Q64).to_bytes(16, "little"), 0)
    pool = raydium_clmm.decode(KEY, patched(ACCOUNTS, KEY, REWARD, new))
    after, _ = pool.apply(MINT_A, 10**6, IN, ChainClock(1, now, 1))
    data = after.encode()[KEY].data
    found = clmm_layout.REWARD.unpack_from(data, REWARD)
    assert (found[0], found[3], found[5]) == (state, updated, emitted)
    growth = int.from_bytes(data[REWARD + 153 : REWARD + 169], "little")
    assert growth == emitted * Q64 // (2 * 10**12)
