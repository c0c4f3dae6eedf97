"""The Memo program, version 2: text that the ledger keeps."""

from solders.pubkey import Pubkey

from bestex.paper.programs.frame import Frame, InstructionFailed
from bestex.solana.instructions import MEMO_PROGRAM

PROGRAM_ID = MEMO_PROGRAM

_UNITS = 2_000
_UNITS_PER_BYTE = 55


def execute(frame: Frame, keys: tuple[Pubkey, ...], data: bytes) -> None:
    """Log the memo. Every account that is given must have signed."""
    frame.consume(_UNITS + _UNITS_PER_BYTE * len(data))
    for key in keys:
        frame.require_signer(key)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise InstructionFailed("InvalidInstructionData", text=f"Invalid UTF-8, from byte {error.start}") from None
    frame.log(f'Memo (len {len(data)}): "{text}"')
