"""Virtual time: sleeping costs none."""

import asyncio
import heapq
from itertools import count


class VirtualClock:
    """A Clock whose time passes only while everybody sleeps: the earliest sleeper is woken next.

    Run `drive` beside the code under test, or call `advance_to_next` by hand.
    """

    def __init__(self, start_ms: int = 1_790_000_000_000) -> None:
        self._start_ms = start_ms
        self._elapsed_s = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = count()

    def now_ms(self) -> int:
        return self._start_ms + round(self._elapsed_s * 1000)

    def monotonic_s(self) -> float:
        return self._elapsed_s

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed_s + max(0.0, seconds), next(self._order), future))
        await future

    def advance(self, seconds: float) -> None:
        """Let time pass, and wake everybody whose time has come."""
        self._elapsed_s += seconds
        while self._sleepers and self._sleepers[0][0] <= self._elapsed_s:
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)

    def advance_to_next(self) -> bool:
        """Let time pass until the next sleeper wakes; False when nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        if not self._sleepers:
            return False
        self.advance(self._sleepers[0][0] - self._elapsed_s)
        return True

    async def drive(self) -> None:
        """Whenever everybody else is waiting, move on to the next sleeper. Cancel to stop."""
        while True:
            for _ in range(50):
                await asyncio.sleep(0)
            self.advance_to_next()
