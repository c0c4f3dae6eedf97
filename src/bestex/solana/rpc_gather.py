"""Questions of one turn of the event loop, asked together: many orders move at once, after a commit or a block."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from bestex.solana.rpc_errors import RequestRefused

Q = TypeVar("Q")
A = TypeVar("A")

Ask: TypeAlias = Callable[[list[Q]], Awaitable[Sequence[A | Exception]]]
"""Answers all questions at once, in order; an exception is the answer of one, a raised one that of all."""


class _Waiting(NamedTuple, Generic[Q, A]):
    question: Q
    answer: asyncio.Future[A]


class Gathering(Generic[Q, A]):
    """Nobody waits for company longer than that, and no answer is older than its question."""

    def __init__(
        self,
        ask: Ask[Q, A],
        *,
        most: int,
        size: Callable[[Q], int] = lambda _: 1,
        timeout_s: float | None = None,
        turns: int = 0,
    ) -> None:
        """Questions are asked together as long as their sizes add up to `most` at most.

        Without an answer after `timeout_s` those who asked get a TimeoutError: one timer for all of them. The first
        question waits `turns` more turns of the event loop, for those that come by way of another gathering.
        """
        self._ask = ask
        self._most = most
        self._size = size
        self._timeout_s = timeout_s
        self._turns = turns
        self._waiting: list[_Waiting[Q, A]] = []
        self._asking: set[asyncio.Task[None]] = set()

    async def answer(self, question: Q) -> A:
        """The answer to a question. Raises what `ask` raises."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[A] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._begin, self._turns)
        self._waiting.append(_Waiting(question, answer))
        return await answer

    async def close(self) -> None:
        """End what is being asked."""
        for task in self._asking:
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)

    def _begin(self, turns: int) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(self._begin, turns - 1)
            return
        waiting, self._waiting = self._waiting, []
        ends_s = None if self._timeout_s is None else asyncio.get_running_loop().time() + self._timeout_s
        for group in self._packed(each for each in waiting if not each.answer.done()):
            self._start(group, ends_s)

    def _packed(self, waiting: Iterable[_Waiting[Q, A]]) -> Iterable[list[_Waiting[Q, A]]]:
        group, size = list[_Waiting[Q, A]](), 0
        for each in waiting:
            own = self._size(each.question)
            if group and size + own > self._most:
                yield group
                group, size = [], 0
            group.append(each)
            size += own
        if group:
            yield group

    def _start(self, group: list[_Waiting[Q, A]], ends_s: float | None) -> None:
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._settle(group, ends_s))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        if ends_s is not None:
            timer = loop.call_at(ends_s, _expire, group)
            task.add_done_callback(lambda _: timer.cancel())

    async def _settle(self, group: list[_Waiting[Q, A]], ends_s: float | None) -> None:
        try:
            answers = await self._ask([question for question, _ in group])
        except asyncio.CancelledError:
            for _, waiter in group:
                waiter.cancel()
            raise
        except RequestRefused as error:
            if len(group) > 1:
                # The fault may be of one question only: each for itself.
                for each in group:
                    self._start([each], ends_s)
                return
            answers = [error] * len(group)
        except Exception as error:  # noqa: BLE001 - whoever asked gets it
            answers = [error] * len(group)
        for (_, waiter), answer in zip(group, answers, strict=True):
            if waiter.done():
                continue
            if isinstance(answer, Exception):
                waiter.set_exception(answer)
            else:
                waiter.set_result(answer)


def _expire(group: Iterable[_Waiting[Q, A]]) -> None:
    for _, waiter in group:
        if not waiter.done():
            waiter.set_exception(TimeoutError())
