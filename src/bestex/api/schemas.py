"""The JSON of the API: what may come in, and what goes out. camelCase; amounts are decimal strings."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, field

from bestex.orders.order import OrderError, OrderType
from bestex.orders.status import Status
from bestex.types import Routing, SwapMode

TokenName = Annotated[str, Meta(min_length=1, max_length=64, description="Symbol or mint address")]
Units = Annotated[str, Meta(description="Decimal number of token units")]
Raw = Annotated[str, Meta(description="Base units")]
Time = Annotated[str, Meta(description="UTC, ISO 8601 with milliseconds", examples=["2026-01-31T12:00:00.000Z"])]

SwapModeName = Literal["ExactIn", "ExactOut"]
"""As Jupiter spells it."""

_NAMES: dict[SwapMode, SwapModeName] = {SwapMode.EXACT_IN: "ExactIn", SwapMode.EXACT_OUT: "ExactOut"}
_MODES = {name: mode for mode, name in _NAMES.items()}

_AMOUNT = {"examples": [1000, "0.5"]}


class PlaceOrder(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A request to trade. Unknown fields are refused."""

    type: OrderType
    token_in: TokenName
    token_out: TokenName
    amount_in: (
        Annotated[
            str,
            Meta(
                description="ExactIn: token units to spend, a JSON number or a decimal string, exact",
                extra_json_schema=_AMOUNT,
            ),
        ]
        | None
    ) = None
    amount_out: (
        Annotated[str, Meta(description="ExactOut: token units to receive, written alike", extra_json_schema=_AMOUNT)]
        | None
    ) = None
    max_amount_in: (
        Annotated[str, Meta(description="ExactOut: never spend more token units than this", extra_json_schema=_AMOUNT)]
        | None
    ) = None
    swap_mode: Annotated[SwapModeName, Meta(description="Which amount is exact")] = "ExactIn"
    routing: Annotated[Routing, Meta(description="Which routes are considered")] = Routing.AUTO
    user_id: Annotated[str, Meta(min_length=1, max_length=128, description="Whose order it is; printable, trimmed")]
    slippage_bps: (
        Annotated[
            int,
            Meta(ge=0, le=10_000, description="Least out, or most in, is the quote's with this; else the server's"),
        ]
        | None
    ) = None
    priority: Annotated[int, Meta(ge=0, le=9, description="Greater is served first")] = 0
    client_order_id: (
        Annotated[str, Meta(min_length=1, max_length=64, description="Unique per user for ever; printable ASCII")]
        | None
    ) = None
    max_retries: Annotated[int, Meta(ge=0, description="Further tries; below the server's number of tries")] | None = (
        None
    )


AMOUNTS = frozenset({"amountIn", "amountOut", "maxAmountIn"})
"""Fields of an order that may be numbers or text."""

RULES = {
    "type": "must be one of: " + ", ".join(OrderType),
    "tokenIn": "must be a token's symbol or mint address, as a string",
    "tokenOut": "must be a token's symbol or mint address, as a string",
    "amountIn": "must be a number or a decimal string such as 1000 or 0.5",
    "amountOut": "must be a number or a decimal string such as 1000 or 0.5",
    "maxAmountIn": "must be a number or a decimal string such as 1000 or 0.5",
    "swapMode": "must be one of: ExactIn, ExactOut",
    "routing": "must be one of: " + ", ".join(Routing),
    "userId": "must be a string of 1 to 128 printable characters without spaces around them",
    "slippageBps": "must be an integer from 0 to 10000",
    "priority": "must be an integer from 0 to 9",
    "clientOrderId": "must be a string of 1 to 64 printable ASCII characters",
    "maxRetries": "must be an integer from 0 to {most_retries}",
}
"""What each field must be, in the words of the answer to a request where it is not."""


class Links(msgspec.Struct, frozen=True, gc=False):
    """Where to go from here."""

    self_: str = field(name="self")
    events: str
    """WebSocket."""


class OrderView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An order as it stands now."""

    id: str
    order_id: str
    type: str
    status: Status
    finality: Annotated[str, Meta(description="`confirmed`, then `finalized`; null before the fill")] | None
    user_id: str
    client_order_id: str | None
    token_in: str
    token_out: str
    input_mint: str
    output_mint: str
    swap_mode: SwapModeName
    routing: Routing
    amount_in: Annotated[str, Meta(description="Token units; ExactOut: null before the fill")] | None
    in_amount: Raw | None
    amount_out: Annotated[str, Meta(description="Token units; ExactIn: null before the fill")] | None
    out_amount: Raw | None
    max_amount_in: Units | None
    max_in_amount: Raw | None
    executed_price: Annotated[str, Meta(description="Output per input token, token units")] | None
    price_unit: Annotated[str, Meta(examples=["ETH per USDC"])]
    tx_hash: str | None
    venue: str | None
    slot: int | None
    fee_lamports: int | None
    slippage_bps: int
    priority: int
    max_retries: int
    retries: int
    attempt_count: Annotated[int, Meta(description="Signed transactions so far")]
    retry_at: Time | None
    cancel_requested: bool
    error: OrderError | None
    simulated: bool
    created_at: Time
    updated_at: Time
    links: Links


class AttemptView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One signed transaction for an order, without its bytes."""

    number: int
    state: str
    signature: str
    tx_hash: str
    blockhash: str
    last_valid_block_height: int
    in_amount: Annotated[str, Meta(description="As quoted; base units")]
    max_in_amount: Raw
    quoted_out_amount: Raw
    min_out_amount: Raw
    venue: Annotated[str, Meta(description="Of the biggest leg, as `pool`")]
    pool: str
    swaps: Annotated[list[str], Meta(description="Venue and pool of each leg, in order: `raydium_cpmm:<pool>`")]
    fee_lamports: int
    slot: int | None
    error: str | None
    created_at: Time


class OrderDetail(OrderView, frozen=True, kw_only=True, rename="camel"):
    """An order with everything that happened to it."""

    events: list[dict[str, Any]]
    attempts: list[AttemptView]


class OrderList(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Orders, newest first, and the cursor of the next page."""

    orders: list[OrderView]
    next_cursor: str | None


class ActiveOrders(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Orders that can still change, oldest first."""

    orders: list[OrderView]


class Limits(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the queue is held to."""

    concurrency: int
    rate_per_minute: int | None
    max_attempts: int


class QueueView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The queue: how much waits, how much is in work, how much has ended how."""

    waiting: int
    delayed: int
    in_work: int
    oldest_waiting_at: Time | None
    started_in_last_minute: int
    by_status: dict[str, int]
    pending: int
    routing: int
    building: int
    submitted: int
    confirmed: int
    failed: int
    canceled: int
    expired: int
    limits: Limits
    simulated: bool


class Health(msgspec.Struct, frozen=True):
    """The server is well."""

    status: str
    simulated: bool


class ProblemView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """RFC 9457 problem details. What is known of the case is added: `orderId`, `errors`..."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    retryable: bool
    money_moved: Annotated[str, Meta(description="`no`, `possible` or `yes`")]


def swap_mode_name(mode: SwapMode) -> SwapModeName:
    """The swap mode in the API's words."""
    return _NAMES[mode]


def swap_mode_of(name: SwapModeName) -> SwapMode:
    """The inverse of `swap_mode_name`."""
    return _MODES[name]
