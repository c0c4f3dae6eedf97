"""The status stream: every event of an order over a WebSocket, from any sequence number on, without gaps.

The bus brings events as they happen and may lose them; the store has them all. What a socket has been sent is one
number, the next sequence number, so that it can always be taken up again from the store.
"""

import asyncio
import re
from contextlib import nullcontext

import structlog

from bestex.api.front import Front
from bestex.api.place import EXECUTE
from bestex.api.problems import fault, problem
from bestex.api.refusals import PathNotFound
from bestex.api.stream_target import NO_SUCH_ORDER, Close, Target, read_target
from bestex.api.stream_watch import Watch
from bestex.api.wire import ClientGone, Receive, Scope, Send
from bestex.errors import OrderNotFound, StoreUnavailable
from bestex.orders.status import Status
from bestex.ports import Committed, Subscription

_QUIET_TICKS = frozenset({1, 2, 4, 8})
_QUIET_TICKS_MAX = 12
"""A quiet order is looked up in the store after 1, 2, 4, 8 ticks, then every 12: once a minute."""
_CLOSE_TIMEOUT_S = 5.0
_MESSAGES_MAX = 1_000
"""Messages that a client may send over a socket's life; they are ignored."""

_PATH = re.compile(r"/api/orders/([^/]+)/ws")

TOO_MANY_MESSAGES = Close(1008, "this socket takes no messages")

_log = structlog.get_logger(__name__)


async def serve_stream(front: Front, watch: Watch, scope: Scope, receive: Receive, send: Send) -> None:
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
        watch.add(stream)
        try:
            await stream.run()
        finally:
            watch.remove(stream)
            front.metrics.add_messages(stream.sent)


class _Stream:
    """One socket: a pump that sends events, and a reader beside it that drains what the client says."""

    def __init__(self, front: Front, target: Target, receive: Receive, send: Send) -> None:
        self._front = front
        self.order_id = target.order_id
        self.next_seq = self._seen = target.from_seq
        self._receive = receive
        self._send = send
        self._subscription: Subscription | None = None
        self._waiting = False
        """For the bus."""
        self._sending = self._stuck = False
        self._read = False
        self._behind = False
        self._quiet = 0
        self._over = False
        self._close: Close | None = None
        self.sent = 0

    async def run(self) -> None:
        """Until the client has gone, the order has ended, or one of both is hopeless."""
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        reader = asyncio.create_task(self._drain())
        try:
            close = await self._pump()
        except asyncio.CancelledError:
            if not self._over or task.uncancel() > 0:
                raise
            close = self._close
        finally:
            self._over = True
            reader.cancel()
        if close is not None:
            await self._say_goodbye(close)

    # --- what the watch and the reader do to it -----------------------------------------------------------------------

    def tick(self) -> bool:
        """As `Watched.tick`. A client that has taken nothing between two ticks is given up."""
        moved, self._seen = self.next_seq != self._seen, self.next_seq
        if self._sending and self._stuck and not moved:
            self._interrupt(self._slow_consumer())
        self._stuck = self._sending
        if moved or not self._waiting:
            self._quiet = 0
            return False
        self._quiet += 1
        return self._quiet in _QUIET_TICKS or self._quiet % _QUIET_TICKS_MAX == 0

    def catch_up(self) -> None:
        """As `Watched.catch_up`: the pump begins anew."""
        if self._waiting and self._subscription is not None:
            self._behind = True
            self._subscription.close()

    def lose_store(self) -> None:
        """As `Watched.lose_store`."""
        if self._waiting:
            self._interrupt(self._storeless())

    def _interrupt(self, close: Close | None) -> None:
        """End the pump wherever it is; None: the client has gone."""
        if not self._over:
            self._over, self._close = True, close
            self._task.cancel()

    # --- the pump -----------------------------------------------------------------------------------------------------

    async def _pump(self) -> Close | None:
        """Send events until there are no more; None: the client has gone."""
        try:
            while True:
                subscription = self._subscription = self._front.bus.subscribe(self.order_id)
                try:
                    close = await self._follow(subscription)
                finally:
                    subscription.close()
                if close is not None:
                    return close
        except OrderNotFound:
            return NO_SUCH_ORDER
        except StoreUnavailable:
            return self._storeless()
        except ClientGone:
            return None
        except Exception as error:  # noqa: BLE001 - logged with its traceback by `fault`
            return self._fault(error)

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
            self._waiting = True
            event = await subscription.next()
            self._waiting = False
            if event is not None:
                close = await self._take(event)
            elif subscription.lost or self._behind:
                self._behind = False
                return None
            else:
                close = self._slow_consumer() if subscription.overflowed else self._restarting()
        return close

    async def _replay(self) -> Close | None:
        """Send the stored events from the next one on.

        A new stream reads at once. One that looks for what it has missed waits for its turn.
        """
        async with self._front.healing if self._read else nullcontext():
            self._read = True
            events = await self._front.store.events(self.order_id, self.next_seq)
            if not events:
                order = await self._front.store.order(self.order_id)
                return _ended(order.status) if order.is_terminal and order.seq < self.next_seq else None
        for event in events:
            close = await self._deliver(event)
        return close

    async def _take(self, event: Committed) -> Close | None:
        """Send an event that the bus has brought; close the gap before it from the store."""
        if event.seq > self.next_seq:
            return await self._replay()
        if event.seq == self.next_seq:
            return await self._deliver(event)
        return _ended(event.status) if event.final else None

    async def _deliver(self, event: Committed) -> Close | None:
        self._sending = True
        try:
            await self._send({"type": "websocket.send", "text": event.payload.decode()})
        except OSError as error:
            raise ClientGone from error
        self._sending = False
        self.next_seq = event.seq + 1
        self.sent += 1
        return _ended(event.status) if event.final else None

    async def _drain(self) -> None:
        """Read and forget what the client sends, until it disconnects."""
        close: Close | None = TOO_MANY_MESSAGES
        try:
            for _ in range(_MESSAGES_MAX):
                message = await self._receive()
                if message["type"] == "websocket.disconnect":
                    close = None
                    break
        except Exception as error:  # noqa: BLE001 - logged with its traceback by `fault`
            close = self._fault(error)
        self._interrupt(close)

    async def _say_goodbye(self, close: Close) -> None:
        """A client that does not even take that is dropped by the server."""
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._send({"type": "websocket.close", "code": close.code, "reason": close.reason})
        except (TimeoutError, OSError):
            _log.info("websocket dropped", order_id=self.order_id, code=close.code, reason=close.reason)

    @property
    def _resume(self) -> str:
        return f"resume with fromSeq={self.next_seq}"

    def _slow_consumer(self) -> Close:
        return Close(1013, f"slow consumer; {self._resume}")

    def _restarting(self) -> Close:
        return Close(1012, f"the server stops; {self._resume}")

    def _storeless(self) -> Close:
        return Close(1013, f"the store does not answer; {self._resume}")

    def _fault(self, error: Exception) -> Close:
        fault(f"/api/orders/{self.order_id}/ws", error)
        return Close(1011, f"a fault of the server; {self._resume}")


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
