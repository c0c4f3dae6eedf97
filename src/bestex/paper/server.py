"""The paper cluster as a Solana RPC node: JSON-RPC over HTTP and WebSocket, on one port and, as nodes do, the next.

rpc_wire.py           requests, answers, errors
rpc_params.py         what may be asked
rpc_shapes.py         how accounts, errors and statuses are written
rpc_reading.py        methods that read the chain
rpc_transactions.py   methods about transactions; rpc_landed.py one that has landed
rpc_subscriptions.py  the WebSocket
rpc_node.py           what they all need; the faucet
"""

import asyncio
import signal
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any, NamedTuple, TypeAlias, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import HANDLED_SIGNALS

from bestex.errors import ClusterUnavailable, ConfigError
from bestex.outgoing import Joined
from bestex.paper import rpc_reading, rpc_transactions
from bestex.paper.cluster import PaperCluster
from bestex.paper.rpc_node import Node
from bestex.paper.rpc_subscriptions import Session
from bestex.paper.rpc_wire import METHOD_NOT_FOUND, RpcError, answer_body
from bestex.ports import Clock

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

METHODS = rpc_reading.METHODS | rpc_transactions.METHODS

_BODY_BYTES = 262_144
_BODY_TIMEOUT_S = 20.0
_WS_MESSAGE_BYTES = 8_192
_BACKLOG = 2_048
_KEEP_ALIVE_S = 75
_STOPPING_S = 5
_JSON = (b"content-type", b"application/json")
_TEXT = (b"content-type", b"text/plain")


class Address(NamedTuple):
    """Where a paper cluster is served."""

    url: str
    ws_url: str


def paper_app(cluster: PaperCluster, clock: Clock) -> App:
    """The ASGI application."""
    node = Node(cluster, clock)
    in_turn = not cluster.delays

    async def call(method: str, params: list[Any]) -> object:
        found = METHODS.get(method)
        if found is None:
            raise RpcError(METHOD_NOT_FOUND, "Method not found")
        return await found(node, params)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await _converse(node, receive, send)
        elif scope["method"] == "GET" and scope["path"] == "/health":
            await _respond(send, 200, await _health(node), _TEXT)
        elif scope["method"] != "POST":
            await _respond(send, 405, b"Used HTTP Method is not allowed. POST or OPTIONS is required", _TEXT)
        else:
            status, body = await _read(receive)
            await _respond(
                send, status, await answer_body(body, call, in_turn=in_turn) if status == 200 else b"", _JSON
            )

    return app


@asynccontextmanager
async def serving(app: App, clock: Clock, *, host: str, port: int) -> AsyncIterator[tuple[Address, asyncio.Task[None]]]:
    """Serve an application; port 0 takes any free one. The task ends when SIGINT or SIGTERM comes, or with the context.

    With a port given, the next one is served too: that is where Solana's clients look for the WebSocket. Raises
    ConfigError when one of them is taken.
    """
    with ExitStack() as exits:
        ports = [port, port + 1] if port else [0]
        listeners = [exits.enter_context(_listen(host, each)) for each in ports]
        server = _Server(_config(app))
        task = asyncio.create_task(server.serve(sockets=listeners))
        try:
            while not server.started and not task.done():
                await clock.sleep(0.005)
            shown = f"[{host}]" if ":" in host else host
            taken = [listener.getsockname()[1] for listener in listeners]
            yield Address(f"http://{shown}:{taken[0]}", f"ws://{shown}:{taken[-1]}"), task
        finally:
            server.should_exit = True
            await task


async def serve_paper(
    cluster: PaperCluster,
    *,
    clock: Clock,
    host: str = "127.0.0.1",
    port: int = 8899,
    on_ready: Callable[[Address], None] | None = None,
) -> None:
    """Let an open cluster's time pass and serve it until SIGINT or SIGTERM; the caller closes it.

    Raises ConfigError when the port is taken, ClusterUnavailable when the ledger fails.
    """
    async with serving(paper_app(cluster, clock), clock, host=host, port=port) as (address, served):
        chain = asyncio.create_task(cluster.run())
        try:
            if on_ready is not None:
                on_ready(address)
            await asyncio.wait({served, chain}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            chain.cancel()
            (ended,) = await asyncio.gather(chain, return_exceptions=True)
    if isinstance(ended, Exception):
        raise ended


async def _health(node: Node) -> bytes:
    try:
        node.cluster.validator.check()
    except ClusterUnavailable:
        return b"behind"
    return b"ok"


async def _read(receive: Receive) -> tuple[int, bytes]:
    """The status of having read a body, and the body."""
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return 400, b""
                body += message.get("body", b"")
                if len(body) > _BODY_BYTES:
                    return 413, b""
                if not message.get("more_body", False):
                    return 200, bytes(body)
    except TimeoutError:
        return 408, b""


async def _respond(send: Send, status: int, body: bytes, kind: tuple[bytes, bytes]) -> None:
    headers = [kind, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _converse(node: Node, receive: Receive, send: Send) -> None:
    """One WebSocket, from its opening to its end."""

    async def say(text: str) -> None:
        await send({"type": "websocket.send", "text": text})

    await receive()
    await send({"type": "websocket.accept"})
    session = Session(node, say)
    try:
        while (message := await receive())["type"] == "websocket.receive":
            await session.take(message.get("text") or message.get("bytes") or b"")
    finally:
        await session.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        # The protocol is named because asyncio switches Nagle's algorithm off only for sockets that say they are TCP.
        listener = socket.socket(family, kind, socket.IPPROTO_TCP)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
    except (OSError, OverflowError) as error:
        raise ConfigError(f"cannot listen on {host}:{port}: {error}", host=host, port=port) from error
    return listener


def _config(app: App) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        interface="asgi3",
        lifespan="off",
        http=_HttpProtocol,
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_max_size=_WS_MESSAGE_BYTES,
        access_log=False,
        log_config=None,
        log_level="warning",
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_STOPPING_S,
    )


class _HttpProtocol(HttpToolsProtocol):
    """Uvicorn's `httptools`; the WebSockets that it hands its transport on to are joined as well."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast(asyncio.Transport, Joined(transport, self.loop)))


class _Server(uvicorn.Server):
    """Uvicorn's, but a signal that stopped it is not raised again: the ledger has yet to be closed."""

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
