"""Waiters with deadlines of their own, and one timer."""

import asyncio

from bestex.paper.waiting import Waiting
from bestex.types import Signature
from tests.support.clock import VirtualClock

ONE, TWO = Signature("one"), Signature("two")


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_each_waiter_has_its_own_deadline() -> None:
    clock = VirtualClock()
    waiting = Waiting(clock)
    ended: list[tuple[str, float]] = []

    async def wait(name: str, timeout_s: float) -> None:
        await waiting.wait(ONE, timeout_s)
        ended.append((name, clock.monotonic_s()))

    tasks = [asyncio.create_task(wait("long", 5.0)), asyncio.create_task(wait("longer", 7.0))]
    await settled()
    tasks.append(asyncio.create_task(wait("short", 1.0)))
    await settled()
    while clock.advance_to_next():
        await settled()
    await asyncio.gather(*tasks)
    assert ended == [("short", 1.0), ("long", 5.0), ("longer", 7.0)]
    assert len(waiting) == 0
    again = asyncio.create_task(wait("again", 2.0))
    await settled()
    while clock.advance_to_next():
        await settled()
    await again
    assert ended[-1] == ("again", 9.0)


async def test_only_those_who_wait_for_it_are_woken() -> None:
    waiting = Waiting(VirtualClock())
    one, also_one, two = (asyncio.create_task(waiting.wait(name, 9.0)) for name in (ONE, ONE, TWO))
    await settled()
    assert len(waiting) == 3
    waiting.wake([ONE, Signature("nobody")])
    await settled()
    assert one.done()
    assert also_one.done()
    assert not two.done()
    two.cancel()
    await settled()
    assert len(waiting) == 0
    waiting.close()


async def test_a_wake_and_a_deadline_at_once() -> None:
    clock = VirtualClock()
    waiting = Waiting(clock)
    task = asyncio.create_task(waiting.wait(ONE, 1.0))
    await settled()
    clock.advance(1.0)
    waiting.wake([ONE])
    await task
    await settled()
    assert len(waiting) == 0


async def test_a_wait_of_no_time() -> None:
    clock = VirtualClock()
    waiting = Waiting(clock)
    task = asyncio.create_task(waiting.wait(ONE, 0.0))
    await settled()
    clock.advance(0.0)
    await task


async def test_thousands_of_waits_leave_nothing() -> None:
    clock = VirtualClock()
    waiting = Waiting(clock)
    for _ in range(20):
        tasks = [asyncio.create_task(waiting.wait(Signature(str(each)), 0.5)) for each in range(100)]
        await settled()
        waiting.wake([Signature(str(each)) for each in range(100)])
        await asyncio.gather(*tasks)
        clock.advance(0.5)
        await settled()
    assert len(waiting) == 0
    clock.advance(1.0)
    await settled()
    assert not waiting._deadlines
