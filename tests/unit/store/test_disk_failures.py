"""A disk that is full or broken: everybody is told, nothing is half stored, and afterwards it goes on."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from bestex.errors import OrderNotFound, StoreUnavailable
from bestex.orders.status import Status
from bestex.ports import RateLimit
from bestex.store.sqlite import SqliteStore
from tests.contract.store_contract import LATER_MS, Heard, claim, claim_one, ids, place
from tests.support.orders import Life, keys, pending
from tests.support.sqlite import FailingDisk, make_store, opened, writing_connection

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""apsw shows what a file system written in Python raises, also where SQLite has dealt with it."""


@pytest.fixture
def disk() -> Iterator[FailingDisk]:
    disk = FailingDisk()
    yield disk
    disk.unregister()


async def _everything_at_once(store: SqliteStore, life: Life) -> list[object]:
    """Ten orders that need new pages, a step and a claim, all in one batch."""

    async def step() -> None:
        await store.record(life.change(life.routed()))

    large = [pending(number, user_id="u" * 2000) for number in range(10, 20)]
    return await asyncio.gather(
        *(store.accept(order, event, keys(client_order_id=order.id)) for order, event in large),
        step(),
        store.claim("w", limit=10, now_ms=0, lease_ms=1, rate=None),
        store.ping(),
        return_exceptions=True,
    )


async def _check_nothing_of_it_is_there(store: SqliteStore, before: Life) -> None:
    assert await store.order(before.order.id) == before.order
    assert len(await store.events(before.order.id)) == 1
    for number in range(10, 20):
        with pytest.raises(OrderNotFound):
            await store.order(pending(number)[0].id)
    assert len((await store.orders(user_id=None, status=None, cursor=None, limit=99)).orders) == 1


async def _check_it_goes_on(store: SqliteStore, before: Life) -> None:
    answers = await _everything_at_once(store, Life(before.order))
    assert not [answer for answer in answers if isinstance(answer, Exception)]
    assert (await store.order(before.order.id)).status is Status.ROUTING
    assert len((await store.orders(user_id=None, status=None, cursor=None, limit=99)).orders) == 11
    assert dict((await store.stats(0, 1)).by_status)[Status.PENDING] == 10


async def test_a_full_database(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await place(store, 1)
        before = await claim_one(store)
        heard = Heard()
        store.on_commit(heard)
        connection = writing_connection(store)
        ((pages,),) = connection.execute("PRAGMA page_count").fetchall()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        answers = await _everything_at_once(store, Life(before.order))
        assert [type(answer) for answer in answers] == [StoreUnavailable] * 13
        assert "full" in str(answers[0])
        assert heard.events == []
        await _check_nothing_of_it_is_there(store, before)
        connection.execute("PRAGMA max_page_count = 1000000")
        await _check_it_goes_on(store, before)
        assert len(heard.events) == 11


@pytest.mark.parametrize("error", [apsw.FullError, apsw.IOError])
@pytest.mark.parametrize("call", ["sync_error", "write_error"])
async def test_a_commit_that_fails(tmp_path: Path, disk: FailingDisk, call: str, error: type[apsw.Error]) -> None:
    async with opened(tmp_path, vfs=disk.name) as store:
        await place(store, 1)
        before = await claim_one(store)
        heard = Heard()
        store.on_commit(heard)
        setattr(disk, call, error)
        answers = await _everything_at_once(store, Life(before.order))
        setattr(disk, call, None)
        assert disk.failures
        assert [type(answer) for answer in answers] == [StoreUnavailable] * 13
        assert heard.events == []
        await _check_nothing_of_it_is_there(store, before)
        await _check_it_goes_on(store, before)
    async with opened(tmp_path) as store:
        assert len((await store.orders(user_id=None, status=None, cursor=None, limit=99)).orders) == 11


async def test_pings_tell_of_a_disk_that_takes_no_writes(tmp_path: Path, disk: FailingDisk) -> None:
    async with opened(tmp_path, vfs=disk.name) as store:
        disk.sync_error = apsw.IOError
        with pytest.raises(StoreUnavailable, match="disk"):
            await store.ping()
        disk.sync_error = None
        await store.ping()


async def test_each_waiter_gets_an_error_of_its_own(tmp_path: Path, disk: FailingDisk) -> None:
    async with opened(tmp_path, vfs=disk.name) as store:
        disk.sync_error = apsw.IOError
        answers = await asyncio.gather(store.ping(), store.ping(), return_exceptions=True)
        disk.sync_error = None
        assert answers[0] is not answers[1]


async def test_a_write_that_nobody_waits_for_is_logged_and_counted(
    tmp_path: Path, disk: FailingDisk, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(tmp_path, vfs=disk.name) as store:
        await place(store, 1)
        life = await claim_one(store)
        disk.sync_error = apsw.IOError
        store.record(life.change(life.routed()))
        store.record(life.change(life.built()))
        with pytest.raises(StoreUnavailable):
            await store.ping()
        disk.sync_error = None
        assert store.refused == 3
    (told,) = [
        record for record in caplog.records if record.name.startswith("bestex") and record.levelno >= logging.ERROR
    ]
    assert "3 writes failed" in told.getMessage()
    assert not [record for record in caplog.records if record.name == "asyncio"]


async def test_a_claim_whose_start_cannot_be_stored_is_none(tmp_path: Path, disk: FailingDisk) -> None:
    rate = RateLimit(count=2, window_ms=1_000)
    async with opened(tmp_path, vfs=disk.name) as store:
        for number in range(3):
            await place(store, number)
        disk.sync_error = apsw.IOError
        with pytest.raises(StoreUnavailable):
            await claim(store, rate=rate, limit=1)
        disk.sync_error = None
        order = await store.order(pending(0)[0].id)
        assert (order.lease_owner, order.lease_until_ms) == (None, 0)
        # What was counted stays counted: rather too few than too many.
        assert ids(await claim(store, rate=rate)) == [order.id]
        assert ids(await claim(store, rate=rate, now_ms=LATER_MS + 999)) == []
        assert len((await claim(store, rate=rate, now_ms=LATER_MS + 1_000)).claims) == 2


async def test_a_start_is_on_disk_before_the_claim_is_answered(tmp_path: Path) -> None:
    rate = RateLimit(count=2, window_ms=1_000)
    store = make_store(tmp_path)
    await store.open()
    for number in range(4):
        await place(store, number)
    assert len((await claim(store, rate=rate)).claims) == 2
    store.abandon()
    async with opened(tmp_path) as successor:
        assert ids(await claim(successor, rate=rate, now_ms=LATER_MS + 999)) == []
