"""The nodes' answers as they stand on the wire; fields that nobody here needs are left out."""

from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")


class RpcFailure(msgspec.Struct, frozen=True):
    """The error of an answer."""

    code: int
    message: str = ""


class Answer(msgspec.Struct, frozen=True):
    """Result or error of one call."""

    id: str | int | None = None
    result: msgspec.Raw = msgspec.Raw()
    """As it stands; empty where there is none."""
    error: RpcFailure | None = None


class At(msgspec.Struct, frozen=True):
    """The context of an answer."""

    slot: int


class InContext(msgspec.Struct, Generic[T], frozen=True):
    """A value, and the slot that it was read at."""

    context: At
    value: T


class LatestBlockhash(msgspec.Struct, frozen=True, rename="camel"):
    blockhash: str
    last_valid_block_height: int


class EpochInfo(msgspec.Struct, frozen=True, rename="camel"):
    absolute_slot: int
    block_height: int


class AccountInfo(msgspec.Struct, frozen=True):
    lamports: int
    owner: str
    data: tuple[str, str]


class PriorityFee(msgspec.Struct, frozen=True, rename="camel"):
    prioritization_fee: int


class SimulationResult(msgspec.Struct, frozen=True, rename="camel"):
    err: Any = None
    logs: list[str] | None = None
    units_consumed: int | None = None


class Status(msgspec.Struct, frozen=True, rename="camel"):
    slot: int
    confirmations: int | None = None
    err: Any = None
    confirmation_status: str | None = None


class UiAmount(msgspec.Struct, frozen=True):
    amount: str


class TokenBalance(msgspec.Struct, frozen=True, rename="camel"):
    account_index: int
    mint: str
    ui_token_amount: UiAmount
    owner: str | None = None


class LoadedAddresses(msgspec.Struct, frozen=True):
    writable: list[str] = []
    readonly: list[str] = []


class Meta(msgspec.Struct, frozen=True, rename="camel"):
    fee: int
    pre_balances: list[int]
    post_balances: list[int]
    err: Any = None
    pre_token_balances: list[TokenBalance] | None = None
    post_token_balances: list[TokenBalance] | None = None
    log_messages: list[str] | None = None
    loaded_addresses: LoadedAddresses | None = None
    compute_units_consumed: int | None = None


class TransactionAnswer(msgspec.Struct, frozen=True):
    slot: int
    transaction: tuple[str, str]
    """Bytes in wire format, and how they are written."""
    meta: Meta | None = None


class BlockAnswer(msgspec.Struct, frozen=True, rename="camel"):
    block_height: int | None = None


class ListedToken(msgspec.Struct, frozen=True):
    symbol: str
    mint: str
    decimals: int
    program: str


class ListingAnswer(msgspec.Struct, frozen=True):
    tokens: list[ListedToken]
    pools: list[str]
