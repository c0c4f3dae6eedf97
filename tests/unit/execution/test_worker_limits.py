"""Limits of the whole deployment: two workers over one store, with a real Redis between them that may go."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bestex.bus.local import LocalBus
from bestex.bus.redis_limits import RedisLimits
from bestex.execution.worker import Worker
from bestex.orders.status import Status
from bestex.ports import Claim, Claims, Grant, Limits, RateLimit
from bestex.runtime import SystemClock
from bestex.store.sqlite import SqliteStore
from tests.support.orders import Life, keys, pending
from tests.support.redis import PREFIX, RedisProcess, running_redis, until
from tests.support.sqlite import opened


class CountingStore:
    """A store's claims, counted."""

    def __init__(self, inner: SqliteStore) -> None:
        self.inner = inner
        self.rates: list[RateLimit | None] = []

    async def claim(self, worker: str, **asked: Any) -> Claims:
        self.rates.append(asked["rate"])
        return await self.inner.claim(worker, **asked)

    async def renew(self, worker: str, order_ids: Sequence[Any], *, lease_until_ms: int) -> None:
        await self.inner.renew(worker, order_ids, lease_until_ms=lease_until_ms)


class Works:
    """An engine whose orders end when the test says so."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.begun = self.ended = self.now = self.most = 0
        self.finish = asyncio.Semaphore(0)

    async def work(self, claim: Claim) -> None:
        self.begun += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self.finish.acquire()
            life = Life(claim.order)
            await self._store.record(life.change(life.failed()))
        finally:
            self.now -= 1
        self.ended += 1

    def let_finish(self, orders: int) -> None:
        for _ in range(orders):
            self.finish.release()


class Counting(RedisLimits):
    """Counts what it is asked."""

    asked = 0
    held = 0

    async def begin(self, wanted: int, rate: RateLimit) -> Grant | None:
        self.asked += 1
        return await super().begin(wanted, rate)

    async def hold(self, in_use: Sequence[str], new: Sequence[str], *, limit: int, lease_ms: int) -> list[str] | None:
        self.held += 1
        return await super().hold(in_use, new, limit=limit, lease_ms=lease_ms)


class Answering:
    """Limits that answer as told."""

    def __init__(self, *grants: tuple[int, int]) -> None:
        """Granted, and milliseconds to wait; the last for ever."""
        self.asked = 0
        self.say(*grants)

    def say(self, *grants: tuple[int, int]) -> None:
        self._grants = list(grants)

    async def begin(self, wanted: int, rate: RateLimit) -> Grant | None:
        self.asked += 1
        granted, wait_ms = self._grants.pop(0) if len(self._grants) > 1 else self._grants[0]
        return Grant("a", min(granted, wanted), wait_ms)

    async def give_back(self, grant: Grant, unused: int) -> None:
        assert 0 < unused <= grant.granted

    async def hold(self, in_use: Sequence[str], new: Sequence[str], *, limit: int, lease_ms: int) -> list[str] | None:
        raise AssertionError("no slots are limited")

    async def release(self, names: Sequence[str]) -> None:
        raise AssertionError("no slots are limited")


class Deployment:
    """Workers that are running."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = CountingStore(store)
        self.works = Works(store)
        self.bus = LocalBus(buffer_events=1)

    async def place(self, first: int, last: int) -> None:
        for number in range(first, last + 1):
            await self.store.inner.accept(*pending(number), keys())
        self.bus.wake()

    async def turns(self, limits: Counting, more: int = 6) -> None:
        """Until workers have asked these many more times, and so nothing more is to be expected."""
        target = limits.asked + limits.held + more
        await until(lambda: limits.asked + limits.held >= target)

    async def claims(self, more: int = 6) -> None:
        target = len(self.store.rates) + more
        await until(lambda: len(self.store.rates) >= target)


@asynccontextmanager
async def running(folder: Path, *limits: Limits, **settings: Any) -> AsyncIterator[Deployment]:
    """One worker for each of the limits, over one store."""
    wanted = {"concurrency": 5, "rate_per_minute": 0, "lease_s": 30.0, "poll_s": 0.02} | settings
    async with opened(folder) as store:
        made = Deployment(store)
        workers = [
            Worker(
                f"w{number}", engine=made.works, store=made.store, bus=made.bus, clock=SystemClock(),  # type: ignore[arg-type]
                limits=each, **wanted,
            )
            for number, each in enumerate(limits)
        ]  # fmt: skip
        tasks = [asyncio.create_task(worker.run()) for worker in workers]
        try:
            yield made
        finally:
            made.works.let_finish(1_000)
            for worker in workers:
                await worker.drain(5.0)
            for task in tasks:
                task.cancel()
            for ended in await asyncio.gather(*tasks, return_exceptions=True):
                assert ended is None or isinstance(ended, asyncio.CancelledError), ended


@pytest.fixture
async def redis() -> AsyncIterator[RedisProcess]:
    async with running_redis() as process:
        yield process


@pytest.fixture
async def two(redis: RedisProcess) -> AsyncIterator[tuple[Counting, Counting]]:
    made = Counting(redis.reach(), prefix=PREFIX), Counting(redis.reach(), prefix=PREFIX)
    yield made
    for each in made:
        await each.close()


Two = tuple[Counting, Counting]


# --- the rate ---------------------------------------------------------------------------------------------------------


async def test_the_rate_holds_over_all_workers_whatever_becomes_of_redis(
    tmp_path: Path, redis: RedisProcess, two: Two
) -> None:
    async with running(tmp_path, *two, rate_per_minute=5, concurrency=4) as made:
        made.works.let_finish(100)
        await made.place(1, 12)
        await until(lambda: made.works.ended == 5)
        await made.turns(two[0])
        await made.turns(two[1])
        assert made.works.begun == 5
        await redis.kill()
        await made.claims()
        assert made.store.rates[-1] == RateLimit(5, 60_000), "the store is asked, with the rate that holds"
        assert made.works.begun == 5
        await redis.start()
        await until(lambda: not two[0]._link.backoff.remaining_s and not two[1]._link.backoff.remaining_s)
        await made.turns(two[0])
        await made.turns(two[1])
        assert made.works.begun == 5


async def test_what_was_not_begun_is_there_for_others(tmp_path: Path, two: Two) -> None:
    mine, other = two
    async with running(tmp_path, mine, rate_per_minute=5) as made:
        made.works.let_finish(100)
        await made.place(1, 2)
        await until(lambda: made.works.ended == 2)
        left = 0
        while left != 3:  # at a moment when the worker is not just asking the store
            grant = await other.begin(5, RateLimit(5, 60_000))
            assert grant is not None
            left = grant.granted
            assert left <= 3
            if left:
                await other.give_back(grant, left)


async def test_without_room_it_takes_over_what_was_begun(tmp_path: Path) -> None:
    async with running(tmp_path, Answering((0, 60_000)), rate_per_minute=5) as made:
        store = made.store.inner
        await store.accept(*pending(1), keys())
        now_ms = SystemClock().now_ms()
        [claim] = (await store.claim("dead", limit=1, now_ms=now_ms, lease_ms=50, rate=None)).claims
        life = Life(claim.order)
        await store.record(life.change(life.routed()))
        await made.place(2, 2)
        made.works.let_finish(100)
        await until(lambda: made.works.ended == 1)
        await made.claims()
        assert made.works.begun == 1
        assert set(made.store.rates) == {RateLimit(0, 60_000)}
        assert (await store.order(claim.order.id)).status is Status.FAILED


async def test_without_room_the_store_is_spared(tmp_path: Path) -> None:
    limits = Answering((0, 60_000))
    async with running(tmp_path, limits, rate_per_minute=5, poll_s=30.0) as made:
        await until(lambda: limits.asked == 1)
        for number in range(2, 22):
            await made.place(number, number)
            await until(lambda number=number: limits.asked >= number)  # type: ignore[misc]
        assert len(made.store.rates) == 1


async def test_it_asks_again_when_there_may_be_room(tmp_path: Path) -> None:
    async with running(tmp_path, Answering((0, 30), (0, 30), (5, 0)), rate_per_minute=5, poll_s=60.0) as made:
        made.works.let_finish(100)
        await made.place(1, 1)
        await until(lambda: made.works.ended == 1)


async def test_a_part_of_what_was_asked_for_is_no_more_than_that(tmp_path: Path) -> None:
    limits = Answering((0, 30))
    async with running(tmp_path, limits, rate_per_minute=50) as made:
        await made.place(1, 5)
        limits.say((2, 30), (0, 30))
        await until(lambda: made.works.begun == 2)
        await made.claims()
        assert made.works.begun == 2


async def test_without_limits_nobody_is_asked(tmp_path: Path, two: Two) -> None:
    async with running(tmp_path, *two) as made:
        made.works.let_finish(100)
        await made.place(1, 20)
        await until(lambda: made.works.ended == 20)
        assert [(each.asked, each.held) for each in two] == [(0, 0), (0, 0)]


async def test_a_claim_that_found_all_there_was_is_not_repeated(tmp_path: Path) -> None:
    async with running(tmp_path, Answering((5, 0)), poll_s=60.0) as made:
        await until(lambda: len(made.store.rates) == 1)
        made.works.let_finish(100)
        for number in range(1, 6):
            await made.place(number, number)
            await until(lambda number=number: made.works.ended == number)  # type: ignore[misc]  # each its own
        assert len(made.store.rates) == 6


# --- the concurrency --------------------------------------------------------------------------------------------------


async def test_slots_are_shared_by_all_workers(tmp_path: Path, two: Two) -> None:
    async with running(tmp_path, *two, global_concurrency=3) as made:
        await made.place(1, 9)
        await until(lambda: made.works.begun == 3)
        await made.turns(two[0])
        await made.turns(two[1])
        for ended in range(1, 7):
            made.works.let_finish(1)
            await until(lambda ended=ended: made.works.begun == 3 + ended)  # type: ignore[misc]
        made.works.let_finish(3)
        await until(lambda: made.works.ended == 9)
        assert made.works.most == 3
        await until(lambda: not made.works.now)


async def test_slots_last_as_long_as_the_work(tmp_path: Path, two: Two) -> None:
    async with running(tmp_path, *two, global_concurrency=2, lease_s=0.3, poll_s=0.05) as made:
        await made.place(1, 4)
        began_s = SystemClock().monotonic_s()
        await until(lambda: SystemClock().monotonic_s() - began_s > 1.0)
        assert (made.works.begun, made.works.most) == (2, 2)


async def test_slots_that_redis_has_forgotten_are_in_use_all_the_same(tmp_path: Path, two: Two) -> None:
    async with running(tmp_path, two[0], global_concurrency=2) as made:
        await made.place(1, 5)
        await until(lambda: made.works.begun == 2)
        await two[1]._link.ask("FLUSHALL")
        await made.turns(two[0])
        assert made.works.begun == 2


async def test_a_slot_that_is_free_again_is_used_at_once(tmp_path: Path, two: Two) -> None:
    async with running(tmp_path, two[0], global_concurrency=1, poll_s=60.0) as made:
        made.works.let_finish(100)
        await made.place(1, 10)
        await until(lambda: made.works.ended == 10)
        assert made.works.most == 1


async def test_an_idle_worker_keeps_no_slot(tmp_path: Path, two: Two) -> None:
    async with running(tmp_path, *two, global_concurrency=2, poll_s=60.0) as made:
        made.works.let_finish(2)
        await made.place(1, 2)
        await until(lambda: made.works.ended == 2)
        await until(lambda: two[0].held + two[1].held >= 2)
        outside = Counting(two[0]._link._server, prefix=PREFIX)
        async with asyncio.timeout(10):
            while len(await outside.hold([], ["x", "y"], limit=2, lease_ms=60_000) or []) < 2:
                await outside.release(["x", "y"])
        await outside.close()


async def test_without_redis_each_goes_on_with_its_own_and_with_it_together_again(
    tmp_path: Path, redis: RedisProcess, two: Two
) -> None:
    async with running(tmp_path, *two, global_concurrency=3, concurrency=4, lease_s=0.3) as made:
        await made.place(1, 30)
        await until(lambda: made.works.begun == 3)
        await redis.kill()
        await until(lambda: made.works.now == 8)
        await redis.start()
        await until(lambda: not two[0]._link.backoff.remaining_s and not two[1]._link.backoff.remaining_s)
        await made.turns(two[0])
        await made.turns(two[1])
        begun = made.works.begun
        made.works.let_finish(5)
        await until(lambda: made.works.ended == 5)
        await made.turns(two[0])
        await made.turns(two[1])
        assert made.works.begun == begun, "there are as many as there may be, and no more"
        made.works.let_finish(1)
        await until(lambda: made.works.begun == begun + 1)
