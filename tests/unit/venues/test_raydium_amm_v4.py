"""Raydium AMM v4: its two roundings, what it refuses by its own rules, and its synthetic pools."""

import struct

import pytest
from solders.pubkey import Pubkey

from bestex.errors import UnsupportedPool
from bestex.types import U64_MAX, Account, ChainClock, SwapMode
from bestex.venues import amm_layout, raydium_amm_v4
from bestex.venues.math import Q64
from bestex.venues.pool import Refusal, SwapCall, Venue
from bestex.venues.raydium_amm_v4 import AmmPool, Rounding
from bestex.venues.recording import RecordedPool, RecordedSwap
from bestex.venues.token import TransferFeeConfig
from tests.support.amm import amm_accounts, recorded_params, recorded_pool
from tests.support.venues import (
    CLOCK,
    IN,
    MINT_A,
    MINT_B,
    OUT,
    STRANGER,
    USER,
    first,
    golden,
    patched,
    refusal,
    refused,
    synthetic_mints,
)

RECORDING = golden(Venue.RAYDIUM_AMM_V4)
LEGACY, STRICT = Rounding.LEGACY, Rounding.STRICT
USER_DEPENDENT = {"balance", "balance_or_liquidity", "missing_arrays", "compute_budget"}


@pytest.mark.parametrize("recorded", RECORDING.pools, ids=lambda pool: pool.name)
def test_other_swaps_have_the_same_outcome_with_strict_rounding(recorded: RecordedPool) -> None:
    for swap in RECORDING.swaps:
        if swap.pool != recorded.name or swap.strict_ceil is not None:
            continue
        if swap.error and swap.error.kind in (*USER_DEPENDENT, "slippage"):
            continue
        strict, asked = recorded_pool(swap.pool, STRICT), (swap.mint, swap.amount, swap.mode.swap_mode, recorded.clock)
        if swap.error is None:
            quoted = strict.quote(*asked)
            assert (quoted.in_amount, quoted.out_amount) == (swap.amount_in, swap.amount_out)
            assert strict.apply(*asked)[1] == quoted
        else:
            answer = refused(strict, *asked)
            assert (answer.program_code, answer.name, answer.kind) == (
                swap.error.custom,
                swap.error.name,
                swap.error.kind,
            )


@pytest.mark.parametrize("swap", [swap for swap in RECORDING.swaps if swap.strict_ceil == 0])
def test_what_strict_rounding_refuses_pays_nothing(swap: RecordedSwap) -> None:
    pool, clock = recorded_pool(swap.pool, STRICT), RECORDING.pool(swap.pool).clock
    assert refusal(pool, swap.mint, swap.amount, swap.mode.swap_mode, clock) == (29, Refusal.ZERO_OUTPUT)


@pytest.mark.parametrize("record", [pytest.param(record, id=record.name) for record in RECORDING.pools])
def test_synthetic_pool_is_the_recorded_one(record: RecordedPool) -> None:
    loaded, pool = record.loaded(), recorded_pool(record.name)
    params = recorded_params()[record.name]
    assert pool.reserves == (params.reserve_coin, params.reserve_pc)
    made = raydium_amm_v4.synthesize(
        loaded,
        *pool.mints,
        dict(zip(pool.mints, pool.reserves, strict=True)),
        fee_numerator=params.swap_fee_numerator,
        fee_denominator=params.swap_fee_denominator,
        owed=(params.need_take_pnl_coin, params.need_take_pnl_pc),
        status=params.status,
        open_time=params.open_time,
        epoch=record.clock.epoch,
        address=record.address,
    )
    assert first(made) == record.address
    for new, old in zip(made.values(), loaded.values(), strict=False):
        # The creator chose the pool's vaults, LP mint, market and so on, and how to round the LP supply.
        keys = slice(336, 728) if old.owner == raydium_amm_v4.PROGRAM_ID else slice(0, 0)
        assert (new.owner, new.lamports) == (old.owner, old.lamports)
        assert new.data[: keys.start] + new.data[keys.stop :] == old.data[: keys.start] + old.data[keys.stop :]
        assert new.data[400:464] == old.data[400:464]


def test_constants_are_the_recorded_program_s() -> None:
    assert RECORDING.program_sha256 in raydium_amm_v4.LEGACY_SHA256
    nonce = bytes([amm_layout.AUTHORITY_NONCE])
    authority = Pubkey.create_program_address([b"amm authority", nonce], raydium_amm_v4.PROGRAM_ID)
    assert authority == raydium_amm_v4.AUTHORITY


POOL = amm_accounts((10**12, 10**12))
KEY, VAULT_A, VAULT_B, *_ = POOL


def word(at: int, *values: int) -> dict[Pubkey, Account]:
    return patched(POOL, KEY, at, struct.pack(f"<{len(values)}Q", *values))


FAULTS = {
    "status of no pool": (word(0, 0), "Not a"),
    "unknown status": (word(0, 8), "Not a"),
    "nonce of more than a byte": (word(8, 256), "Not a"),
    "another authority": (word(8, 253), "unknown authority"),
    "initialized, with an order book": (word(0, 1), "order book"),
    "order book only": (word(0, 5), "order book"),
    "fee without denominator": (word(176, 0, 0), "Fee"),
    "fee of 100 %": (word(176, 10_000, 10_000), "Fee"),
    "more owed than held": (word(192, 10**12 + 1), "owe"),
    "more pc owed than held": (word(200, 10**12 + 1), "owe"),
    "sums about to overflow": (word(256, 0, 1 << 63), "overflow"),
    "one mint twice": (patched(POOL, KEY, 432, bytes(MINT_A)), "for itself"),
    "vault of another owner": (patched(POOL, VAULT_A, 32, bytes(STRANGER)), "not the program's"),
    "mint with a transfer fee": (
        amm_accounts((1, 1), mints=synthetic_mints(TransferFeeConfig.constant(5))),
        "disagree",
    ),
}


@pytest.mark.parametrize(("accounts", "feature"), FAULTS.values(), ids=FAULTS)
def test_accounts_that_are_refused(accounts: dict[Pubkey, Account], feature: str) -> None:
    raydium_amm_v4.decode(KEY, POOL)
    with pytest.raises(UnsupportedPool, match=feature):
        raydium_amm_v4.decode(KEY, accounts)


def pool_of(reserves: tuple[int, int] = (10**12, 10**12), **changes: object) -> AmmPool:
    rounding = changes.pop("rounding", STRICT)
    accounts = amm_accounts(reserves, **changes)  # type: ignore[arg-type]
    return raydium_amm_v4.decode(first(accounts), accounts, rounding=rounding)  # type: ignore[arg-type]


@pytest.mark.parametrize("status", [2, 3, 4])
def test_a_pool_that_takes_no_swaps_is_closed(status: int) -> None:
    for mode in SwapMode:
        assert refusal(pool_of(status=status), MINT_A, 0, mode) == (22, Refusal.CLOSED)


def test_a_waiting_pool_opens_on_time_and_swaps_from_then_on() -> None:
    now = CLOCK.unix_timestamp
    assert refusal(pool_of(status=7, open_time=now + 1), MINT_A, 1_000, IN) == (22, Refusal.CLOSED)
    opened, _ = pool_of(status=7, open_time=now).apply(MINT_A, 1_000, IN, CLOCK)
    opened.quote(MINT_A, 1_000, IN, ChainClock(0, now - 100, 0))
    assert opened.encode()[opened.address].data[:8] == struct.pack("<Q", 6)


@pytest.mark.parametrize(
    ("reserves", "amount", "mode", "code", "kind"),
    [
        ((10**6, 10**6), 0, IN, 29, "zero_amount"),
        ((10**6, 10**6), -5, IN, 29, "zero_amount"),
        ((10**6, 10**6), 1, IN, 29, "zero_output"),
        ((10**6, 10**6), 0, OUT, 29, "zero_amount"),
        ((10**6, 10**6), -5, OUT, 29, "zero_amount"),
        ((10**6, 10**6), 10**6, OUT, None, "liquidity"),
        ((10**6, 10**6), 10**6 + 1, OUT, None, "liquidity"),
        ((10**18, 10**18), 10**18 - 1, OUT, None, "liquidity"),
        ((10**6, 10**6), U64_MAX + 1, IN, None, "overflow"),
        ((10**6, 10**6), U64_MAX + 1, OUT, None, "liquidity"),
        ((10**19, 10**6), 10**19, IN, 14, "overflow"),
        ((10**19, 10**6), 5 * 10**5, OUT, 14, "overflow"),
        ((0, 10**6), 0, IN, None, "liquidity"),
        ((0, 10**6), 1, IN, None, "liquidity"),
        ((0, 10**6), 2, IN, 40, "liquidity"),
        ((0, 10**6), 2, OUT, 29, "zero_output"),
        ((10**6, 0), 5, IN, 29, "zero_output"),
        ((10**6, 0), 0, OUT, None, "liquidity"),
        ((0, 0), 0, IN, None, "liquidity"),
    ],
)
def test_swaps_that_the_program_refuses(
    reserves: tuple[int, int], amount: int, mode: SwapMode, code: int | None, kind: str
) -> None:
    answer = refused(pool_of(reserves), MINT_A, amount, mode)
    assert (answer.program_code, answer.kind) == (code, kind)
    assert answer.name == ("panic" if code is None else raydium_amm_v4.ERRORS[code])


def test_dust_pays_no_fee_to_legacy_builds_only() -> None:
    legacy, strict = pool_of(rounding=LEGACY), pool_of(rounding=STRICT)
    assert [pool.quote(MINT_A, 199, IN, CLOCK).fee_amount for pool in (legacy, strict)] == [0, 1]
    assert [pool.quote(MINT_A, 200, IN, CLOCK).fee_amount for pool in (legacy, strict)] == [1, 1]
    assert legacy.encode() == strict.encode()
    assert legacy != strict


def test_an_output_worth_less_than_half_a_unit_is_sold_by_strict_builds_only() -> None:
    legacy, strict = (pool_of((10**6, 10**9), rounding=rounding) for rounding in (LEGACY, STRICT))
    assert strict.quote(MINT_A, 499, OUT, CLOCK).in_amount == 2
    assert refused(legacy, MINT_A, 499, OUT).kind == Refusal.ZERO_OUTPUT
    assert legacy.quote(MINT_A, 500, OUT, CLOCK).in_amount == 2


def test_a_pool_describes_itself() -> None:
    pool = pool_of((10**9, 4 * 10**9), owed=(5, 6), fee=(1, 3))
    assert pool.venue is Venue.RAYDIUM_AMM_V4
    assert pool.mints == (MINT_A, MINT_B)
    assert pool.reserves == (10**9, 4 * 10**9)
    assert pool.fee_bps_hundredths == 333_334
    assert (pool.spot_price_x64(MINT_A), pool.spot_price_x64(MINT_B)) == (4 * Q64, Q64 // 4)
    assert pool_of((0, 5)).spot_price_x64(MINT_A) == 0
    assert pool.arrays_ahead(MINT_A, 3) == ()
    quoted = pool.quote(MINT_A, 3_000, IN, CLOCK)
    assert (quoted.fee_amount, quoted.fee_on_input, quoted.steps, quoted.arrays) == (1_000, True, 1, 0)


def test_apply_counts_swaps_by_direction_and_notes_the_epoch() -> None:
    pool = pool_of()
    pool, one = pool.apply(MINT_A, 10_000, IN, CLOCK)
    pool, two = pool.apply(MINT_B, 30_000, OUT, CLOCK)
    data = pool.encode()[pool.address].data
    coin_paid, _, pc_received, _, pc_fee, pc_paid, _, coin_received, _, coin_fee = struct.unpack_from("<10Q", data, 256)
    assert (coin_paid, pc_received, coin_fee) == (one.in_amount, one.out_amount, one.fee_amount)
    assert (pc_paid, coin_received, pc_fee) == (two.in_amount, two.out_amount, two.fee_amount)
    assert struct.unpack_from("<Q", data, 736) == (CLOCK.epoch,)


@pytest.mark.parametrize("mode", SwapMode)
def test_other_forms_of_the_instruction_are_read(mode: SwapMode) -> None:
    pool = pool_of()
    written = pool.swap_instruction(USER, MINT_A, 5, 6, mode)
    names, data = [meta.pubkey for meta in written.accounts], bytes(written.data)
    expected = SwapCall(pool.address, USER, 5, 6, mode)
    with_target_orders = (*names[:4], STRANGER, *names[4:])
    assert raydium_amm_v4.read_swap(with_target_orders, data) == expected
    short = (*names[:3], *names[4:6], *names[14:])
    second = bytes([16 if mode is IN else 17]) + data[1:]
    assert raydium_amm_v4.read_swap(short, second) == expected


@pytest.mark.parametrize(
    ("count", "data"),
    [
        (17, bytes([10]) + bytes(16)),
        (17, bytes([16]) + bytes(16)),
        (8, bytes([9]) + bytes(16)),
        (16, bytes([9]) + bytes(16)),
        (19, bytes([11]) + bytes(16)),
        (17, bytes([9]) + bytes(15)),
        (17, bytes([9]) + bytes(17)),
        (17, b""),
    ],
)
def test_other_instructions_are_not_swaps(count: int, data: bytes) -> None:
    with pytest.raises(ValueError, match="Not a Raydium AMM v4 swap"):
        raydium_amm_v4.read_swap((STRANGER,) * count, data)
