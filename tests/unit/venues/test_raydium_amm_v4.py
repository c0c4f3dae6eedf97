"""Raydium AMM v4: the recorded answers of its program, what it refuses, and its synthetic pools."""

import base64
import struct
from collections.abc import Iterable

import pytest
from solders.pubkey import Pubkey

from bestex.errors import SwapRefused, UnsupportedPool
from bestex.types import U64_MAX, Account, ChainClock, SwapMode
from bestex.venues import amm_layout, raydium_amm_v4, token
from bestex.venues.math import Q64
from bestex.venues.pool import Refusal, SwapAccounts, SwapCall, Venue
from bestex.venues.raydium_amm_v4 import AmmPool, Rounding
from bestex.venues.recording import RecordedPool, RecordedSwap
from bestex.venues.token import TOKEN_2022_PROGRAM, TransferFeeConfig
from tests.support.amm import amm_accounts, recorded_params, recorded_pool
from tests.support.venues import CLOCK, MINT_A, MINT_B, first, golden, patched, synthetic_mints, with_data

RECORDING = golden(Venue.RAYDIUM_AMM_V4)
IN, OUT = SwapMode.EXACT_IN, SwapMode.EXACT_OUT
LEGACY, STRICT = Rounding.LEGACY, Rounding.STRICT
USER_DEPENDENT = {"balance", "balance_or_liquidity", "missing_arrays", "compute_budget"}
KINDS = {"closed", "zero_amount", "zero_output", "liquidity"}
STRANGER = Pubkey(bytes([77]) * 32)
USER = SwapAccounts(*(Pubkey(bytes([byte]) * 32) for byte in (70, 71, 72)))


def numbered(swaps: Iterable[RecordedSwap]) -> list[object]:
    return [pytest.param(swap, id=f"{number}-{swap.pool}-{swap.mode.value}") for number, swap in enumerate(swaps)]


def refusal(pool: AmmPool, mint: Pubkey, amount: int, mode: SwapMode, clock: ChainClock = CLOCK) -> SwapRefused:
    """How a quote is refused; `apply` must say the same."""
    answers = []
    for swap in (pool.quote, pool.apply):
        with pytest.raises(SwapRefused) as refused:
            swap(mint, amount, mode, clock)
        answers.append(refused.value)
    assert answers[0].context == answers[1].context
    return answers[0]


def misses_threshold(swap: RecordedSwap, paid: int, received: int) -> bool:
    return received < swap.threshold if swap.mode.swap_mode is IN else paid > swap.threshold


def check_outcome(pool: AmmPool, swap: RecordedSwap, clock: ChainClock) -> None:
    """The quote is what the program did; `apply` agrees with it."""
    error = swap.error
    if error is not None and error.kind in USER_DEPENDENT:
        return
    if error is not None and error.kind != "slippage":
        assert error.kind in KINDS
        refused = refusal(pool, swap.mint, swap.amount, swap.mode.swap_mode, clock)
        assert (refused.program_code, refused.name, refused.kind) == (error.custom, error.name, error.kind)
        return
    quoted = pool.quote(swap.mint, swap.amount, swap.mode.swap_mode, clock)
    assert pool.apply(swap.mint, swap.amount, swap.mode.swap_mode, clock)[1] == quoted
    amounts = quoted.in_amount, quoted.out_amount
    if error is None:
        assert amounts == (swap.amount_in, swap.amount_out)
    else:
        assert swap.reference == dict(zip(("amount_in", "amount_out"), amounts, strict=True))
        exceeded = raydium_amm_v4.SLIPPAGE_EXCEEDED[swap.mode.swap_mode]
        assert (exceeded.code, exceeded.name) == (error.custom, error.name)
    assert misses_threshold(swap, *amounts) == (error is not None)


@pytest.mark.parametrize("swap", numbered(RECORDING.swaps))
def test_swap_has_the_program_s_outcome(swap: RecordedSwap) -> None:
    check_outcome(recorded_pool(swap.pool), swap, RECORDING.pool(swap.pool).clock)


@pytest.mark.parametrize("swap", numbered(RECORDING.swaps))
def test_swap_has_the_outcome_of_strict_rounding(swap: RecordedSwap) -> None:
    pool, clock = recorded_pool(swap.pool, STRICT), RECORDING.pool(swap.pool).clock
    if swap.strict_ceil is None:
        if swap.error is None or swap.error.kind != "slippage":  # their reference amounts are legacy ones
            check_outcome(pool, swap, clock)
    elif swap.strict_ceil == 0:
        refused = refusal(pool, swap.mint, swap.amount, swap.mode.swap_mode, clock)
        assert (refused.program_code, refused.kind) == (29, Refusal.ZERO_OUTPUT)
    else:
        quoted = pool.quote(swap.mint, swap.amount, swap.mode.swap_mode, clock)
        assert swap.strict_ceil == (quoted.out_amount if swap.mode.swap_mode is IN else quoted.in_amount)


def check_instruction(pool: AmmPool, swap: RecordedSwap) -> None:
    """It reads back as the swap that it was, and we write it byte for byte as it was sent."""
    assert swap.ix is not None
    assert swap.instruction is None
    mode, data = swap.mode.swap_mode, bytes.fromhex(swap.ix.data)
    accounts = tuple(Pubkey.from_string(meta.pubkey) for meta in swap.ix.accounts)
    user = SwapAccounts(Pubkey.from_string(RECORDING.user.pubkey), *accounts[14:16])
    read = raydium_amm_v4.read_swap(accounts, data)
    assert read == SwapCall(pool.address, user, swap.amount, swap.threshold, mode)
    written = pool.swap_instruction(user, swap.mint, swap.amount, swap.threshold, mode)
    metas = [(str(meta.pubkey), meta.is_signer, meta.is_writable) for meta in written.accounts]
    assert metas == [(meta.pubkey, meta.is_signer, meta.is_writable) for meta in swap.ix.accounts]
    assert bytes(written.data) == data
    assert str(written.program_id) == swap.ix.program_id


@pytest.mark.parametrize("swap", numbered(swap for swap in RECORDING.swaps if swap.ix is not None))
def test_instruction_is_byte_for_byte_what_was_sent(swap: RecordedSwap) -> None:
    check_instruction(recorded_pool(swap.pool), swap)


def check_state(
    pool: AmmPool, record: RecordedPool, before: dict[Pubkey, Account], changes: dict[str, str]
) -> dict[Pubkey, Account]:
    """Every account of the pool is as the program left it, changed or not; returns them."""
    expected = {key: account.data for key, account in before.items()}
    expected |= {record.address_of(role): base64.b64decode(data) for role, data in changes.items()}
    after = pool.encode()
    assert {key: account.data for key, account in after.items()} == expected
    return after


@pytest.mark.parametrize("swap", numbered(swap for swap in RECORDING.swaps if swap.post_accounts is not None))
def test_apply_leaves_the_program_s_bytes(swap: RecordedSwap) -> None:
    assert swap.post_accounts is not None
    record = RECORDING.pool(swap.pool)
    after, _ = recorded_pool(swap.pool).apply(swap.mint, swap.amount, swap.mode.swap_mode, record.clock)
    accounts = check_state(after, record, record.loaded(), swap.post_accounts)
    assert raydium_amm_v4.decode(record.address, accounts, rounding=LEGACY) == after


@pytest.mark.parametrize("name", [sequence.name for sequence in RECORDING.sequences])
def test_sequence_of_swaps_keeps_the_program_s_state(name: str) -> None:
    sequence = next(sequence for sequence in RECORDING.sequences if sequence.name == name)
    record, pool = RECORDING.pool(sequence.pool), recorded_pool(sequence.pool)
    accounts = record.loaded()
    assert len(sequence.steps) == 20
    for step in sequence.steps:
        assert step.clock is not None
        check_outcome(pool, step, step.clock)
        if step.ix is not None:
            check_instruction(pool, step)
        if step.ok:
            assert step.post_accounts
            pool = pool.apply(step.mint, step.amount, step.mode.swap_mode, step.clock)[0]
            accounts = check_state(pool, record, accounts, step.post_accounts)
    assert raydium_amm_v4.decode(record.address, accounts, rounding=LEGACY) == pool


@pytest.mark.parametrize("record", [pytest.param(record, id=record.name) for record in RECORDING.pools])
def test_recorded_pool_is_its_bytes_and_can_be_made_from_its_parameters(record: RecordedPool) -> None:
    loaded, pool = record.loaded(), recorded_pool(record.name)
    assert pool.encode() == loaded
    assert tuple(pool.encode()) == pool.accounts() == raydium_amm_v4.accounts_of(record.address, loaded)
    assert [key for key, account in loaded.items() if raydium_amm_v4.is_pool(account)] == [record.address]
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
    assert RECORDING.program_sha256 == raydium_amm_v4.PROGRAM_SHA256
    nonce = bytes([amm_layout.AUTHORITY_NONCE])
    authority = Pubkey.create_program_address([b"amm authority", nonce], raydium_amm_v4.PROGRAM_ID)
    assert authority == raydium_amm_v4.AUTHORITY


POOL = amm_accounts((10**12, 10**12))
KEY, VAULT_A, VAULT_B, *_ = POOL


def without(key: Pubkey) -> dict[Pubkey, Account]:
    return {other: account for other, account in POOL.items() if other != key}


def owned_by(key: Pubkey, owner: Pubkey) -> dict[Pubkey, Account]:
    return {**POOL, key: Account(owner, POOL[key].lamports, POOL[key].data)}


def word(at: int, *values: int) -> dict[Pubkey, Account]:
    return patched(POOL, KEY, at, struct.pack(f"<{len(values)}Q", *values))


FAULTS = {
    "no pool": (without(KEY), "missing"),
    "no vault": (without(VAULT_B), "missing"),
    "no mint": (without(MINT_A), "missing"),
    "pool of another program": (owned_by(KEY, STRANGER), "Not a"),
    "pool cut": ({**POOL, KEY: with_data(POOL[KEY], POOL[KEY].data[:-1])}, "Not a"),
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
    "vault of another mint": (patched(POOL, VAULT_A, 0, bytes(MINT_B)), "disagree"),
    "vault of another owner": (patched(POOL, VAULT_A, 32, bytes(STRANGER)), "not the program's"),
    "vault frozen": (patched(POOL, VAULT_A, 108, b"\x02"), "frozen"),
    "vault of Token-2022": (owned_by(VAULT_A, TOKEN_2022_PROGRAM), "disagree"),
    "mint of Token-2022": (owned_by(MINT_A, TOKEN_2022_PROGRAM), "disagree"),
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
        refused = refusal(pool_of(status=status), MINT_A, 0, mode)
        assert (refused.program_code, refused.kind) == (22, Refusal.CLOSED)


def test_a_waiting_pool_opens_on_time_and_swaps_from_then_on() -> None:
    now = CLOCK.unix_timestamp
    early = refusal(pool_of(status=7, open_time=now + 1), MINT_A, 1_000, IN)
    assert (early.program_code, early.kind) == (22, Refusal.CLOSED)
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
    refused = refusal(pool_of(reserves), MINT_A, amount, mode)
    assert (refused.program_code, refused.kind) == (code, kind)
    assert refused.name == ("panic" if code is None else raydium_amm_v4.ERRORS[code])


def test_dust_pays_no_fee_to_legacy_builds_only() -> None:
    legacy, strict = pool_of(rounding=LEGACY), pool_of(rounding=STRICT)
    assert [pool.quote(MINT_A, 199, IN, CLOCK).fee_amount for pool in (legacy, strict)] == [0, 1]
    assert [pool.quote(MINT_A, 200, IN, CLOCK).fee_amount for pool in (legacy, strict)] == [1, 1]
    assert legacy.encode() == strict.encode()
    assert legacy != strict


def test_an_output_worth_less_than_half_a_unit_is_sold_by_strict_builds_only() -> None:
    legacy, strict = (pool_of((10**6, 10**9), rounding=rounding) for rounding in (LEGACY, STRICT))
    assert strict.quote(MINT_A, 499, OUT, CLOCK).in_amount == 2
    assert refusal(legacy, MINT_A, 499, OUT).kind == Refusal.ZERO_OUTPUT
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


def test_a_mint_that_is_not_traded_is_the_caller_s_mistake() -> None:
    pool = pool_of()
    for call in (
        lambda: pool.quote(STRANGER, 1, IN, CLOCK),
        lambda: pool.apply(STRANGER, 1, IN, CLOCK),
        lambda: pool.spot_price_x64(STRANGER),
        lambda: pool.swap_instruction(USER, STRANGER, 1, 1, IN),
    ):
        with pytest.raises(ValueError, match="does not trade"):
            call()


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


def test_synthetic_pools_of_other_addresses_share_no_account() -> None:
    reserves = {MINT_A: 10**9, token.NATIVE_MINT: 10**9}
    mints = {MINT_A: token.mint_account(6, 10**15), token.NATIVE_MINT: token.mint_account(9, 0)}
    one, two = (
        raydium_amm_v4.synthesize(mints, MINT_A, token.NATIVE_MINT, reserves, address=address)
        for address in (None, STRANGER)
    )
    assert not one.keys() & two.keys()
    pool = raydium_amm_v4.decode(STRANGER, {**two, **mints})
    wrapped = pool.accounts()[2]
    after, quoted = pool.apply(MINT_A, 10**6, IN, CLOCK)
    assert after.encode()[wrapped].lamports == two[wrapped].lamports - quoted.out_amount
