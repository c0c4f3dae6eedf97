"""Group commit, with batches that do nothing."""

import asyncio
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import pytest

from bestex.errors import StoreUnavailable
from bestex.store.commit import Batcher, InlineExecutor, Operation, on_executor


class Ask(Operation[str]):
    __slots__ = ("error", "text")

    def __init__(self, text: str, error: Exception | None = None) -> None:
        super().__init__()
        self.text = text
        self.error = error


class Answering:
    """Answers every operation with its own text, and remembers the batches."""

    def __init__(self, executor: Executor, most: int = 100) -> None:
        self.batches: list[list[str]] = []
        self.done: list[tuple[int, str, float]] = []
        self.error: BaseException | None = None
        self.times = iter(range(1000))
        self.batcher: Batcher[str] = Batcher(
            on_executor(self._run, executor, lambda: float(next(self.times))), most=most, on_done=self._on_done
        )

    def ask(self, *texts: str) -> list[asyncio.Future[str]]:
        return [self.batcher.submit(Ask(text)) for text in texts]

    def note(self, text: str) -> asyncio.Future[str]:
        """Ask for something that may wait for company."""
        return self.batcher.submit(Ask(text), patient=True)

    def _run(self, operations: list[Operation[Any]]) -> str:
        if self.error is not None:
            raise self.error
        self.batches.append([each.text for each in operations if isinstance(each, Ask)])
        for each in operations:
            assert isinstance(each, Ask)
            each.answer = each.error or each.text
        return f"news {len(self.batches)}"

    def _on_done(self, batch: list[Operation[Any]], news: str, seconds: float) -> None:
        self.done.append((len(batch), news, seconds))


async def test_what_is_asked_for_in_one_turn_goes_together() -> None:
    answering = Answering(InlineExecutor())
    assert await asyncio.gather(*answering.ask("a", "b", "c")) == ["a", "b", "c"]
    assert answering.batches == [["a", "b", "c"]]
    assert answering.done == [(3, "news 1", 1.0)]


async def test_what_is_asked_for_meanwhile_goes_into_the_next() -> None:
    with ThreadPoolExecutor(1) as executor:
        answering = Answering(executor)
        first = answering.ask("a")
        await asyncio.sleep(0)  # the first batch is on its way
        second = answering.ask("b", "c")
        assert await asyncio.gather(*first, *second) == ["a", "b", "c"]
    assert answering.batches == [["a"], ["b", "c"]]


async def test_what_nobody_waits_for_goes_along_with_what_comes_next() -> None:
    answering = Answering(InlineExecutor())
    answering.note("a")
    for _ in range(5):
        await asyncio.sleep(0)
    assert answering.batches == []
    await asyncio.gather(*answering.ask("b"))
    assert answering.batches == [["a", "b"]]


async def test_what_nobody_waits_for_waits_after_a_batch_as_well() -> None:
    with ThreadPoolExecutor(1) as executor:
        answering = Answering(executor)
        first = answering.ask("a")
        await asyncio.sleep(0)  # the first batch is on its way
        answering.note("b")
        await asyncio.gather(*first)
        await asyncio.sleep(0)
        assert await asyncio.gather(*answering.ask("c")) == ["c"]
    assert answering.batches == [["a"], ["b", "c"]]


async def test_what_nobody_waits_for_is_done_without_company_too() -> None:
    answering = Answering(InlineExecutor())
    assert await answering.note("a") == "a"
    assert await answering.note("b") == "b"
    assert answering.batches == [["a"], ["b"]]


async def test_closing_does_at_once_what_would_have_waited() -> None:
    answering = Answering(InlineExecutor())
    noted = answering.note("a")
    await answering.batcher.close()
    assert noted.result() == "a"


async def test_abandoning_leaves_undone_what_would_have_waited() -> None:
    answering = Answering(InlineExecutor())
    noted = answering.note("a")
    answering.batcher.abandon()
    with pytest.raises(StoreUnavailable, match="stopped"):
        await noted
    assert answering.batches == []


async def test_batches_are_bounded() -> None:
    answering = Answering(InlineExecutor(), most=2)
    await asyncio.gather(*answering.ask("a", "b", "c", "d", "e"))
    assert answering.batches == [["a", "b"], ["c", "d"], ["e"]]


async def test_an_answer_that_is_an_error_is_raised_to_its_asker_alone() -> None:
    answering = Answering(InlineExecutor())
    failing = answering.batcher.submit(Ask("a", ValueError("no")))
    fine = answering.batcher.submit(Ask("b"))
    assert await fine == "b"
    with pytest.raises(ValueError, match="no"):
        await failing


async def test_an_error_that_nobody_waits_for_is_no_noise(caplog: pytest.LogCaptureFixture) -> None:
    answering = Answering(InlineExecutor())
    answering.batcher.submit(Ask("a", ValueError("no")))
    await asyncio.gather(*answering.ask("b"))
    assert [record for record in caplog.records if record.name == "asyncio"] == []


async def test_an_asker_that_gave_up_does_not_matter() -> None:
    answering = Answering(InlineExecutor())
    gave_up, waits = answering.ask("a", "b")
    gave_up.cancel()
    assert await waits == "b"
    assert answering.batches == [["a", "b"]]


async def test_a_batch_that_fails_as_a_whole_fails_everybody_and_the_next_one_runs() -> None:
    answering = Answering(InlineExecutor())
    answering.error = RuntimeError("a defect")
    answers = await asyncio.gather(*answering.ask("a", "b"), return_exceptions=True)
    assert [str(answer) for answer in answers] == ["a defect", "a defect"]
    answering.error = None
    assert await asyncio.gather(*answering.ask("c")) == ["c"]


async def test_a_telling_that_fails_does_not_stop_the_next_batch(caplog: pytest.LogCaptureFixture) -> None:
    answering = Answering(InlineExecutor())
    answering.done = None  # type: ignore[assignment]
    await asyncio.gather(*answering.ask("a"))
    await asyncio.gather(*answering.ask("b"))
    assert "telling about a batch failed" in caplog.text


async def test_closing_waits_for_what_was_taken() -> None:
    answering = Answering(InlineExecutor(), most=1)
    asked = answering.ask("a", "b")
    await answering.batcher.close()
    assert [each.result() for each in asked] == ["a", "b"]
    with pytest.raises(StoreUnavailable, match="closed"):
        await answering.ask("c")[0]
    await answering.batcher.close()


@pytest.mark.parametrize("begun", [False, True])
async def test_a_loop_that_is_torn_down_leaves_nobody_waiting(begun: bool) -> None:
    with ThreadPoolExecutor(1) as executor:
        answering = Answering(executor)
        asked = answering.ask("a")
        if begun:
            await asyncio.sleep(0)
        asked += answering.ask("b")
        (draining,) = asyncio.all_tasks() - {asyncio.current_task()}
        draining.cancel()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(answer) for answer in answers} == {StoreUnavailable}
        assert await asyncio.gather(*answering.ask("c")) == ["c"]


async def test_abandoned_nothing_more_is_done() -> None:
    answering = Answering(InlineExecutor())
    asked = answering.ask("a", "b")
    answering.batcher.abandon()
    answers = await asyncio.gather(*asked, *answering.ask("c"), return_exceptions=True)
    assert {type(answer) for answer in answers} == {StoreUnavailable}
    assert answering.batches == []


def test_an_inline_executor_gives_answers_and_errors() -> None:
    executor = InlineExecutor()
    assert executor.submit(divmod, 7, 2).result() == (3, 1)
    with pytest.raises(ZeroDivisionError):
        executor.submit(divmod, 7, 0).result()
