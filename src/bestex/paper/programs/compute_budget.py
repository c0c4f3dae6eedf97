"""The Compute Budget program: how many units a transaction may use, and what it pays for each."""

from collections.abc import Iterable

import msgspec

from bestex.errors import BestexError
from bestex.solana.instructions import COMPUTE_BUDGET_PROGRAM
from bestex.solana.transaction import MAX_COMPUTE_UNITS
from bestex.venues.math import ceil_div

PROGRAM_ID = COMPUTE_BUDGET_PROGRAM
UNITS = 150
"""What each of its instructions costs."""
DEFAULT_UNITS = 200_000
"""Per instruction of another program, for a transaction that sets no limit."""

_MICRO_LAMPORTS = 1_000_000
_REQUEST_HEAP_FRAME = 1
_SET_UNIT_LIMIT = 2
_SET_UNIT_PRICE = 3
_SET_LOADED_DATA_LIMIT = 4
_WIDTHS = {_REQUEST_HEAP_FRAME: 4, _SET_UNIT_LIMIT: 4, _SET_UNIT_PRICE: 8, _SET_LOADED_DATA_LIMIT: 4}


class BadBudget(BestexError):
    """A Compute Budget instruction is malformed or given twice."""

    code = "BAD_BUDGET"


class Budget(msgspec.Struct, frozen=True, gc=False):
    """What a transaction asks for."""

    unit_limit: int
    price_micro_lamports: int
    """Per unit of the limit, used or not."""

    @property
    def priority_fee_lamports(self) -> int:
        """What the transaction pays on top of its base fee; rounded up."""
        return ceil_div(self.unit_limit * self.price_micro_lamports, _MICRO_LAMPORTS)


def read_budget(instructions: Iterable[bytes], others: int) -> Budget:
    """The budget that Compute Budget instructions set, in a transaction with `others` beside them.

    Raises BadBudget (context `index`: which of them; `name`: the runtime's name of the error).
    """
    values: dict[int, int] = {}
    for index, data in enumerate(instructions):
        tag = data[0] if data else 0
        if tag not in _WIDTHS or len(data) != 1 + _WIDTHS[tag]:
            raise BadBudget("malformed", index=index, name="InvalidInstructionData")
        if tag in values:
            raise BadBudget("given twice", index=index, name="DuplicateInstruction")
        values[tag] = int.from_bytes(data[1:], "little")
    limit = values.get(_SET_UNIT_LIMIT, others * DEFAULT_UNITS)
    return Budget(min(limit, MAX_COMPUTE_UNITS), values.get(_SET_UNIT_PRICE, 0))
