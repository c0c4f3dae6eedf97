"""What callers may ask for: the parameters of the methods, read strictly where they matter.

Fields that are not known here are ignored, as nodes do.
"""

import base64
import binascii
from typing import Any, Literal, TypeVar

import msgspec
from solders.hash import Hash, ParseHashError
from solders.pubkey import Pubkey
from solders.signature import Signature as WireSignature

from bestex.paper.rpc_wire import INVALID_PARAMS, MIN_CONTEXT_SLOT_NOT_REACHED, RpcError
from bestex.types import Commitment, Signature, Slot

T = TypeVar("T")

_ALPHABET = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_DIGITS = {digit: value for value, digit in enumerate(_ALPHABET)}
_TEN_DIGITS = 58**10
_MAX_BASE58 = 1_700
"""Digits of the longest transaction, and a few more."""


class DataSlice(msgspec.Struct, frozen=True):
    """A part of an account's data."""

    offset: int
    length: int


class Context(msgspec.Struct, frozen=True, rename="camel"):
    """What most methods take: how sure, and how new at least."""

    commitment: Commitment = Commitment.FINALIZED
    min_context_slot: Slot | None = None

    def check(self, slot: Slot) -> None:
        """Raise RpcError when a node at `slot` is too far behind for the caller."""
        if self.min_context_slot is not None and slot < self.min_context_slot:
            raise RpcError(
                MIN_CONTEXT_SLOT_NOT_REACHED, "Minimum context slot has not been reached", {"contextSlot": slot}
            )


class Accounts(Context, frozen=True, rename="camel"):
    """Of `getAccountInfo` and `getMultipleAccounts`."""

    encoding: Literal["base58", "base64", "base64+zstd", "jsonParsed"] = "base58"
    data_slice: DataSlice | None = None


class Simulating(Context, frozen=True, rename="camel"):
    """Of `simulateTransaction`."""

    encoding: str = "base58"
    sig_verify: bool = False
    replace_recent_blockhash: bool = False
    accounts: dict[str, Any] | None = None


class Sending(msgspec.Struct, frozen=True, rename="camel"):
    """Of `sendTransaction`. `max_retries` is taken and means nothing: the one validator never loses what it holds."""

    encoding: str = "base58"
    skip_preflight: bool = False
    preflight_commitment: Commitment = Commitment.FINALIZED
    max_retries: int | None = None
    min_context_slot: Slot | None = None


class Statuses(msgspec.Struct, frozen=True, rename="camel"):
    """Of `getSignatureStatuses`."""

    search_transaction_history: bool = False


class Transactions(msgspec.Struct, frozen=True, rename="camel"):
    """Of `getTransaction`."""

    commitment: Commitment = Commitment.FINALIZED
    encoding: str = "json"
    max_supported_transaction_version: int | None = None


def argument(params: list[Any], at: int, wanted: type[T]) -> T:
    """A parameter that must be there. Raises RpcError."""
    if at >= len(params):
        raise RpcError(INVALID_PARAMS, f"`params` should have at least {at + 1} argument(s)")
    try:
        return msgspec.convert(params[at], wanted)
    except msgspec.ValidationError as error:
        raise RpcError(INVALID_PARAMS, f"Invalid params: {error}.") from None


def options(params: list[Any], at: int, wanted: type[T]) -> T:
    """The object of options, which may be missing or null. Raises RpcError."""
    if at >= len(params) or params[at] is None:
        return wanted()
    return argument(params, at, wanted)


def address(text: str) -> Pubkey:
    """An account's address. Raises RpcError."""
    try:
        return Pubkey.from_string(text)
    except ValueError:
        raise RpcError(INVALID_PARAMS, "Invalid param: Invalid") from None


def signature(text: str) -> Signature:
    """A transaction's signature. Raises RpcError."""
    try:
        return Signature(str(WireSignature.from_string(text)))
    except ValueError:
        raise RpcError(INVALID_PARAMS, "Invalid param: Invalid") from None


def blockhash(text: str) -> Hash:
    """A blockhash. Raises RpcError."""
    try:
        return Hash.from_string(text)
    except ParseHashError:
        raise RpcError(INVALID_PARAMS, "Invalid param: Invalid") from None


def binary(text: str, encoding: str) -> bytes:
    """Bytes in base58 or base64. Raises RpcError."""
    if encoding == "base64":
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise RpcError(INVALID_PARAMS, "invalid base64 encoding") from None
    if encoding == "base58":
        return base58_decode(text)
    raise RpcError(INVALID_PARAMS, f"unsupported encoding: {encoding}. Supported encodings: base58, base64")


def base58_encode(data: bytes) -> str:
    """Bytes in Bitcoin's base58."""
    number, digits = int.from_bytes(data), bytearray()
    while number:
        # Ten digits at a time: the division of the long number is what costs.
        number, part = divmod(number, _TEN_DIGITS)
        for _ in range(10):
            part, digit = divmod(part, 58)
            digits.append(_ALPHABET[digit])
    zeros = len(data) - len(data.lstrip(b"\0"))
    return (_ALPHABET[:1] * zeros + bytes(reversed(digits)).lstrip(_ALPHABET[:1])).decode()


def base58_decode(text: str) -> bytes:
    """The bytes that `base58_encode` was given. Raises RpcError."""
    number = 0
    try:
        if len(text) > _MAX_BASE58:
            raise RpcError(INVALID_PARAMS, "base58 encoded data too large")
        for digit in text.encode():
            number = number * 58 + _DIGITS[digit]
    except KeyError:
        raise RpcError(INVALID_PARAMS, "invalid base58 encoding") from None
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8)
