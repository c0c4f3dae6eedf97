"""An asyncio event loop on virtual time, in which nothing happens by accident.

Time passes only when nobody is ready to run. Who of those who are ready runs next is drawn from a seed. Tasks belong to
groups (a process, a worker in it), which can be stopped where they stand, without their `finally` blocks, or held back.
Waiting for what can never come is an error, and so is an exception that nobody handles.
"""

import asyncio
import heapq
import random
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from itertools import count
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_GROUP: ContextVar["Group | None"] = ContextVar("group", default=None)


class Deadlock(Exception):
    """Everybody waits, and nothing will ever happen."""


class Livelock(Exception):
    """More steps than any run takes: somebody turns in circles without time passing."""


class Group:
    """Tasks that stop together: whatever is started by a task of a group belongs to it, too."""

    def __init__(self, name: str, parent: "Group | None" = None) -> None:
        self.name = name
        self.parent = parent
        self._dead = False
        self._frozen = False
        self._held: list[asyncio.Handle] = []

    @property
    def dead(self) -> bool:
        """Whether it, or a group that it is part of, was stopped."""
        return self._dead or (self.parent is not None and self.parent.dead)

    def kill(self) -> None:
        """Never run anything of it again. Nothing is unwound: no exception, no `finally`."""
        self._dead = True
        self._held.clear()

    def freeze(self) -> None:
        """Run nothing of it until `thaw`."""
        self._frozen = True

    def thaw(self) -> None:
        """Go on with everything that has become due meanwhile."""
        self._frozen = False
        held, self._held = self._held, []
        for handle in held:
            handle._loop._put(handle)  # type: ignore[attr-defined]

    def hold(self, handle: asyncio.Handle) -> bool:
        """Keep the handle back if the group, or one that it is part of, is frozen."""
        if self._frozen:
            self._held.append(handle)
            return True
        return self.parent is not None and self.parent.hold(handle)

    def context(self) -> Context:
        """A context whose tasks belong to the group."""
        context = copy_context()
        context.run(_GROUP.set, self)
        return context

    def start(self, coroutine: Coroutine[Any, Any, T], name: str | None = None) -> asyncio.Task[T]:
        """Run a coroutine as a task of the group."""
        return asyncio.get_running_loop().create_task(coroutine, name=name, context=self.context())


def current_group() -> Group | None:
    """The group of the task that runs now; None: it belongs to the world."""
    return _GROUP.get()


def outside() -> Context:
    """A context whose tasks belong to the world and not to the group that asks."""
    context = copy_context()
    context.run(_GROUP.set, None)
    return context


async def never() -> None:
    """Wait for ever: how the last step of a killed group ends."""
    await asyncio.get_running_loop().create_future()


class SimLoop(asyncio.AbstractEventLoop):
    """See the module. `shuffle` is the probability that the next step is drawn instead of the oldest one."""

    def __init__(self, draw: random.Random, *, shuffle: float = 1.0, most_steps: int = 5_000_000) -> None:
        self.steps = 0
        self.faults: list[dict[str, Any]] = []
        """Exceptions that nobody has handled, as asyncio reports them."""
        self._draw = draw
        self._shuffle = shuffle
        self._most_steps = most_steps
        self._time_s = 0.0
        self._ready: list[asyncio.Handle] = []
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._order = count()
        self._running = False
        self._closed = False
        self._kept: dict[object, Group] = {}
        """Tasks of groups."""

    # --- running ------------------------------------------------------------------------------------------------------

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run until the coroutine has ended. Raises Deadlock, Livelock, and what it raises."""
        done: asyncio.Task[T] = self.create_task(main)
        self._running = True
        asyncio.events._set_running_loop(self)
        try:
            while not done.done():
                self._step()
        finally:
            asyncio.events._set_running_loop(None)
            self._running = False
        return done.result()

    def _step(self) -> None:
        if not self._ready:
            self._pass_time()
        ready = self._ready
        at = 0
        if len(ready) > 1 and (self._shuffle >= 1.0 or self._draw.random() < self._shuffle):
            at = self._draw.randrange(len(ready))
        handle = ready.pop(at)
        if handle.cancelled():
            return
        group = handle._context.get(_GROUP)  # type: ignore[attr-defined]
        if group is not None and (group.dead or group.hold(handle)):
            return
        self.steps += 1
        if self.steps > self._most_steps:
            raise Livelock(f"{self.steps} steps, and {self._time_s:.3f} virtual seconds")
        handle._run()

    def _pass_time(self) -> None:
        """Go on to the next timer."""
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not timers:
            raise Deadlock(f"nothing can happen any more after {self._time_s:.3f} virtual seconds")
        self._time_s = max(self._time_s, timers[0][0])
        while timers and timers[0][0] <= self._time_s:
            self._ready.append(heapq.heappop(timers)[2])

    def _put(self, handle: asyncio.Handle) -> None:
        self._ready.append(handle)

    # --- what asyncio asks of a loop ----------------------------------------------------------------------------------

    def time(self) -> float:
        return self._time_s

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """There are no other threads."""
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._time_s + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is passed over when its time comes."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Coroutine[Any, Any, T] | Any, *, name: str | None = None, context: Context | None = None, **_: Any
    ) -> asyncio.Task[T]:
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        # The tasks of a killed group stay pending for ever: that is no accident.
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        group = context.get(_GROUP) if context is not None else _GROUP.get()
        if group is not None:
            # Were it let go of, Python would run the `finally` blocks of a killed task.
            self._kept[task] = group
        return task

    def run_in_executor(  # type: ignore[override]
        self,
        executor: Executor | None,  # noqa: ARG002 - none is needed
        func: Callable[..., T],
        *args: Any,
    ) -> asyncio.Future[T]:
        """At once, in this thread, whatever the executor."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - whoever asked gets it
            future.set_exception(error)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        group = self._kept.get(context.get("future") or context.get("task"))
        if group is None or not group.dead:  # who was killed could not handle anything any more
            self.faults.append(context)

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:
        """Ignored: asyncio's debugging looks at the real clock."""

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """Let go of everything. Killed tasks are unwound now, when it has no effect any more."""
        self._closed = True
        for task, group in self._kept.items():
            if not isinstance(task, asyncio.Task):
                continue
            if not task.done():
                with suppress(Exception):
                    task.get_coro().close()
            elif group.dead and not task.cancelled():
                task.exception()  # whoever would have asked for it was killed first
        self._ready.clear()
        self._timers.clear()
        self._kept.clear()

    async def shutdown_asyncgens(self) -> None:
        """Nothing is kept."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """There is none."""
