"""One look after all streams of a node, every few seconds: is a client stuck, has the bus lost something?

A timer for each message, or even for each stream, would cost as much as the messages do; and of all orders that are
quiet the store is asked at once.
"""

import asyncio
from typing import Protocol

from bestex.api.front import Front
from bestex.errors import StoreUnavailable
from bestex.types import OrderId

TICK_S = 5.0
_MOST_ORDERS = 1_000
"""In one question to the store."""


class Watched(Protocol):
    """A stream, as far as it is looked after."""

    @property
    def order_id(self) -> OrderId: ...

    @property
    def next_seq(self) -> int:
        """Of the event that it sends next."""
        ...

    def tick(self) -> bool:
        """Some seconds have passed; whether the order has been quiet for suspiciously long."""
        ...

    def catch_up(self) -> None:
        """The store has more than the stream has been told."""
        ...

    def lose_store(self) -> None:
        """The store does not answer."""
        ...


class Watch:
    """Looks after the streams that are open."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._streams: dict[Watched, None] = {}
        self._quiet: list[Watched] = []
        """To be looked up."""
        self._ticking: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None

    def add(self, stream: Watched) -> None:
        """Look after a stream, until it is removed."""
        self._streams[stream] = None
        if self._ticking is None:
            self._ticking = asyncio.create_task(self._tick())

    def remove(self, stream: Watched) -> None:
        """The stream has ended."""
        del self._streams[stream]

    async def _tick(self) -> None:
        """As long as there are streams."""
        try:
            while self._streams:
                await self._front.clock.sleep(TICK_S)
                self._quiet += [stream for stream in self._streams if stream.tick()]
                if self._quiet and self._looking is None:
                    self._looking = asyncio.create_task(self._look())
        finally:
            self._ticking = None

    async def _look(self) -> None:
        """Send those streams to the store that are behind it."""
        try:
            while self._quiet:
                streams, self._quiet = self._quiet[:_MOST_ORDERS], self._quiet[_MOST_ORDERS:]
                await self._look_up(streams)
        finally:
            self._looking = None

    async def _look_up(self, streams: list[Watched]) -> None:
        try:
            open_seqs = await self._front.store.open_seqs(list(dict.fromkeys(each.order_id for each in streams)))
        except StoreUnavailable:
            for stream in streams:
                stream.lose_store()
            return
        for stream in streams:
            # An order that is not open has ended, and with its last event this stream would have.
            if open_seqs.get(stream.order_id, stream.next_seq) >= stream.next_seq:
                stream.catch_up()
