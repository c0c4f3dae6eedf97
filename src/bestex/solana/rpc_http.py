"""HTTP POSTs to one endpoint: connections kept and bounded, each exchange with an end.

Our own, over httptools: a general client takes three times as long for a call, and there are several an order.
rpc_connection.py  one connection
"""

import asyncio
import base64
import math
import socket
import ssl
from email.utils import parsedate_to_datetime
from urllib.parse import quote, unquote, urlsplit

import msgspec

from bestex.errors import ConfigError
from bestex.ports import Clock
from bestex.solana.rpc_connection import Broken, Exchanged, HttpConnection

_PORTS = {"http": 80, "https": 443}
_KEPT_S = 15.0
"""How long an unused connection is kept: less than nodes keep theirs."""
_NEXT_ADDRESS_S = 2.0
"""To connect to one of several addresses."""
_URL_CHARACTERS = "/?%:@!$&'()*+,;=-._~[]"


class Reply(msgspec.Struct, frozen=True, gc=False):
    """What came back."""

    status: int
    content: bytes
    retry_after_s: float | None
    """What the header of that name says, if it says anything."""


class NoReply(Exception):
    """The connection failed, or broke. Its text is safe to show."""


class Target(msgspec.Struct, frozen=True):
    """Where requests go."""

    host: str
    port: int
    tls: bool
    head: bytes
    """Of a request, up to the length of its body."""


class HttpPosts:
    """POSTs JSON."""

    def __init__(self, url: str, clock: Clock, *, timeout_s: float, max_connections: int) -> None:
        """The URL is never shown: providers put their keys into it. Raises ConfigError."""
        self._clock = clock
        self._timeout_s = timeout_s
        self._target = _target(url)
        self._tls = _tls() if self._target.tls else None
        self._room = asyncio.Semaphore(max_connections)
        self._idle: list[HttpConnection] = []
        self._busy: set[HttpConnection] = set()

    async def close(self) -> None:
        """Close all connections."""
        for connection in (*self._idle, *self._busy):
            connection.close()
        self._idle.clear()

    async def post(self, body: bytes) -> Reply:
        """POST, and read the whole reply. Raises NoReply, TimeoutError; waiting for a connection counts."""
        try:
            async with asyncio.timeout(self._timeout_s), self._room:
                exchanged = await self._exchange(b"%b%d\r\n\r\n%b" % (self._target.head, len(body), body))
        except Broken as error:
            raise NoReply(str(error)) from None
        except TimeoutError:
            raise
        except OSError as error:
            # Its text may show the URL.
            raise NoReply(f"{type(error).__name__}: {error.strerror or 'cannot connect'}") from None
        told = exchanged.headers.get(b"retry-after", b"").decode("latin-1")
        return Reply(exchanged.status, exchanged.body, self._seconds(told))

    async def _exchange(self, request: bytes) -> Exchanged:
        connection = self._kept() or await self._connect()
        self._busy.add(connection)
        try:
            exchanged = await connection.exchange(request)
        except BaseException:
            # The reply may come yet: it must not be taken for that to the next request.
            connection.close()
            raise
        finally:
            self._busy.discard(connection)
        connection.last_used_s = asyncio.get_running_loop().time()
        self._idle.append(connection)
        return exchanged

    def _kept(self) -> HttpConnection | None:
        """The connection that was used last, if it can be used again."""
        oldest_s = asyncio.get_running_loop().time() - _KEPT_S
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and connection.last_used_s >= oldest_s:
                return connection
            connection.close()
        return None

    async def _connect(self) -> HttpConnection:
        """To the first of the host's addresses that answers. Raises OSError."""
        loop, target = asyncio.get_running_loop(), self._target
        found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        for at, (_, _, _, _, address) in enumerate(found):
            last = at == len(found) - 1
            try:
                async with asyncio.timeout(None if last else _NEXT_ADDRESS_S):
                    return await self._connected(str(address[0]))
            except OSError:
                if last:
                    raise
        raise OSError("the host has no address")

    async def _connected(self, address: str) -> HttpConnection:
        name = self._target.host if self._tls else None
        _, connection = await asyncio.get_running_loop().create_connection(
            HttpConnection, address, self._target.port, ssl=self._tls, server_hostname=name
        )
        return connection

    def _seconds(self, told: str) -> float | None:
        """What `Retry-After` says: seconds, or a date."""
        if not told:
            return None
        try:
            seconds = float(told)
        except ValueError:
            try:
                seconds = parsedate_to_datetime(told).timestamp() - self._clock.now_ms() / 1000
            except (ValueError, TypeError):
                return None
        return max(0.0, seconds) if math.isfinite(seconds) else None


def _target(url: str) -> Target:
    """Raises ConfigError; the URL itself is in no message."""
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
        name = host.encode("idna").decode() if host and ":" not in host else host
    except ValueError:
        raise ConfigError("not a URL of an RPC node") from None
    if scheme not in _PORTS or not name:
        raise ConfigError("not a URL of an RPC node: it begins with http:// or https:// and names a host")
    shown = f"[{name}]" if ":" in name else name
    if port is not None and port != _PORTS[scheme]:
        shown = f"{shown}:{port}"
    path = quote(parts.path or "/", safe=_URL_CHARACTERS)
    query = f"?{quote(parts.query, safe=_URL_CHARACTERS)}" if parts.query else ""
    lines = [
        f"POST {path}{query} HTTP/1.1",
        f"host: {shown}",
        "content-type: application/json",
        "accept-encoding: gzip",
        "user-agent: bestex",
    ]
    if parts.username is not None:
        secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        lines.append(f"authorization: Basic {base64.b64encode(secret.encode()).decode()}")
    return Target(name, port or _PORTS[scheme], scheme == "https", "\r\n".join([*lines, "content-length: "]).encode())


def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
