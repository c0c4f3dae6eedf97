"""The Associated Token Account program: a wallet's token account at an address that anyone can derive."""

from functools import lru_cache

from solders.pubkey import Pubkey

from bestex.paper.programs import spl_token, system
from bestex.paper.programs.frame import Frame, InstructionFailed, take
from bestex.solana.instructions import SYSTEM_PROGRAM
from bestex.types import Mint
from bestex.venues.math import rent_exempt
from bestex.venues.token import ACCOUNT_SIZE, ASSOCIATED_TOKEN_PROGRAM, TOKEN_PROGRAM, associated_token_address

PROGRAM_ID = ASSOCIATED_TOKEN_PROGRAM

_CREATE = b"\x00"
_CREATE_IDEMPOTENT = b"\x01"
_INVALID_OWNER = 0, "Error: Associated token account owner does not match address derivation"
_UNITS_FOUND = 7_300
_UNITS_CREATED = 17_500


@lru_cache(maxsize=4_096)
def _address(wallet: Pubkey, mint: Mint) -> Pubkey:
    return associated_token_address(wallet, mint, TOKEN_PROGRAM)


def execute(frame: Frame, keys: tuple[Pubkey, ...], data: bytes) -> None:
    """Run Create or CreateIdempotent. Only mints of the SPL Token program."""
    payer, address, wallet, mint, _, program = take(keys, 6)
    if data not in (b"", _CREATE, _CREATE_IDEMPOTENT):
        raise InstructionFailed("InvalidInstructionData")
    frame.log("CreateIdempotent" if data == _CREATE_IDEMPOTENT else "Create")
    frame.consume(_UNITS_FOUND)
    if program != TOKEN_PROGRAM:
        raise InstructionFailed("IncorrectProgramId", text="only SPL Token is modelled by the paper cluster")
    if _address(wallet, mint) != address:
        frame.log("Error: Associated address does not match seed derivation")
        raise InstructionFailed("InvalidSeeds")
    account = frame.load(address)
    if account.owner == TOKEN_PROGRAM and data == _CREATE_IDEMPOTENT:
        held = spl_token.holding(frame, address)
        if held.owner != wallet:
            raise InstructionFailed.custom(*_INVALID_OWNER)
        if held.mint != mint:
            raise InstructionFailed("InvalidAccountData")
        return
    if account.owner != SYSTEM_PROGRAM:
        raise InstructionFailed("IllegalOwner")
    frame.consume(_UNITS_CREATED)
    missing = rent_exempt(ACCOUNT_SIZE) - account.lamports
    if missing > 0:
        system.transfer(frame, payer, address, missing)
    system.allocate(frame, address, ACCOUNT_SIZE, TOKEN_PROGRAM)
    spl_token.initialize(frame, address, mint, wallet)
