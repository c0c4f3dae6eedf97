"""The status stream: every event of an order over a WebSocket, from any sequence number on, without gaps.

The bus brings events as they happen and may lose them; the store has them all. What a socket has been sent is one
number, the next sequence number, so that it can always be taken up again from the store.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from bestex.api.front import Front
from bestex.api.place import EXECUTE
from bestex.api.problems import fault, problem
from bestex.api.refusals import PathNotFound
from bestex.api.stream_target import NO_SUCH_ORDER, Close, Target, read_target
from bestex.api.wire import ClientGone, Receive, Scope, Send
from bestex.errors import OrderNotFound, StoreUnavailable
from bestex.orders.status import Status
from bestex.ports import Committed, Subscription

TICK_S = 5.0
"""How often a socket is looked after: is it stuck, has the bus lost something?"""
_QUIET_TICKS = frozenset({1, 2, 4, 8})
_QUIET_TICKS_MAX = 12
"""A quiet order is looked up in the store after 1, 2, 4, 8 ticks, then every 12: once a minute."""
_CLOSE_TIMEOUT_S = 5.0
_MESSAGES_MAX = 1_000
"""Messages that a client may send over a socket's life; they are ignored."""

_PATH = re.compile(r"/api/orders/([^/]+)/ws")

TOO_MANY_MESSAGES = Close(1008, "this socket takes no messages")

_log = structlog.get_logger(__name__)


async def serve_stream(front: Front, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one WebSocket from its handshake to its end."""
    await receive()  # websocket.connect
    match = _PATH.fullmatch(scope["path"])
    if match is None and scope["path"] != EXECUTE:
        await _deny(scope, send)
        return
    target = read_target(match and match[1], scope["query_string"])
    await send({"type": "websocket.accept"})
    with front.metrics.open_websocket():
        if isinstance(target, Close):
            await send({"type": "websocket.close", "code": target.code, "reason": target.reason})
            return
        stream = _Stream(front, target, receive, send)
        try:
            await stream.run()
        finally:
            front.metrics.add_messages(stream.sent)


class _Stream:
    """One socket: a reader that drains what the client says, and a pump that sends it events."""

    def __init__(self, front: Front, target: Target, receive: Receive, send: Send) -> None:
        self._front = front
        self._order_id = target.order_id
        self._next_seq = target.from_seq
        self._receive = receive
        self._send = send
        self._sending = False
        self._read = False
        self._healing = False
        self.sent = 0

    async def run(self) -> None:
        """Until the client has gone, the order has ended, or one of both is hopeless."""
        reader = asyncio.create_task(self._drain())
        self._pumping = asyncio.create_task(self._pump())
        try:
            close = await self._supervise(reader)
        finally:
            reader.cancel()
            self._pumping.cancel()
            await asyncio.wait((reader, self._pumping))
        if close is not None:
            await self._close(close)

    async def _supervise(self, reader: asyncio.Task[Close | None]) -> Close | None:
        """Wait for the end; None: the client has gone.

        A timer for each message would cost as much as the message: one slow tick for all of them finds a send that is
        stuck and an order that is suspiciously quiet.
        """
        seen, stuck, quiet = self._next_seq, False, 0
        while True:
            await asyncio.wait((reader, self._pumping), timeout=TICK_S, return_when=asyncio.FIRST_COMPLETED)
            if reader.done():
                return reader.result()
            if self._pumping.done():
                return self._pumping.result()
            moved, seen = self._next_seq != seen, self._next_seq
            if self._sending and stuck and not moved:
                return self._slow_consumer()
            stuck = self._sending
            if moved or stuck:
                quiet = 0
            elif not self._healing:  # one look at a time
                quiet += 1
                if quiet in _QUIET_TICKS or quiet % _QUIET_TICKS_MAX == 0:
                    self._pumping.cancel()
                    self._pumping = asyncio.create_task(self._pump())

    async def _pump(self) -> Close | None:
        """Send events until there are no more; None: the client has gone."""
        try:
            while True:
                subscription = self._front.bus.subscribe(self._order_id)
                try:
                    close = await self._follow(subscription)
                finally:
                    subscription.close()
                if close is not None:
                    return close
        except OrderNotFound:
            return NO_SUCH_ORDER
        except StoreUnavailable:
            return Close(1013, f"the store does not answer; {self._resume}")
        except ClientGone:
            return None
        except Exception as error:  # noqa: BLE001 - logged with its traceback by `fault`
            fault(f"/api/orders/{self._order_id}/ws", error)
            return Close(1011, f"a fault of the server; {self._resume}")

    async def _follow(self, subscription: Subscription) -> Close | None:
        """Send what the store has, then what the bus brings; None: the bus has lost something.

        Nothing is lost in between: the subscription came first. A new stream need not ask the store when the
        subscription holds everything; one that looks for what it has missed must.
        """
        close = None
        if self._read or not subscription.whole:
            close = await self._replay()
        self._read = True
        while close is None:
            event = await subscription.next()
            if event is not None:
                close = await self._take(event)
            elif subscription.lost:
                return None
            else:
                close = self._slow_consumer() if subscription.overflowed else self._restarting()
        return close

    async def _replay(self) -> Close | None:
        """Send the stored events from the next one on."""
        async with self._turn_to_read():
            events = await self._front.store.events(self._order_id, self._next_seq)
            if not events:
                order = await self._front.store.order(self._order_id)
                return _ended(order.status) if order.is_terminal and order.seq < self._next_seq else None
        for event in events:
            close = await self._deliver(event)
        return close

    @asynccontextmanager
    async def _turn_to_read(self) -> AsyncIterator[None]:
        """A new stream reads at once. One that looks for what it has missed waits for its turn."""
        if not self._read:
            self._read = True
            yield
            return
        self._healing = True
        try:
            async with self._front.healing:
                yield
        finally:
            self._healing = False

    async def _take(self, event: Committed) -> Close | None:
        """Send an event that the bus has brought; close the gap before it from the store."""
        if event.seq > self._next_seq:
            return await self._replay()
        if event.seq == self._next_seq:
            return await self._deliver(event)
        return _ended(event.status) if event.final else None

    async def _deliver(self, event: Committed) -> Close | None:
        self._sending = True
        try:
            await self._send({"type": "websocket.send", "text": event.payload.decode()})
        except OSError as error:
            raise ClientGone from error
        self._sending = False
        self._next_seq = event.seq + 1
        self.sent += 1
        return _ended(event.status) if event.final else None

    async def _drain(self) -> Close | None:
        """Read and forget what the client sends, until it disconnects."""
        for _ in range(_MESSAGES_MAX):
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                return None
        return TOO_MANY_MESSAGES

    async def _close(self, close: Close) -> None:
        """Say good-bye; a client that does not even take that is dropped by the server."""
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._send({"type": "websocket.close", "code": close.code, "reason": close.reason})
        except (TimeoutError, OSError):
            _log.info("websocket dropped", order_id=self._order_id, code=close.code, reason=close.reason)

    @property
    def _resume(self) -> str:
        return f"resume with fromSeq={self._next_seq}"

    def _slow_consumer(self) -> Close:
        return Close(1013, f"slow consumer; {self._resume}")

    def _restarting(self) -> Close:
        return Close(1012, f"the server stops; {self._resume}")


def _ended(status: Status) -> Close:
    return Close(1000, f"order {status}")


async def _deny(scope: Scope, send: Send) -> None:
    """Refuse a handshake where there is no stream: with a problem if the server can, else with a bare close."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 4404, "reason": "nothing is at this path"})
        return
    answer = problem(PathNotFound("no WebSocket is at this path; see /docs"), scope["path"])
    await send({"type": "websocket.http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "websocket.http.response.body", "body": answer.body})
