"""A server that speaks the engine's protocol from a script: answers, refuses, closes, and cuts connections."""

import asyncio
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from websockets.http11 import Request as Handshake
from websockets.server import ServerProtocol


@dataclass(frozen=True)
class Seen:
    """A request as it came in."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """An HTTP response."""

    status: int = 200
    body: bytes = b"{}"
    content_type: str = "application/json"


@dataclass(frozen=True)
class Cut:
    """Drop the connection without a word."""


@dataclass(frozen=True)
class Close:
    """Close the WebSocket."""

    code: int
    reason: str = ""


Step: TypeAlias = bytes | Close | Cut


@dataclass
class EngineDouble:
    """What to answer, in order, and what came in."""

    url: str = ""
    answers: deque[Answer | Cut] = field(default_factory=deque)
    """One for each HTTP request."""
    streams: deque[Sequence[Step] | Answer | Cut] = field(default_factory=deque)
    """One for each WebSocket handshake; an Answer refuses it, a Cut drops it."""
    seen: list[Seen] = field(default_factory=list)

    @property
    def targets(self) -> list[str]:
        """What was asked for, in order."""
        return [request.target for request in self.seen]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while head := await _read_head(reader):
                request = await _parse(head, reader)
                self.seen.append(request)
                upgrade = request.headers.get("upgrade") == "websocket"
                step = self.streams.popleft() if upgrade else self.answers.popleft()
                if isinstance(step, Cut):
                    writer.transport.abort()
                    return
                if not isinstance(step, Answer):
                    await _stream(step, head, reader, writer)
                    return
                writer.write(_response(step))
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


@contextmanager
def engine_double() -> Iterator[EngineDouble]:
    """The server, on a thread of its own."""
    double = EngineDouble()
    ready = threading.Event()
    stop: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def run() -> None:
        server = await asyncio.start_server(double.serve, "127.0.0.1", 0)
        double.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        stopping = asyncio.Event()
        stop.append((asyncio.get_running_loop(), stopping))
        ready.set()
        await stopping.wait()
        server.close()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    ready.wait()
    try:
        yield double
    finally:
        loop, stopping = stop[0]
        loop.call_soon_threadsafe(stopping.set)
        thread.join()


async def _read_head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


async def _parse(head: bytes, reader: asyncio.StreamReader) -> Seen:
    first, *lines = head.decode().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Seen(method, target, headers, body)


async def _stream(
    steps: Sequence[Step], head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    protocol = ServerProtocol()
    protocol.receive_data(head)
    (handshake,) = protocol.events_received()
    assert isinstance(handshake, Handshake)
    protocol.send_response(protocol.accept(handshake))
    for step in steps:
        match step:
            case bytes():
                protocol.send_text(step)
            case Close():
                protocol.send_close(step.code, step.reason)
            case Cut():
                writer.write(b"".join(protocol.data_to_send()))
                await writer.drain()
                writer.transport.abort()
                return
    writer.write(b"".join(protocol.data_to_send()))
    await writer.drain()
    while data := await reader.read(65_536):
        protocol.receive_data(data)
        writer.write(b"".join(protocol.data_to_send()))
        await writer.drain()
        if protocol.close_expected():
            return


def _response(answer: Answer) -> bytes:
    head = (
        f"HTTP/1.1 {answer.status} X\r\ncontent-type: {answer.content_type}\r\n"
        f"content-length: {len(answer.body)}\r\n\r\n"
    )
    return head.encode() + answer.body
