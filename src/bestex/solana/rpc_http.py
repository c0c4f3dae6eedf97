"""HTTP POSTs to one endpoint: connections kept and bounded, each exchange with an end."""

import asyncio
import math
from email.utils import parsedate_to_datetime

import aiohttp
import msgspec
from yarl import URL

from bestex.errors import ConfigError
from bestex.ports import Clock

_HEADERS = {"content-type": "application/json", "user-agent": "bestex"}
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=None)
"""An exchange as a whole has a time-out."""


class Reply(msgspec.Struct, frozen=True, gc=False):
    """What came back."""

    status: int
    content: bytes
    retry_after_s: float | None
    """What the header of that name says, if it says anything."""


class NoReply(Exception):
    """The connection failed, or broke. Its text is safe to show."""


class HttpPosts:
    """POSTs JSON."""

    def __init__(self, url: str, clock: Clock, *, timeout_s: float, max_connections: int) -> None:
        """The URL is never shown: providers put their keys into it. Raises ConfigError."""
        self._clock = clock
        self._timeout_s = timeout_s
        try:
            self._target = URL(url)
        except ValueError as error:
            raise ConfigError(f"not a URL of an RPC node: {error}") from None
        if self._target.scheme not in {"http", "https"} or not self._target.host:
            raise ConfigError("not a URL of an RPC node: it begins with http:// or https:// and names a host")
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=max_connections),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_HEADERS,
            timeout=_NO_TIMEOUT,
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def post(self, body: bytes) -> Reply:
        """POST, and read the whole reply. Raises NoReply, TimeoutError; waiting for a connection counts."""
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._session.post(self._target, data=body, allow_redirects=False) as response,
            ):
                content = await response.read()
        except aiohttp.ClientError as error:
            # Its text may show the URL.
            reason = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
            raise NoReply(f"{type(error).__name__}{reason}") from None
        return Reply(response.status, content, self._seconds(response.headers.get("retry-after", "")))

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
