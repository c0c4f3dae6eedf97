"""One HTTP/1.1 connection to an RPC node: a request at a time, each with its whole reply."""

import asyncio
import zlib
from typing import cast

import httptools
import msgspec

_GZIP = 31
"""To zlib."""
_MAX_HEADERS = 200
_BODILESS = frozenset({204, 304})


class Exchanged(msgspec.Struct, frozen=True, gc=False):
    """A reply as it stood on the wire, its body unpacked."""

    status: int
    headers: dict[bytes, bytes]
    """By name in lower case."""
    body: bytes


class Broken(Exception):
    """The connection cannot be used any more. Its text is safe to show."""


class HttpConnection(asyncio.Protocol):
    """Parses by callbacks of httptools; `exchange` is what others use."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._reply: asyncio.Future[Exchanged] | None = None
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._ends_with_connection = False
        self.last_used_s = 0.0
        """When it was free again, by the event loop's clock."""

    @property
    def usable(self) -> bool:
        """Whether a request may be sent now."""
        return self._transport is not None and not self._transport.is_closing() and self._reply is None

    async def exchange(self, request: bytes) -> Exchanged:
        """Send a request, and read the reply to it. Raises Broken. Whoever is interrupted must close."""
        assert self.usable
        assert self._transport is not None
        self._reply = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._reply

    def close(self) -> None:
        """Close at once, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio's callbacks ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._reply is None:
            self.close()  # what nobody has asked for: the node says good-bye
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail("an answer that is not HTTP")
            self.close()

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None
        if self._reply is not None and self._ends_with_connection:
            self._settle()
        self._fail("the connection was closed")

    # --- the parser's callbacks ---------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._reply is None:
            self.close()  # two replies to one request: the next would get the wrong one
        self._headers, self._body, self._ends_with_connection = {}, [], False

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self._headers) < _MAX_HEADERS:
            self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        measured = b"content-length" in self._headers or b"transfer-encoding" in self._headers
        self._ends_with_connection = not measured and self._parser.get_status_code() not in _BODILESS

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() < 200:
            return  # the reply itself is yet to come
        keeps = self._parser.should_keep_alive()
        self._settle()
        if not keeps:
            self.close()

    def _settle(self) -> None:
        reply, self._reply = self._reply, None
        self._ends_with_connection = False
        if reply is None or reply.done():
            return
        try:
            body = _unpacked(b"".join(self._body), self._headers.get(b"content-encoding", b""))
        except zlib.error:
            reply.set_exception(Broken("a body that cannot be unpacked"))
            return
        reply.set_result(Exchanged(self._parser.get_status_code(), self._headers, body))

    def _fail(self, reason: str) -> None:
        reply, self._reply = self._reply, None
        if reply is not None and not reply.done():
            reply.set_exception(Broken(reason))


def _unpacked(body: bytes, encoding: bytes) -> bytes:
    return zlib.decompress(body, _GZIP) if encoding.lower() == b"gzip" else body
