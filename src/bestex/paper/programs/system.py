"""The System program: transfers of SOL, and new accounts."""

import struct

from solders.pubkey import Pubkey

from bestex.paper.programs.frame import Frame, InstructionFailed
from bestex.solana.instructions import SYSTEM_PROGRAM
from bestex.types import Account

PROGRAM_ID = SYSTEM_PROGRAM
UNITS = 150

_CREATE_ACCOUNT = 0
_TRANSFER = 2
_CREATE_ACCOUNT_WITH_SEED = 3

_ALREADY_IN_USE = 0, "account already in use"
_NEGATIVE_LAMPORTS = 1, "insufficient lamports"
_WRONG_LENGTH = 3, "invalid account data length"
_SEED_MISMATCH = 5, "provided address does not match address derived from seed"
_MAX_DATA_BYTES = 10 * 1024 * 1024
_MAX_SEED_BYTES = 32

_U64 = struct.Struct("<Q")
_SPACE = struct.Struct("<QQ32s")


def execute(frame: Frame, keys: tuple[Pubkey, ...], data: bytes) -> None:
    """Run a System instruction: Transfer, CreateAccount or CreateAccountWithSeed."""
    frame.consume(UNITS)
    tag = int.from_bytes(data[:4], "little") if len(data) >= 4 else -1
    try:
        if tag == _TRANSFER:
            (lamports,) = _U64.unpack_from(data, 4)
            source, destination = _two(keys)
            transfer(frame, source, destination, lamports)
        elif tag == _CREATE_ACCOUNT:
            terms = _SPACE.unpack_from(data, 4)
            source, address = _two(keys)
            frame.require_signer(address)
            _create(frame, source, address, terms)
        elif tag == _CREATE_ACCOUNT_WITH_SEED:
            _create_with_seed(frame, keys, data)
        else:
            raise InstructionFailed("InvalidInstructionData", text="not modelled by the paper cluster")
    except struct.error:
        raise InstructionFailed("InvalidInstructionData") from None


def transfer(frame: Frame, source: Pubkey, destination: Pubkey, lamports: int) -> None:
    """Move lamports out of an account that signed and carries no data."""
    frame.require_signer(source)
    account = frame.load(source)
    if account.data:
        raise InstructionFailed("InvalidArgument", text="Transfer: `from` must not carry data")
    if account.owner != SYSTEM_PROGRAM:
        raise InstructionFailed("ExternalAccountLamportSpend")
    if account.lamports < lamports:
        frame.logs.append(f"Transfer: insufficient lamports {account.lamports}, need {lamports}")
        raise InstructionFailed.custom(*_NEGATIVE_LAMPORTS)
    frame.pay(source, destination, lamports)


def allocate(frame: Frame, address: Pubkey, space: int, owner: Pubkey) -> None:
    """Give an empty account its size and its owner."""
    account = frame.load(address)
    if account.data or account.owner != SYSTEM_PROGRAM:
        raise InstructionFailed.custom(*_ALREADY_IN_USE)
    if space > _MAX_DATA_BYTES:
        raise InstructionFailed.custom(*_WRONG_LENGTH)
    frame.store(address, Account(owner, account.lamports, bytes(space)))


def _two(keys: tuple[Pubkey, ...]) -> tuple[Pubkey, Pubkey]:
    if len(keys) < 2:
        raise InstructionFailed("MissingAccount")
    return keys[0], keys[1]


def _create_with_seed(frame: Frame, keys: tuple[Pubkey, ...], data: bytes) -> None:
    (length,) = _U64.unpack_from(data, 36)
    seed = data[44 : 44 + length]
    terms = _SPACE.unpack_from(data, 44 + length)
    base = Pubkey(data[4:36])
    source, address = _two(keys)
    if length > _MAX_SEED_BYTES:
        raise InstructionFailed("MaxSeedLengthExceeded")
    try:
        expected = Pubkey.create_with_seed(base, seed.decode(), Pubkey(terms[2]))
    except ValueError:
        raise InstructionFailed("InvalidInstructionData") from None
    if expected != address:
        frame.logs.append(f"Create: address {address} does not match derived address {expected}")
        raise InstructionFailed.custom(*_SEED_MISMATCH)
    frame.require_signer(base)
    _create(frame, source, address, terms)


def _create(frame: Frame, source: Pubkey, address: Pubkey, terms: tuple[int, int, bytes]) -> None:
    """Make `address` an account, given its lamports, size and owner. The caller has checked who may do so."""
    lamports, space, owner = terms
    if frame.load(address).lamports > 0:
        raise InstructionFailed.custom(*_ALREADY_IN_USE)
    allocate(frame, address, space, Pubkey(owner))
    transfer(frame, source, address, lamports)
