"""Random lives of random orders: the store answers as the plainest model of it does, restarts included."""

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestex.errors import IdempotencyMismatch, StaleVersion
from bestex.orders.attempt import Attempt, AttemptState
from bestex.orders.order import IdempotencyKeys, Order
from bestex.orders.status import CLAIMABLE, Status
from bestex.ports import Change, RateLimit
from bestex.store.commit import InlineExecutor
from bestex.store.sqlite import SqliteStore
from bestex.types import OrderId
from tests.support.clock import VirtualClock
from tests.support.orders import NOW_MS, Life, attempt, keys, pending

WINDOW_MS = 50
replace = msgspec.structs.replace


class Model:
    """A store in a few plain lists. `None` stands for a refusal."""

    def __init__(self) -> None:
        self.orders: dict[OrderId, Order] = {}
        self.attempts: dict[OrderId, dict[int, Attempt]] = {}
        self.events: dict[OrderId, int] = {}
        self.keys: dict[tuple[str, str], tuple[OrderId, str]] = {}
        self.starts: list[int] = []

    def accept(self, order: Order, given: IdempotencyKeys) -> OrderId | None:
        kinds = {"client": given.client_order_id, "header": given.header_key}
        used = {(kind, key) for kind, key in kinds.items() if key is not None}
        known = [self.keys[each] for each in sorted(used) if each in self.keys]
        if any(request_hash != given.request_hash for _, request_hash in known):
            return None
        found = known[0][0] if known else order.id
        for each in used:
            self.keys.setdefault(each, (found, given.request_hash))
        if not known:
            self.orders[order.id] = order
            self.attempts[order.id] = {}
            self.events[order.id] = 1
        return found

    def record(self, change: Change) -> bool:
        order = change.order
        stored = self.orders[order.id]
        fits = stored.lease_epoch == order.lease_epoch and stored.seq + len(change.events) == order.seq
        if not fits or stored.is_terminal:
            return False
        owner, until_ms = stored.lease_owner, stored.lease_until_ms
        if change.release or order.is_terminal:
            owner, until_ms = None, 0
        self.orders[order.id] = replace(order, lease_owner=owner, lease_until_ms=until_ms)
        self.events[order.id] += len(change.events)
        if change.attempt is not None:
            self.attempts[order.id][change.attempt.number] = change.attempt
        return True

    def claim(self, worker: str, limit: int, now_ms: int, lease_ms: int, rate: RateLimit | None) -> list[OrderId]:
        free = [each for each in self.orders.values() if max(each.due_at_ms, each.lease_until_ms) <= now_ms]
        free = [each for each in free if each.status in CLAIMABLE]
        free.sort(key=lambda each: (each.status is Status.PENDING, -each.terms.priority, each.id))
        taken: list[OrderId] = []
        for each in free[:limit]:
            if each.status is Status.PENDING:
                if rate is not None and self._started(now_ms) >= rate.count:
                    break
                self.starts.append(now_ms)
            self._lease(each, worker, now_ms + lease_ms)
            taken.append(each.id)
        return taken

    def next_due_ms(self, now_ms: int, rate: RateLimit | None) -> int | None:
        """When another order can be claimed: tried moment by moment."""
        for at_ms in range(now_ms, now_ms + 1000):
            for each in self.orders.values():
                if each.status in CLAIMABLE and max(each.due_at_ms, each.lease_until_ms) <= at_ms:
                    full = rate is not None and self._started(at_ms) >= rate.count
                    if each.status is not Status.PENDING or not full:
                        return at_ms
        return None

    def claim_unfinal(self, worker: str, limit: int, now_ms: int, lease_ms: int) -> list[OrderId]:
        free = [
            each
            for each in self.orders.values()
            if each.status is Status.CONFIRMED
            and not each.is_terminal
            and max(each.due_at_ms, each.lease_until_ms) <= now_ms
        ]
        free.sort(key=lambda each: (-each.terms.priority, each.id))
        for each in free[:limit]:
            self._lease(each, worker, now_ms + lease_ms)
        return [each.id for each in free[:limit]]

    def renew(self, worker: str, order_ids: list[OrderId], until_ms: int) -> None:
        for order_id in order_ids:
            order = self.orders[order_id]
            if order.lease_owner == worker and order.lease_until_ms < until_ms:
                self.orders[order_id] = replace(order, lease_until_ms=until_ms)

    def restart(self) -> None:
        for order_id, order in self.orders.items():
            self.orders[order_id] = replace(order, lease_owner=None, lease_until_ms=0)

    def _lease(self, order: Order, worker: str, until_ms: int) -> None:
        self.orders[order.id] = replace(
            order, lease_owner=worker, lease_until_ms=until_ms, lease_epoch=order.lease_epoch + 1
        )

    def _started(self, now_ms: int) -> int:
        return sum(at_ms > now_ms - WINDOW_MS for at_ms in self.starts)


class Both:
    """A store and its model, asked for the same things."""

    def __init__(self, path: Path, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self.model = Model()
        self.now_ms = NOW_MS + 100
        self._path = path
        self._draw = draw
        self._made = 0
        self._rate = draw(st.none() | st.builds(RateLimit, st.integers(1, 3), st.just(WINDOW_MS)))
        self.store = self._make()

    def _make(self) -> SqliteStore:
        executor = InlineExecutor()
        return SqliteStore(self._path, clock=VirtualClock(), write_executor=executor, read_executor=executor)

    async def step(self) -> None:
        doing = [self._accept, self._accept, self._claim, self._claim, self._go_on, self._go_on, self._go_on]
        doing += [self._claim_unfinal, self._renew, self._time_passes, self._restart]
        await doing[self._draw(st.integers(0, len(doing) - 1))]()

    async def check(self) -> None:
        model, store = self.model, self.store
        for order_id, order in model.orders.items():
            assert await store.order(order_id) == order
            assert [event.seq for event in await store.events(order_id)] == list(range(1, model.events[order_id] + 1))
            assert await store.attempts(order_id) == [each for _, each in sorted(model.attempts[order_id].items())]
        active = [order for order in model.orders.values() if not order.is_terminal]
        assert await store.active(99) == active
        stats = await store.stats(self.now_ms, WINDOW_MS)
        everything = list(model.orders.values())
        assert dict(stats.by_status) == {
            status: sum(order.status is status for order in everything) for status in Status
        }
        assert stats.in_work == sum(order.lease_until_ms > self.now_ms for order in everything)
        for status in (None, *Status):
            page = await store.orders(user_id=None, status=status, cursor=None, limit=99)
            assert page.orders == [order for order in reversed(everything) if status in (None, order.status)]

    async def _accept(self) -> None:
        self._made += 1
        order, event = pending(
            self._made, priority=self._draw(st.integers(0, 2)), due_at_ms=self.now_ms + self._draw(st.integers(-1, 30))
        )
        some_key = st.none() | st.sampled_from(["k", "l"])
        given = keys(
            request_hash=self._draw(st.sampled_from(["same", "other"])),
            client_order_id=self._draw(some_key),
            header_key=self._draw(some_key),
        )
        expected = self.model.accept(order, given)
        if expected is None:
            with pytest.raises(IdempotencyMismatch):
                await self.store.accept(order, event, given)
        else:
            acceptance = await self.store.accept(order, event, given)
            assert acceptance.created == (expected == order.id)
            assert acceptance.order == self.model.orders[expected]

    async def _claim(self) -> None:
        worker, limit, lease_ms = self._draw(st.sampled_from("ab")), self._draw(st.integers(0, 4)), 20
        rate = self._rate
        answer = await self.store.claim(worker, limit=limit, now_ms=self.now_ms, lease_ms=lease_ms, rate=rate)
        taken = self.model.claim(worker, limit, self.now_ms, lease_ms, rate)
        assert [claim.order for claim in answer.claims] == [self.model.orders[order_id] for order_id in taken]
        for claim in answer.claims:
            tried = self.model.attempts[claim.order.id]
            assert claim.attempt == (tried[max(tried)] if tried else None)
        assert answer.next_due_ms == self.model.next_due_ms(self.now_ms, rate)

    async def _claim_unfinal(self) -> None:
        limit = self._draw(st.integers(0, 3))
        answer = await self.store.claim_unfinal("f", limit=limit, now_ms=self.now_ms, lease_ms=20)
        taken = self.model.claim_unfinal("f", limit, self.now_ms, 20)
        assert [claim.order for claim in answer.claims] == [self.model.orders[order_id] for order_id in taken]

    async def _renew(self) -> None:
        worker, until_ms = self._draw(st.sampled_from("abf")), self.now_ms + self._draw(st.integers(0, 60))
        order_ids = [order_id for order_id in self.model.orders if self._draw(st.booleans())]
        await self.store.renew(worker, order_ids, lease_until_ms=until_ms)
        self.model.renew(worker, order_ids, until_ms)

    async def _time_passes(self) -> None:
        self.now_ms += self._draw(st.integers(1, 40))

    async def _restart(self) -> None:
        if self._draw(st.booleans()):
            await self.store.close()
        else:
            self.store.abandon()
        self.store = self._make()
        await self.store.open()
        before = dict(self.model.orders)
        self.model.restart()
        for order_id, order in before.items():
            # The number of a lease that nothing was written under need not outlive the process.
            stored = await self.store.order(order_id)
            assert stored.lease_epoch <= order.lease_epoch
            self.model.orders[order_id] = replace(self.model.orders[order_id], lease_epoch=stored.lease_epoch)

    async def _go_on(self) -> None:
        """One to three steps of one order, of which only the last is waited for; sometimes they do not fit."""
        if not self.model.orders:
            return
        order = self._draw(st.sampled_from(sorted(self.model.orders.values(), key=lambda each: each.id)))
        if order.is_terminal:
            return
        life = Life(replace(order, lease_epoch=order.lease_epoch - self._draw(st.sampled_from([0, 0, 0, 0, 1]))))
        tries = range(self._draw(st.integers(1, 3)))
        changes = [self._change(life) for _ in tries if not life.order.is_terminal]
        fits = [self.model.record(change) for change in changes]
        answers = await asyncio.gather(*map(self.store.record, changes), return_exceptions=True)
        assert [not isinstance(answer, StaleVersion) for answer in answers] == fits
        assert not [answer for answer in answers if answer is not None and not isinstance(answer, StaleVersion)]

    def _change(self, life: Life) -> Change:
        release = self._draw(st.booleans())
        latest = life.order.attempts
        made = attempt(life.order, max(1, latest))
        match life.order.status:
            case Status.PENDING:
                return life.change(self._one_of(life.routed, life.failed, life.canceled)(), release=release)
            case Status.ROUTING:
                return life.change(self._one_of(life.built, life.built, self._retrying(life))(), release=release)
            case Status.BUILDING:
                event = self._one_of(life.submitted, life.submitted, self._retrying(life))()
                tried = attempt(life.order, life.order.attempts) if event.status is Status.SUBMITTED else None
                return life.change(event, attempt=self._as_made(life, tried), release=release)
            case Status.SUBMITTED:
                event = self._one_of(life.confirmed, life.confirmed, self._retrying(life), life.failed)()
                landed = event.status is Status.CONFIRMED
                state = AttemptState.LANDED if landed else AttemptState.DEAD
                after = replace(self._as_made(life, made) or made, state=state)
                return life.change(event, attempt=after, release=release)
            case _:
                event = self._one_of(life.finalized, life.finalized, life.rolled_back)()
                back = self._as_made(life, made) or made
                sent = replace(back, state=AttemptState.SENT)
                return life.change(event, attempt=sent if event.status is Status.SUBMITTED else None, release=release)

    def _as_made(self, life: Life, tried: Attempt | None) -> Attempt | None:
        """The attempt does not change but for its state."""
        if tried is None:
            return None
        return self.model.attempts[life.order.id].get(tried.number) or replace(tried, created_at_ms=NOW_MS)

    def _retrying(self, life: Life) -> Callable[[], Any]:
        return lambda: life.retrying(self.now_ms + self._draw(st.integers(0, 30)))

    def _one_of(self, *makers: Callable[[], Any]) -> Callable[[], Any]:
        chosen: Callable[[], Any] = self._draw(st.sampled_from(makers))
        return chosen


@settings(max_examples=60, deadline=None)
@given(data=st.data(), steps=st.integers(1, 60))
def test_the_store_answers_as_its_model(data: st.DataObject, steps: int) -> None:
    async def live(folder: str) -> None:
        both = Both(Path(folder) / "orders.db", data.draw)
        await both.store.open()
        try:
            for _ in range(steps):
                await both.step()
            await both.check()
            await both._restart()
            await both.check()
        finally:
            await both.store.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(live(folder))
