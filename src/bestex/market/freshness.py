"""A value that is read again when it is too old, once for all who ask at the same time."""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any, Generic, TypeVar

from bestex.ports import Clock

T = TypeVar("T")


class Fresh(Generic[T]):
    """Holds what `read` returned, for `max_age_s` seconds from the moment it was asked."""

    def __init__(self, read: Callable[[], Coroutine[Any, Any, T]], clock: Clock, *, max_age_s: float) -> None:
        self._read = read
        self._clock = clock
        self._max_age_s = max_age_s
        self._value: tuple[T, float] | None = None
        self._reading: asyncio.Task[T] | None = None
        self._context = copy_context()
        """A reading is nobody's own: it must not end with the one who asked first."""

    def is_fresh(self) -> bool:
        """Whether `get` will answer at once."""
        return self._value is not None and self._clock.monotonic_s() - self._value[1] <= self._max_age_s

    async def get(self) -> T:
        """The value, at most `max_age_s` old. Raises what `read` raises; the next call reads again."""
        if self._value is not None and self.is_fresh():
            return self._value[0]
        # Shielded: one asker who gives up must not spoil it for the others.
        return await asyncio.shield(self._begin())

    def refresh_soon(self) -> None:
        """Read again if the value is too old, and wait for nothing; what `read` raises is nobody's."""
        if not self.is_fresh():
            self._begin()

    def _begin(self) -> asyncio.Task[T]:
        if self._reading is None:
            self._reading = asyncio.get_running_loop().create_task(self._refresh(), context=self._context)
            self._reading.add_done_callback(self._done)
        return self._reading

    async def _refresh(self) -> T:
        asked_s = self._clock.monotonic_s()
        value = await self._read()
        self._value = value, asked_s
        return value

    def _done(self, task: asyncio.Task[T]) -> None:
        self._reading = None
        if not task.cancelled():
            task.exception()  # whoever waits gets it; if nobody does any more, nobody misses it
