"""Group commit for a database that is spoken to on the event loop: see `commit.py`, whose operations these are."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import Any, Generic, TypeVar

from bestex.errors import StoreUnavailable
from bestex.store.commit import Operation, failed

_log = logging.getLogger(__name__)

Answer = TypeVar("Answer")
News = TypeVar("News")


class AsyncBatcher(Generic[News]):
    """Collects operations and runs them in batches, one batch at a time and in the order of the calls."""

    def __init__(
        self,
        run: Callable[[list[Operation[Any]]], Awaitable[News]],
        *,
        monotonic_s: Callable[[], float],
        most: int,
        on_done: Callable[[list[Operation[Any]], News, float], None],
    ) -> None:
        """`run` gets at most `most` operations and answers each. `on_done`: the batch, what `run` returned, seconds."""
        self._run = run
        self._monotonic_s = monotonic_s
        self._most = most
        self._on_done = on_done
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        self._queue: list[Operation[Any]] = []
        self._batch: list[Operation[Any]] = []
        self._draining: asyncio.Task[None] | None = None
        self._closed = False

    def submit(self, operation: Operation[Answer]) -> asyncio.Future[Answer]:
        """Put the operation into the next batch. When closed, the answer is StoreUnavailable."""
        if self._closed:
            return failed(StoreUnavailable("the store is closed"))
        operation.future = future = self._loop.create_future()
        self._queue.append(operation)
        if self._draining is None:
            self._draining = self._loop.create_task(self._drain(), context=self._context)
            self._draining.add_done_callback(self._stopped)
        return future

    async def close(self) -> None:
        """Take nothing more, and finish what was taken."""
        self._closed = True
        if self._draining is not None:
            await asyncio.wait({self._draining})

    def abandon(self) -> None:
        """Take nothing more, and leave undone what was taken: whoever waits gets StoreUnavailable."""
        self._closed = True
        if self._draining is not None:
            self._draining.cancel()

    async def _drain(self) -> None:
        while self._queue:
            self._batch, self._queue = self._queue[: self._most], self._queue[self._most :]
            await self._do(self._batch)
        self._draining = None

    def _stopped(self, draining: asyncio.Task[None]) -> None:
        if draining.cancelled():  # abandoned, or the event loop is being torn down
            left, self._batch, self._queue = [*self._batch, *self._queue], [], []
            for operation in left:
                _give(operation.future, StoreUnavailable("the store was stopped; whether it wrote this is unknown"))
            self._draining = None

    async def _do(self, batch: list[Operation[Any]]) -> None:
        began_s = self._monotonic_s()
        try:
            news = await self._run(batch)
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
            self._on_done(batch, news, self._monotonic_s() - began_s)
        except Exception:  # noqa: BLE001 - the batch is written; the next one must not suffer
            _log.exception("telling about a batch failed")


def _give(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # whoever did not wait must not make asyncio complain: `on_done` has seen the error
