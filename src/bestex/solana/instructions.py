"""The instructions around a swap, byte for byte as the native programs read them.

Sources: Compute Budget, System, SPL Token, Associated Token Account and Memo programs.
"""

import struct

from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

from bestex.types import Mint
from bestex.venues.token import ASSOCIATED_TOKEN_PROGRAM

COMPUTE_BUDGET_PROGRAM = Pubkey.from_string("ComputeBudget111111111111111111111111111111")
SYSTEM_PROGRAM = Pubkey.from_string("11111111111111111111111111111111")
MEMO_PROGRAM = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")

_SET_COMPUTE_UNIT_LIMIT = 2
_SET_COMPUTE_UNIT_PRICE = 3
_CREATE_ACCOUNT_WITH_SEED = 3
_INITIALIZE_ACCOUNT_3 = 18
_CLOSE_ACCOUNT = 9
_CREATE_IDEMPOTENT = 1


def compute_unit_limit(units: int) -> Instruction:
    """Compute Budget `SetComputeUnitLimit`."""
    return Instruction(COMPUTE_BUDGET_PROGRAM, struct.pack("<BI", _SET_COMPUTE_UNIT_LIMIT, units), [])


def compute_unit_price(micro_lamports: int) -> Instruction:
    """Compute Budget `SetComputeUnitPrice`: micro-lamports per unit of the limit."""
    return Instruction(COMPUTE_BUDGET_PROGRAM, struct.pack("<BQ", _SET_COMPUTE_UNIT_PRICE, micro_lamports), [])


def memo(text: str) -> Instruction:
    """Memo v2, not signed."""
    return Instruction(MEMO_PROGRAM, text.encode(), [])


def create_token_account_idempotent(payer: Pubkey, account: Pubkey, mint: Mint, program: Pubkey) -> Instruction:
    """Associated Token Account `CreateIdempotent` for the payer's own `account`: nothing happens where it exists."""
    metas = [
        AccountMeta(payer, is_signer=True, is_writable=True),
        AccountMeta(account, is_signer=False, is_writable=True),
        AccountMeta(payer, is_signer=False, is_writable=False),
        AccountMeta(mint, is_signer=False, is_writable=False),
        AccountMeta(SYSTEM_PROGRAM, is_signer=False, is_writable=False),
        AccountMeta(program, is_signer=False, is_writable=False),
    ]
    return Instruction(ASSOCIATED_TOKEN_PROGRAM, bytes([_CREATE_IDEMPOTENT]), metas)


def create_account_with_seed(
    base: Pubkey, account: Pubkey, seed: str, *, lamports: int, space: int, owner: Pubkey
) -> Instruction:
    """System `CreateAccountWithSeed`: `base` pays and signs, `account` needs no key of its own."""
    text = seed.encode()
    data = (
        struct.pack("<I", _CREATE_ACCOUNT_WITH_SEED)
        + bytes(base)
        + struct.pack("<Q", len(text))
        + text
        + struct.pack("<QQ", lamports, space)
        + bytes(owner)
    )
    metas = [
        AccountMeta(base, is_signer=True, is_writable=True),
        AccountMeta(account, is_signer=False, is_writable=True),
    ]
    return Instruction(SYSTEM_PROGRAM, data, metas)


def initialize_token_account(account: Pubkey, mint: Mint, owner: Pubkey, program: Pubkey) -> Instruction:
    """SPL Token `InitializeAccount3`."""
    metas = [
        AccountMeta(account, is_signer=False, is_writable=True),
        AccountMeta(mint, is_signer=False, is_writable=False),
    ]
    return Instruction(program, bytes([_INITIALIZE_ACCOUNT_3]) + bytes(owner), metas)


def close_token_account(account: Pubkey, owner: Pubkey, program: Pubkey) -> Instruction:
    """SPL Token `CloseAccount`: all lamports, wrapped ones too, go to the owner."""
    metas = [
        AccountMeta(account, is_signer=False, is_writable=True),
        AccountMeta(owner, is_signer=False, is_writable=True),
        AccountMeta(owner, is_signer=True, is_writable=False),
    ]
    return Instruction(program, bytes([_CLOSE_ACCOUNT]), metas)
