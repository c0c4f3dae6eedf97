"""The ASGI application: the hot route and the WebSockets plainly, everything else through Litestar."""

from functools import cache
from typing import Any

from litestar import Litestar, get
from litestar.datastructures import CacheControlHeader
from litestar.handlers import HTTPRouteHandler
from litestar.response import Redirect

from bestex.api.docs import openapi_config
from bestex.api.front import Front
from bestex.api.handling import FRONT, on_error, refuse_unknown_parameters
from bestex.api.ops import HEALTH_ROUTES, OPS_ROUTES
from bestex.api.orders import ORDER_ROUTES
from bestex.api.place import EXECUTE, place_order
from bestex.api.problems import problem
from bestex.api.quotes import MARKET_ROUTES
from bestex.api.stream import serve_stream
from bestex.api.stream_watch import Watch
from bestex.api.wire import App, ClientGone, Message, Receive, Scope, Send, read_body, send_answer
from bestex.errors import BestexError

__all__ = ["Front", "create_app"]

_UNKNOWN_ROUTE = "(none)"


def create_app(front: Front) -> App:
    """The ASGI application in front of an engine."""
    return _Application(front, _routed((_home, *ORDER_ROUTES, *MARKET_ROUTES, *OPS_ROUTES)), takes_orders=True)


def create_ops_app(front: Front) -> App:
    """The ASGI application of a process that takes no orders: health and metrics."""
    return _Application(front, _routed(HEALTH_ROUTES), takes_orders=False)


@cache
def _routed(routes: tuple[HTTPRouteHandler, ...]) -> Litestar:
    """These routes; the front that they ask comes with each request's scope, see `handling.front_of`."""
    return Litestar(
        routes,
        openapi_config=openapi_config(),
        exception_handlers={Exception: on_error},
        before_request=refuse_unknown_parameters,
        cache_control=CacheControlHeader(no_store=True),
        logging_config=None,
        request_max_body_size=None,
    )


@get("/", include_in_schema=False, sync_to_thread=False)
def _home() -> Redirect:
    return Redirect("/docs")


class _Application:
    """Chooses the lane of each connection, and counts."""

    def __init__(self, front: Front, routed: Litestar, *, takes_orders: bool) -> None:
        self._front = front
        self._watch = Watch(front)
        self._routed: Any = routed
        self._takes_orders = takes_orders

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            if self._takes_orders and scope["path"] == EXECUTE and scope["method"] == "POST":
                await self._execute(scope, receive, send)
            else:
                await self._serve(scope, receive, send)
        elif kind == "websocket" and self._takes_orders:
            await serve_stream(self._front, self._watch, scope, receive, send)
        else:
            await self._routed(scope, receive, send)

    async def _execute(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The hot route: what Litestar's handler of the same path does, without the cost of the framework."""
        front, headers = self._front, scope["headers"]
        began_s = front.clock.monotonic_s()
        try:
            answer = await place_order(
                front, headers, await read_body(headers, receive, front.settings.body_limit_bytes)
            )
        except ClientGone:
            return
        except BestexError as error:
            answer = problem(error, EXECUTE)
        front.metrics.observe_request("POST", EXECUTE, answer.status, front.clock.monotonic_s() - began_s)
        await send_answer(send, answer)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, front = 500, self._front
        began_s = front.clock.monotonic_s()

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        # To the server a HEAD stays a HEAD: it leaves the body out.
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        asked = {**scope, "method": method, FRONT: front}
        await self._routed(asked, receive, counted)
        front.metrics.observe_request(
            scope["method"], asked.get("path_template") or _UNKNOWN_ROUTE, status, front.clock.monotonic_s() - began_s
        )
