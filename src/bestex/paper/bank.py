"""One transaction against the accounts: its fee, its instructions, and what it changed. All or nothing, but the fee."""

import struct

import msgspec
from solders.pubkey import Pubkey

from bestex.paper.envelope import Envelope, Step
from bestex.paper.programs import PROGRAMS, Program
from bestex.paper.programs.frame import Frame, InstructionFailed
from bestex.paper.records import TransactionRecord
from bestex.paper.state import Overlay, View
from bestex.ports import TransactionError
from bestex.solana.instructions import SYSTEM_PROGRAM
from bestex.types import Account, ChainClock
from bestex.venues.math import rent_exempt
from bestex.venues.token import ACCOUNT_SIZE, TOKEN_2022_PROGRAM, TOKEN_PROGRAM

_TOKEN_PROGRAMS = (TOKEN_PROGRAM, TOKEN_2022_PROGRAM)
_ACCOUNT_TYPE_AT = ACCOUNT_SIZE
_IS_TOKEN_ACCOUNT = 2
_AMOUNT = struct.Struct("<Q")
_AMOUNT_AT = 64


class Trial(msgspec.Struct, frozen=True, gc=False):
    """How a transaction ran."""

    error: TransactionError | None
    units_consumed: int
    logs: list[str]


def refusal(envelope: Envelope, view: View) -> TransactionError | None:
    """Why no leader would take the transaction into a block: it could not even be charged."""
    if envelope.refusal is not None:
        return envelope.refusal
    payer = view.get(envelope.payer)
    if payer is None:
        return TransactionError("AccountNotFound", message="the fee payer does not exist")
    if payer.owner != SYSTEM_PROGRAM or payer.data:
        return TransactionError("InvalidAccountForFee")
    left = payer.lamports - envelope.fee_lamports
    if left < 0:
        return TransactionError("InsufficientFundsForFee")
    if 0 < left < rent_exempt(0):
        return TransactionError("InsufficientFundsForRent", message="account index 0")
    return None


def execute(envelope: Envelope, block: Overlay, clock: ChainClock) -> TransactionRecord:
    """Charge the fee, run the transaction and write what it did into `block`. It must not be refused by `refusal`."""
    balances = [account.lamports if (account := block.get(key)) else 0 for key in envelope.keys]
    paid_by = charge(envelope, block)
    overlay = Overlay(block)
    trial = run(envelope, overlay, clock)
    if trial.error is not None:
        overlay.writes.clear()
    token_changes, lamport_changes = _changes(overlay, block, envelope.payer, paid_by)
    if trial.error is None:
        block.absorb(overlay)
    return TransactionRecord(
        signature=envelope.signature,
        error=trial.error,
        fee_lamports=envelope.fee_lamports,
        units_consumed=trial.units_consumed,
        token_changes=token_changes,
        lamport_changes=lamport_changes,
        logs=trial.logs,
        raw=envelope.raw,
        balances=balances,
    )


def charge(envelope: Envelope, overlay: Overlay) -> Account:
    """Take the fee from the payer; returns the account as it was before."""
    payer = overlay.get(envelope.payer)
    assert payer is not None, "refused transactions are not charged"
    left = payer.lamports - envelope.fee_lamports
    overlay.put(envelope.payer, Account(payer.owner, left, payer.data) if left else None)
    return payer


def run(envelope: Envelope, overlay: Overlay, clock: ChainClock) -> Trial:
    """Run the instructions on an overlay, which is worthless afterwards if there is an error."""
    limit = envelope.budget.unit_limit
    for step in envelope.steps:
        if step.program not in PROGRAMS:
            unknown = TransactionError("ProgramAccountNotFound", message=f"the paper cluster has no {step.program}")
            return Trial(unknown, 0, [])
    frame = Frame(overlay, clock, envelope.privileges, limit, [])
    error = None
    for index, step in enumerate(envelope.steps):
        error = _run_step(frame, index, step)
        if error is not None:
            break
    else:
        error = _settle(envelope, overlay)
    return Trial(error, limit - frame.units_left, frame.logs)


def _run_step(frame: Frame, index: int, step: Step) -> TransactionError | None:
    program = PROGRAMS[step.program]
    logs = frame.logs
    logs.append(program.invoked)
    available = frame.units_left
    try:
        program.execute(frame, step.keys, step.data)
    except InstructionFailed as failed:
        return _failure(failed, frame, index, program, available)
    if not program.builtin:
        logs.append(_consumed(frame, program.name, available))
    logs.append(program.succeeded)
    return None


def _consumed(frame: Frame, name: str, available: int) -> str:
    return f"Program {name} consumed {available - frame.units_left} of {available} compute units"


def _failure(failed: InstructionFailed, frame: Frame, index: int, program: Program, available: int) -> TransactionError:
    name = program.name
    inner = name if failed.program is None else str(failed.program)
    reason = f"custom program error: {failed.code:#x}" if failed.code is not None else failed.text or failed.name
    if inner != name:
        frame.logs.append(f"Program {inner} invoke [2]")
    if failed.code is not None and failed.text:
        frame.log(failed.text)
    if inner != name:
        frame.logs.append(f"Program {inner} failed: {reason}")
    if not program.builtin:
        frame.logs.append(_consumed(frame, name, available))
    frame.logs.append(f"Program {name} failed: {reason}")
    return TransactionError(
        name="InstructionError",
        instruction_index=index,
        custom_code=failed.code,
        program_id=inner,
        message=_message(failed),
    )


def _message(failed: InstructionFailed) -> str:
    if failed.code is not None and failed.text:
        return failed.text
    return f"{failed.name}: {failed.text}" if failed.text else failed.name


def _settle(envelope: Envelope, overlay: Overlay) -> TransactionError | None:
    """Remove accounts without lamports; refuse those that could not stay for ever."""
    for address, account in overlay.writes.items():
        if account is None:
            continue
        if account.lamports == 0:
            overlay.writes[address] = None
        elif account.lamports < rent_exempt(len(account.data)):
            index = envelope.keys.index(address)
            return TransactionError("InsufficientFundsForRent", message=f"account index {index}")
    return None


def _changes(
    overlay: Overlay, block: Overlay, payer: Pubkey, paid_by: Account
) -> tuple[list[tuple[bytes, bytes, bytes, int, int]], list[tuple[bytes, int]]]:
    """Token and lamport balances before and after: of the overlay's writes, and of the payer."""
    tokens: list[tuple[bytes, bytes, bytes, int, int]] = []
    lamports: list[tuple[bytes, int]] = []
    writes = overlay.writes
    if payer not in writes:
        writes = {payer: block.get(payer), **writes}
    for address, after in writes.items():
        before = paid_by if address == payer else block.get(address)
        moved = (after.lamports if after else 0) - (before.lamports if before else 0)
        if moved:
            lamports.append((bytes(address), moved))
        held, holds = _token_amount(before), _token_amount(after)
        if held is not None or holds is not None:
            data = (after if holds is not None else before).data  # type: ignore[union-attr]
            tokens.append((bytes(address), data[:32], data[32:64], held or 0, holds or 0))
    return tokens, lamports


def _token_amount(account: Account | None) -> int | None:
    """Base units in a token account; None for any other account."""
    if account is None:
        return None
    data = account.data
    if len(data) != ACCOUNT_SIZE and not (len(data) > ACCOUNT_SIZE and data[_ACCOUNT_TYPE_AT] == _IS_TOKEN_ACCOUNT):
        return None
    if account.owner not in _TOKEN_PROGRAMS:
        return None
    amount: int = _AMOUNT.unpack_from(data, _AMOUNT_AT)[0]
    return amount
