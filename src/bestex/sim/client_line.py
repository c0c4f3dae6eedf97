"""A client's way to the server: one try, and as many as it takes."""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from bestex.sim.asgi import Closed, ConnectionLost, ConnectionRefused, HttpAnswer, NoConnection
from bestex.sim.faults import Fault, Weather
from bestex.sim.record import ClientRecord
from bestex.sim.trace import Trace

PATIENCE_S = 30.0
"""A client that has no answer by then gives the connection up."""
_BACKOFF_S = (0.1, 5.0)
_BUSY = frozenset({429, 503})

Headers = list[tuple[bytes, bytes]]


class Stream(Protocol):
    """A WebSocket, as `asgi.Socket`."""

    async def receive(self) -> bytes | Closed: ...

    def close(self) -> None: ...


class Listening(Protocol):
    """Who answers clients: `asgi.Server`, or whoever is as good."""

    async def request(
        self, method: str, path: str, *, headers: Sequence[tuple[bytes, bytes]] = (), body: bytes = b""
    ) -> HttpAnswer: ...

    async def connect(self, path: str) -> Stream: ...


class Scene(NamedTuple):
    """What all clients of a run share."""

    weather: Weather
    record: ClientRecord
    trace: Trace
    pace: float = 1.0
    """How long a pause lasts in comparison: below 1 where time is real."""


class Line:
    """A client's name, chance and faults, and the way to whichever server listens at the time."""

    def __init__(self, name: str, draw: random.Random, server: Callable[[], Listening | None], scene: Scene) -> None:
        self.name = name
        self.draw = draw
        self.scene = scene
        self._server = server

    def server(self) -> Listening:
        """Who listens. Raises ConnectionRefused."""
        server = self._server()
        if server is None:
            raise ConnectionRefused
        return server

    async def ask(
        self,
        method: str,
        path: str,
        *,
        headers: Headers | None = None,
        body: bytes = b"",
        patience_s: float = PATIENCE_S,
    ) -> HttpAnswer:
        """One try. Raises NoConnection."""
        try:
            async with asyncio.timeout(patience_s):
                answer = await self.server().request(method, path, headers=headers or [], body=body)
        except TimeoutError:
            self.say(f"{method} {path} gives up waiting")
            raise ConnectionLost from None
        except NoConnection as error:
            self.say(f"{method} {path} {type(error).__name__}")
            raise
        self.say(f"{method} {path} {answer.status}")
        if answer.status >= 500 and answer.status not in _BUSY:
            self.wonder(f"{method} {path} answered {answer.status} {code_of(answer)}")
        return answer

    async def insist(
        self,
        method: str,
        path: str,
        *,
        headers: Headers | None = None,
        body: bytes = b"",
        patience_s: Callable[[], float] = lambda: PATIENCE_S,
    ) -> HttpAnswer:
        """The same request again and again, ever more slowly, until an answer says yes or no."""
        tries = 0
        while True:
            least_s = 0.0
            try:
                answer = await self.ask(method, path, headers=headers, body=body, patience_s=patience_s())
            except NoConnection:
                pass
            else:
                if not _is_worth_another_try(answer):
                    return answer
                least_s = float(answer.header(b"retry-after") or 0)
            await self.pause(max(least_s, self.backoff_s(tries)))
            tries += 1

    async def pause(self, seconds: float) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds * self.scene.pace)  # noqa: TID251 - clients know no clock

    def backoff_s(self, tries: int) -> float:
        """How long to wait after so many tries."""
        least, most = _BACKOFF_S
        return min(most, least * 2.0 ** min(tries, 10)) * self.draw.uniform(0.5, 1.5)

    def happens(self, fault: Fault) -> bool:
        """Whether it happens to this client on this occasion."""
        return self.scene.weather.happens(fault, self.draw)

    def meet(self, fault: Fault, text: str) -> None:
        """Note that the fault happens."""
        self.scene.trace.fault(fault, f"{self.name} {text}")

    def say(self, text: str) -> None:
        """Note what happens."""
        self.scene.trace.note("client", f"{self.name} {text}")

    def wonder(self, text: str) -> None:
        """Note what should not happen."""
        self.say(f"wonders: {text}")
        self.scene.record.unexpected.append(f"{self.name}: {text}")


def problem_of(answer: HttpAnswer) -> dict[str, Any]:
    """The problem that the answer tells."""
    try:
        problem = msgspec.json.decode(answer.body)
    except msgspec.DecodeError:
        return {}
    return problem if isinstance(problem, dict) else {}


def code_of(answer: HttpAnswer) -> str:
    """The problem's code."""
    return str(problem_of(answer).get("code", f"HTTP_{answer.status}"))


def _is_worth_another_try(answer: HttpAnswer) -> bool:
    return (
        answer.status >= 500
        or answer.status in _BUSY
        or (answer.status >= 400 and bool(problem_of(answer).get("retryable")))
    )
