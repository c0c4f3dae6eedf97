"""The paper cluster's programs, run one transaction at a time: what LiteSVM is for the real programs."""

from collections.abc import Mapping, Sequence

from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from bestex.paper.programs import PROGRAMS
from bestex.paper.programs.frame import SIGNER, WRITABLE, Frame, InstructionFailed
from bestex.paper.state import Overlay, State
from bestex.types import Account, ChainClock
from tests.support.litesvm import Outcome

_UNITS = 1_400_000


class PaperMachine:
    """Accounts and a clock that stand still between transactions; offers what `litesvm.Machine` does."""

    def __init__(self) -> None:
        self.payer = Keypair.from_seed(bytes([7]) * 32)
        self._state = State({})
        self._clock = ChainClock(slot=0, unix_timestamp=0, epoch=0)

    def put(self, accounts: Mapping[Pubkey, Account]) -> None:
        """Write accounts, whatever stood there before."""
        self._state.restore(dict(accounts))

    def get(self, key: Pubkey) -> Account:
        """An account as it is now; it must exist."""
        found = self._state.get(key)
        assert found is not None, f"{key} does not exist"
        return found

    def set_clock(self, clock: ChainClock) -> None:
        """The time that programs see."""
        self._clock = clock

    def send(self, instructions: Sequence[Instruction]) -> Outcome:
        """Run one transaction, all or nothing; the payer is the only signer."""
        overlay, logs = Overlay(self._state), list[str]()
        for instruction in instructions:
            keys = tuple(meta.pubkey for meta in instruction.accounts)
            privileges = dict.fromkeys(keys, 0)
            for meta in instruction.accounts:
                signs = SIGNER * (meta.pubkey == self.payer.pubkey())
                privileges[meta.pubkey] |= WRITABLE * meta.is_writable | signs
            frame = Frame(overlay, self._clock, privileges, _UNITS, logs)
            try:
                PROGRAMS[instruction.program_id].execute(frame, keys, bytes(instruction.data))
            except InstructionFailed as failed:
                return Outcome(failed.text or failed.name, failed.code, logs)
        self._state.absorb(overlay)
        return Outcome(None, None, logs)
