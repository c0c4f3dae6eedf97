"""How many orders were begun lately, to the millisecond."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from bestex.ports import RateLimit

KEEP_MS = 600_000
"""Starts are remembered this long, or as long as the longest window that was asked for."""
_PRUNE_AT = 1000


class Starts:
    """An exact sliding window. When the clock steps back, starts count as of the latest time seen: the limit holds."""

    def __init__(self, rows: Iterable[tuple[int, int]] = ()) -> None:
        """`rows`: times and numbers of starts, oldest first."""
        self._at_ms: list[int] = []
        self._totals: list[int] = []
        """All starts ever, up to and including those at the same index of `_at_ms`."""
        self._forgotten = 0
        self._keep_ms = KEEP_MS
        self.unsaved: list[tuple[int, int]] = []
        """Times and numbers that the next commit has to take along."""
        for at_ms, orders in rows:
            self.add(at_ms, orders)
        self.unsaved.clear()

    def add(self, at_ms: int, orders: int) -> None:
        """Count orders that are begun now."""
        if self._at_ms:
            at_ms = max(at_ms, self._at_ms[-1])
        self._totals.append(self._total + orders)
        self._at_ms.append(at_ms)
        self.unsaved.append((at_ms, orders))

    def prune(self) -> int | None:
        """Forget what is too old to matter, now and then; returns the time up to which all is forgotten."""
        if not self._at_ms:
            return None
        until_ms = self._at_ms[-1] - self._keep_ms
        index = bisect_right(self._at_ms, until_ms)
        if index < _PRUNE_AT:
            return None
        self._forgotten = self._totals[index - 1]
        del self._at_ms[:index], self._totals[:index]
        return until_ms

    def since(self, window_start_ms: int) -> int:
        """Starts after that moment."""
        index = bisect_right(self._at_ms, window_start_ms)
        return self._total - (self._totals[index - 1] if index else self._forgotten)

    def room(self, rate: RateLimit, now_ms: int) -> int:
        """How many more orders may be begun now."""
        self._keep_ms = max(self._keep_ms, rate.window_ms)
        return max(0, rate.count - self.since(now_ms - rate.window_ms))

    def reopens_ms(self, rate: RateLimit, now_ms: int) -> int | None:
        """When there is room again, supposing that there is none now; None: never."""
        if rate.count < 1:
            return None
        # Room for one is there when all but `count - 1` of the starts have left the window.
        index = bisect_left(self._totals, self._total - rate.count + 1)
        return self._at_ms[index] + rate.window_ms if index < len(self._at_ms) else now_ms

    @property
    def _total(self) -> int:
        return self._totals[-1] if self._totals else self._forgotten
