"""What is particular to the SQLite store: hooks, checks of its callers, and batches that hold a bad apple."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from bestex.errors import Conflict, StoreUnavailable
from bestex.orders.attempt import AttemptState
from bestex.orders.status import Status
from bestex.ports import Change
from bestex.store.sqlite import SqliteStore
from tests.contract.store_contract import LATER_MS, Heard, claim, claim_one, place, submit
from tests.support.clock import VirtualClock
from tests.support.orders import Life, attempt, keys, pending
from tests.support.sqlite import opened, writing_connection

replace = msgspec.structs.replace


async def test_batches_are_told_of(tmp_path: Path) -> None:
    told: list[tuple[int, float]] = []
    store = SqliteStore(
        tmp_path / "orders.db", clock=VirtualClock(), on_batch=lambda count, seconds: told.append((count, seconds))
    )
    await store.open()
    await asyncio.gather(*(store.accept(*pending(number), keys()) for number in range(7)))
    await store.close()
    assert told == [(7, 0.0)]


async def test_refused_writes_are_counted_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with opened(tmp_path) as store:
        await place(store, 1)
        life = await claim_one(store)
        stale = Life(replace(life.order, lease_epoch=9))
        store.record(stale.change(stale.routed()))
        await store.ping()
        assert store.refused == 1
    assert "a write was refused: order" in caplog.text
    assert not [record for record in caplog.records if record.name == "asyncio"]


@pytest.mark.parametrize("wrong", ["gap", "foreign", "status", "attempt"])
async def test_a_step_that_contradicts_itself_is_a_defect_of_the_caller(tmp_path: Path, wrong: str) -> None:
    async with opened(tmp_path) as store:
        await place(store, 1)
        life = await claim_one(store)
        event = life.routed()
        other = Life(pending(2)[0])
        change = {
            "gap": Change(order=life.order, events=(replace(event, seq=3),)),
            "foreign": Change(order=life.order, events=(replace(event, order_id=other.order.id),)),
            "status": Change(order=replace(life.order, status=Status.BUILDING), events=(event,)),
            "attempt": Change(order=life.order, events=(event,), attempt=attempt(other.order)),
        }[wrong]
        with pytest.raises(ValueError, match="order"):
            store.record(change)


@pytest.mark.parametrize("changes", [{"lease_owner": "w"}, {"status": Status.FAILED}])
async def test_only_a_new_order_can_be_accepted(tmp_path: Path, changes: dict[str, Any]) -> None:
    async with opened(tmp_path) as store:
        order, event = pending(1)
        event = replace(event, status=changes.get("status", event.status))
        with pytest.raises(ValueError, match="not a new one"):
            await store.accept(replace(order, **changes), event, keys())


async def test_memory_and_disk_must_agree(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await place(store, 1)
        await place(store, 2)
        first, second = (Life(each.order) for each in (await claim(store)).claims)
        writing_connection(store).execute("UPDATE orders SET seq = 5 WHERE id = ?", (first.order.id,))
        answers = await asyncio.gather(
            store.record(first.change(first.routed())),
            store.record(second.change(second.routed())),
            return_exceptions=True,
        )
        assert isinstance(answers[0], apsw.ConstraintError)
        assert "not where memory believes" in str(answers[0])
        assert answers[1] is None
        assert len(await store.events(first.order.id)) == 1


async def test_of_a_bad_batch_all_good_writes_are_kept_and_told_once(tmp_path: Path) -> None:
    """Fifty orders end, twenty come, and two steal a transaction that is on disk only: found by halving the batch."""
    async with opened(tmp_path) as store:
        for number in range(53):
            await place(store, number)
        lives = [Life(each.order) for each in (await claim(store, limit=53)).claims]
        made = await submit(store, lives[0])
        landed = replace(made, state=AttemptState.LANDED)
        await store.record(lives[0].change(lives[0].confirmed(), lives[0].finalized(), attempt=landed))
        heard = Heard()
        store.on_commit(heard)
        steals = [replace(attempt(life.order), signature=made.signature) for life in lives[1:3]]
        answers = await asyncio.gather(
            *(store.accept(*pending(number), keys()) for number in range(100, 120)),
            store.record(lives[1].change(attempt=steals[0])),
            *(store.record(life.change(life.failed())) for life in lives[3:]),
            store.record(lives[2].change(attempt=steals[1])),
            return_exceptions=True,
        )
        refused = [type(answer) for answer in answers if isinstance(answer, Exception)]
        assert refused == [Conflict, Conflict]
        assert len(heard.events) == len({(event.order_id, event.seq) for event in heard.events}) == 70
        stats = await store.stats(LATER_MS, 1)
        assert (stats.by_status[Status.PENDING], stats.by_status[Status.FAILED]) == (22, 50)
    async with opened(tmp_path) as store:
        stats = await store.stats(LATER_MS, 1)
        assert (stats.by_status[Status.PENDING], stats.by_status[Status.FAILED]) == (22, 50)


async def test_history_is_not_kept_in_memory(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for number in range(20):
            await place(store, number)
        for each in (await claim(store, limit=20)).claims:
            life = Life(each.order)
            await store.record(life.change(life.failed()))
        assert store._session is not None
        open_orders = store._session.writer.open_orders
        assert (open_orders._entries, open_orders._leased) == ({}, {})


async def test_a_store_that_is_not_open(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        life = Life(await place(store, 1))
    with pytest.raises(StoreUnavailable, match="not open"):
        await store.order(life.order.id)
    failed = store.record(life.change(life.routed()))  # nobody waits for it, and nothing complains
    del failed


async def test_a_tables_rows_are_readable(tmp_path: Path) -> None:
    """The files are for people too."""
    async with opened(tmp_path) as store:
        await place(store, 1)
        life = await claim_one(store)
        made = await submit(store, life)
        connection = writing_connection(store)
        (order,) = connection.execute(
            "SELECT id, user_id, status, seq, ended, document ->> 'attempts' FROM orders"
        ).fetchall()
        assert order == (life.order.id, "alice", "submitted", 4, 0, 1)
        events = connection.execute("SELECT seq, payload ->> 'event' FROM order_events").fetchall()
        assert events == [(1, "accepted"), (2, "routed"), (3, "built"), (4, "submitted")]
        (stored,) = connection.execute("SELECT state, signature, document ->> 'venue' FROM attempts").fetchall()
        assert stored == ("prepared", made.signature, made.venue)
