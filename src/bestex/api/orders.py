"""Orders over HTTP: place, look up, list, cancel."""

import re
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from litestar import Response, delete, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import HeaderParameter, PathParameter, QueryParameter

from bestex import errors
from bestex.api import refusals
from bestex.api.front import Front
from bestex.api.handling import PROBLEM_JSON, HttpRequest, also, front_of, problems_of, to_response
from bestex.api.place import EXECUTE, place_order
from bestex.api.problems import problem
from bestex.api.reading import is_printable
from bestex.api.refusals import FieldProblem, InvalidParameter, UpgradeRequired
from bestex.api.schemas import ActiveOrders, OrderDetail, OrderList, OrderView, ProblemView
from bestex.api.views import attempt_view, order_view
from bestex.api.wire import Receive, read_body
from bestex.errors import IllegalTransition, OrderNotFound
from bestex.orders.attempt import LIVE
from bestex.orders.order import Order
from bestex.orders.status import Status
from bestex.types import OrderId

_ORDER_ID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

OrderIdPath = Annotated[str, PathParameter(description="The order's id")]
StatusFilter = Annotated[Status | None, QueryParameter(description="Only orders in this status")]
Cursor = Annotated[str | None, QueryParameter(description="`nextCursor` of the page before")]
Limit = Annotated[int, QueryParameter(ge=1, le=500, description="Orders on a page")]


@post(
    EXECUTE,
    status_code=201,
    tags=["Orders"],
    summary="Place an order",
    responses=also(200, OrderView, "The same request again: the order as it stands now")
    | problems_of(
        refusals.MalformedJson, refusals.MalformedHeader, errors.IdempotencyMismatch, refusals.RequestTimeout,
        refusals.BodyTooLarge, refusals.UnsupportedMediaType, errors.InvalidOrder, errors.UnknownToken,
        errors.AmountOutOfRange, errors.NoRoute, refusals.IdempotencyKeyReused, errors.StoreUnavailable,
    ),
)  # fmt: skip
async def execute(
    request: HttpRequest,
    idempotency_key: Annotated[  # noqa: ARG001 - declared for the documentation, read by place_order
        str | None,
        HeaderParameter(name="Idempotency-Key", description="The same key and body again answer with the same order"),
    ] = None,
) -> Response[OrderView]:
    """Store a market order and answer 201 with it: from then on no crash loses it.

    The same request again (same `Idempotency-Key` or `clientOrderId`, same content) answers 200 with the same order as
    it stands now, and the header `Idempotency-Replayed: true`.
    """
    front = front_of(request)
    receive: Receive = request.receive  # type: ignore[assignment]
    body = await read_body(request.scope["headers"], receive, front.settings.body_limit_bytes)
    answer: Response[Any] = to_response(await place_order(front, request.scope["headers"], body))
    return answer


@get(
    [EXECUTE, "/api/orders/{order_id:str}/ws"],
    status_code=426,
    media_type=PROBLEM_JSON,
    tags=["Orders"],
    summary="Stream an order's events (WebSocket)",
)
async def upgrade_required(request: HttpRequest) -> Response[ProblemView]:
    """Upgrade this GET to a WebSocket (`/api/orders/execute?orderId=...` may use the connection that carried the POST).

    Every event of the order's life comes as one text frame of JSON, from `fromSeq` (default 1) on, without gaps; after
    the last the server closes with 1000. The description of this API says the rest.
    """
    refusal = UpgradeRequired(
        "connect with a WebSocket client", headers=((b"upgrade", b"websocket"), (b"connection", b"upgrade"))
    )
    answer: Response[Any] = to_response(problem(refusal, request.scope["path"]))
    return answer


@get(
    "/api/orders",
    tags=["Orders"],
    summary="List orders, newest first",
    responses=problems_of(InvalidParameter),
    opt={"query": frozenset({"userId", "status", "cursor", "limit"})},
)
async def list_orders(
    request: HttpRequest,
    user_id: Annotated[str | None, QueryParameter(name="userId", description="Only this user's orders")] = None,
    status: StatusFilter = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> OrderList:
    """Orders of all users or of one, page by page."""
    return await _page(front_of(request), user_id, status, cursor, limit)


@get(
    "/api/orders/user/{user_id:path}",
    tags=["Orders"],
    summary="List a user's orders, newest first",
    responses=problems_of(InvalidParameter),
    opt={"query": frozenset({"status", "cursor", "limit"})},
)
async def list_user_orders(
    request: HttpRequest,
    user_id: Annotated[str, PathParameter(description="Whose orders")],
    status: StatusFilter = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> OrderList:
    """The same as `/api/orders?userId=...`."""
    return await _page(front_of(request), user_id.removeprefix("/"), status, cursor, limit)


@get(
    "/api/orders/active",
    tags=["Orders"],
    summary="List orders that can still change",
    responses=problems_of(InvalidParameter),
    opt={"query": frozenset({"limit"})},
)
async def list_active(request: HttpRequest, limit: Limit = 500) -> ActiveOrders:
    """Orders that have not ended, oldest first; a confirmed order is among them until its swap is finalized."""
    front = front_of(request)
    orders = await front.bus.active(limit)
    if orders is None:
        orders = await front.store.active(limit)
    return ActiveOrders(orders=[order_view(order, simulated=front.simulated) for order in orders])


@get(
    "/api/orders/{order_id:str}",
    tags=["Orders"],
    summary="Look up an order",
    responses=problems_of(OrderNotFound),
)
async def get_order(request: HttpRequest, order_id: OrderIdPath) -> OrderDetail:
    """An order with all its events and attempts."""
    front = front_of(request)
    known = check_order_id(order_id)
    order = await front.store.order(known)
    events = await front.store.events(known)
    attempts = await front.store.attempts(known)
    view = order_view(order, simulated=front.simulated)
    if order.fill is None and attempts and attempts[-1].state in LIVE:
        view = msgspec.structs.replace(view, tx_hash=attempts[-1].signature)
    return OrderDetail(
        **msgspec.structs.asdict(view),
        events=[msgspec.json.decode(event.payload) for event in events if event.seq <= order.seq],
        attempts=[attempt_view(attempt) for attempt in attempts],
    )


@delete(
    "/api/orders/{order_id:str}",
    status_code=200,
    tags=["Orders"],
    summary="Cancel an order",
    responses=also(202, OrderView, "Canceled if the transaction is proven dead")
    | problems_of(OrderNotFound, IllegalTransition),
)
async def cancel_order(request: HttpRequest, order_id: OrderIdPath) -> Response[OrderView]:
    """200: the order is canceled. 202: its transaction may land; it is canceled only if that is proven dead."""
    front = front_of(request)
    known = check_order_id(order_id)
    try:
        order = await front.intake.cancel(known)
    except IllegalTransition as error:
        raise _too_late(await front.store.order(known)) from error
    view = order_view(order, simulated=front.simulated)
    return Response(view, status_code=200 if order.status is Status.CANCELED else 202)


ORDER_ROUTES: Sequence[HTTPRouteHandler] = (
    execute, upgrade_required, list_orders, list_user_orders, list_active, get_order, cancel_order,
)  # fmt: skip


def check_order_id(text: str) -> OrderId:
    """The id, if it can be one. Raises OrderNotFound."""
    if not _ORDER_ID.fullmatch(text):
        raise OrderNotFound("no order has this id", order_id=text[:64])
    return OrderId(text.lower())


async def _page(front: Front, user_id: str | None, status: Status | None, cursor: str | None, limit: int) -> OrderList:
    for name, text in (("userId", user_id), ("cursor", cursor)):
        if text is not None and not (0 < len(text) <= 512 and is_printable(text)):
            raise InvalidParameter(f"{name} is not valid", errors=[FieldProblem(name, "is not valid")])
    try:
        page = await front.store.orders(user_id=user_id, status=status, cursor=cursor, limit=limit)
    except ValueError as error:
        message = "is not a cursor of this server"
        raise InvalidParameter(f"cursor {message}", errors=[FieldProblem("cursor", message)]) from error
    orders = [order_view(order, simulated=front.simulated) for order in page.orders]
    return OrderList(orders=orders, next_cursor=page.next_cursor)


def _too_late(order: Order) -> IllegalTransition:
    moved = "yes" if order.fill else "possible" if order.status is Status.SUBMITTED else "no"
    return IllegalTransition(
        f"the order is {order.status} and can no longer be canceled",
        order_id=order.id,
        order_status=order.status.value,
        money_moved=moved,
    )
