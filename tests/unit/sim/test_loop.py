"""The simulator's event loop: virtual time, order by seed, groups that stop where they stand."""

import asyncio
import random
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from bestex.sim.loop import Deadlock, Group, Livelock, SimLoop, current_group, never, outside

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T], *, seed: int = 1, shuffle: float = 1.0, most_steps: int = 100_000) -> T:
    loop = SimLoop(random.Random(seed), shuffle=shuffle, most_steps=most_steps)  # type: ignore[abstract]  # no sockets, no processes
    return loop.run(main)


async def sleep(seconds: float) -> None:
    await asyncio.sleep(seconds)


def test_time_passes_only_while_everybody_waits() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        seen = [loop.time()]
        for seconds in (3_600.0, 0.0, 0.25):
            await sleep(seconds)
            seen.append(loop.time())
        return seen

    assert run(main()) == [0.0, 3_600.0, 3_600.0, 3_600.25]


def test_timers_of_one_moment_fire_and_time_outs_work() -> None:
    async def main() -> float:
        await asyncio.gather(*(sleep(1.0) for _ in range(5)))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.0):
                await never()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(never(), 3.0)
        return asyncio.get_running_loop().time()

    assert run(main()) == 6.0


def order_of(seed: int, shuffle: float = 1.0) -> list[int]:
    async def main() -> list[int]:
        seen: list[int] = []

        async def step(number: int) -> None:
            seen.append(number)
            await sleep(0)
            seen.append(number + 10)

        await asyncio.gather(*map(step, range(5)))
        return seen

    return run(main(), seed=seed, shuffle=shuffle)


def test_the_order_is_drawn_from_the_seed() -> None:
    assert order_of(1) == order_of(1)
    assert len({tuple(order_of(seed)) for seed in range(20)}) > 10
    assert order_of(1, shuffle=0.0) == [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]


def test_waiting_for_nothing_is_a_deadlock() -> None:
    with pytest.raises(Deadlock, match="nothing can happen"):
        run(never())


def test_turning_in_circles_is_a_livelock() -> None:
    async def main() -> None:
        while True:
            await sleep(0)

    with pytest.raises(Livelock):
        run(main(), most_steps=1_000)


def test_an_exception_that_nobody_handles_is_kept() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    async def main() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 // 0)
        task = asyncio.create_task(fail())
        await asyncio.wait({task})
        del task

    loop = SimLoop(random.Random(1))  # type: ignore[abstract]  # no sockets, no processes
    loop.run(main())
    assert [type(fault["exception"]) for fault in loop.faults] == [ZeroDivisionError, ZeroDivisionError]


def test_a_killed_group_stops_without_its_finally() -> None:
    seen: list[str] = []

    async def worker(name: str) -> None:
        try:
            while True:
                await sleep(1.0)
                seen.append(name)
        finally:
            seen.append(f"{name} unwound")

    async def main() -> None:
        process = Group("process")
        thread = Group("thread", process)
        kept = [process.start(worker("process")), thread.start(worker("thread"))]
        await sleep(2.5)
        process.kill()
        assert thread.dead
        await sleep(10.0)
        assert sorted(seen) == ["process", "process", "thread", "thread"]
        assert not any(task.done() for task in kept)

    run(main())


@pytest.mark.parametrize("killed", [False, True])
def test_what_failed_and_was_asked_by_nobody_is_a_fault_unless_its_group_was_killed(killed: bool) -> None:
    loop = SimLoop(random.Random(1))  # type: ignore[abstract]  # no sockets, no processes

    async def fail() -> None:
        raise ZeroDivisionError

    async def main() -> None:
        group = Group("process")
        group.start(fail())
        await sleep(1.0)
        if killed:
            group.kill()

    loop.run(main())
    loop.close()
    assert len(loop.faults) == (0 if killed else 1)


def test_what_a_group_starts_belongs_to_it() -> None:
    async def child() -> Group | None:
        return current_group()

    async def parent() -> list[Group | None]:
        loop = asyncio.get_running_loop()
        inside = await asyncio.create_task(child())
        return [inside, await loop.create_task(child(), context=outside())]

    async def main() -> None:
        group = Group("g")
        assert await group.start(parent()) == [group, None]
        assert current_group() is None

    run(main())


def test_a_frozen_group_goes_on_where_it_was() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        seen: list[float] = []

        async def tick() -> None:
            for _ in range(4):
                await sleep(1.0)
                seen.append(loop.time())

        group = Group("g")
        ticking = group.start(tick())
        await sleep(1.5)
        group.freeze()
        await sleep(10.0)
        assert len(seen) == 1
        group.thaw()
        await ticking
        return seen

    assert run(main()) == [1.0, 11.5, 12.5, 13.5]


def test_work_for_other_threads_is_done_at_once() -> None:
    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(None, lambda: 1 // 0)
        return [await loop.run_in_executor(None, int, "7"), await asyncio.to_thread(int, "8")]

    assert run(main()) == [7, 8]
