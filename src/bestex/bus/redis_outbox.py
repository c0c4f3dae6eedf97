"""What this node has to tell the others: bounded, and thrown away rather than late."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from bestex.ports import Committed

_MESSAGE_EVENTS = 500
"""Batches that wait together go out as one message, up to about this many events."""


class Parcel(NamedTuple):
    """What goes out at once."""

    batches: list[Sequence[Committed]]
    wake: bool
    lost: bool
    """Others watch orders whose events were thrown away."""
    stale: bool
    """The active orders have missed changes."""


class Outbox:
    """Batches of events and one wake-up, until they are sent or there are too many."""

    def __init__(self, *, events_max: int) -> None:
        self._room = events_max
        self._batches: deque[Sequence[Committed]] = deque()
        self._queued = 0
        self._put = self._gone = 0
        """Events that ever came, and that went: were sent or thrown away."""
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._wake = False
        self._lost = False
        self._stale = False
        self._doubtful = False
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()
        self.thrown_away = 0
        """Events that were never told."""

    @property
    def queued(self) -> int:
        """Events that wait."""
        return self._queued

    def put(self, events: Sequence[Committed]) -> None:
        """Add a batch. If it does not fit, everything is thrown away: one loss costs the readers as much as many."""
        if not events:
            return
        self._batches.append(events)
        self._queued += len(events)
        self._put += len(events)
        if self._queued > self._room:
            self._clear()
        self._filled.set()
        self._emptied.clear()

    def wake(self) -> None:
        """Add a wake-up; it goes with the next batch if there is one."""
        self._wake = True
        self._filled.set()
        self._emptied.clear()

    def mark_stale(self) -> None:
        """Changes of active orders were refused: to be said with the next parcel."""
        self._stale = self._doubtful = True

    def throw_away(self, parcel: Parcel) -> None:
        """The parcel has not arrived, or nobody knows. What waits goes too: it would come too late to be of use."""
        self._batches.extendleft(reversed(parcel.batches))
        self._wake = self._wake or parcel.wake
        self._lost = self._lost or parcel.lost
        self._stale = self._stale or parcel.stale
        if self._batches:
            self._clear()
        self._filled.set()

    async def take(self) -> Parcel:
        """Wait until there is something, and take it out. To be confirmed by `delivered` or `throw_away`."""
        await self._filled.wait()
        batches: list[Sequence[Committed]] = []
        taken = 0
        while self._batches and (not batches or taken + len(self._batches[0]) <= _MESSAGE_EVENTS):
            batch = self._batches.popleft()
            batches.append(batch)
            taken += len(batch)
        self._queued -= taken
        parcel = Parcel(batches, self._wake, self._lost, self._stale)
        self._wake = self._lost = self._stale = False
        if not self._batches:
            self._filled.clear()
        return parcel

    def delivered(self, parcel: Parcel) -> None:
        """The parcel that was taken has been sent."""
        self._count_gone(sum(map(len, parcel.batches)))
        if parcel.stale and not self._stale:
            self._doubtful = False
        if not self._filled.is_set():
            self._emptied.set()

    async def wait_empty(self) -> None:
        """Until everything has been sent."""
        await self._emptied.wait()

    async def wait_sent(self) -> bool:
        """Until all that is here now has been sent or thrown away; False: Redis misses changes and does not know it."""
        if self._gone < self._put:
            sent = asyncio.get_running_loop().create_future()
            self._waiting.append((self._put, sent))
            await sent
        return not self._doubtful

    def _clear(self) -> None:
        thrown_away = sum(map(len, self._batches))
        self.thrown_away += thrown_away
        self._batches.clear()
        self._queued = 0
        self._lost = self._stale = self._doubtful = True
        self._count_gone(thrown_away)

    def _count_gone(self, events: int) -> None:
        self._gone += events
        while self._waiting and self._waiting[0][0] <= self._gone:
            _, sent = self._waiting.popleft()
            if not sent.done():
                sent.set_result(None)
