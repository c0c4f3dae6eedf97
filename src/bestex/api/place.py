"""POST /api/orders/execute: from bytes to bytes, without a framework, because it is the hot route."""

import msgspec

from bestex.api.front import Front
from bestex.api.problems import fault, problem
from bestex.api.reading import read_key, read_order
from bestex.api.refusals import FieldProblem, IdempotencyKeyReused
from bestex.api.views import order_view
from bestex.api.wire import JSON, Answer, Headers
from bestex.errors import (
    AmountOutOfRange,
    BestexError,
    IdempotencyMismatch,
    InvalidOrder,
    StoreUnavailable,
    UnknownToken,
)
from bestex.execution.intake import OrderRequest
from bestex.orders.amount import to_raw
from bestex.ports import Acceptance
from bestex.types import SwapMode

EXECUTE = "/api/orders/execute"

_UNCERTAIN = (
    "whether the order was stored is not known: send the same request again with its Idempotency-Key or clientOrderId, "
    "or look for the order"
)

_REPLAYED = (b"idempotency-replayed", b"true")
_encode = msgspec.json.Encoder().encode


async def place_order(front: Front, headers: Headers, body: bytes) -> Answer:
    """Take an order in: 201 with the new order, 200 with the one that the same request had made, or a problem."""
    try:
        key = read_key(headers)
        request = read_order(body, key, front.settings.max_attempts - 1)
        acceptance = await _place(front, request)
    except BestexError as error:
        return problem(error, EXECUTE)
    except Exception as error:  # noqa: BLE001 - logged with its traceback by `fault`
        return problem(_uncertain(error), EXECUTE)
    view = order_view(acceptance.order, simulated=front.simulated)
    answer_headers = [JSON, (b"location", view.links.self_.encode())]
    if acceptance.created:
        return Answer(201, answer_headers, _encode(view))
    answer_headers.append(_REPLAYED)
    return Answer(200, answer_headers, _encode(view))


async def _place(front: Front, request: OrderRequest) -> Acceptance:
    """Hand the request to the engine; say which field it refuses."""
    try:
        return await front.intake.place(request)
    except AmountOutOfRange as error:
        field = _amount_field(front, request)
        raise AmountOutOfRange(
            f"{field}: {error.message}", **error.context, errors=[FieldProblem(field, error.message)]
        ) from error
    except UnknownToken as error:
        field = "tokenIn" if error.context.get("token") == request.token_in else "tokenOut"
        raise UnknownToken(
            f"{field}: {error.message}", **error.context, errors=[FieldProblem(field, error.message)]
        ) from error
    except InvalidOrder as error:
        raise InvalidOrder(error.message, **error.context, errors=[FieldProblem("tokenOut", error.message)]) from error
    except IdempotencyMismatch as error:
        if error.context.get("key") == "header_key":
            raise IdempotencyKeyReused(error.message, **error.context) from error
        raise
    except StoreUnavailable as error:
        context = error.context | {"money_moved": "possible"}
        raise StoreUnavailable(f"{error.message}; {_UNCERTAIN}", **context) from error


def _amount_field(front: Front, request: OrderRequest) -> str:
    """The field of the amount that is out of range."""
    if request.swap_mode is SwapMode.EXACT_IN:
        return "amountIn"
    if request.max_amount_in is not None:
        try:
            to_raw(request.max_amount_in, front.tokens.find(request.token_in).decimals)
        except AmountOutOfRange:
            return "maxAmountIn"
    return "amountOut"


def _uncertain(error: Exception) -> BestexError:
    """A fault that may have come after the order was stored."""
    refusal = fault(EXECUTE, error, money_moved="possible")
    refusal.message = f"{refusal.message}; {_UNCERTAIN}"
    return refusal
