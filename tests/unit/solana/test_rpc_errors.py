"""Transaction errors as the runtime writes them."""

from typing import Any

import pytest

from bestex.ports import TransactionError
from bestex.solana.rpc_errors import transaction_error

PROGRAMS = ["Budget", "Venue"]
ANCHOR = [
    "Program Budget invoke [1]",
    "Program Budget success",
    "Program Venue invoke [1]",
    "Program log: Instruction: Swap",
    "Program log: AnchorError occurred. Error Code: TooLittleOut. Error Number: 6005.",
    "Program Venue consumed 5000 of 200000 compute units",
    "Program Venue failed: custom program error: 0x1775",
]
INNER = [
    "Program Venue invoke [1]",
    "Program Token invoke [2]",
    "Program log: Error: insufficient funds",
    "Program Token consumed 4000 of 200000 compute units",
    "Program Token failed: custom program error: 0x1",
    "Program Venue consumed 9000 of 200000 compute units",
    "Program Venue failed: custom program error: 0x1",
]
ANCHOR_SAID = "AnchorError occurred. Error Code: TooLittleOut. Error Number: 6005."


@pytest.mark.parametrize(
    ("error", "logs", "expected"),
    [
        ("BlockhashNotFound", [], TransactionError("BlockhashNotFound")),
        ({"DuplicateInstruction": 3}, [], TransactionError("DuplicateInstruction", 3)),
        (
            {"InsufficientFundsForRent": {"account_index": 2}},
            [],
            TransactionError("InsufficientFundsForRent", message="account index 2"),
        ),
        (
            {"InstructionError": [1, {"Custom": 6005}]},
            [],
            TransactionError("InstructionError", 1, 6005, "Venue", "Custom"),
        ),
        (
            {"InstructionError": [1, {"Custom": 6005}]},
            ANCHOR,
            TransactionError("InstructionError", 1, 6005, "Venue", ANCHOR_SAID),
        ),
        (
            {"InstructionError": [1, {"Custom": 1}]},
            INNER,
            TransactionError("InstructionError", 1, 1, "Token", "Error: insufficient funds"),
        ),
        (
            {"InstructionError": [0, "MissingRequiredSignature"]},
            [],
            TransactionError("InstructionError", 0, None, "Budget", "MissingRequiredSignature"),
        ),
        (
            {"InstructionError": [1, "ProgramFailedToComplete"]},
            ["Program Venue invoke [1]", "Program Venue failed: exceeded CUs meter"],
            TransactionError("InstructionError", 1, None, "Venue", "ProgramFailedToComplete: exceeded CUs meter"),
        ),
        (
            {"InstructionError": [5, {"BorshIoError": "eof"}]},
            [],
            TransactionError("InstructionError", 5, None, None, "BorshIoError"),
        ),
        ({"Novel": {"x": 1}}, [], TransactionError("Novel", message="{'x': 1}")),
        (17, [], TransactionError("Unknown", message="17")),
        (None, [], None),
    ],
)
def test_errors(error: Any, logs: list[str], expected: TransactionError | None) -> None:
    assert transaction_error(error, PROGRAMS, logs) == expected
