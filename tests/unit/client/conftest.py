"""The scripted server, and both clients behind one face: what holds for one must hold for the other."""

import asyncio
import socket
from collections.abc import Iterator
from typing import Any, Protocol

import pytest

from bestex.client import AsyncClient, Client, Retry
from bestex.orders.events import Event

from .engine_double import EngineDouble, engine_double

AT_ONCE = Retry(tries=3, first_s=0.0, max_s=0.0)


class Caller(Protocol):
    """A client, called from a plain test."""

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """The result of one method."""
        ...

    def watch(self, order_id: str, from_seq: int = 1, *, into: list[Event] | None = None) -> list[Event]:
        """All events, collected; `into` keeps those that came before an error."""
        ...


class Blocking:
    """`Client`."""

    def __init__(self, url: str) -> None:
        self._url = url

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        with Client(self._url, retry=AT_ONCE) as client:
            return getattr(client, method)(*args, **kwargs)

    def watch(self, order_id: str, from_seq: int = 1, *, into: list[Event] | None = None) -> list[Event]:
        events = [] if into is None else into
        with Client(self._url, retry=AT_ONCE) as client:
            for event in client.watch(order_id, from_seq):
                events.append(event)
        return events


class Asynchronous:
    """`AsyncClient`."""

    def __init__(self, url: str) -> None:
        self._url = url

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        async def called() -> Any:
            async with AsyncClient(self._url, retry=AT_ONCE) as client:
                return await getattr(client, method)(*args, **kwargs)

        return asyncio.run(called())

    def watch(self, order_id: str, from_seq: int = 1, *, into: list[Event] | None = None) -> list[Event]:
        events = [] if into is None else into

        async def watched() -> None:
            async with AsyncClient(self._url, retry=AT_ONCE) as client:
                async for event in client.watch(order_id, from_seq):
                    events.append(event)

        asyncio.run(watched())
        return events


@pytest.fixture
def engine() -> Iterator[EngineDouble]:
    with engine_double() as double:
        yield double


@pytest.fixture(params=[Blocking, Asynchronous], ids=["Client", "AsyncClient"])
def caller(request: pytest.FixtureRequest, engine: EngineDouble) -> Caller:
    made: Caller = request.param(engine.url)
    return made


@pytest.fixture
def unused_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"http://127.0.0.1:{probe.getsockname()[1]}"
