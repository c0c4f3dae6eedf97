"""Requests and answers as bytes: what a hot route needs of HTTP, without a framework."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, NamedTuple, TypeAlias

from bestex.api.refusals import BodyTooLarge, RequestTimeout

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

Headers: TypeAlias = Iterable[tuple[bytes, bytes]]
"""As in an ASGI scope: names in lower case."""

JSON = (b"content-type", b"application/json")
PROBLEM_JSON = (b"content-type", b"application/problem+json")

_BODY_TIMEOUT_S = 20.0
"""A body arrives within this time or not at all: a silent client must not hold a request open."""


class ClientGone(Exception):
    """The client closed the connection before it had sent its request."""


class Answer(NamedTuple):
    """A whole HTTP response."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


async def send_answer(send: Send, answer: Answer) -> None:
    """Send an answer; its length is added."""
    answer.headers.append((b"content-length", b"%d" % len(answer.body)))
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "http.response.body", "body": answer.body})


async def read_body(headers: Headers, receive: Receive, limit: int) -> bytes:
    """The whole body. Raises BodyTooLarge, RequestTimeout, ClientGone; never holds more than the limit and one chunk.

    A declared length above the limit is refused at once, a false or missing one when the limit is passed.
    """
    for name, value in headers:
        if name == b"content-length" and value.isdigit() and (len(value) > 18 or int(value) > limit):
            raise _too_large(limit)
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        body: bytes = message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        return body
    try:
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            return await _read_chunks(message, receive, limit)
    except TimeoutError:
        raise RequestTimeout(f"the body did not arrive within {_BODY_TIMEOUT_S:g} s") from None


async def _read_chunks(message: Message, receive: Receive, limit: int) -> bytes:
    body = bytearray()
    while True:
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        if not message.get("more_body", False):
            return bytes(body)
        message = await receive()


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is larger than {limit} bytes", limit_bytes=limit)
