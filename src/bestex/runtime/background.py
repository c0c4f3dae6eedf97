"""What runs beside the server for as long as the process does, and how it is brought to an end."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog

from bestex.errors import ClusterUnavailable
from bestex.execution.worker import Worker
from bestex.ports import Clock

_log = structlog.get_logger(__name__)


class Background:
    """Tasks that must run as long as the engine does."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopping = False
        self.failure: str | None = None
        """Which part has stopped by itself."""
        self.on_failure: Callable[[], None] = lambda: None

    def start(self, name: str, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine, name=name)
        self._tasks[name] = task
        task.add_done_callback(self._ended)

    def check(self) -> None:
        """Raise if one of the tasks has ended."""
        for name, task in self._tasks.items():
            if task.done():
                raise ClusterUnavailable(f"the {name} has stopped")

    def expect_stop(self) -> None:
        """From here on, tasks may end."""
        self._stopping = True

    async def stop(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and not self._stopping:
            _log.critical("a part of the engine has stopped", part=task.get_name(), exc_info=task.exception())
            self.failure = f"the {task.get_name()} has stopped: {task.exception()}"
            self.on_failure()


class Stop:
    """The end of a process, from the moment when it is asked for: one deadline for all that has to be finished."""

    def __init__(self, clock: Clock, within_s: float, actions: Sequence[Callable[[], None]]) -> None:
        self._clock = clock
        self._within_s = within_s
        self._actions = actions
        self._since_s: float | None = None

    def begin(self) -> None:
        """Begin nothing new, and tell those who listen."""
        if self._since_s is None:
            self._since_s = self._clock.monotonic_s()
            for act in self._actions:
                act()

    async def drain(self, worker: Worker) -> None:
        """Let a worker finish what it has in work, in the time that is left."""
        self.begin()
        assert self._since_s is not None
        await worker.drain(max(0.0, self._within_s - (self._clock.monotonic_s() - self._since_s)))
