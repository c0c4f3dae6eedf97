"""Group commit: what is asked for while one batch is being written goes into the next one together.

Knows nothing of any database: it takes operations on the event loop, hands them in batches to a coroutine function, or
by way of `on_executor` to a function that blocks, and gives each asker its own answer. Reads go the same way.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future
from contextvars import copy_context
from typing import Any, Generic, ParamSpec, TypeVar

from bestex.errors import StoreUnavailable

_log = logging.getLogger(__name__)

_COMPANY_S = 0.005
"""How long an operation that nobody waits for waits for others to share its batch."""

Answer = TypeVar("Answer")
News = TypeVar("News")
Returned = TypeVar("Returned")
Given = ParamSpec("Given")


class Operation(Generic[Answer]):
    """One thing to be done in a batch."""

    __slots__ = ("answer", "future")

    future: asyncio.Future[Answer]
    answer: Answer | Exception | None
    """Set by the function that runs the batch; an exception is raised to whoever asked."""

    def __init__(self) -> None:
        self.answer = None


class Batcher(Generic[News]):
    """Collects operations and runs them in batches, one batch at a time and in the order of the calls."""

    def __init__(
        self,
        run: Callable[[list[Operation[Any]]], Awaitable[tuple[News, float]]],
        *,
        most: int,
        on_done: Callable[[list[Operation[Any]], News, float], None],
    ) -> None:
        """`run` gets at most `most` operations, answers each, and returns news and the seconds that it took.

        If it raises, none of them took effect. `on_done` gets the batch and what `run` returned.
        """
        self._run = run
        self._most = most
        self._on_done = on_done
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        """A batch is nobody's own: it runs in the context of the store."""
        self._queue: list[Operation[Any]] = []
        self._batch: list[Operation[Any]] = []
        self._draining: asyncio.Task[None] | None = None
        self._pressing = False
        """Whether anything in the queue is waited for."""
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def submit(self, operation: Operation[Answer], *, patient: bool = False) -> asyncio.Future[Answer]:
        """Put the operation into the next batch. When closed, the answer is StoreUnavailable.

        One that is `patient` waits a few milliseconds for others, unless a batch begins before that.
        """
        if self._closed:
            return failed(StoreUnavailable("the store is closed"))
        operation.future = future = self._loop.create_future()
        self._queue.append(operation)
        self._pressing = self._pressing or not patient
        if self._draining is None:
            self._begin_when_due()
        return future

    async def close(self) -> None:
        """Take nothing more, and finish what was taken."""
        self._closed = self._pressing = True
        if self._draining is None and self._queue:
            self._begin()
        if self._draining is not None:
            await asyncio.wait({self._draining})

    def abandon(self) -> None:
        """Take nothing more, and leave undone what was taken: whoever waits gets StoreUnavailable."""
        self._closed = True
        if self._draining is not None:
            self._draining.cancel()
        else:
            self._give_up()

    def _begin_when_due(self) -> None:
        if self._pressing:
            self._begin()
        elif self._timer is None:
            self._timer = self._loop.call_later(_COMPANY_S, self._begin, context=self._context)

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._pressing = True
        self._draining = self._loop.create_task(self._drain(), context=self._context)
        self._draining.add_done_callback(self._stopped)

    async def _drain(self) -> None:
        # Begins one turn of the loop after the first operation: what is asked for in that turn goes along.
        while self._queue and self._pressing:
            self._batch, self._queue = self._queue[: self._most], self._queue[self._most :]
            self._pressing = self._closed or bool(self._queue)
            await self._do(self._batch)
        self._draining = None
        if self._queue:
            self._begin_when_due()

    def _stopped(self, draining: asyncio.Task[None]) -> None:
        if draining.cancelled():  # abandoned, or the event loop is being torn down
            self._draining = None
            self._give_up()

    def _give_up(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        left, self._batch, self._queue = [*self._batch, *self._queue], [], []
        for operation in left:
            _give(operation.future, StoreUnavailable("the store was stopped; whether it wrote this is unknown"))

    async def _do(self, batch: list[Operation[Any]]) -> None:
        try:
            news, seconds = await self._run(batch)
        except Exception as error:  # noqa: BLE001 - whoever asked gets it
            _log.exception("a batch of %d operations failed as a whole", len(batch))
            for operation in batch:
                _give(operation.future, error)
            return
        for operation in batch:
            answer, future = operation.answer, operation.future
            if isinstance(answer, Exception):
                _give(future, answer)
            elif not future.done():  # whoever asked may have been canceled
                future.set_result(answer)
        try:
            self._on_done(batch, news, seconds)
        except Exception:  # noqa: BLE001 - the batch is written; the next one must not suffer
            _log.exception("telling about a batch failed")


def on_executor(
    run: Callable[[list[Operation[Any]]], News], executor: Executor, monotonic_s: Callable[[], float]
) -> Callable[[list[Operation[Any]]], Awaitable[tuple[News, float]]]:
    """For `Batcher`: call the function on the executor, and take the time there."""
    loop = asyncio.get_running_loop()

    def timed(batch: list[Operation[Any]]) -> tuple[News, float]:
        began_s = monotonic_s()
        news = run(batch)
        return news, monotonic_s() - began_s

    return lambda batch: loop.run_in_executor(executor, timed, batch)


def on_loop(
    run: Callable[[list[Operation[Any]]], Awaitable[News]], monotonic_s: Callable[[], float]
) -> Callable[[list[Operation[Any]]], Awaitable[tuple[News, float]]]:
    """For `Batcher`: call the coroutine function, and take the time."""

    async def timed(batch: list[Operation[Any]]) -> tuple[News, float]:
        began_s = monotonic_s()
        news = await run(batch)
        return news, monotonic_s() - began_s

    return timed


class InlineExecutor(Executor):
    """Runs everything at once, in the thread that asks: for simulations, where the order of all things is fixed."""

    def submit(self, fn: Callable[Given, Returned], /, *args: Given.args, **kwargs: Given.kwargs) -> Future[Returned]:
        future: Future[Returned] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - whoever asked gets it
            future.set_exception(error)
        return future


def failed(error: Exception) -> asyncio.Future[Any]:
    """The answer to what cannot be done."""
    future = asyncio.get_running_loop().create_future()
    _give(future, error)
    return future


def _give(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        # Whoever did not wait for the answer must not make asyncio complain: `on_done` has seen the error.
        future.exception()
