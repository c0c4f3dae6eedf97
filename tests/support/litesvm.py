"""The real programs, run on this machine: LiteSVM with our accounts, our transactions, our clock."""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
from solders.account import Account as SolderAccount
from solders.clock import Clock
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import FailedTransactionMetadata

from bestex.solana.instructions import SYSTEM_PROGRAM, compute_unit_limit
from bestex.types import Account, ChainClock

PROGRAMS_DIR = "BESTEX_PROGRAMS_DIR"
"""Setting that names a directory with program binaries, each called `<program id>.so`."""
_UNITS = 1_400_000


class WrongBuildError(Exception):
    """A binary is there, but it is not the build that our venue was proven against."""


def program_binary(program_id: Pubkey, sha256: Iterable[str]) -> Path | None:
    """The program's binary if there is one. Raises WrongBuildError unless it has one of the hashes."""
    directory = os.environ.get(PROGRAMS_DIR)
    if not directory:
        return None
    path = next(
        (path for name in (f"{program_id}.so", str(program_id)) if (path := Path(directory, name)).exists()), None
    )
    if path is None:
        return None
    actual = hashlib.sha256(path.read_bytes()).hexdigest()
    if actual not in set(sha256):
        raise WrongBuildError(f"{path} has the sha256 {actual}, which is none of {', '.join(sha256)}")
    return path


class Outcome(msgspec.Struct, frozen=True):
    """What became of a transaction."""

    error: str | None
    """None if it succeeded."""
    custom: int | None
    """The number in `custom program error`; None too where the program panicked."""
    logs: list[str]


class Machine:
    """A LiteSVM with the token programs and, if given, others; one block that never ends."""

    def __init__(self, programs: Mapping[Pubkey, Path] | None = None) -> None:
        self.payer = Keypair.from_seed(bytes([7]) * 32)
        self._vm = LiteSVM().with_transaction_history(0)
        for program_id, path in (programs or {}).items():
            self._vm.add_program_from_file(program_id, path)
        self.put({self.payer.pubkey(): Account(SYSTEM_PROGRAM, 10**15, b"")})

    def put(self, accounts: Mapping[Pubkey, Account]) -> None:
        """Write accounts, whatever stood there before."""
        for key, account in accounts.items():
            made = SolderAccount(account.lamports, account.data, account.owner)
            self._vm.set_account(key, made)

    def get(self, key: Pubkey) -> Account:
        """An account as it is now; it must exist."""
        found = self._vm.get_account(key)
        assert found is not None, f"{key} does not exist"
        return Account(found.owner, found.lamports, bytes(found.data))

    def set_clock(self, clock: ChainClock) -> None:
        """The time that programs see."""
        self._vm.set_clock(Clock(clock.slot, 0, clock.epoch, clock.epoch, clock.unix_timestamp))

    def send(self, instructions: Sequence[Instruction]) -> Outcome:
        """Sign and run one transaction; the payer is the only signer."""
        self._vm.expire_blockhash()
        all_of_them = [compute_unit_limit(_UNITS), *instructions]
        message = MessageV0.try_compile(self.payer.pubkey(), all_of_them, [], self._vm.latest_blockhash())
        result = self._vm.send_transaction(VersionedTransaction(message, [self.payer]))
        if not isinstance(result, FailedTransactionMetadata):
            return Outcome(None, None, result.logs())
        inner = getattr(result.err(), "err", None)
        return Outcome(str(result.err()), getattr(inner, "code", None), result.meta().logs())
