"""The programs that the paper cluster runs, by address."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeAlias

import msgspec
from solders.pubkey import Pubkey

from bestex.paper.programs import associated_token, compute_budget, memo, spl_token, swap, system
from bestex.paper.programs.frame import Frame
from bestex.venues import PROGRAMS as VENUES

Execute: TypeAlias = Callable[[Frame, tuple[Pubkey, ...], bytes], None]


class Program(msgspec.Struct, frozen=True):
    """A program, and the log lines around its instructions."""

    execute: Execute
    """Runs one instruction, given its accounts and data. Raises InstructionFailed."""
    name: str
    invoked: str
    succeeded: str
    builtin: bool
    """Part of the runtime: logs no compute units."""


def program(address: Pubkey, execute: Execute, *, builtin: bool = False) -> Program:
    """The program at an address."""
    name = str(address)
    return Program(execute, name, f"Program {name} invoke [1]", f"Program {name} success", builtin)


def _set_budget(frame: Frame, _keys: tuple[Pubkey, ...], _data: bytes) -> None:
    # The envelope has read the instruction already: the budget holds for the whole transaction.
    frame.consume(compute_budget.UNITS)


_BUILTIN: Mapping[Pubkey, Execute] = {compute_budget.PROGRAM_ID: _set_budget, system.PROGRAM_ID: system.execute}
_OTHERS: Mapping[Pubkey, Execute] = {
    spl_token.PROGRAM_ID: spl_token.execute,
    associated_token.PROGRAM_ID: associated_token.execute,
    memo.PROGRAM_ID: memo.execute,
    **{venue.PROGRAM_ID: partial(swap.execute, venue) for venue in VENUES.values()},
}
PROGRAMS: Mapping[Pubkey, Program] = {
    **{address: program(address, execute, builtin=True) for address, execute in _BUILTIN.items()},
    **{address: program(address, execute) for address, execute in _OTHERS.items()},
}
