"""One transaction against the accounts: all or nothing, but the fee."""

from collections.abc import Sequence

import pytest
from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

from bestex.paper import bank
from bestex.paper.envelope import open_envelope
from bestex.paper.records import TransactionRecord
from bestex.paper.state import Overlay, State
from bestex.types import Account
from bestex.venues.token import TOKEN_PROGRAM, mint_account, token_account
from tests.support import paper
from tests.support.native import CLOCK
from tests.support.paper import STRANGER, SYSTEM_PROGRAM, USDC, WALLET, ata, signed

ME, THEM = WALLET.pubkey(), STRANGER.pubkey()
BLOCKHASH = "EkSnNWid2cvwEVnVx9aBqawnmiCNiDgp3gUdkDPTKN1N"


def world(my_lamports: int = 10**9) -> State:
    return State(
        {
            ME: Account(SYSTEM_PROGRAM, my_lamports, b""),
            THEM: Account(SYSTEM_PROGRAM, 10**9, b""),
            USDC: mint_account(6, 10**12),
            ata(USDC): token_account(USDC, ME, 1_000),
            ata(USDC, THEM): token_account(USDC, THEM, 500),
        }
    )


def execute(state: State, instructions: Sequence[Instruction]) -> TransactionRecord:
    """Run a transaction in a block of its own."""
    envelope = open_envelope(signed(BLOCKHASH, instructions)[1])
    assert bank.refusal(envelope, state) is None
    block = Overlay(state)
    record = bank.execute(envelope, block, CLOCK)
    state.absorb(block)
    return record


def lamports(state: State, address: Pubkey) -> int:
    account = state.get(address)
    return account.lamports if account else 0


def test_says_what_changed() -> None:
    state = world()
    record = execute(state, [paper.transfer(ata(USDC), ata(USDC, THEM), ME, 300), paper.transfer_sol(ME, THEM, 77)])
    assert record.error is None
    landed = record.landed(9)
    assert landed.slot == 9
    assert {
        (change.account, change.mint, change.owner, change.before, change.after) for change in landed.token_changes
    } == {
        (ata(USDC), USDC, ME, 1_000, 700),
        (ata(USDC, THEM), USDC, THEM, 500, 800),
    }
    assert landed.lamport_changes == {ME: -5_077, THEM: 77}
    assert landed.fee_lamports == 5_000


def test_new_and_closed_accounts_count_from_and_to_zero() -> None:
    state = world()
    state.restore({ata(USDC): token_account(USDC, ME, 0)})
    closed = execute(state, [paper.close_account(ata(USDC), ME, ME)]).landed(1)
    assert [(change.before, change.after) for change in closed.token_changes] == [(0, 0)]
    assert state.get(ata(USDC)) is None
    opened = execute(state, [paper.create_ata(ME, ME, USDC), paper.transfer(ata(USDC), ata(USDC, THEM), ME, 0)]).landed(
        2
    )
    assert opened.error is None
    assert {change.account for change in opened.token_changes} == {ata(USDC), ata(USDC, THEM)}


def test_a_failing_transaction_leaves_nothing_but_its_fee() -> None:
    state = world()
    before = dict(state.accounts)
    record = execute(state, [paper.transfer(ata(USDC), ata(USDC, THEM), ME, 300), paper.transfer_sol(ME, THEM, 10**12)])
    assert record.error is not None
    assert (record.error.name, record.error.instruction_index, record.error.custom_code) == ("InstructionError", 1, 1)
    assert record.token_changes == []
    assert record.landed(1).lamport_changes == {ME: -5_000}
    assert state.accounts == {**before, ME: Account(SYSTEM_PROGRAM, 10**9 - 5_000, b"")}


def test_logs_read_like_a_nodes() -> None:
    record = execute(
        world(), [paper.unit_limit(10_000), paper.memo(b"hi"), paper.transfer(ata(USDC), ata(USDC), ME, 9_999)]
    )
    token = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"
    assert record.logs == [
        "Program ComputeBudget111111111111111111111111111111 invoke [1]",
        "Program ComputeBudget111111111111111111111111111111 success",
        "Program MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr invoke [1]",
        'Program log: Memo (len 2): "hi"',
        "Program MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr consumed 2110 of 9850 compute units",
        "Program MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr success",
        f"Program {token} invoke [1]",
        "Program log: Instruction: Transfer",
        "Program log: Error: insufficient funds",
        f"Program {token} consumed 4645 of 7740 compute units",
        f"Program {token} failed: custom program error: 0x1",
    ]
    assert record.units_consumed == 150 + 2_110 + 4_645
    assert record.error is not None
    assert record.error.program_id == token


def test_more_units_than_the_limit_fail() -> None:
    state = world()
    record = execute(
        state, [paper.unit_limit(5_000), paper.memo(b"x"), paper.transfer(ata(USDC), ata(USDC, THEM), ME, 1)]
    )
    assert record.error is not None
    assert (record.error.name, record.error.instruction_index) == ("InstructionError", 2)
    assert record.error.message.startswith("ComputationalBudgetExceeded")
    assert record.units_consumed == 5_000


def test_a_program_that_is_not_there() -> None:
    record = execute(world(), [paper.transfer_sol(ME, THEM, 5), Instruction(THEM, b"", [])])
    assert record.error is not None
    assert record.error.name == "ProgramAccountNotFound"
    assert record.logs == []


def test_only_writable_accounts_are_written() -> None:
    state = world()
    metas = [
        AccountMeta(ata(USDC), False, False),
        AccountMeta(ata(USDC, THEM), False, True),
        AccountMeta(ME, True, False),
    ]
    record = execute(state, [Instruction(TOKEN_PROGRAM, b"\x03" + (5).to_bytes(8, "little"), metas)])
    assert record.error is not None
    assert record.error.message.startswith("ReadonlyDataModified")


@pytest.mark.parametrize(
    ("my_lamports", "name"),
    [
        (0, "AccountNotFound"),
        (4_999, "InsufficientFundsForFee"),
        (5_001, "InsufficientFundsForRent"),
        (895_879, "InsufficientFundsForRent"),
        (895_880, None),
        (5_000, None),
    ],
)
def test_who_cannot_pay_is_not_even_charged(my_lamports: int, name: str | None) -> None:
    state = world(my_lamports)
    if not my_lamports:
        del state.accounts[ME]
    refusal = bank.refusal(open_envelope(signed(BLOCKHASH, [paper.memo(b"x")])[1]), state)
    assert (refusal.name if refusal else None) == name


def test_only_wallets_pay_fees() -> None:
    state = world()
    state.restore({ME: Account(TOKEN_PROGRAM, 10**9, b"")})
    refusal = bank.refusal(open_envelope(signed(BLOCKHASH, [paper.memo(b"x")])[1]), state)
    assert refusal is not None
    assert refusal.name == "InvalidAccountForFee"


def test_a_payer_may_spend_its_last_lamport() -> None:
    state = world(1_005_000)
    record = execute(state, [paper.transfer_sol(ME, THEM, 1_000_000)])
    assert record.error is None
    assert state.get(ME) is None
    assert record.landed(1).lamport_changes == {ME: -1_005_000, THEM: 1_000_000}
