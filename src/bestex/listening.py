"""What all our servers have in common: the socket, how uvicorn is set up, and what a signal does."""

import asyncio
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import HANDLED_SIGNALS

from bestex.errors import ConfigError
from bestex.outgoing import Joined

_BACKLOG = 2048
_KEEP_ALIVE_S = 75
"""A client may take its time between a POST and the upgrade on the same connection."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes any free one. Raises ConfigError when the address cannot be had."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, _, _, address = found[0]
        # The protocol is named because asyncio switches Nagle's algorithm off only for sockets that say they are TCP.
        listener = socket.socket(family, kind, socket.IPPROTO_TCP)
        try:
            if sys.platform != "win32":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except BaseException:
            listener.close()
            raise
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot listen on {host}:{port}: {reason}", host=host, port=port) from error
    return listener


def url_of(listener: socket.socket, scheme: str = "http") -> str:
    """Where a socket listens."""
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def uvicorn_config(app: Callable[..., Any], *, shutdown_s: int, ws_max_size: int, **more: Any) -> uvicorn.Config:
    """Fast parsers, uncompressed frames, nothing logged. `more` or other values: as `uvicorn.Config` has them.

    Requests that are under way have `shutdown_s` when the server stops. No longer message than `ws_max_size` bytes is
    taken over a WebSocket.
    """
    usual: dict[str, Any] = {"http": HttpProtocol, "ws": "websockets-sansio"}
    return uvicorn.Config(
        app,
        interface="asgi3",
        lifespan="off",
        ws_per_message_deflate=False,
        ws_max_size=ws_max_size,
        access_log=False,
        log_config=None,
        log_level="warning",
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=shutdown_s,
        **(usual | more),
    )


class HttpProtocol(HttpToolsProtocol):
    """Uvicorn's `httptools`, with joined writes; so are those of the WebSockets that it hands its transport on to."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast(asyncio.Transport, Joined(transport, self.loop)))


class Server(uvicorn.Server):
    """Uvicorn's, but a signal that stopped it is not raised again: what is behind it has yet to end in good order."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in HANDLED_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
