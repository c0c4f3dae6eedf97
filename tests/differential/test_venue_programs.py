"""Random pools and random swaps through the programs themselves: same amounts, same refusals, same bytes.

The real programs run where BESTEX_PROGRAMS_DIR holds their binaries. The paper cluster's run always.
"""

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, Protocol, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from bestex.errors import SwapRefused
from bestex.types import U64_MAX, Account, ChainClock, Mint, SwapMode
from bestex.venues import raydium_amm_v4, token
from bestex.venues.meteora_damm_v2 import DammPool
from bestex.venues.meteora_dlmm import DlmmPool
from bestex.venues.pool import Pool, Quote, SwapAccounts, Venue
from bestex.venues.raydium_amm_v4 import LEGACY_SHA256, Rounding
from bestex.venues.raydium_clmm import ClmmPool
from tests.support import amm, clmm, cpmm, damm, dlmm
from tests.support.litesvm import PROGRAMS_DIR, Machine, Outcome, program_binary
from tests.support.paper_machine import PaperMachine
from tests.support.venues import CLOCK, MINT_A, MINT_B, amounts, first, program_of

BALANCE = 10**18
"""Base units of each token that the user begins with."""
SOURCE, TARGET = Pubkey(bytes([31]) * 32), Pubkey(bytes([32]) * 32)
Accounts: TypeAlias = dict[Pubkey, Account]
Decode: TypeAlias = Callable[[Pubkey, Mapping[Pubkey, Account]], Pool]
ACCOUNTS: Mapping[Venue, st.SearchStrategy[Accounts]] = {
    Venue.RAYDIUM_AMM_V4: amm.pool_accounts(),
    Venue.RAYDIUM_CPMM: cpmm.pool_accounts(),
    Venue.RAYDIUM_CLMM: clmm.pool_accounts(),
    Venue.METEORA_DLMM: dlmm.pool_accounts(),
    Venue.METEORA_DAMM_V2: damm.pool_accounts(),
}

swaps = st.lists(
    st.tuples(st.sampled_from([MINT_A, MINT_B]), amounts, st.sampled_from(SwapMode), st.integers(0, 700)),
    min_size=1,
    max_size=5,
)
"""Input mint, amount, mode, seconds since the swap before."""
thorough = settings(
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


class Runs(Protocol):
    """What runs transactions."""

    payer: Keypair

    def put(self, accounts: Mapping[Pubkey, Account]) -> None: ...
    def get(self, key: Pubkey) -> Account: ...
    def set_clock(self, clock: ChainClock) -> None: ...
    def send(self, instructions: list[Instruction]) -> Outcome: ...


def users_account(mint: Account, key: Mint, owner: Pubkey) -> Account:
    info = token.decode_mint(mint)
    return token.token_account(key, owner, BALANCE, info.program, withholds_fees=info.transfer_fee is not None)


def balance(machine: Runs, key: Pubkey) -> int:
    return token.decode_token_account(machine.get(key)).amount


def instruction(pool: Pool, user: SwapAccounts, mint: Mint, amount: int, mode: SwapMode) -> Instruction:
    """Without a threshold, and with every array that is loaded."""
    loose = 0 if mode is SwapMode.EXACT_IN else U64_MAX
    if isinstance(pool, ClmmPool | DlmmPool):
        return pool.swap_instruction(user, mint, amount, loose, mode, array_limit=8)
    return pool.swap_instruction(user, mint, amount, loose, mode)


def attempt(pool: Pool, mint: Mint, amount: int, mode: SwapMode, clock: ChainClock) -> tuple[Pool, Quote] | SwapRefused:
    """The pool after the swap and its quote, or why not."""
    try:
        return pool.apply(mint, amount, mode, clock)
    except SwapRefused as refused:
        return refused


def check(machine: Runs, decode: Decode, accounts: Accounts, journey: list[tuple[Mint, int, SwapMode, int]]) -> None:
    """Swap after swap, on the machine and in our mathematics."""
    owner = machine.payer.pubkey()
    user = {MINT_A: SOURCE, MINT_B: TARGET}
    machine.put(accounts | {user[mint]: users_account(accounts[mint], mint, owner) for mint in user})
    pool, clock = decode(first(accounts), accounts), CLOCK
    for mint, amount, mode, pause in journey:
        clock = ChainClock(clock.slot + 2 * pause, clock.unix_timestamp + pause, clock.epoch)
        machine.set_clock(clock)
        other = MINT_B if mint == MINT_A else MINT_A
        before = balance(machine, user[mint]), balance(machine, user[other])
        send = instruction(pool, SwapAccounts(owner, user[mint], user[other]), mint, amount, mode)
        outcome = machine.send([send])
        applied = attempt(pool, mint, amount, mode, clock)
        if isinstance(applied, SwapRefused):
            assert outcome.error is not None, f"we refuse: {applied.name}: {applied.message}"
            assert applied.program_code in (outcome.custom, None), outcome.logs
            continue
        after, quote = applied
        if quote.in_amount > before[0]:
            assert outcome.error is not None
            continue
        assert outcome.error is None, outcome.logs
        assert balance(machine, user[mint]) == before[0] - quote.in_amount
        assert balance(machine, user[other]) == before[1] + quote.out_amount
        pool = compare(machine, decode, after)


def compare(machine: Runs, decode: Decode, after: Pool) -> Pool:
    """Every account of the pool is as the program left it; returns the pool to go on with."""
    encoded = after.encode()
    actual = {key: machine.get(key) for key in encoded}
    if isinstance(after, DammPool) and not after.state_is_exact:
        return decode(after.address, actual)
    for key, account in encoded.items():
        assert account.data == actual[key].data, f"{key} differs"
    return after


@cache
def real_machine(venue: Venue) -> Machine:
    """A LiteSVM with a venue's program; skips the test where there is no binary of it."""
    program = program_of(venue)
    accepted = LEGACY_SHA256 if venue is Venue.RAYDIUM_AMM_V4 else {program.PROGRAM_SHA256}
    binary = program_binary(program.PROGRAM_ID, accepted)
    if binary is None:
        pytest.skip(f"{PROGRAMS_DIR} holds no {program.PROGRAM_ID}.so: not held against the real program here")
    return Machine({program.PROGRAM_ID: binary})


@pytest.mark.parametrize("venue", list(Venue))
def test_the_real_program_does_as_we_say(venue: Venue) -> None:
    machine = real_machine(venue)
    decode: Any = program_of(venue).decode
    if venue is Venue.RAYDIUM_AMM_V4:
        decode = partial(raydium_amm_v4.decode, rounding=Rounding.LEGACY)

    @thorough
    @given(ACCOUNTS[venue], swaps)
    def run(accounts: Accounts, journey: list[tuple[Mint, int, SwapMode, int]]) -> None:
        check(machine, decode, accounts, journey)

    run()


@pytest.mark.parametrize("venue", list(Venue))
def test_the_paper_cluster_does_as_we_say(venue: Venue) -> None:
    @thorough
    @given(ACCOUNTS[venue], swaps)
    def run(accounts: Accounts, journey: list[tuple[Mint, int, SwapMode, int]]) -> None:
        check(PaperMachine(), program_of(venue).decode, accounts, journey)

    run()
