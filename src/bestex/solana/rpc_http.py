"""JSON-RPC calls over HTTP: connections kept and bounded, each call with an end."""

import asyncio
import math
from email.utils import parsedate_to_datetime
from itertools import count
from typing import Any, TypeVar

import httpx
import msgspec

from bestex.errors import ClusterUnavailable, ConfigError, RateLimited
from bestex.ports import Clock
from bestex.solana.rpc_answers import Answer
from bestex.solana.rpc_errors import request_error

T = TypeVar("T")

_TOO_MANY_REQUESTS = 429
_HEADERS = {"content-type": "application/json", "user-agent": "bestex"}
_ONE = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=60.0)


class RpcHttp:
    """Calls methods of one endpoint."""

    def __init__(self, url: str, clock: Clock, *, timeout_s: float, max_connections: int) -> None:
        """`timeout_s` bounds a call from beginning to end, its wait for a connection included.

        The URL is never shown: providers put their keys into it. Raises ConfigError.
        """
        self._clock = clock
        self._timeout_s = timeout_s
        self._ids = count(1)
        self._decoders: dict[Any, msgspec.json.Decoder[Any]] = {}
        try:
            self._target = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise ConfigError(f"not a URL of an RPC node: {error}") from None
        if self._target.scheme not in {"http", "https"} or not self._target.host:
            raise ConfigError("not a URL of an RPC node: it begins with http:// or https:// and names a host")
        self._ssl = httpx.create_ssl_context(trust_env=False)
        self._free = asyncio.Semaphore(max_connections)
        self._clients: list[httpx.AsyncClient] = []
        self._idle: list[httpx.AsyncClient] = []
        """One connection each, the last used first: httpx's pool looks at all of its connections for every request."""

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients:
            await client.aclose()

    async def call(self, wanted: type[T], method: str, *params: Any) -> T:
        """Call a method. Raises ClusterUnavailable, RequestRefused, RateLimited (context `retry_after_s`, if told)."""
        number = next(self._ids)
        request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._post(msgspec.json.encode(request))
        except TimeoutError:
            raise ClusterUnavailable(f"{method}: no answer within {self._timeout_s:g} s") from None
        except httpx.HTTPError as error:
            raise ClusterUnavailable(f"{method}: {type(error).__name__}: {error}") from error
        if response.status_code == _TOO_MANY_REQUESTS:
            raise self._rate_limited(method, response)
        return self._read(wanted, method, number, response)

    async def _post(self, body: bytes) -> httpx.Response:
        async with self._free:
            client = self._idle.pop() if self._idle else self._connect()
            try:
                return await client.post(self._target, content=body)
            finally:
                self._idle.append(client)

    def _connect(self) -> httpx.AsyncClient:
        # A call as a whole has a time-out; httpx's own would begin anew with every byte.
        client = httpx.AsyncClient(verify=self._ssl, limits=_ONE, timeout=None, trust_env=False, headers=_HEADERS)  # noqa: S113
        self._clients.append(client)
        return client

    def _read(self, wanted: type[T], method: str, number: int, response: httpx.Response) -> T:
        decoder = self._decoders.get(wanted)
        if decoder is None:
            decoder = self._decoders[wanted] = msgspec.json.Decoder(Answer[wanted])  # type: ignore[valid-type]
        try:
            answer: Answer[T] = decoder.decode(response.content)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ClusterUnavailable(
                f"{method}: HTTP {response.status_code}, and an answer that cannot be read: {error}"
            ) from error
        if answer.error is not None:
            raise request_error(method, answer.error.code, answer.error.message)
        if answer.id != number or isinstance(answer.result, msgspec.UnsetType):
            raise ClusterUnavailable(f"{method}: HTTP {response.status_code}, and no answer to this request")
        return answer.result

    def _rate_limited(self, method: str, response: httpx.Response) -> RateLimited:
        told = response.headers.get("retry-after", "")
        context = {} if (wait_s := self._seconds(told)) is None else {"retry_after_s": wait_s}
        again = f"; again in {wait_s:g} s" if wait_s is not None else ""
        return RateLimited(f"{method}: too many requests{again}", **context)

    def _seconds(self, told: str) -> float | None:
        """What `Retry-After` says: seconds, or a date."""
        try:
            seconds = float(told)
        except ValueError:
            try:
                seconds = parsedate_to_datetime(told).timestamp() - self._clock.now_ms() / 1000
            except (ValueError, TypeError):
                return None
        return max(0.0, seconds) if math.isfinite(seconds) else None
