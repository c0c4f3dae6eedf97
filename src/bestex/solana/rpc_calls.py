"""JSON-RPC calls: gathered into batches, patient with a node that is asked too much, each with an end."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, NamedTuple, TypeAlias, TypeVar

import msgspec
import structlog

from bestex.errors import BestexError, ClusterUnavailable, RateLimited
from bestex.ports import Clock
from bestex.solana.rpc_answers import Answer
from bestex.solana.rpc_errors import RequestRefused, request_error
from bestex.solana.rpc_gather import Gathering
from bestex.solana.rpc_http import HttpPosts, NoReply, Reply

T = TypeVar("T")
_Result: TypeAlias = msgspec.Raw
OnCall: TypeAlias = Callable[[str, float, str | None], None]
"""Is told of each call: the method, how many seconds it took, the code of the error that it ended with."""

_TOO_MANY_REQUESTS = 429
_MOST_TOGETHER = 16
"""Calls in one batch: the last has to wait for the first."""
_TRIES = 3
_PAUSE_S = 0.5
"""Before the second try where the node does not say how long; doubles."""
_LONGEST_PAUSE_S = 60.0

_COMPANIONS = {
    "getSignatureStatuses": "of a landing",
    "getTransaction": "of a landing",
    "getLatestBlockhash": "of conditions",
    "getRecentPrioritizationFees": "of conditions",
}
"""Methods that are called for one purpose at one moment, and take about as long: they share requests. No other waits
for the answer to something else, least of all a transaction that is sent."""
_TURNS = 2
"""Of the event loop, that a call has been on its way whose questions were gathered before."""

_encode = msgspec.json.Encoder().encode
_one = msgspec.json.Decoder(Answer)
_many = msgspec.json.Decoder(list[Answer])
_log = structlog.get_logger(__name__)


class _Asked(NamedTuple):
    method: str
    params: Sequence[Any]


class RpcCalls:
    """Calls methods of one endpoint."""

    def __init__(
        self, url: str, clock: Clock, *, timeout_s: float, max_connections: int, on_call: OnCall | None = None
    ) -> None:
        """`timeout_s` bounds a call from beginning to end, all waits included. Raises ConfigError."""
        self._clock = clock
        self._on_call = on_call
        self._timeout_s = timeout_s
        self._http = HttpPosts(url, clock, timeout_s=timeout_s, max_connections=max_connections)
        self._ids = count(1)
        self._decoders: dict[Any, msgspec.json.Decoder[Any]] = {}
        self._gathered: dict[str, Gathering[_Asked, _Result]] = {}
        self._takes_batches = True
        self._not_before_s: dict[str, float] = {}
        """By method, as nodes count: when it may be called again."""

    async def close(self) -> None:
        """Close all connections."""
        for calls in self._gathered.values():
            await calls.close()
        await self._http.close()

    async def call(self, wanted: type[T], method: str, *params: Any, patient: bool = True) -> T:
        """Call a method. Raises ClusterUnavailable, RequestRefused, RateLimited (context `retry_after_s`, if told).

        Calls of one method, or of companions, that begin in the same turn of the event loop share a request. One that
        is `patient` tries again, as far as its time allows, when the node asks it to come later.
        """
        began_s, failure = self._clock.monotonic_s(), None
        try:
            return await self._call(wanted, method, params, began_s + self._timeout_s, patient=patient)
        except BestexError as error:
            failure = error.code
            raise
        finally:
            if self._on_call is not None:
                self._on_call(method, self._clock.monotonic_s() - began_s, failure)

    async def _call(self, wanted: type[T], method: str, params: Sequence[Any], ends_s: float, *, patient: bool) -> T:
        try:
            result = await (self._patiently(method, params, ends_s) if patient else self._answer(method, params))
        except TimeoutError:
            raise ClusterUnavailable(f"{method}: no answer within {self._timeout_s:g} s") from None
        decoder = self._decoders.get(wanted)
        if decoder is None:
            decoder = self._decoders[wanted] = msgspec.json.Decoder(wanted)
        try:
            answer: T = decoder.decode(result)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ClusterUnavailable(f"{method}: an answer that cannot be read: {error}") from error
        return answer

    async def _patiently(self, method: str, params: Sequence[Any], ends_s: float) -> _Result:
        for tried in range(1, _TRIES + 1):
            waited = await self._wait(method, ends_s)
            try:
                if tried == 1 and not waited:
                    return await self._answer(method, params)
                async with asyncio.timeout(ends_s - self._clock.monotonic_s()):
                    return await self._answer(method, params)
            except RateLimited as limited:
                told = limited.context.get("retry_after_s")
                pause_s = told if isinstance(told, float) else _PAUSE_S * 2 ** (tried - 1)
                again_s = self._clock.monotonic_s() + min(pause_s, _LONGEST_PAUSE_S)
                self._not_before_s[method] = max(again_s, self._not_before_s.get(method, 0.0))
                if tried == _TRIES or again_s >= ends_s:
                    raise
        raise AssertionError("the last try returns or raises")

    async def _wait(self, method: str, ends_s: float) -> bool:
        """Until the method may be called; whether it took any time. Raises RateLimited when that is too late."""
        waited = False
        while (left_s := self._not_before_s.get(method, 0.0) - self._clock.monotonic_s()) > 0:
            if self._clock.monotonic_s() + left_s >= ends_s:
                raise RateLimited(f"{method}: too many requests; again in {left_s:g} s", retry_after_s=left_s)
            await self._clock.sleep(left_s)
            waited = True
        return waited

    async def _answer(self, method: str, params: Sequence[Any]) -> _Result:
        purpose = _COMPANIONS.get(method, method)
        calls = self._gathered.get(purpose)
        if calls is None:
            turns = 0 if purpose is method else _TURNS
            calls = Gathering(self._post, most=_MOST_TOGETHER, timeout_s=self._timeout_s, turns=turns)
            self._gathered[purpose] = calls
        return await calls.answer(_Asked(method, params))

    async def _post(self, asked: list[_Asked]) -> Sequence[_Result | Exception]:
        """The answers to calls. Raises RequestRefused when the node does not take them together."""
        methods = ", ".join({each.method: None for each in asked})
        if len(asked) > 1 and not self._takes_batches:
            raise RequestRefused(f"{methods}: the node takes no batches")
        numbers = [next(self._ids) for _ in asked]
        requests = [
            {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            for number, (method, params) in zip(numbers, asked, strict=True)
        ]
        try:
            reply = await self._http.post(_encode(requests if len(asked) > 1 else requests[0]))
        except NoReply as error:
            raise ClusterUnavailable(f"{methods}: {error}") from error
        if reply.status == _TOO_MANY_REQUESTS:
            raise _rate_limited(methods, reply.retry_after_s)
        if len(asked) == 1:
            return [_result(methods, numbers[0], reply, _read(methods, reply))]
        answers = self._read_batch(methods, reply)
        return [
            _result(method, number, reply, answers.get(number))
            for number, (method, _) in zip(numbers, asked, strict=True)
        ]

    def _read_batch(self, method: str, reply: Reply) -> dict[object, Answer]:
        try:
            return {answer.id: answer for answer in _many.decode(reply.content)}
        except (msgspec.DecodeError, UnicodeDecodeError):
            refusal = _refusal(method, reply)
        if isinstance(refusal, RequestRefused):
            self._takes_batches = False
            _log.warning("the node takes no batches of calls: asking one by one", method=method, reason=refusal.message)
        raise refusal


def _refusal(method: str, reply: Reply) -> Exception:
    """What a node means that does not answer a batch with a batch."""
    try:
        answer = _read(method, reply)
    except ClusterUnavailable as unreadable:
        refused = 400 <= reply.status < 500
        return RequestRefused(f"{method}: HTTP {reply.status} to a batch of calls") if refused else unreadable
    if answer.error is not None:
        return request_error(method, answer.error.code, answer.error.message)
    return RequestRefused(f"{method}: one answer to a batch of calls")


def _read(method: str, reply: Reply) -> Answer:
    try:
        return _one.decode(reply.content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ClusterUnavailable(
            f"{method}: HTTP {reply.status}, and an answer that cannot be read: {error}"
        ) from error


def _result(method: str, number: int, reply: Reply, answer: Answer | None) -> _Result | Exception:
    if answer is not None and answer.error is not None:
        return request_error(method, answer.error.code, answer.error.message)
    if answer is None or answer.id != number or not bytes(answer.result):
        return ClusterUnavailable(f"{method}: HTTP {reply.status}, and no answer to this request")
    return answer.result


def _rate_limited(method: str, retry_after_s: float | None) -> RateLimited:
    if retry_after_s is None:
        return RateLimited(f"{method}: too many requests")
    return RateLimited(f"{method}: too many requests; again in {retry_after_s:g} s", retry_after_s=retry_after_s)
