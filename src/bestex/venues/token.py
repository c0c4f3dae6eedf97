"""SPL Token and Token-2022, as far as swaps meet them: layouts, transfer fees, addresses.

Both programs share the base layouts; Token-2022 appends a list of extensions, of which only the transfer fee changes
what a swap pays. Source: the layouts that the token programs document.
"""

import struct
from collections.abc import Iterator

import msgspec
from solders.pubkey import Pubkey

from bestex.errors import UnsupportedPool
from bestex.types import BPS, U64_MAX, Account, Mint
from bestex.venues.math import ceil_div, rent_exempt

TOKEN_PROGRAM = Pubkey.from_string("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA")
TOKEN_2022_PROGRAM = Pubkey.from_string("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb")
ASSOCIATED_TOKEN_PROGRAM = Pubkey.from_string("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL")
NATIVE_MINT = Pubkey.from_string("So11111111111111111111111111111111111111112")
"""Wrapped SOL: its token accounts hold their amount in lamports as well."""

MINT_SIZE = 82
ACCOUNT_SIZE = 165
INSUFFICIENT_FUNDS = 1
"""The token programs' custom error for a balance that does not suffice."""

_EXTENSIONS_AT = 166
_IS_MINT = 1
_IS_TOKEN_ACCOUNT = 2
_INITIALIZED = 1
_FROZEN = 2
_AMOUNT_AT = 64
_NATIVE_AT = 109

_TRANSFER_FEE_CONFIG = 1
_TRANSFER_FEE_AMOUNT = 2
_DEFAULT_ACCOUNT_STATE = 6
_TRANSFER_HOOK = 14
_HARMLESS = frozenset({3, 10, 12, 18, 19})
"""MintCloseAuthority, InterestBearing, PermanentDelegate, MetadataPointer, TokenMetadata: no effect on a transfer."""
_NAMES = {
    4: "ConfidentialTransferMint",
    9: "NonTransferable",
    16: "ConfidentialTransferFeeConfig",
    25: "ScaledUiAmount",
    26: "Pausable",
}

_U64 = struct.Struct("<Q")
_TLV = struct.Struct("<HH")
_FEE = struct.Struct("<QQH")
_MINT = struct.Struct("<36xQBB")
_ACCOUNT = struct.Struct("<32s32sQ36xB")
_FEE_CONFIG_SIZE = 108
_OLDER_AT, _NEWER_AT = 72, 90


class TransferFee(msgspec.Struct, frozen=True, gc=False):
    """What Token-2022 withholds from each transfer of a mint, from an epoch on."""

    epoch: int
    maximum_fee: int
    """Base units."""
    fee_bps: int

    def on(self, amount: int) -> int:
        """Base units withheld when `amount` is sent."""
        return min(ceil_div(amount * self.fee_bps, BPS), self.maximum_fee)

    def to_deliver(self, amount: int) -> int:
        """Base units to send on top of `amount` so that `amount` arrives.

        Below 100 % it is exactly `on` of what is sent, so Raydium's check that the two agree never fails.
        """
        if amount == 0 or self.fee_bps == 0:
            return 0
        if self.fee_bps == BPS:
            return self.maximum_fee
        gross = ceil_div(amount * BPS, BPS - self.fee_bps)
        return self.on(min(gross, amount + self.maximum_fee))


class TransferFeeConfig(msgspec.Struct, frozen=True, gc=False):
    """A mint's transfer fee: the one in force and the one that was set last, which starts at its own epoch."""

    older: TransferFee
    newer: TransferFee

    def at(self, epoch: int) -> TransferFee:
        """The fee in force in `epoch`."""
        return self.newer if epoch >= self.newer.epoch else self.older

    @classmethod
    def constant(cls, fee_bps: int, maximum_fee: int = U64_MAX) -> "TransferFeeConfig":
        """The same fee in every epoch."""
        fee = TransferFee(0, maximum_fee, fee_bps)
        return cls(fee, fee)


class MintInfo(msgspec.Struct, frozen=True, gc=False):
    """What a swap has to know of a mint."""

    program: Pubkey
    decimals: int
    supply: int
    """Base units."""
    transfer_fee: TransferFeeConfig | None


class TokenBalance(msgspec.Struct, frozen=True, gc=False):
    """A token account, decoded."""

    mint: Mint
    owner: Pubkey
    amount: int
    """Base units."""
    frozen: bool
    withheld_at: int | None
    """Offset of the u64 that counts withheld transfer fees; None where the account has no such extension."""


def decode_mint(account: Account) -> MintInfo:
    """Read a mint. Raises UnsupportedPool for malformed bytes, or for an extension that bars or changes transfers."""
    data = account.data
    _check_program(account, MINT_SIZE)
    supply, decimals, initialized = _MINT.unpack_from(data)
    if initialized != 1:
        raise UnsupportedPool("Mint is not initialized")
    fee = None
    for kind, offset, size in _extensions(data, _IS_MINT) if len(data) > MINT_SIZE else ():
        if kind == _TRANSFER_FEE_CONFIG:
            if size != _FEE_CONFIG_SIZE:
                raise UnsupportedPool("Mint has a transfer fee of an unknown layout", size=size)
            fee = _decode_fee(data, offset)
        else:
            _check_extension(kind, data[offset : offset + size])
    return MintInfo(account.owner, decimals, supply, fee)


def decode_token_account(account: Account) -> TokenBalance:
    """Read a token account. Raises UnsupportedPool for malformed bytes or one that is not initialized."""
    mint, owner, amount, state = _read_account(account)
    return TokenBalance(Pubkey(mint), Pubkey(owner), amount, state == _FROZEN, _withheld_at(account.data))


def decode_vault(
    mint: Mint, mint_account: Account, vault_account: Account, program: Pubkey
) -> tuple[int, TransferFeeConfig | None]:
    """Balance of a pool's vault in base units, and the transfer fee of its mint.

    Raises UnsupportedPool where mint, vault and token program do not fit each other, or transfers would fail.
    """
    fee = decode_mint(mint_account).transfer_fee
    vault_mint, _, amount, state = _read_account(vault_account)
    if vault_mint != bytes(mint) or vault_account.owner != program or mint_account.owner != program:
        raise UnsupportedPool("Vault, mint and pool disagree", mint=str(mint))
    if state == _FROZEN:
        raise UnsupportedPool("Vault is frozen", mint=str(mint))
    if fee is not None and _withheld_at(vault_account.data) is None:
        raise UnsupportedPool("Vault cannot withhold transfer fees", mint=str(mint))
    return amount, fee


def credit(account: Account, amount: int, withheld: int = 0) -> Account:
    """The token account with `amount` base units more (or, negative, fewer) and `withheld` more kept as transfer fee.

    Raises ValueError where the balance would leave u64, or where there is no room for a withheld fee.
    """
    data = bytearray(account.data)
    balance = _U64.unpack_from(data, _AMOUNT_AT)[0] + amount
    if not 0 <= balance <= U64_MAX:
        raise ValueError(f"Token balance {balance} does not fit u64")
    _U64.pack_into(data, _AMOUNT_AT, balance)
    if withheld:
        offset = _withheld_at(account.data)
        if offset is None:
            raise ValueError("Token account cannot withhold transfer fees")
        _U64.pack_into(data, offset, _U64.unpack_from(data, offset)[0] + withheld)
    native = data[_NATIVE_AT] == 1
    return Account(account.owner, account.lamports + amount if native else account.lamports, bytes(data))


def associated_token_address(owner: Pubkey, mint: Mint, program: Pubkey) -> Pubkey:
    """Where wallets look for the tokens of `mint` that belong to `owner`; `program` is the mint's token program."""
    seeds = [bytes(owner), bytes(program), bytes(mint)]
    return Pubkey.find_program_address(seeds, ASSOCIATED_TOKEN_PROGRAM)[0]


def mint_account(
    decimals: int, supply: int, program: Pubkey = TOKEN_PROGRAM, transfer_fee: TransferFeeConfig | None = None
) -> Account:
    """A mint without authorities. `supply` in base units; a transfer fee needs Token-2022."""
    data = bytearray(MINT_SIZE)
    _MINT.pack_into(data, 0, supply, decimals, 1)
    if transfer_fee is not None:
        value = bytearray(_FEE_CONFIG_SIZE)
        for offset, fee in ((_OLDER_AT, transfer_fee.older), (_NEWER_AT, transfer_fee.newer)):
            _FEE.pack_into(value, offset, fee.epoch, fee.maximum_fee, fee.fee_bps)
        data = _extended(data, _IS_MINT, _TRANSFER_FEE_CONFIG, bytes(value), program)
    return Account(program, rent_exempt(len(data)), bytes(data))


def token_account(
    mint: Mint, owner: Pubkey, amount: int, program: Pubkey = TOKEN_PROGRAM, *, withholds_fees: bool = False
) -> Account:
    """A token account that holds `amount` base units.

    `withholds_fees` for a mint with a transfer fee. An account of wrapped SOL holds its amount in lamports on top.
    """
    data = bytearray(ACCOUNT_SIZE)
    _ACCOUNT.pack_into(data, 0, bytes(mint), bytes(owner), amount, _INITIALIZED)
    if withholds_fees:
        data = _extended(data, _IS_TOKEN_ACCOUNT, _TRANSFER_FEE_AMOUNT, bytes(_U64.size), program)
    rent = rent_exempt(len(data))
    if mint == NATIVE_MINT:
        struct.pack_into("<IQ", data, _NATIVE_AT, 1, rent)
        return Account(program, rent + amount, bytes(data))
    return Account(program, rent, bytes(data))


def _extended(data: bytearray, account_type: int, kind: int, value: bytes, program: Pubkey) -> bytearray:
    if program != TOKEN_2022_PROGRAM:
        raise ValueError("Only Token-2022 has extensions")
    padding = bytes(ACCOUNT_SIZE - len(data))
    return bytearray(data + padding + bytes([account_type]) + _TLV.pack(kind, len(value)) + value)


def _check_program(account: Account, size: int) -> None:
    actual = len(account.data)
    if account.owner == TOKEN_PROGRAM:
        sound = actual == size
    elif account.owner == TOKEN_2022_PROGRAM:
        sound = actual >= size
    else:
        raise UnsupportedPool("Account does not belong to a token program", owner=str(account.owner))
    if not sound:
        raise UnsupportedPool("Token program account has a wrong size", size=actual)


def _read_account(account: Account) -> tuple[bytes, bytes, int, int]:
    """Mint, owner, amount and state."""
    _check_program(account, ACCOUNT_SIZE)
    fields: tuple[bytes, bytes, int, int] = _ACCOUNT.unpack_from(account.data)
    if fields[3] not in (_INITIALIZED, _FROZEN):
        raise UnsupportedPool("Token account is not initialized")
    return fields


def _withheld_at(data: bytes) -> int | None:
    for kind, offset, size in _extensions(data, _IS_TOKEN_ACCOUNT) if len(data) > ACCOUNT_SIZE else ():
        if kind == _TRANSFER_FEE_AMOUNT and size == _U64.size:
            return offset
    return None


def _extensions(data: bytes, account_type: int) -> Iterator[tuple[int, int, int]]:
    """Type, offset and length of each extension's value."""
    if len(data) < _EXTENSIONS_AT or data[ACCOUNT_SIZE] != account_type:
        raise UnsupportedPool("Token-2022 account is malformed", size=len(data))
    at = _EXTENSIONS_AT
    while at + _TLV.size <= len(data):
        kind, length = _TLV.unpack_from(data, at)
        if kind == 0:
            return
        at += _TLV.size
        if at + length > len(data):
            raise UnsupportedPool("Token-2022 extension runs past the account", extension=kind)
        yield kind, at, length
        at += length


def _check_extension(kind: int, value: bytes) -> None:
    if kind in _HARMLESS:
        return
    if kind == _TRANSFER_HOOK and len(value) == 64 and not any(value[32:]):
        return
    if kind == _DEFAULT_ACCOUNT_STATE and value == bytes([_INITIALIZED]):
        return
    name = {_TRANSFER_HOOK: "TransferHook", _DEFAULT_ACCOUNT_STATE: "DefaultAccountState"}.get(kind)
    name = name or _NAMES.get(kind, f"extension {kind}")
    raise UnsupportedPool(f"Mint has an unsupported Token-2022 feature: {name}", extension=kind)


def _decode_fee(data: bytes, at: int) -> TransferFeeConfig:
    older = TransferFee(*_FEE.unpack_from(data, at + _OLDER_AT))
    newer = TransferFee(*_FEE.unpack_from(data, at + _NEWER_AT))
    if max(older.fee_bps, newer.fee_bps) > BPS:
        raise UnsupportedPool("Transfer fee is above 100 %", older=older.fee_bps, newer=newer.fee_bps)
    return TransferFeeConfig(older, newer)
