"""The WebSocket hint that a transaction has landed: one connection for all who wait, opened when somebody does.

Whatever goes wrong here, nobody notices but by waiting a little longer.
"""

import asyncio
import contextlib
from collections import defaultdict, deque
from collections.abc import Sequence
from itertools import count
from typing import Any, cast

import msgspec
import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidURI, WebSocketException

from bestex.outgoing import Joined
from bestex.ports import Clock
from bestex.types import Signature

_RECONNECT_S = 1.0
_MAX_MESSAGE_BYTES = 1_048_576
_encode = msgspec.json.Encoder().encode
_log = structlog.get_logger(__name__)


class _Connection(ClientConnection):
    """Whoever waits since the same turn is subscribed with one write."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        joined = Joined(cast(asyncio.Transport, transport), asyncio.get_running_loop())
        super().connection_made(cast(asyncio.BaseTransport, joined))


class LandingFeed:
    """Subscribes to signatures for as long as somebody waits for them."""

    def __init__(self, url: str, clock: Clock, *, timeout_s: float) -> None:
        """An empty URL: there is no WebSocket, and only `wake` lets anybody go on."""
        self._url = url
        self._clock = clock
        self._timeout_s = timeout_s
        self._ids = count(1)
        self._waiters: defaultdict[Signature, set[asyncio.Future[None]]] = defaultdict(set)
        self._asked: dict[int, Signature] = {}
        """Requests that are not answered yet."""
        self._subscribed: dict[int, Signature] = {}
        self._subscriptions: dict[Signature, int] = {}
        self._connection: ClientConnection | None = None
        self._running: asyncio.Task[None] | None = None
        self._unsent: deque[str] = deque()
        self._sending: asyncio.Task[None] | None = None

    @property
    def waited_for(self) -> Sequence[Signature]:
        """The transactions that somebody waits for."""
        return list(self._waiters)

    @property
    def connected(self) -> bool:
        """Whether a hint can come."""
        return self._connection is not None

    async def wait(self, signature: Signature) -> None:
        """Return when the transaction is said to have landed; that may never be."""
        if self._running is None and self._url:
            self._running = asyncio.create_task(self._run())
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        first = signature not in self._waiters
        self._waiters[signature].add(waiter)
        try:
            if first:
                self._subscribe(signature)
            await waiter
        finally:
            waiting = self._waiters.get(signature)
            if waiting is not None:
                waiting.discard(waiter)
                if not waiting:
                    del self._waiters[signature]
                    self._unsubscribe(signature)

    def wake(self, signature: Signature) -> None:
        """Let those go on who wait for a transaction: it has landed."""
        for waiter in self._waiters.get(signature, ()):
            if not waiter.done():
                waiter.set_result(None)

    async def close(self) -> None:
        """Close the connection."""
        tasks = [task for task in (self._running, self._sending) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self._converse()
            except InvalidURI:
                _log.warning("not a URL of a WebSocket, will poll")
                return
            except (OSError, TimeoutError, WebSocketException) as error:
                # Neither the URL nor the error's text: providers put their keys into the former.
                _log.info("WebSocket lost, will poll and try again", error=type(error).__name__)
            await self._clock.sleep(_RECONNECT_S)

    async def _converse(self) -> None:
        """One connection, from its opening to its end."""
        try:
            async with connect(
                self._url,
                open_timeout=self._timeout_s,
                close_timeout=1.0,
                max_size=_MAX_MESSAGE_BYTES,
                proxy=None,
                create_connection=_Connection,
            ) as connection:
                self._connection = connection
                for signature in self._waiters:
                    self._subscribe(signature)
                async for message in connection:
                    self._take(message)
        finally:
            self._connection = None
            self._unsent.clear()
            self._asked.clear()
            self._subscribed.clear()
            self._subscriptions.clear()

    def _take(self, message: str | bytes) -> None:
        try:
            spoken = msgspec.json.decode(message)
        except msgspec.DecodeError:
            return
        if not isinstance(spoken, dict):
            return
        params = spoken.get("params")
        if spoken.get("method") == "signatureNotification" and isinstance(params, dict):
            self._hear(params.get("subscription"))
            return
        signature = self._asked.pop(spoken.get("id", -1), None)
        if signature is None or not isinstance(subscription := spoken.get("result"), int):
            return
        self._subscribed[subscription] = signature
        self._subscriptions[signature] = subscription
        if signature not in self._waiters:
            self._unsubscribe(signature)

    def _hear(self, subscription: object) -> None:
        signature = self._subscribed.pop(subscription, None) if isinstance(subscription, int) else None
        if signature is None:
            return
        # The subscription ends with its notification.
        self._subscriptions.pop(signature, None)
        self.wake(signature)

    def _subscribe(self, signature: Signature) -> None:
        number = next(self._ids)
        if self._connection is not None:
            self._asked[number] = signature
            self._say(number, "signatureSubscribe", signature, {"commitment": "processed"})

    def _unsubscribe(self, signature: Signature) -> None:
        subscription = self._subscriptions.pop(signature, None)
        if subscription is not None:
            del self._subscribed[subscription]
            self._say(next(self._ids), "signatureUnsubscribe", subscription)

    def _say(self, number: int, method: str, *params: Any) -> None:
        if self._connection is None:
            return
        self._unsent.append(_encode({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).decode())
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send())

    async def _send(self) -> None:
        while self._unsent and self._connection is not None:
            with contextlib.suppress(WebSocketException, OSError):
                await self._connection.send(self._unsent.popleft())
