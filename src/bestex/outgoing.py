"""What a connection writes in one turn of the event loop, in one piece: each write of its own is a system call."""

import asyncio
from typing import Any

_MOST_BYTES = 16_384
"""More is written at once, so that the transport can say when the peer is slow."""


class Joined:
    """A transport that joins the writes of one turn; everything else is the transport's own."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        """As the transport's, at the end of the turn at the latest."""
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)
        self._size += len(data)
        if self._size > _MOST_BYTES:
            self._flush()

    def close(self) -> None:
        """As the transport's: what has been written still goes out."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """As the transport's: what has not gone out is dropped."""
        self._parts.clear()
        self._size = 0
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def _flush(self) -> None:
        if not self._parts:
            return
        whole = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        if not self._transport.is_closing():
            self._transport.write(whole)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
