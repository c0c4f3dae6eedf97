"""What a program sees of the transaction that calls it, and how it fails."""

from typing import Protocol

import msgspec
from solders.pubkey import Pubkey

from bestex.paper.state import Overlay
from bestex.solana.instructions import SYSTEM_PROGRAM
from bestex.types import Account, ChainClock

NOTHING = Account(SYSTEM_PROGRAM, 0, b"")
"""What a program sees where no account is."""


SIGNER, WRITABLE = 1, 2


class Privileges(Protocol):
    """What a transaction may do with an account: bits of SIGNER and WRITABLE."""

    def get(self, address: Pubkey, default: int, /) -> int: ...


class InstructionFailed(Exception):
    """An instruction failed, and with it the whole transaction.

    `name` is the runtime's name of the error, `Custom` where the program gave its own `code`; `program` is the one that
    failed first, the innermost, and None means the one that was called.
    """

    def __init__(self, name: str, code: int | None = None, text: str = "", program: Pubkey | None = None) -> None:
        super().__init__(name)
        self.name = name
        self.code = code
        self.text = text
        self.program = program

    @classmethod
    def custom(cls, code: int, text: str, program: Pubkey | None = None) -> "InstructionFailed":
        """A program's own error: its number, and its name in the log."""
        return cls("Custom", code, text, program)


class Frame(msgspec.Struct, gc=False):
    """One transaction in execution."""

    state: Overlay
    clock: ChainClock
    privileges: Privileges
    units_left: int
    logs: list[str]

    def load(self, address: Pubkey) -> Account:
        """The account, or one that is empty."""
        return self.state.get(address) or NOTHING

    def store(self, address: Pubkey, account: Account) -> None:
        """Write an account. Raises InstructionFailed for one that the transaction did not lock for writing."""
        if not self.privileges.get(address, 0) & WRITABLE:
            raise InstructionFailed("ReadonlyDataModified", text=f"{address} is read-only")
        self.state.put(address, account)

    def require_signer(self, address: Pubkey) -> None:
        """Raises InstructionFailed unless this account has signed the transaction."""
        if not self.privileges.get(address, 0) & SIGNER:
            raise InstructionFailed("MissingRequiredSignature", text=f"{address} did not sign")

    def consume(self, units: int) -> None:
        """Spend compute units. Raises InstructionFailed when the transaction's limit is exceeded."""
        self.units_left -= units
        if self.units_left < 0:
            self.units_left = 0
            raise InstructionFailed("ComputationalBudgetExceeded", text="exceeded CUs meter at BPF instruction")

    def log(self, text: str) -> None:
        """What a program says; the runtime's own programs append to `logs` without the prefix."""
        self.logs.append(f"Program log: {text}")

    def pay(self, source: Pubkey, destination: Pubkey, lamports: int) -> None:
        """Move lamports between accounts, whoever owns them. The caller has checked that the source has them."""
        payer = self.load(source)
        self.store(source, Account(payer.owner, payer.lamports - lamports, payer.data))
        payee = self.load(destination)
        self.store(destination, Account(payee.owner, payee.lamports + lamports, payee.data))


def take(keys: tuple[Pubkey, ...], count: int) -> tuple[Pubkey, ...]:
    """The first accounts of an instruction. Raises InstructionFailed when there are fewer."""
    if len(keys) < count:
        raise InstructionFailed("NotEnoughAccountKeys", text="insufficient account keys for instruction")
    return keys[:count]
