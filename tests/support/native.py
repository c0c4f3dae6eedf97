"""The real System, Token, Associated Token, Memo and Compute Budget programs in LiteSVM, beside ours."""

import re
from collections.abc import Mapping, Sequence

from solders.account import Account as WireAccount
from solders.clock import Clock as WireClock
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import FailedTransactionMetadata

from bestex.paper import bank
from bestex.paper.envelope import open_envelope
from bestex.paper.state import Overlay, State
from bestex.ports import TransactionError
from bestex.types import Account, ChainClock
from tests.support.paper import signed

CLOCK = ChainClock(slot=1_000, unix_timestamp=1_790_000_000, epoch=0)

Outcome = tuple[str, int | None, int | None, dict[Pubkey, Account | None]]
"""Name of the error, index of the instruction, custom code; all accounts of the transaction afterwards."""


def real(accounts: Mapping[Pubkey, Account], instructions: Sequence[Instruction], *signers: Keypair) -> Outcome:
    """What Solana's own programs make of a transaction."""
    machine = LiteSVM()
    machine.set_clock(WireClock(CLOCK.slot, 0, 0, 0, CLOCK.unix_timestamp))
    for address, account in accounts.items():
        machine.set_account(address, WireAccount(account.lamports, account.data, account.owner))
    _, raw = signed(str(machine.latest_blockhash()), instructions, *signers)
    result = machine.send_transaction(VersionedTransaction.from_bytes(raw))
    error = result.err() if isinstance(result, FailedTransactionMetadata) else None
    after = {}
    for address in accounts.keys() | set(open_envelope(raw).writable):
        found = machine.get_account(address)
        after[address] = Account(found.owner, found.lamports, bytes(found.data)) if found else None
    return (*_read(error), after)


def ours(accounts: Mapping[Pubkey, Account], instructions: Sequence[Instruction], *signers: Keypair) -> Outcome:
    """What the paper cluster's bank makes of it."""
    state = State(dict(accounts))
    _, raw = signed("11111111111111111111111111111111", instructions, *signers)
    envelope = open_envelope(raw)
    error: TransactionError | None = bank.refusal(envelope, state)
    if error is None:
        block = Overlay(state)
        error = bank.execute(envelope, block, CLOCK).error
        state.absorb(block)
    after = {address: state.get(address) for address in accounts.keys() | set(envelope.writable)}
    if error is None:
        return "", None, None, after
    name = "Custom" if error.custom_code is not None else error.name
    if name == "InstructionError":
        name = error.message.split(":")[0]
    return name, error.instruction_index, error.custom_code, after


def _read(error: object) -> tuple[str, int | None, int | None]:
    """A solders error by name, index, code."""
    if error is None:
        return "", None, None
    inner = getattr(error, "err", None)
    index = getattr(error, "index", None)
    code = getattr(inner, "code", None)
    if code is not None:
        return "Custom", index, code
    words = re.findall(r"\w+", repr(error if inner is None else inner).removeprefix("TransactionError"))
    return words[words[0] in ("Fieldless", "InstructionErrorFieldless")], index, None
