"""Uvicorn, set up for this API: fast parsers, uncompressed frames, an end to everything that could wait for ever."""

import asyncio
import math
import socket
import sys
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable

import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from bestex.api.wire import App
from bestex.config import Settings
from bestex.listening import HttpProtocol, Server, uvicorn_config

_PING_S = 20.0
_HEAD_BYTES = 65_536
_WS_MESSAGE_BYTES = 4096
"""Clients have nothing to say on a stream."""
_CLOSING_S = 12.0
"""A closing handshake is over by then (uvicorn gives it 10 s), or the peer is gone."""
_STOPPING_S = 2.0
_LAST_WORD_S = 0.5


def make_server(app: App, settings: Settings, on_stop: Callable[[], None]) -> uvicorn.Server:
    """A server for `await server.serve(sockets=[listen(host, port)])`.

    SIGINT, SIGTERM or `should_exit` stop it: `on_stop` is called, WebSockets are closed with 1012, requests finished,
    for `shutdown_s` at most; then `serve` returns.
    """
    config = uvicorn_config(
        app,
        shutdown_s=math.ceil(settings.shutdown_s),
        ws_max_size=_WS_MESSAGE_BYTES,
        http=_HttpProtocol,
        ws=_StreamProtocol,
        ws_ping_interval=_PING_S,
        ws_ping_timeout=_PING_S,
    )
    return _Server(config, on_stop)


def loop_factory() -> Callable[[], AbstractEventLoop] | None:
    """uvloop's event loop where there is one: for `asyncio.Runner`."""
    if sys.platform == "win32":
        return None
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop


class _Server(Server):
    """A server that says when it begins to stop."""

    def __init__(self, config: uvicorn.Config, on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_stop = on_stop

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stop()
        await super().shutdown(sockets)


class _HttpProtocol(HttpProtocol):
    """With a bound on the head of a request, which it would gather for as long as it comes."""

    _in_head = True
    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > _HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The head of the request is too large.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()


class _StreamProtocol(WebSocketsSansIOProtocol):
    """Uvicorn's `websockets-sansio`, with an end to every closing.

    A transport that is closed first flushes what it holds: a peer that reads nothing would keep it, and what it holds,
    for as long as it likes.
    """

    _abort_timer: TimerHandle | None = None

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": 1011, "reason": "keepalive ping timeout"})
        self._abort_in(_STOPPING_S)

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        if not self.disconnected:
            self._abort_in(_CLOSING_S)

    def shutdown(self) -> None:
        # The stream itself says where to go on: it has a moment for that.
        self.loop.call_later(_LAST_WORD_S, self._shut_down)

    def _shut_down(self) -> None:
        if not self.transport.is_closing():
            super().shutdown()
            self._abort_in(_STOPPING_S)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._abort_timer is not None:
            self._abort_timer.cancel()
            self._abort_timer = None

    def _abort_in(self, seconds: float) -> None:
        if self._abort_timer is None:
            self._abort_timer = self.loop.call_later(seconds, self.transport.abort)
