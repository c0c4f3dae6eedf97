"""What a venue refuses: accounts that it does not understand, and swaps that the program would not make."""

import struct

import pytest
from solders.pubkey import Pubkey

from bestex.errors import SwapRefused, UnsupportedPool
from bestex.types import U64_MAX, Account, ChainClock, SwapMode
from bestex.venues import cpmm_layout, dlmm_layout, meteora_dlmm, program_of, raydium_cpmm, token
from bestex.venues.pool import ARRAY_LIMIT, Pool, Refusal, SwapAccounts
from bestex.venues.raydium_cpmm import CpmmPool, Rates
from bestex.venues.token import TOKEN_2022_PROGRAM, TransferFeeConfig
from tests.support.venues import (
    CLOCK,
    MINT_A,
    MINT_B,
    cpmm_accounts,
    dlmm_accounts,
    first,
    patched,
    synthetic_mints,
    with_data,
)

IN, OUT = SwapMode.EXACT_IN, SwapMode.EXACT_OUT
STRANGER = Pubkey(bytes([77]) * 32)
CPMM = cpmm_accounts((10**12, 10**12))
DLMM = dlmm_accounts({-1: (0, 10**6), 0: (10**6, 10**6), 1: (10**6, 0)})
CPMM_KEY, DLMM_KEY = first(CPMM), first(DLMM)
CONFIG = cpmm_layout.config_address(0)
VAULT_A = cpmm_layout.vault_address(CPMM_KEY, MINT_A)
RESERVE_A = next(
    key for key, account in DLMM.items() if account.owner == token.TOKEN_PROGRAM and account.data[:32] == bytes(MINT_A)
)
ARRAY_0 = dlmm_layout.array_address(DLMM_KEY, 0)


def refusal(pool: Pool, mint: Pubkey, amount: int, mode: SwapMode, clock: ChainClock = CLOCK) -> tuple[int | None, str]:
    """How a quote is refused; `apply` must say the same."""
    answers = []
    for swap in (pool.quote, pool.apply):
        with pytest.raises(SwapRefused) as refused:
            swap(mint, amount, mode, clock)
        answers.append((refused.value.program_code, refused.value.kind))
    assert answers[0] == answers[1]
    return answers[0]


def without(accounts: dict[Pubkey, Account], key: Pubkey) -> dict[Pubkey, Account]:
    return {other: account for other, account in accounts.items() if other != key}


def owned_by(accounts: dict[Pubkey, Account], key: Pubkey, owner: Pubkey) -> dict[Pubkey, Account]:
    return {**accounts, key: Account(owner, accounts[key].lamports, accounts[key].data)}


def shortened(accounts: dict[Pubkey, Account], key: Pubkey) -> dict[Pubkey, Account]:
    return {**accounts, key: with_data(accounts[key], accounts[key].data[:-1])}


CPMM_FAULTS = {
    "no pool": without(CPMM, CPMM_KEY),
    "no config": without(CPMM, CONFIG),
    "no vault": without(CPMM, VAULT_A),
    "no mint": without(CPMM, MINT_A),
    "pool of another program": owned_by(CPMM, CPMM_KEY, STRANGER),
    "pool cut": shortened(CPMM, CPMM_KEY),
    "pool of another kind": patched(CPMM, CPMM_KEY, 0, bytes(8)),
    "config of another program": owned_by(CPMM, CONFIG, STRANGER),
    "config of another kind": patched(CPMM, CONFIG, 0, bytes(8)),
    "config cut": shortened(CPMM, CONFIG),
    "unknown side of the creator fee": patched(CPMM, CPMM_KEY, 389, b"\x03"),
    "trade fee of 100 %": patched(CPMM, CONFIG, 12, struct.pack("<Q", 1_000_000)),
    "vault of another mint": patched(CPMM, VAULT_A, 0, bytes(MINT_B)),
    "vault frozen": patched(CPMM, VAULT_A, 108, b"\x02"),
    "vault of another program": owned_by(CPMM, VAULT_A, TOKEN_2022_PROGRAM),
    "mint of another program": owned_by(CPMM, MINT_A, TOKEN_2022_PROGRAM),
    "vault without room for fees": {
        **cpmm_accounts((1, 1), mints=synthetic_mints(TransferFeeConfig.constant(0))),
        VAULT_A: token.token_account(MINT_A, STRANGER, 1, TOKEN_2022_PROGRAM),
    },
}


@pytest.mark.parametrize("accounts", CPMM_FAULTS.values(), ids=CPMM_FAULTS)
def test_cpmm_accounts_that_are_refused(accounts: dict[Pubkey, Account]) -> None:
    raydium_cpmm.decode(CPMM_KEY, CPMM)
    with pytest.raises(UnsupportedPool):
        raydium_cpmm.decode(CPMM_KEY, accounts)


EXTENSION = dlmm_layout.extension_address(DLMM_KEY)
EXTENSION_ACCOUNT = Account(
    dlmm_layout.PROGRAM_ID, 1, (dlmm_layout.EXTENSION_TAG + bytes(DLMM_KEY)).ljust(dlmm_layout.EXTENSION_SIZE, b"\x00")
)

DLMM_FAULTS = {
    "no pair": without(DLMM, DLMM_KEY),
    "no reserve": without(DLMM, RESERVE_A),
    "no mint": without(DLMM, MINT_B),
    "pair of another program": owned_by(DLMM, DLMM_KEY, STRANGER),
    "pair cut": shortened(DLMM, DLMM_KEY),
    "unknown function": patched(DLMM, DLMM_KEY, 35, b"\x03"),
    "unknown fee mode": patched(DLMM, DLMM_KEY, 36, b"\x02"),
    "unknown pair type": patched(DLMM, DLMM_KEY, 75, b"\x04"),
    "active bin out of range": patched(DLMM, DLMM_KEY, 76, struct.pack("<i", -443_637)),
    "no bin step": patched(DLMM, DLMM_KEY, 80, bytes(2)),
    "protocol share above 100 %": patched(DLMM, DLMM_KEY, 32, struct.pack("<H", 10_001)),
    "reserve of another mint": patched(DLMM, RESERVE_A, 0, bytes(MINT_B)),
    "reserve frozen": patched(DLMM, RESERVE_A, 108, b"\x02"),
    "token program contradicts": patched(DLMM, DLMM_KEY, 880, b"\x01"),
    "array of another program": owned_by(DLMM, ARRAY_0, STRANGER),
    "array cut": shortened(DLMM, ARRAY_0),
    "array of another kind": patched(DLMM, ARRAY_0, 0, bytes(8)),
    "array of another index": patched(DLMM, ARRAY_0, 8, b"\x01"),
    "array of another pair": patched(DLMM, ARRAY_0, 24, bytes(MINT_B)),
    "extension of another program": {**DLMM, EXTENSION: Account(STRANGER, 1, EXTENSION_ACCOUNT.data)},
    "extension cut": {**DLMM, EXTENSION: with_data(EXTENSION_ACCOUNT, EXTENSION_ACCOUNT.data[:-1])},
    "extension of another pair": patched({**DLMM, EXTENSION: EXTENSION_ACCOUNT}, EXTENSION, 8, bytes(32)),
}


@pytest.mark.parametrize("accounts", DLMM_FAULTS.values(), ids=DLMM_FAULTS)
def test_dlmm_accounts_that_are_refused(accounts: dict[Pubkey, Account]) -> None:
    meteora_dlmm.decode(DLMM_KEY, {**DLMM, EXTENSION: EXTENSION_ACCOUNT})
    with pytest.raises(UnsupportedPool):
        meteora_dlmm.decode(DLMM_KEY, accounts)


def test_accounts_of_refuses_what_is_no_pool() -> None:
    for program, account in ((raydium_cpmm, CPMM[VAULT_A]), (meteora_dlmm, DLMM[ARRAY_0])):
        with pytest.raises(UnsupportedPool):
            program.accounts_of(STRANGER, {STRANGER: account})


def test_program_of_an_unknown_owner() -> None:
    assert program_of(Account(STRANGER, 1, b"")) is None


@pytest.mark.parametrize("pool", [raydium_cpmm.decode(CPMM_KEY, CPMM), meteora_dlmm.decode(DLMM_KEY, DLMM)])
def test_a_mint_that_is_not_traded_is_the_caller_s_mistake(pool: Pool) -> None:
    user = SwapAccounts(STRANGER, STRANGER, STRANGER)
    for call in (
        lambda: pool.quote(STRANGER, 1, IN, CLOCK),
        lambda: pool.spot_price_x64(STRANGER),
        lambda: pool.swap_instruction(user, STRANGER, 1, 1, IN),
    ):
        with pytest.raises(ValueError, match="does not trade"):
            call()


def cpmm(reserves: tuple[int, int] = (10**12, 10**12), open_time: int = 0, trade_rate: int = 2_500) -> CpmmPool:
    accounts = cpmm_accounts(reserves, open_time=open_time, rates=Rates(trade=trade_rate))
    return raydium_cpmm.decode(CPMM_KEY, accounts)


def test_cpmm_refusals_are_the_program_s() -> None:
    pool = cpmm()
    assert refusal(pool, MINT_A, 0, IN) == (2505, Refusal.ZERO_AMOUNT)
    assert refusal(pool, MINT_A, 0, OUT) == (2505, Refusal.ZERO_AMOUNT)
    assert refusal(pool, MINT_A, 1, IN) == (2505, Refusal.ZERO_OUTPUT)
    assert refusal(pool, MINT_A, 10**12, OUT) == (None, Refusal.LIQUIDITY)
    assert refusal(cpmm((10**18, 10**18)), MINT_A, 10**18 - 1, OUT) == (None, Refusal.OVERFLOW)
    assert refusal(pool, MINT_A, U64_MAX + 1, IN) == (None, Refusal.OVERFLOW)
    assert refusal(cpmm((0, 10)), MINT_A, 5, OUT) == (2505, Refusal.ZERO_AMOUNT)
    assert refusal(cpmm((10, 0)), MINT_A, 5, IN) == (2505, Refusal.ZERO_OUTPUT)


def test_cpmm_is_closed_until_it_opens() -> None:
    pool = cpmm(open_time=CLOCK.unix_timestamp + 1)
    assert refusal(pool, MINT_A, 1_000, IN) == (6000, Refusal.CLOSED)
    assert refusal(pool, MINT_A, 0, IN) == (6000, Refusal.CLOSED)
    assert refusal(pool, MINT_A, 0, OUT) == (2505, Refusal.ZERO_AMOUNT)
    assert pool.quote(MINT_A, 1_000, IN, ChainClock(1, CLOCK.unix_timestamp + 1, 1)).out_amount > 0


def test_cpmm_swaps_can_be_disabled() -> None:
    for status, closed in ((3, False), (4, True), (7, True)):
        pool = raydium_cpmm.decode(CPMM_KEY, patched(CPMM, CPMM_KEY, 329, bytes([status])))
        if closed:
            assert refusal(pool, MINT_A, 1_000, IN) == (6000, Refusal.CLOSED)
        else:
            assert pool.quote(MINT_A, 1_000, IN, CLOCK).out_amount > 0


def test_cpmm_vault_that_owes_more_than_it_holds() -> None:
    accounts = patched(CPMM, CPMM_KEY, 341, struct.pack("<Q", 10**12 + 1))
    pool = raydium_cpmm.decode(CPMM_KEY, accounts)
    assert refusal(pool, MINT_A, 1_000, IN) == (6012, Refusal.LIQUIDITY)
    assert pool.spot_price_x64(MINT_A) == 0


def test_cpmm_vault_cannot_pass_u64() -> None:
    pool = cpmm((U64_MAX - 5, 10**12), trade_rate=0)
    assert pool.quote(MINT_A, 10**12, IN, CLOCK).out_amount > 0
    with pytest.raises(SwapRefused) as refused:
        pool.apply(MINT_A, 10**12, IN, CLOCK)
    assert (refused.value.program_code, refused.value.name) == (14, "token:Overflow")


def test_dlmm_refusals_are_the_program_s() -> None:
    pool = meteora_dlmm.decode(DLMM_KEY, DLMM)
    assert refusal(pool, MINT_A, 0, IN) == (6002, Refusal.ZERO_AMOUNT)
    assert refusal(pool, MINT_A, 0, OUT) == (6039, Refusal.ZERO_AMOUNT)
    assert refusal(pool, MINT_A, 1, IN) == (6039, Refusal.ZERO_OUTPUT)
    assert refusal(pool, MINT_A, 10**9, IN) == (6036, Refusal.LIQUIDITY)
    assert refusal(pool, MINT_B, 2 * 10**6 + 1, OUT) == (6036, Refusal.LIQUIDITY)
    assert refusal(pool, MINT_A, U64_MAX + 1, IN) == (6018, Refusal.OVERFLOW)
    with_extension = meteora_dlmm.decode(DLMM_KEY, {**DLMM, EXTENSION: EXTENSION_ACCOUNT})
    assert refusal(with_extension, MINT_A, 10**9, IN) == (6037, Refusal.LIQUIDITY)


def test_dlmm_is_closed_by_status_or_before_its_activation() -> None:
    disabled = meteora_dlmm.decode(DLMM_KEY, patched(DLMM, DLMM_KEY, 82, b"\x01"))
    assert refusal(disabled, MINT_A, 1_000, IN) == (6042, Refusal.CLOSED)
    for kind, now in ((0, CLOCK.slot), (1, CLOCK.unix_timestamp)):
        accounts = patched(patched(DLMM, DLMM_KEY, 75, b"\x02"), DLMM_KEY, 86, bytes([kind]))
        early = meteora_dlmm.decode(DLMM_KEY, patched(accounts, DLMM_KEY, 816, struct.pack("<Q", now + 1)))
        assert refusal(early, MINT_A, 1_000, IN) == (6042, Refusal.CLOSED)
        anytime = patched(accounts, DLMM_KEY, 75, b"\x00")
        anytime = patched(anytime, DLMM_KEY, 816, struct.pack("<Q", now + 1))
        assert meteora_dlmm.decode(DLMM_KEY, anytime).quote(MINT_A, 1_000, IN, CLOCK).out_amount > 0
        on_time = meteora_dlmm.decode(DLMM_KEY, patched(accounts, DLMM_KEY, 816, struct.pack("<Q", now)))
        assert on_time.quote(MINT_A, 1_000, IN, CLOCK).out_amount > 0


def test_dlmm_array_that_was_not_loaded() -> None:
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


def test_dlmm_quote_counts_the_arrays_that_the_instruction_must_carry() -> None:
    bins = {70 * index: (10**6, 0) for index in (0, 1, 2, 5, 6)}
    accounts = dlmm_accounts(bins)
    key = first(accounts)
    pool = meteora_dlmm.decode(key, accounts)
    user = SwapAccounts(STRANGER, STRANGER, STRANGER)
    ahead = [dlmm_layout.array_address(key, index) for index in (0, 1, 2, 5, 6)]
    for arrays in (1, 3, 4):
        assert pool.quote(MINT_B, arrays * 10**6, OUT, CLOCK).arrays == arrays
        assert pool.quote(MINT_B, arrays * 10**6 - 1, OUT, CLOCK).arrays == arrays
        assert pool.quote(MINT_B, arrays * 10**6 + 1, OUT, CLOCK).arrays == arrays + 1
        assert pool.arrays_ahead(MINT_B, arrays) == tuple(ahead[:arrays])
        carried = pool.swap_instruction(user, MINT_B, 1, 1, IN, array_limit=arrays).accounts
        assert [meta.pubkey for meta in carried[meteora_dlmm.SWAP_ACCOUNTS :]] == ahead[:arrays]
    assert len(pool.swap_instruction(user, MINT_B, 1, 1, IN).accounts) == meteora_dlmm.SWAP_ACCOUNTS + ARRAY_LIMIT
    assert pool.arrays_ahead(MINT_A, 5) == (ahead[0],)


def test_dlmm_loads_a_bounded_number_of_arrays() -> None:
    bins = {70 * index: (10**6, 0) if index > 0 else (0, 10**6) for index in range(-12, 13)}
    accounts = dlmm_accounts(bins)
    key = first(accounts)
    named = meteora_dlmm.accounts_of(key, accounts)
    expected = [dlmm_layout.array_address(key, index) for index in (*range(0, -8, -1), *range(1, 8))]
    assert list(named[6:]) == expected
    assert named[5] == dlmm_layout.extension_address(key)
    assert list(meteora_dlmm.decode(key, accounts).accounts()[5:]) == expected


def test_dlmm_reserve_that_holds_less_than_the_bins_promise() -> None:
    accounts = {**DLMM, RESERVE_A: token.credit(DLMM[RESERVE_A], -1_500_000)}
    pool = meteora_dlmm.decode(DLMM_KEY, accounts)
    assert pool.quote(MINT_B, 400_000, IN, CLOCK).out_amount > 0
    assert refusal(pool, MINT_B, 700_000, IN) == (1, Refusal.LIQUIDITY)


def test_dlmm_reserve_cannot_pass_u64() -> None:
    accounts = {**DLMM, RESERVE_A: token.credit(DLMM[RESERVE_A], U64_MAX - 2 * 10**6)}
    pool = meteora_dlmm.decode(DLMM_KEY, accounts)
    assert pool.quote(MINT_A, 500_000, IN, CLOCK).out_amount > 0
    with pytest.raises(SwapRefused) as refused:
        pool.apply(MINT_A, 500_000, IN, CLOCK)
    assert (refused.value.program_code, refused.value.kind) == (14, Refusal.OVERFLOW)


def test_dlmm_price_that_no_user_can_pay() -> None:
    accounts = dlmm_accounts({-20_000: (0, 10**12)}, active_id=-20_000)
    pool = meteora_dlmm.decode(first(accounts), accounts)
    assert pool.quote(MINT_A, 10**9, OUT, CLOCK).in_amount > 10**17
    assert refusal(pool, MINT_A, 10**12 - 1, OUT) == (6018, Refusal.OVERFLOW)


def test_dlmm_bin_cannot_pass_u64() -> None:
    at = dlmm_layout.bin_offset(0)
    pool = meteora_dlmm.decode(DLMM_KEY, patched(DLMM, ARRAY_0, at, struct.pack("<Q", U64_MAX - 5)))
    assert pool.quote(MINT_A, 500_000, IN, CLOCK).out_amount > 0
    with pytest.raises(SwapRefused) as refused:
        pool.apply(MINT_A, 500_000, IN, CLOCK)
    assert (refused.value.program_code, refused.value.kind) == (6018, Refusal.OVERFLOW)


def test_dlmm_protocol_cannot_be_owed_more_than_u64() -> None:
    pool = meteora_dlmm.decode(DLMM_KEY, patched(DLMM, DLMM_KEY, 216, struct.pack("<Q", U64_MAX - 5)))
    assert pool.quote(MINT_A, 500_000, IN, CLOCK).out_amount > 0
    with pytest.raises(SwapRefused) as refused:
        pool.apply(MINT_A, 500_000, IN, CLOCK)
    assert (refused.value.program_code, refused.value.kind) == (6018, Refusal.OVERFLOW)


def test_dlmm_bin_without_a_price() -> None:
    active_id = -443_000
    key = DLMM_KEY
    accounts = patched(DLMM, key, 76, struct.pack("<i", active_id))
    pool = meteora_dlmm.decode(key, patched(accounts, key, 80, struct.pack("<H", 400)))
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


def test_instructions_that_are_no_swaps() -> None:
    user = SwapAccounts(STRANGER, MINT_A, MINT_B)
    cpmm_swap = raydium_cpmm.decode(CPMM_KEY, CPMM).swap_instruction(user, MINT_A, 5, 4, IN)
    dlmm_swap = meteora_dlmm.decode(DLMM_KEY, DLMM).swap_instruction(user, MINT_A, 5, 4, IN)
    for program, swap in ((raydium_cpmm, cpmm_swap), (meteora_dlmm, dlmm_swap)):
        keys, data = tuple(meta.pubkey for meta in swap.accounts), bytes(swap.data)
        assert program.read_swap(keys, data).amount == 5
        for wrong_keys, wrong_data in (
            (keys, b""),
            (keys, bytes(8) + data[8:]),
            (keys, data[:-1]),
            (keys, data + b"\x00"),
            (keys[:12], data),
        ):
            with pytest.raises(ValueError, match="Not"):
                program.read_swap(wrong_keys, wrong_data)


def test_dlmm_hook_accounts_are_not_understood() -> None:
    swap = meteora_dlmm.decode(DLMM_KEY, DLMM).swap_instruction(
        SwapAccounts(STRANGER, MINT_A, MINT_B), MINT_A, 5, 4, IN
    )
    keys, data = [meta.pubkey for meta in swap.accounts], bytes(swap.data)
    with pytest.raises(ValueError, match="Not a Meteora DLMM swap"):
        meteora_dlmm.read_swap(tuple(keys), data[:-4] + struct.pack("<I", 1) + b"\x00\x01")
    keys[15] = STRANGER
    with pytest.raises(ValueError, match="Not the accounts"):
        meteora_dlmm.read_swap(tuple(keys), data)
