"""Meteora DAMM v2: what it refuses by its own rules, its volatility, and its synthetic pools."""

import struct

import pytest
from solders.pubkey import Pubkey

from bestex.errors import SwapRefused, UnsupportedPool
from bestex.types import U64_MAX, Account, ChainClock, SwapMode
from bestex.venues import damm_layout, meteora_damm_v2
from bestex.venues.damm_state import moved_volatility
from bestex.venues.meteora_damm_v2 import BaseFee, DammSwapCall, DynamicFee
from bestex.venues.pool import Refusal, SwapCall, Venue
from bestex.venues.recording import RecordedPool
from tests.support.damm import Q64, damm_accounts, made, recorded_pool
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
    synthetic_mints,
)

NOW = CLOCK.unix_timestamp


def later(seconds: int) -> ChainClock:
    return ChainClock(CLOCK.slot, NOW + seconds, CLOCK.epoch)


@pytest.mark.parametrize("name", ["opt_rate_limiter", "opt_rate_limiter_over"])
def test_without_a_clock_a_limited_swap_lists_the_instructions_sysvar(name: str) -> None:
    pool = recorded_pool(name)
    mint_a, mint_b = pool.mints
    assert len(pool.swap_instruction(USER, mint_a, 1, 1, IN).accounts) == 14
    written = pool.swap_instruction(USER, mint_b, 1, 1, IN)
    assert str(written.accounts[14].pubkey) == "Sysvar1nstructions1111111111111111111111111"
    read = meteora_damm_v2.read_swap(tuple(meta.pubkey for meta in written.accounts), bytes(written.data))
    assert read == DammSwapCall(pool.address, USER, 1, 1, IN)


def test_a_swap_that_was_read_applies_as_it_says() -> None:
    pool = made(damm_accounts(sqrt_min=Q64 - 2**50, sqrt_max=Q64 + 2**50))
    call = DammSwapCall(pool.address, USER, 10**15, 0, IN, True)
    after, quoted = call.apply(pool, MINT_A, CLOCK)
    assert quoted == pool.quote(MINT_A, 10**15, IN, CLOCK, partial_fill=True)
    assert quoted.in_amount < 10**15
    assert after.reserves[1] == 0
    with pytest.raises(SwapRefused):
        DammSwapCall(pool.address, USER, 10**15, 0, IN).apply(pool, MINT_A, CLOCK)
    assert DammSwapCall(pool.address, USER, 1, 0, IN) != SwapCall(pool.address, USER, 1, 0, IN)


POOL = damm_accounts()
KEY = first(POOL)
VAULT_A, VAULT_B = damm_layout.vault_address(KEY, MINT_A), damm_layout.vault_address(KEY, MINT_B)
DYNAMIC = damm_accounts(dynamic_fee=DynamicFee())


def at(offset: int, new: bytes) -> dict[Pubkey, Account]:
    return patched(POOL, KEY, offset, new)


def of_fee(collect_fee_mode: int = 0, **fields: int) -> dict[Pubkey, Account]:
    return damm_accounts(base_fee=BaseFee(**fields), collect_fee_mode=collect_fee_mode)


LIMITER = {"mode": 2, "periods": 100, "expiration": 60, "reduction": 10**9, "max_fee_bps": 5_000}

FAULTS = {
    "unknown fee mode": (at(16, b"\x05"), "Fee is of an unknown kind"),
    "unknown fee version": (at(486, b"\x02"), "Fee is of an unknown kind"),
    "fee of 100 %": (of_fee(cliff=10**9), "reaches 100 %"),
    "unknown collect fee mode": (at(484, b"\x03"), "collected in an unknown way"),
    "protocol takes more than all": (at(48, b"\x65"), "collected in an unknown way"),
    "compounds more than all": (at(54, struct.pack("<H", 10_001)), "collected in an unknown way"),
    "unknown activation type": (at(480, b"\x02"), "unknown kind"),
    "unknown token flag": (at(482, b"\x02"), "unknown kind"),
    "unknown pool type": (at(485, b"\x02"), "unknown kind"),
    "unknown layout": (at(696, b"\x02"), "unknown kind"),
    "dynamic fee neither on nor off": (at(56, b"\x02"), "unknown kind"),
    "linear schedule below zero": (of_fee(periods=3, period=1, reduction=10**6), "below zero"),
    "exponential schedule below zero": (of_fee(mode=1, periods=3, period=1, reduction=10_001), "below zero"),
    "price schedule without steps": (of_fee(mode=3, periods=3, reduction=1), "no steps"),
    "price schedule without a start": (
        patched(of_fee(mode=4, period=1), KEY, damm_layout.INIT_PRICE_AT, bytes(16)),
        "no steps",
    ),
    "limiter with the fee in both tokens": (of_fee(**LIMITER), "Rate limiter"),
    "limiter that compounds": (
        damm_accounts(base_fee=BaseFee(**LIMITER), collect_fee_mode=2, amounts=(5, 5)),
        "Rate limiter",
    ),
    "limiter without increments": (of_fee(1, **{**LIMITER, "periods": 0}), "Rate limiter"),
    "limiter without a reference": (of_fee(1, **{**LIMITER, "reduction": 0}), "Rate limiter"),
    "limiter below its cliff": (of_fee(1, **{**LIMITER, "cliff": 600_000_000}), "Rate limiter"),
    "limiter above the cap": (of_fee(1, **{**LIMITER, "max_fee_bps": 9_901}), "Rate limiter"),
    "dynamic fee without a step": (patched(DYNAMIC, KEY, 88, bytes(16)), "Dynamic fee"),
    "dynamic fee that overflows": (patched(DYNAMIC, KEY, 120, bytes([255] * 16)), "Dynamic fee"),
    "dynamic fee that keeps more than all": (patched(DYNAMIC, KEY, 78, struct.pack("<H", 10_001)), "Dynamic fee"),
    "price below the range": (at(456, damm_layout.u128(5)), "outside of the pool's range"),
    "price above the range": (at(456, damm_layout.u128(1 << 127)), "outside of the pool's range"),
    "range from zero": (at(424, bytes(16)), "outside of the pool's range"),
    "compounding without amounts": (patched(at(484, b"\x02"), KEY, 696, b"\x00"), "does not count"),
    "fees beyond belief": (at(488, bytes([255] * 32)), "earned more fees"),
    "one mint twice": (patched(at(200, bytes(MINT_A)), KEY, 264, bytes(VAULT_A)), "the same"),
}


@pytest.mark.parametrize(("accounts", "feature"), FAULTS.values(), ids=FAULTS)
def test_accounts_that_are_refused(accounts: dict[Pubkey, Account], feature: str) -> None:
    meteora_damm_v2.decode(KEY, POOL)
    with pytest.raises(UnsupportedPool, match=feature):
        meteora_damm_v2.decode(KEY, accounts)


@pytest.mark.parametrize(
    ("amount", "mode", "code", "kind"),
    [
        (0, IN, 6006, Refusal.ZERO_AMOUNT),
        (-5, OUT, 6006, Refusal.ZERO_AMOUNT),
        (U64_MAX + 1, IN, 6000, Refusal.OVERFLOW),
        (U64_MAX, OUT, 6000, Refusal.LIQUIDITY),
        (10**12, OUT, 6000, Refusal.LIQUIDITY),
    ],
)
def test_swaps_that_the_program_refuses(amount: int, mode: SwapMode, code: int, kind: Refusal) -> None:
    assert refusal(made(POOL), MINT_A, amount, mode) == (code, kind)


def test_a_pool_that_does_not_trade_is_closed() -> None:
    assert refusal(made(at(481, b"\x01")), MINT_A, 1_000, IN) == (6003, Refusal.CLOSED)
    waiting = made(damm_accounts(activation_point=NOW + 1))
    assert refusal(waiting, MINT_A, 1_000, IN) == (6003, Refusal.CLOSED)
    assert waiting.quote(MINT_A, 1_000, IN, later(1)).out_amount > 0
    by_slot = patched(damm_accounts(activation_point=CLOCK.slot + 1), KEY, 480, b"\x00")
    assert refusal(made(by_slot), MINT_A, 1_000, IN, later(10**6)) == (6003, Refusal.CLOSED)
    assert made(by_slot).quote(MINT_A, 1_000, IN, ChainClock(CLOCK.slot + 1, 0, 0)).out_amount > 0


def test_an_empty_pool_refuses() -> None:
    empty = made(at(360, bytes(16)))
    assert refusal(empty, MINT_A, 1_000, IN) == (6015, Refusal.LIQUIDITY)
    assert empty.reserves == (0, 0)
    drained = patched(damm_accounts(collect_fee_mode=2, amounts=(5, 5)), KEY, 680, bytes(16))
    assert refusal(made(drained), MINT_A, 1_000, IN) == (6015, Refusal.LIQUIDITY)
    assert made(drained).spot_price_x64(MINT_A) == 0


def test_a_vault_that_holds_too_little_refuses() -> None:
    short = patched(POOL, VAULT_B, 64, struct.pack("<Q", 500))
    assert refusal(made(short), MINT_A, 1_000, IN) == (1, Refusal.LIQUIDITY)
    assert refusal(made(short), MINT_A, 499, OUT) == (1, Refusal.LIQUIDITY)
    assert made(short).reserves[1] == 500
    assert made(short).quote(MINT_A, 400, IN, CLOCK).out_amount > 0


def test_a_compounding_pool_pays_less_than_it_holds() -> None:
    pool = made(damm_accounts(base_fee=BaseFee(cliff=0), collect_fee_mode=2, amounts=(1_000, 1_000)))
    assert refusal(pool, MINT_A, 1_000, OUT) == (6023, Refusal.LIQUIDITY)
    assert refusal(pool, MINT_A, 1_001, OUT) == (6000, Refusal.LIQUIDITY)
    assert pool.quote(MINT_A, 999, OUT, CLOCK).in_amount == 999_000


def test_apply_refuses_amounts_that_it_cannot_count() -> None:
    counted = made(at(680, struct.pack("<Q", U64_MAX)))
    with pytest.raises(SwapRefused) as refused:
        counted.apply(MINT_A, 1_000, IN, CLOCK)
    assert (refused.value.program_code, refused.value.kind) == (6000, Refusal.OVERFLOW)


def test_a_partial_output_is_the_caller_s_fault() -> None:
    pool = made(POOL)
    for call in (pool.quote, pool.apply):
        with pytest.raises(ValueError, match="exact input"):
            call(MINT_A, 1, OUT, CLOCK, partial_fill=True)
    with pytest.raises(ValueError, match="exact input"):
        pool.swap_instruction(USER, MINT_A, 1, 1, OUT, partial_fill=True)


def test_other_instructions_are_not_swaps() -> None:
    written = made(POOL).swap_instruction(USER, MINT_A, 1, 1, IN)
    accounts, data = tuple(meta.pubkey for meta in written.accounts), bytes(written.data)
    for keys, changed in (
        (accounts[:-1], data),
        ((*accounts, STRANGER), data),
        (accounts, data[:-1] + b"\x03"),
    ):
        with pytest.raises(ValueError, match="Not a Meteora DAMM v2 swap"):
            meteora_damm_v2.read_swap(keys, changed)


def test_a_pool_describes_itself() -> None:
    pool = made(damm_accounts(sqrt_price=2 * Q64, dynamic_fee=DynamicFee(volatility=10**6)))
    assert pool.venue is Venue.METEORA_DAMM_V2
    assert pool.mints == (MINT_A, MINT_B)
    assert (pool.spot_price_x64(MINT_A), pool.spot_price_x64(MINT_B)) == (4 * Q64, Q64 // 4)
    assert pool.fee_bps_hundredths == 2_500 + 10
    assert pool.reserves == (499_999_999_767, 1_999_999_999_767)
    assert pool.arrays_ahead(MINT_A, 3) == ()
    scheduled = made(of_fee(cliff=500_000_000, periods=100, period=60, reduction=4_900_000))
    assert scheduled.fee_bps_hundredths == 10_000
    assert made(of_fee(1, **LIMITER)).fee_bps_hundredths == 2_500
    compounding = made(damm_accounts(collect_fee_mode=2, amounts=(10, 40)))
    assert compounding.reserves == (10, 40)
    assert compounding.spot_price_x64(MINT_A) == 4 * Q64


def plain_pools() -> list[RecordedPool]:
    return [
        pool
        for pool in golden(Venue.METEORA_DAMM_V2).pools
        if recorded_pool(pool.name).encode()[pool.address].data[696] == 1
    ]


SWAPPED_OR_AT_WILL = [(104, 152), (152, 168), (392, 408), (481, 482), (485, 486), (648, 680)]
"""Volatility, start of a schedule, fees owed, status, who made the pool and how."""


COMPOUNDING_AT_WILL: tuple[list[tuple[int, int]], ...] = ([], [(456, 472)])
"""Its price follows from its amounts."""


@pytest.mark.parametrize("recorded", plain_pools(), ids=lambda pool: pool.name)
def test_synthetic_pool_is_the_recorded_one(recorded: RecordedPool) -> None:
    loaded = recorded.loaded()
    data = loaded[recorded.address].data
    cliff, mode, periods, second, third = struct.unpack_from("<QB5xHQQ", data, 8)
    low, high = second & 0xFFFFFFFF, second >> 32
    dynamic = damm_layout.read_dynamic(data)
    mint_a, mint_b = recorded.address_of("mint_a"), recorded.address_of("mint_b")
    sqrt_min, sqrt_max, sqrt_price = (damm_layout.read_u128(data, offset) for offset in (424, 440, 456))
    amount_a, amount_b = struct.unpack_from("<QQ", data, 680)
    made_ = meteora_damm_v2.synthesize(
        {mint: loaded[mint] for mint in (mint_a, mint_b)},
        mint_a,
        mint_b,
        liquidity=damm_layout.read_u128(data, 360),
        sqrt_price=sqrt_price,
        sqrt_min=sqrt_min,
        sqrt_max=sqrt_max,
        amounts=(amount_a, amount_b),
        base_fee=BaseFee(
            cliff=cliff,
            mode=mode,
            periods=periods,
            period=second if mode < 2 else low,
            expiration=low if mode == 2 else high,
            reduction=third,
            max_fee_bps=high,
        ),
        dynamic_fee=DynamicFee(control=dynamic.control, updated=dynamic.updated) if data[56] else None,
        collect_fee_mode=data[484],
        compounding_bps=struct.unpack_from("<H", data, 54)[0],
        protocol_percent=data[48],
        fee_version=data[486],
        activation_point=struct.unpack_from("<Q", data, 472)[0],
        activation_by_time=bool(data[480]),
    )
    assert first(made_) == recorded.address
    assert made_.keys() == {recorded.address_of(role) for role in ("pool", "vault_a", "vault_b")}
    for key, account in made_.items():
        assert (account.owner, account.lamports) == (loaded[key].owner, loaded[key].lamports)
        ignored = [*SWAPPED_OR_AT_WILL, *COMPOUNDING_AT_WILL[data[484] == 2]] if key == recorded.address else [(64, 72)]
        for one, other, offset in zip(account.data, loaded[key].data, range(len(account.data)), strict=True):
            assert one == other or any(start <= offset < end for start, end in ignored), offset


def test_pools_may_live_elsewhere() -> None:
    config = Pubkey(bytes([5]) * 32)
    mints = synthetic_mints()
    for address, expected in ((None, damm_layout.pool_address(MINT_B, MINT_A, config)), (STRANGER, STRANGER)):
        accounts = meteora_damm_v2.synthesize(
            mints, MINT_B, MINT_A, liquidity=10**30, sqrt_price=Q64, config=config, address=address
        )
        assert first(accounts) == expected
        assert meteora_damm_v2.decode(expected, {**accounts, **mints}).mints == (MINT_B, MINT_A)


def test_impossible_pools_are_not_made() -> None:
    with pytest.raises(ValueError, match="outside"):
        damm_accounts(sqrt_price=Q64, sqrt_min=Q64 + 1)
    with pytest.raises(ValueError, match="amounts"):
        damm_accounts(collect_fee_mode=2)
    for too_much in (1 << 127, 1 << 129):
        with pytest.raises(OverflowError):
            damm_accounts(liquidity=too_much, sqrt_price=8 * Q64)
    with pytest.raises(OverflowError):
        damm_accounts(liquidity=1 << 129, sqrt_min=Q64, sqrt_max=Q64)


def test_volatility_follows_the_price() -> None:
    dynamic = damm_layout.read_dynamic(DYNAMIC[KEY].data)
    higher = Q64 + 3 * dynamic.bin_step_u128
    moved, sure = moved_volatility(dynamic, Q64, higher, NOW)
    assert (moved.volatility, moved.reference, moved.reference_price, moved.updated, sure) == (
        60_000,
        0,
        Q64,
        NOW,
        True,
    )
    again, sure = moved_volatility(moved, higher, higher + 1, NOW + 1)
    assert (again.volatility, again.updated, sure) == (60_000, NOW, False)
    decayed, sure = moved_volatility(moved, higher, higher, NOW + 11)
    assert (decayed.volatility, decayed.reference, decayed.reference_price, sure) == (30_000, 30_000, higher, True)
    forgotten, sure = moved_volatility(moved, higher, higher, NOW + 121)
    assert (forgotten.volatility, forgotten.reference, sure) == (0, 0, True)
    for seconds in (10, 120, -1):
        assert not moved_volatility(moved, higher, 2 * higher, NOW + seconds)[1]
    far, _ = moved_volatility(dynamic, Q64, 100 * Q64, NOW)
    assert far.volatility == dynamic.max_volatility


def test_a_pool_says_when_its_volatility_is_in_doubt() -> None:
    pool = made(DYNAMIC)
    assert pool.state_is_exact
    pool, _ = pool.apply(MINT_A, 10**9, IN, CLOCK)
    assert pool.state_is_exact
    pool, _ = pool.apply(MINT_A, 10, IN, later(1))
    assert not pool.state_is_exact
    pool, _ = pool.apply(MINT_A, 10**9, IN, later(2))
    assert not pool.state_is_exact
    again = meteora_damm_v2.decode(pool.address, pool.encode())
    assert again.state_is_exact
    assert again == pool
    compounding = made(damm_accounts(dynamic_fee=DynamicFee(), collect_fee_mode=2, amounts=(10**9, 10**9)))
    assert not compounding.apply(MINT_A, 10**6, IN, CLOCK)[0].state_is_exact
    assert made(POOL).apply(MINT_A, 10**6, IN, CLOCK)[0].state_is_exact


def test_the_volatility_of_another_reading_can_be_taken_over() -> None:
    pool = made(DYNAMIC)
    after, _ = pool.apply(MINT_A, 10**9, IN, CLOCK)
    old, new = DYNAMIC[KEY], after.encode()[KEY]
    mixed = pool.with_volatility_of(old, new)
    assert damm_layout.read_dynamic(mixed.data) == damm_layout.read_dynamic(new.data)
    assert pool.with_volatility_of(mixed, old) == old != mixed
