"""The SPL Token program, as far as swaps and wallets call it."""

import struct

import msgspec
from solders.pubkey import Pubkey

from bestex.errors import UnsupportedPool
from bestex.paper.programs.frame import Frame, InstructionFailed, take
from bestex.solana.instructions import SYSTEM_PROGRAM
from bestex.types import Account, Mint
from bestex.venues.math import rent_exempt
from bestex.venues.token import (
    ACCOUNT_SIZE,
    INSUFFICIENT_FUNDS,
    NATIVE_MINT,
    TOKEN_2022_PROGRAM,
    TOKEN_PROGRAM,
    MintInfo,
    credit,
    decode_mint,
    decode_token_account,
    token_account,
)

PROGRAM_ID = TOKEN_PROGRAM

_TRANSFER = 3
_CLOSE_ACCOUNT = 9
_TRANSFER_CHECKED = 12
_SYNC_NATIVE = 17
_INITIALIZE_ACCOUNT_3 = 18

_UNITS = {_TRANSFER: 4_645, _CLOSE_ACCOUNT: 2_916, _TRANSFER_CHECKED: 6_199, _SYNC_NATIVE: 3_045}
_UNITS_OF_OTHERS = 4_214

_NOT_RENT_EXEMPT = 0, "Error: Lamport balance below rent-exempt threshold"
_INSUFFICIENT_FUNDS = INSUFFICIENT_FUNDS, "Error: insufficient funds"
_INVALID_MINT = 2, "Error: Invalid Mint"
_MINT_MISMATCH = 3, "Error: Account not associated with this Mint"
_OWNER_MISMATCH = 4, "Error: owner does not match"
_ALREADY_IN_USE = 6, "Error: account or token already in use"
_HAS_BALANCE = 11, "Error: Non-native account can only be closed if its balance is zero"
_INVALID_INSTRUCTION = 12, "Error: Invalid instruction"
_INVALID_STATE = 13, "Error: State is invalid for requested operation"
_OVERFLOW = 14, "Error: Operation overflowed"
_FROZEN = 17, "Error: Account is frozen"
_DECIMALS_MISMATCH = 18, "Error: decimals different from the Mint decimals"
_NOT_NATIVE = 19, "Error: Instruction does not support non-native tokens"

_STATE_AT = 108
_NATIVE = struct.Struct("<IQ")
_NATIVE_AT = 109
_CLOSE_AUTHORITY = struct.Struct("<I32s")
_CLOSE_AUTHORITY_AT = 129
_U64 = struct.Struct("<Q")
_CHECKED = struct.Struct("<QB")


class Holding(msgspec.Struct, frozen=True, gc=False):
    """A token account as an instruction met it."""

    address: Pubkey
    account: Account
    mint: Mint
    owner: Pubkey
    amount: int
    frozen: bool


def execute(frame: Frame, keys: tuple[Pubkey, ...], data: bytes) -> None:
    """Run an SPL Token instruction."""
    tag = data[0] if data else -1
    frame.consume(_UNITS.get(tag, _UNITS_OF_OTHERS))
    name = _NAMES.get(tag)
    if name is None:
        raise failure(_INVALID_INSTRUCTION)
    frame.log(f"Instruction: {name}")
    try:
        _HANDLERS[tag](frame, keys, data)
    except struct.error:
        raise failure(_INVALID_INSTRUCTION) from None


def failure(error: tuple[int, str]) -> InstructionFailed:
    """The program's own error, wherever it was called from."""
    return InstructionFailed.custom(*error, PROGRAM_ID)


def holding(frame: Frame, address: Pubkey, *, token_2022: bool = False) -> Holding:
    """The token account at `address`. Raises InstructionFailed where there is none."""
    account = frame.load(address)
    program = account.owner
    if program == TOKEN_PROGRAM or (token_2022 and program == TOKEN_2022_PROGRAM):
        try:
            balance = decode_token_account(account)
        except UnsupportedPool:
            uninitialized = len(account.data) == ACCOUNT_SIZE and not account.data[_STATE_AT]
            name = "UninitializedAccount" if uninitialized else "InvalidAccountData"
            raise InstructionFailed(name, program=program) from None
        return Holding(address, account, balance.mint, balance.owner, balance.amount, balance.frozen)
    name = "IncorrectProgramId" if len(account.data) == ACCOUNT_SIZE else "InvalidAccountData"
    raise InstructionFailed(name, program=PROGRAM_ID)


def require_mint(frame: Frame, mint: Mint) -> MintInfo:
    """The mint at an address. Raises InstructionFailed where there is none of this program."""
    account = frame.load(mint)
    if account.owner != PROGRAM_ID:
        raise InstructionFailed("IncorrectProgramId", program=PROGRAM_ID)
    try:
        return decode_mint(account)
    except UnsupportedPool:
        raise failure(_INVALID_MINT) from None


def amount_of(account: Account, mint: Mint) -> int | None:
    """Base units in a token account of `mint`; None for any other account."""
    try:
        balance = decode_token_account(account)
    except UnsupportedPool:
        return None
    return balance.amount if balance.mint == mint else None


def require_funds(held: Holding, authority: Pubkey, amount: int) -> None:
    """Check that `authority` may take `amount` out of an account, as the program does in a transfer."""
    if held.frozen:
        raise failure(_FROZEN)
    if held.amount < amount:
        raise failure(_INSUFFICIENT_FUNDS)
    if held.owner != authority:
        raise failure(_OWNER_MISMATCH)


def add(frame: Frame, held: Holding, amount: int, withheld: int = 0) -> None:
    """Credit (or, negative, debit) an account that was read in this instruction."""
    try:
        frame.store(held.address, credit(held.account, amount, withheld))
    except ValueError:
        raise failure(_OVERFLOW) from None


def initialize(frame: Frame, address: Pubkey, mint: Mint, owner: Pubkey) -> None:
    """Make zero bytes a token account."""
    account = frame.load(address)
    if len(account.data) != ACCOUNT_SIZE:
        raise InstructionFailed("InvalidAccountData", program=PROGRAM_ID)
    if account.owner != PROGRAM_ID:
        raise InstructionFailed("IncorrectProgramId", program=PROGRAM_ID)
    if account.data[_STATE_AT]:
        raise failure(_ALREADY_IN_USE)
    rent = rent_exempt(ACCOUNT_SIZE)
    if account.lamports < rent:
        raise failure(_NOT_RENT_EXEMPT)
    require_mint(frame, mint)
    wrapped = account.lamports - rent if mint == NATIVE_MINT else 0
    data = token_account(mint, owner, wrapped).data
    frame.store(address, Account(PROGRAM_ID, account.lamports, data))


def _initialize(frame: Frame, keys: tuple[Pubkey, ...], data: bytes) -> None:
    address, mint = take(keys, 2)
    if len(data) < 33:
        raise failure(_INVALID_INSTRUCTION)
    initialize(frame, address, mint, Pubkey(data[1:33]))


def _transfer(frame: Frame, keys: tuple[Pubkey, ...], data: bytes) -> None:
    source, destination, authority = take(keys, 3)
    (amount,) = _U64.unpack_from(data, 1)
    payer, payee = _parties(frame, source, destination, amount)
    _move(frame, payer, payee, authority, amount)


def _transfer_checked(frame: Frame, keys: tuple[Pubkey, ...], data: bytes) -> None:
    source, mint, destination, authority = take(keys, 4)
    amount, decimals = _CHECKED.unpack_from(data, 1)
    payer, payee = _parties(frame, source, destination, amount)
    if payer.mint != mint:
        raise failure(_MINT_MISMATCH)
    if require_mint(frame, mint).decimals != decimals:
        raise failure(_DECIMALS_MISMATCH)
    _move(frame, payer, payee, authority, amount)


def _parties(frame: Frame, source: Pubkey, destination: Pubkey, amount: int) -> tuple[Holding, Holding]:
    """Both sides of a transfer, able to give and to take: the program looks at them in this order."""
    payer, payee = holding(frame, source), holding(frame, destination)
    if payer.frozen or payee.frozen:
        raise failure(_FROZEN)
    if payer.amount < amount:
        raise failure(_INSUFFICIENT_FUNDS)
    if payer.mint != payee.mint:
        raise failure(_MINT_MISMATCH)
    return payer, payee


def _move(frame: Frame, payer: Holding, payee: Holding, authority: Pubkey, amount: int) -> None:
    require_funds(payer, authority, amount)
    frame.require_signer(authority)
    if payer.address != payee.address:
        add(frame, payer, -amount)
        add(frame, payee, amount)


def _close(frame: Frame, keys: tuple[Pubkey, ...], _data: bytes) -> None:
    address, destination, authority = take(keys, 3)
    if address == destination:
        raise InstructionFailed("InvalidAccountData", program=PROGRAM_ID)
    held = holding(frame, address)
    if held.amount and held.mint != NATIVE_MINT:
        raise failure(_HAS_BALANCE)
    tag, closer = _CLOSE_AUTHORITY.unpack_from(held.account.data, _CLOSE_AUTHORITY_AT)
    if authority != (Pubkey(closer) if tag else held.owner):
        raise failure(_OWNER_MISMATCH)
    frame.require_signer(authority)
    lamports = held.account.lamports
    frame.store(address, Account(SYSTEM_PROGRAM, 0, b""))
    payee = frame.load(destination)
    frame.store(destination, Account(payee.owner, payee.lamports + lamports, payee.data))


def _sync_native(frame: Frame, keys: tuple[Pubkey, ...], _data: bytes) -> None:
    (address,) = take(keys, 1)
    if frame.load(address).owner != PROGRAM_ID:
        raise InstructionFailed("IncorrectProgramId", program=PROGRAM_ID)
    held = holding(frame, address)
    native, rent = _NATIVE.unpack_from(held.account.data, _NATIVE_AT)
    if not native:
        raise failure(_NOT_NATIVE)
    wrapped = held.account.lamports - rent
    if wrapped < held.amount:
        raise failure(_INVALID_STATE)
    data = credit(held.account, wrapped - held.amount).data
    frame.store(address, Account(PROGRAM_ID, held.account.lamports, data))


_HANDLERS = {
    _TRANSFER: _transfer,
    _CLOSE_ACCOUNT: _close,
    _TRANSFER_CHECKED: _transfer_checked,
    _SYNC_NATIVE: _sync_native,
    _INITIALIZE_ACCOUNT_3: _initialize,
}
_NAMES = {
    _TRANSFER: "Transfer",
    _CLOSE_ACCOUNT: "CloseAccount",
    _TRANSFER_CHECKED: "TransferChecked",
    _SYNC_NATIVE: "SyncNative",
    _INITIALIZE_ACCOUNT_3: "InitializeAccount3",
}
