"""HTTP and WebSockets without a network: an ASGI application, in the process group that serves it, and its callers.

The application runs as tasks of its group and stops with it where it stands. The callers belong to nobody's group: when
the server is lost, they see their connections break. As with uvicorn, a send to a client that has gone raises OSError
on a WebSocket and is ignored over HTTP, and an application that fails answers 500, which is a fault of the run.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote

from bestex.api.wire import App, Message, Scope
from bestex.sim.loop import Group

_ABNORMAL = 1006
_FRAMES_ON_THE_WAY = 4
"""Frames that the connection holds for a client that does not read: the next makes the server wait."""
_ADDRESSES = {"client": ("127.0.0.1", 50_000), "server": ("127.0.0.1", 8080), "root_path": ""}


class NoConnection(Exception):
    """The server did not answer."""


class ConnectionRefused(NoConnection):
    """Nobody listens: the request did not reach anybody."""


class ConnectionLost(NoConnection):
    """It broke before the answer was there: what the server has done is not known."""


class HandshakeRefused(Exception):
    """There is no WebSocket at this path; `status` is the answer's."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the server answered {status}")
        self.status = status


class ClientGone(OSError):
    """What the server meets when it sends on a WebSocket whose client has gone."""


class HttpAnswer(NamedTuple):
    """A whole answer."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        """The value of the header, whose name is given in lower case."""
        return next((value for key, value in self.headers if key == name), None)


class Closed(NamedTuple):
    """The end of a WebSocket."""

    code: int
    reason: str


class _Connection(Protocol):
    def lose(self) -> None: ...


class Server:
    """An application that listens, in the group of its process."""

    def __init__(self, app: App, group: Group) -> None:
        self._app = app
        self._group = group
        self._down = False
        self._open: dict[_Connection, asyncio.Task[None]] = {}
        """In the order in which they came, until the server is done with them."""

    @property
    def up(self) -> bool:
        """Whether it takes connections."""
        return not self._down and not self._group.dead

    def lost(self) -> None:
        """Break all connections and take no more: to be called when the group was killed."""
        self._down = True
        for connection in list(self._open):
            connection.lose()

    async def request(
        self, method: str, path: str, *, headers: Sequence[tuple[bytes, bytes]] = (), body: bytes = b""
    ) -> HttpAnswer:
        """Ask, and wait for the answer. A caller that is canceled has gone away; its request is served all the same.

        `path` may have a query. Raises ConnectionRefused, ConnectionLost.
        """
        scope = _scope("http", path, headers, method=method, scheme="http")
        exchange = _Exchange(body)
        self._serve(exchange, self._answer(scope, exchange), f"{method} {path}")
        try:
            return await exchange.answer
        finally:
            exchange.leave()

    async def connect(self, path: str) -> "Socket":
        """Open a WebSocket. Raises ConnectionRefused, ConnectionLost, HandshakeRefused."""
        scope = _scope("websocket", path, (), scheme="ws", subprotocols=[])
        socket = Socket()
        self._serve(socket, self._stream(scope, socket), f"WS {path}")
        try:
            await socket.opened
        except BaseException:
            socket.close()
            raise
        return socket

    def _serve(self, connection: _Connection, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        if not self.up:
            coroutine.close()
            raise ConnectionRefused
        self._open[connection] = self._group.start(coroutine, name)

    async def _answer(self, scope: Scope, exchange: "_Exchange") -> None:
        failure: Exception | None = None
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except Exception as error:  # noqa: BLE001 - as uvicorn does
            failure = error
        exchange.finish(failure)
        del self._open[exchange]

    async def _stream(self, scope: Scope, socket: "Socket") -> None:
        try:
            await self._app(scope, socket.server_receive, socket.server_send)
        except ClientGone:
            pass
        except Exception as error:  # noqa: BLE001 - as uvicorn does
            _tell("the application failed on a WebSocket", error)
        socket.lose()
        del self._open[socket]


class _Exchange:
    """One HTTP request and what comes back."""

    def __init__(self, body: bytes) -> None:
        self.answer: asyncio.Future[HttpAnswer] = asyncio.get_running_loop().create_future()
        self._requests: deque[Message] = deque([{"type": "http.request", "body": body, "more_body": False}])
        self._gone = asyncio.Event()
        self._head: tuple[int, list[tuple[bytes, bytes]]] | None = None
        self._body = bytearray()

    async def receive(self) -> Message:
        """The server's end."""
        if self._requests:
            return self._requests.popleft()
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """The server's end."""
        if message["type"] == "http.response.start":
            assert self._head is None, "an answer that begins twice"
            self._head = (message["status"], [(bytes(name), bytes(value)) for name, value in message["headers"]])
            return
        assert self._head is not None, "a body without a head"
        self._body += message.get("body", b"")
        if not message.get("more_body", False):
            self._gone.set()
            if not self.answer.done():
                self.answer.set_result(HttpAnswer(*self._head, bytes(self._body)))

    def finish(self, failure: Exception | None) -> None:
        """The application has returned, or failed."""
        unanswered = self._head is None and not self.answer.done()
        if failure is not None or unanswered:
            _tell("the application failed" if failure else "the application returned without an answer", failure)
        if unanswered:
            self.answer.set_result(HttpAnswer(500, [], b"Internal Server Error"))
        else:
            self.lose()

    def leave(self) -> None:
        """The caller has gone."""
        self._gone.set()
        self.answer.cancel()

    def lose(self) -> None:
        """The server has gone."""
        if not self.answer.done():
            self.answer.set_exception(ConnectionLost())


class Socket:
    """One WebSocket, seen by its client: `receive` until it is closed, or `close`."""

    def __init__(self) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._to_server: deque[Message] = deque([{"type": "websocket.connect"}])
        self._frames: deque[bytes] = deque()
        self._end: Closed | None = None
        """What comes after the frames."""
        self._gone = False
        self._denied = 0
        self._moved = asyncio.Event()
        """Something has changed for the client."""
        self._freed = asyncio.Event()
        """Something has changed for the server."""

    async def receive(self) -> bytes | Closed:
        """The next frame, or why there is none. What arrived before the end is read before it."""
        while not self._frames:
            if self._end is not None:
                return self._end
            self._moved.clear()
            await self._moved.wait()
        self._freed.set()
        return self._frames.popleft()

    def close(self) -> None:
        """Go away. What is on the way is lost."""
        self._frames.clear()
        self._finish(Closed(_ABNORMAL, "the client has gone"))
        self._gone = True
        self._freed.set()

    def lose(self) -> None:
        """The server has gone."""
        self._finish(Closed(_ABNORMAL, "the connection broke"))

    def _finish(self, end: Closed) -> None:
        if self._end is None:
            self._end = end
        self._freed.set()
        self._moved.set()
        if not self.opened.done():
            self.opened.set_exception(HandshakeRefused(self._denied) if self._denied else ConnectionLost())
            self.opened.exception()  # a client that went away before does not ask

    async def server_receive(self) -> Message:
        """The server's end."""
        while not self._to_server:
            if self._gone or self._end is not None:
                return {"type": "websocket.disconnect", "code": _ABNORMAL, "reason": ""}
            self._freed.clear()
            await self._freed.wait()
        return self._to_server.popleft()

    async def server_send(self, message: Message) -> None:
        """The server's end. Waits while the client does not read; raises OSError when it has gone."""
        while len(self._frames) >= _FRAMES_ON_THE_WAY and self._end is None:
            self._freed.clear()
            await self._freed.wait()
        if self._end is not None:
            raise ClientGone
        match message["type"]:
            case "websocket.accept":
                if not self.opened.done():
                    self.opened.set_result(None)
            case "websocket.send":
                text = message.get("text")
                self._frames.append(message["bytes"] if text is None else text.encode())
                self._moved.set()
            case "websocket.close":
                self._denied = 0 if self.opened.done() else 403
                self._finish(Closed(message.get("code", 1000), message.get("reason") or ""))
            case "websocket.http.response.start":
                self._denied = message["status"]
            case "websocket.http.response.body":
                self._finish(Closed(_ABNORMAL, "refused"))


def _scope(kind: str, path: str, headers: Sequence[tuple[bytes, bytes]], **more: object) -> Scope:
    bare, _, query = path.partition("?")
    return {
        "type": kind,
        "http_version": "1.1",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "path": unquote(bare),
        "raw_path": bare.encode(),
        "query_string": query.encode(),
        "headers": [(b"host", b"127.0.0.1:8080"), *headers],
        "extensions": {"websocket.http.response": {}} if kind == "websocket" else {},
        "state": {},
        **_ADDRESSES,
        **more,
    }


def _tell(message: str, error: Exception | None) -> None:
    """Report a fault of the application as asyncio reports exceptions that nobody handles."""
    asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})
