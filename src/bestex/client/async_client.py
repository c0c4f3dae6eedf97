"""The client for programs on asyncio."""

from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Self, TypeVar

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from bestex.client import protocol
from bestex.client.errors import ClientError
from bestex.client.follow import Follow
from bestex.client.machine import wait_async
from bestex.client.protocol import Amount, Call, Routing, SwapMode
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
from bestex.client.retry import Repeated, Retry
from bestex.orders.events import Event

T = TypeVar("T")

_CLOSE_S = 1.0
"""A server that does not answer a close in this time is left alone."""


class AsyncClient:
    """Talks to a Bestex server. Use it as an async context manager, or `aclose` it.

    Every method raises ApiError when the server refuses and ConnectionFailed when no answer comes within `timeout_s`.
    """

    def __init__(self, url: str = protocol.DEFAULT_URL, *, timeout_s: float = 10.0, retry: Retry | None = None) -> None:
        self.url = protocol.server_url(url)
        self._timeout_s = timeout_s
        self._retry = retry or Retry()
        self._http = httpx.AsyncClient(base_url=self.url, timeout=timeout_s)

    async def place(
        self,
        token_in: str,
        token_out: str,
        amount_in: Amount | None = None,
        *,
        user_id: str,
        amount_out: Amount | None = None,
        max_amount_in: Amount | None = None,
        swap_mode: SwapMode | None = None,
        routing: Routing | None = None,
        order_type: str = "market",
        slippage_bps: int | None = None,
        priority: int | None = None,
        client_order_id: str | None = None,
        max_retries: int | None = None,
    ) -> OrderView:
        """Place an order; when this returns, it is on the server's disk.

        `token_in` and `token_out` are symbols or mint addresses, amounts count token units. With `amount_out` instead
        of `amount_in` the output is exact, and `max_amount_in` bounds what is spent. `routing` is `auto` (what nets
        most), `best` (one pool) or `split` (all pools of the pair). Lost connections and 503 are retried under one
        Idempotency-Key, so that an order is never doubled. Raises TypeError for a float.
        """
        call = protocol.place(
            token_in,
            token_out,
            amount_in,
            amount_out=amount_out,
            max_amount_in=max_amount_in,
            swap_mode=swap_mode,
            routing=routing,
            user_id=user_id,
            order_type=order_type,
            slippage_bps=slippage_bps,
            priority=priority,
            client_order_id=client_order_id,
            max_retries=max_retries,
        )
        repeated = Repeated(self._retry)
        while True:
            try:
                return await self._answer(call)
            except ClientError as error:
                wait_s = repeated.failed(error)
            await wait_async(wait_s)

    async def order(self, order_id: str) -> OrderDetail:
        """An order with its events and attempts."""
        return await self._answer(protocol.order(order_id))

    async def orders(
        self,
        *,
        user_id: str | None = None,
        status: str | None = None,
        cursor: str | None = None,
        limit: int | None = None,
    ) -> OrderPage:
        """A page of orders, newest first; `next_cursor` asks for the next one."""
        return await self._answer(protocol.orders(user_id=user_id, status=status, cursor=cursor, limit=limit))

    async def user_orders(self, user_id: str, *, cursor: str | None = None, limit: int | None = None) -> OrderPage:
        """A page of one user's orders, newest first."""
        return await self._answer(protocol.user_orders(user_id, cursor=cursor, limit=limit))

    async def active(self, *, limit: int | None = None) -> ActiveOrders:
        """The orders that have not ended, oldest first."""
        return await self._answer(protocol.active(limit=limit))

    async def cancel(self, order_id: str) -> OrderView:
        """Take an order back. Once its transaction may land, this is a request: a landed swap wins."""
        return await self._answer(protocol.cancel(order_id))

    async def quote(
        self,
        token_in: str,
        token_out: str,
        amount_in: Amount | None = None,
        *,
        amount_out: Amount | None = None,
        swap_mode: SwapMode | None = None,
        routing: Routing | None = None,
        slippage_bps: int | None = None,
    ) -> Quote:
        """The route for an amount, in token units, as an order would take it now; and what it was chosen from.

        With `amount_out` instead of `amount_in` the output is exact. Raises TypeError for a float, and unless one
        of the two is given.
        """
        return await self._answer(
            protocol.quote(
                token_in,
                token_out,
                amount_in,
                amount_out=amount_out,
                swap_mode=swap_mode,
                routing=routing,
                slippage_bps=slippage_bps,
            )
        )

    async def tokens(self) -> TokenList:
        """The tokens that the engine knows."""
        return await self._answer(protocol.tokens())

    async def pools(self) -> PoolList:
        """The pools that the engine trades on."""
        return await self._answer(protocol.pools())

    async def queue_stats(self) -> QueueStats:
        """How many orders are in which status."""
        return await self._answer(protocol.queue_stats())

    async def health(self) -> Health:
        """The engine is well. Raises ApiError with status 503 when it cannot take or execute orders."""
        return await self._answer(protocol.health())

    async def watch(self, order_id: str, from_seq: int = 1) -> AsyncGenerator[Event, None]:
        """The order's events from a sequence number on, each once and in order, up to the last one.

        Reconnects by itself and resumes by sequence number. Raises ApiError for an unknown order, ConnectionFailed
        after too many failures in a row. Who leaves early should use `contextlib.aclosing`.
        """
        follow = Follow(self.url, order_id, from_seq, self._retry)
        while not follow.ended:
            try:
                async with connect(
                    follow.url, compression=None, open_timeout=self._timeout_s, close_timeout=_CLOSE_S
                ) as socket:
                    follow.opened()
                    while not follow.ended:
                        event = follow.take(await socket.recv(decode=False))
                        if event is not None:
                            yield event
            except (OSError, WebSocketException) as error:
                wait_s = follow.broken(error)
                await wait_async(wait_s)

    async def aclose(self) -> None:
        """Close the connections that are kept open for the next request."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _answer(self, call: Call[T]) -> T:
        try:
            response = await self._http.request(
                call.method, call.path, params=call.params or None, headers=call.headers, content=call.body
            )
        except httpx.RequestError as error:
            raise protocol.unanswered(call, self.url, error) from error
        return protocol.read(call, response.status_code, response.content)
