"""Those who wait for transactions to land: each until its own time is up, all with one timer."""

import asyncio
import heapq
from collections import defaultdict
from collections.abc import Sequence
from contextvars import copy_context
from itertools import count
from typing import TypeAlias

from bestex.ports import Clock
from bestex.types import Signature

Waiter: TypeAlias = asyncio.Future[None]


class Waiting:
    """Waiters by signature, and by deadline. Most are woken long before theirs: a task for each would be a waste."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiters: defaultdict[Signature, list[Waiter]] = defaultdict(list)
        self._deadlines: list[tuple[float, int, Waiter]] = []
        self._order = count()
        self._context = copy_context()
        """The timer is nobody's own: it must not end with the one who set it."""
        self._timer: asyncio.Task[None] | None = None
        self._rings_at_s = float("inf")

    def __len__(self) -> int:
        return sum(map(len, self._waiters.values()))

    async def wait(self, signature: Signature, timeout_s: float) -> None:
        """Return when the signature is woken, or after the timeout."""
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._waiters[signature].append(waiter)
        self._ring_at(self._clock.monotonic_s() + timeout_s, waiter)
        try:
            await waiter
        finally:
            waiter.cancel()
            self._waiters[signature].remove(waiter)
            if not self._waiters[signature]:
                del self._waiters[signature]

    def wake(self, signatures: Sequence[Signature]) -> None:
        """Let those go on who wait for any of these."""
        for signature in signatures:
            for waiter in self._waiters.get(signature, ()):
                if not waiter.done():
                    waiter.set_result(None)

    def close(self) -> None:
        """Stop the timer: whoever still waits does so until woken."""
        if self._timer is not None:
            self._timer.cancel()

    def _ring_at(self, deadline_s: float, waiter: Waiter) -> None:
        heapq.heappush(self._deadlines, (deadline_s, next(self._order), waiter))
        if deadline_s < self._rings_at_s:
            self.close()
            self._rings_at_s = deadline_s
            self._timer = asyncio.get_running_loop().create_task(self._ring(), context=self._context)

    async def _ring(self) -> None:
        """Release each waiter at its deadline, until there are none."""
        while self._deadlines:
            deadline_s, _, waiter = self._deadlines[0]
            if not waiter.done():
                self._rings_at_s = deadline_s
                await self._clock.sleep(max(0.0, deadline_s - self._clock.monotonic_s()))
                if self._clock.monotonic_s() < deadline_s:
                    continue
                if not waiter.done():
                    waiter.set_result(None)
            heapq.heappop(self._deadlines)
        self._rings_at_s = float("inf")
        self._timer = None
