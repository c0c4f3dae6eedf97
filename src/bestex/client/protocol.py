"""The engine's HTTP interface as values: what is sent for each question, and how the answer is read.

Nothing here opens a connection: `Client` and `AsyncClient` carry these calls out.
"""

from decimal import Decimal
from typing import Generic, Literal, TypeVar
from urllib.parse import quote as escape

import httpx
import msgspec

from bestex.client.errors import ApiError, ConnectionFailed
from bestex.client.machine import fresh_key
from bestex.client.quotes import Quote
from bestex.client.results import (
    ActiveOrders,
    Health,
    OrderDetail,
    OrderPage,
    OrderView,
    PoolList,
    QueueStats,
    TokenList,
)

T = TypeVar("T")

Amount = str | int | Decimal
"""Token units. A binary float cannot say what was meant and is refused."""

SwapMode = Literal["ExactIn", "ExactOut"]
"""Which amount is exact. Without it, the one that is given."""

Routing = Literal["auto", "best", "split"]

DEFAULT_URL = "http://127.0.0.1:8080"


class Call(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One request, and the type of its answer."""

    method: str
    path: str
    answer: type[T]
    params: dict[str, str] = {}
    headers: dict[str, str] = {}
    body: bytes | None = None


class _Problem(msgspec.Struct, rename="camel"):
    """RFC 9457 problem details, as far as we use them."""

    code: str
    detail: str = ""
    title: str = ""
    retryable: bool = False
    money_moved: str = "no"


def server_url(text: str) -> str:
    """The server's address without a trailing slash. Raises ValueError unless it is an http or https URL."""
    if not text.startswith(("http://", "https://")):
        raise ValueError(f"{text!r} is not a server's address such as http://127.0.0.1:8080")
    return text.rstrip("/")


def amount_text(amount: Amount) -> str:
    """The amount as exact decimal text. Raises TypeError for a float, ValueError for NaN and infinity."""
    if isinstance(amount, bool) or not isinstance(amount, str | int | Decimal):
        raise TypeError(f"an amount is a str, an int or a Decimal, not a {type(amount).__name__}: floats are not exact")
    if isinstance(amount, Decimal):
        if not amount.is_finite():
            raise ValueError(f"{amount} is not an amount")
        return format(amount, "f")
    return str(amount)


def place(
    token_in: str,
    token_out: str,
    amount_in: Amount | None,
    *,
    amount_out: Amount | None,
    max_amount_in: Amount | None,
    swap_mode: SwapMode | None,
    routing: Routing | None,
    user_id: str,
    order_type: str,
    slippage_bps: int | None,
    priority: int | None,
    client_order_id: str | None,
    max_retries: int | None,
) -> Call[OrderView]:
    """A new order, under a fresh Idempotency-Key: the same call may be sent again without doubling it."""
    body = {
        "type": order_type,
        "tokenIn": token_in,
        "tokenOut": token_out,
        **_exact(amount_in, amount_out, swap_mode),
        "maxAmountIn": None if max_amount_in is None else amount_text(max_amount_in),
        "routing": routing,
        "userId": user_id,
        "slippageBps": slippage_bps,
        "priority": priority,
        "clientOrderId": client_order_id,
        "maxRetries": max_retries,
    }
    return Call(
        method="POST",
        path="/api/orders/execute",
        answer=OrderView,
        headers={"Content-Type": "application/json", "Idempotency-Key": fresh_key()},
        body=msgspec.json.encode({name: value for name, value in body.items() if value is not None}),
    )


def order(order_id: str) -> Call[OrderDetail]:
    """An order with its events and attempts."""
    return Call(method="GET", path=f"/api/orders/{escape(order_id, safe='')}", answer=OrderDetail)


def orders(*, user_id: str | None, status: str | None, cursor: str | None, limit: int | None) -> Call[OrderPage]:
    """A page of orders, newest first."""
    params = _given(userId=user_id, status=status, cursor=cursor, limit=limit)
    return Call(method="GET", path="/api/orders", answer=OrderPage, params=params)


def user_orders(user_id: str, *, cursor: str | None, limit: int | None) -> Call[OrderPage]:
    """A page of one user's orders, newest first."""
    path = f"/api/orders/user/{escape(user_id, safe='')}"
    return Call(method="GET", path=path, answer=OrderPage, params=_given(cursor=cursor, limit=limit))


def active(*, limit: int | None) -> Call[ActiveOrders]:
    """The orders that have not ended, oldest first."""
    return Call(method="GET", path="/api/orders/active", answer=ActiveOrders, params=_given(limit=limit))


def cancel(order_id: str) -> Call[OrderView]:
    """Take an order back."""
    return Call(method="DELETE", path=f"/api/orders/{escape(order_id, safe='')}", answer=OrderView)


def quote(
    token_in: str,
    token_out: str,
    amount_in: Amount | None,
    *,
    amount_out: Amount | None,
    swap_mode: SwapMode | None,
    routing: Routing | None,
    slippage_bps: int | None,
) -> Call[Quote]:
    """The route for an amount, as an order would take it now."""
    exact = _exact(amount_in, amount_out, swap_mode)
    params = _given(tokenIn=token_in, tokenOut=token_out, **exact, routing=routing, slippageBps=slippage_bps)
    return Call(method="GET", path="/api/quote", answer=Quote, params=params)


def tokens() -> Call[TokenList]:
    """The tokens that the engine knows."""
    return Call(method="GET", path="/api/tokens", answer=TokenList)


def pools() -> Call[PoolList]:
    """The pools that the engine trades on."""
    return Call(method="GET", path="/api/pools", answer=PoolList)


def queue_stats() -> Call[QueueStats]:
    """How many orders are in which status."""
    return Call(method="GET", path="/api/queue/stats", answer=QueueStats)


def health() -> Call[Health]:
    """Whether the engine can work."""
    return Call(method="GET", path="/health", answer=Health)


def read(call: Call[T], status: int, content: bytes) -> T:
    """The answer. Raises ApiError when the server refused, or when what it said is not an answer."""
    if not httpx.codes.is_success(status):
        raise _refusal(status, content)
    try:
        return msgspec.json.decode(content, type=call.answer)
    except msgspec.DecodeError as error:
        raise ApiError(
            f"{call.method} {call.path} was answered by something that is not a Bestex server of this version: {error}",
            status=status,
            code="UNEXPECTED_ANSWER",
            money_moved="no" if call.method == "GET" else "possible",
        ) from error


def unanswered(call: Call[T], url: str, error: Exception) -> ConnectionFailed:
    """The error for a call that brought no answer. It says so where the call may have had an effect."""
    reason = str(error) or type(error).__name__
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return ConnectionFailed(f"no server answers at {url}: {reason}")
    in_doubt = call.method != "GET"
    effect = "; whether it took effect is unknown" if in_doubt else ""
    lost = f"lost the connection to {url} during {call.method} {call.path}: {reason}{effect}"
    return ConnectionFailed(lost, in_doubt=in_doubt)


def _refusal(status: int, content: bytes) -> ApiError:
    try:
        problem = msgspec.json.decode(content, type=_Problem)
    except msgspec.DecodeError:
        phrase = httpx.codes.get_reason_phrase(status)
        return ApiError(f"the server answered {status} {phrase}".rstrip(), status=status, code=f"HTTP_{status}")
    return ApiError(
        problem.detail or problem.title or problem.code,
        status=status,
        code=problem.code,
        retryable=problem.retryable,
        money_moved=problem.money_moved,
    )


def _given(**params: str | int | None) -> dict[str, str]:
    return {name: str(value) for name, value in params.items() if value is not None}


def _exact(amount_in: Amount | None, amount_out: Amount | None, swap_mode: SwapMode | None) -> dict[str, str | None]:
    """The amount that is exact, and the swap mode that says so; ExactIn goes without saying."""
    if (amount_in is None) is (amount_out is None):
        raise TypeError("give amount_in or amount_out: the one that is to be exact")
    if amount_out is not None and swap_mode is None:
        swap_mode = "ExactOut"
    return {
        "swapMode": swap_mode,
        "amountIn": None if amount_in is None else amount_text(amount_in),
        "amountOut": None if amount_out is None else amount_text(amount_out),
    }
