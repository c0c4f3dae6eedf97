"""The simulator's clients on a real network: each request and each stream goes to whichever API node chance takes."""

import asyncio
import random
from collections.abc import Sequence
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from bestex.sim.asgi import Closed, ConnectionLost, ConnectionRefused, HandshakeRefused, HttpAnswer

PATIENCE_S = 6.0
"""A node that does not answer for so long is left: it may be frozen."""
_ABNORMAL = 1006
_UNAVAILABLE = 503


class Nodes:
    """The front door: all API nodes, of which some may be down."""

    def __init__(self, urls: Sequence[str], draw: random.Random) -> None:
        self._nodes = [Node(url) for url in urls]
        self._draw = draw

    def server(self) -> "Node":
        return self._draw.choice(self._nodes)


class Node:
    """One API node, as `bestex.sim.asgi.Server` is one. Each request has a connection of its own."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._host, self._port = urlsplit(url).hostname, urlsplit(url).port

    async def request(
        self, method: str, path: str, *, headers: Sequence[tuple[bytes, bytes]] = (), body: bytes = b""
    ) -> HttpAnswer:
        """Raises ConnectionRefused, ConnectionLost. A caller that is canceled hangs up."""
        lines = [f"{method} {path} HTTP/1.1\r\nhost: {self._host}:{self._port}\r\nconnection: close".encode()]
        lines += [name + b": " + value for name, value in (*headers, (b"content-length", b"%d" % len(body)))]
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self._exchange(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        except ConnectionRefusedError:
            raise ConnectionRefused from None
        except (OSError, EOFError):
            raise ConnectionLost from None

    async def _exchange(self, request: bytes) -> HttpAnswer:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            writer.write(request)
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).rstrip().split(b"\r\n")
            headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
            length = int(dict(headers)[b"content-length"])
            return HttpAnswer(int(first.split()[1]), headers, await reader.readexactly(length))
        finally:
            writer.transport.abort()

    async def connect(self, path: str) -> "Socket":
        """Raises ConnectionLost, HandshakeRefused."""
        try:
            connection = await connect(
                f"ws{self._url.removeprefix('http')}{path}",
                compression=None, open_timeout=PATIENCE_S, ping_interval=PATIENCE_S / 2, ping_timeout=PATIENCE_S / 2,
                proxy=None,
            )  # fmt: skip
        except InvalidStatus as refused:
            if refused.response.status_code == _UNAVAILABLE:
                raise ConnectionLost from None  # as when nobody listens: another node may
            raise HandshakeRefused(refused.response.status_code) from None
        except (OSError, TimeoutError, WebSocketException):
            raise ConnectionLost from None
        return Socket(connection)


class Socket:
    """One WebSocket, as `bestex.sim.asgi.Socket` is one."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def receive(self) -> bytes | Closed:
        try:
            return await self._connection.recv(decode=False)
        except ConnectionClosed as closed:
            code = closed.rcvd
            return Closed(_ABNORMAL, "the connection broke") if code is None else Closed(code.code, code.reason)

    def close(self) -> None:
        """Go away without a word."""
        self._connection.transport.abort()
