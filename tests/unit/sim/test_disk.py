"""The disk whose power can be cut: what it loses and what not, under our store and under SQLite alone."""

import asyncio
import gc
import random
import weakref
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import apsw
import pytest

from bestex.errors import OrderNotFound, StoreUnavailable
from bestex.sim.disk import Disk, PowerLost
from bestex.store.migrate import known_migrations, migrate
from bestex.store.sqlite import SqliteStore
from bestex.types import OrderId
from tests.support.disk import accept, disk_in, open_store
from tests.support.orders import pending
from tests.support.sqlite import writing_connection


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with disk_in(tmp_path / "disk") as disk:
        yield disk


# --- under the store --------------------------------------------------------------------------------------------------


def stop_at(disk: Disk, call: int, moment: str) -> None:
    """Cut the power before or after the call with this number, counted from now on."""
    left = call

    def hook(now: str, name: str) -> None:
        nonlocal left
        left -= now == moment
        if left < 0:
            raise PowerLost(f"{moment} {name}")

    disk.on_write = disk.on_sync = hook


class Machine:
    """Lives of a store on one disk, each ended by a power cut at a random call; `history` is all that was seen."""

    def __init__(self, folder: Path, disk: Disk, seed: int, *, synchronous: str = "FULL", power_cuts: bool = True):
        self._folder = folder
        self._disk = disk
        self._draw = random.Random(seed)
        self._synchronous = synchronous
        self._power_cuts = power_cuts
        self._numbers = count(1)
        self.acknowledged: list[OrderId] = []
        self.history: list[str] = []

    async def live(self) -> None:
        """Come up, and accept orders; the power goes at some moment of each."""
        self._come_up()
        self._stop()
        store = await self._open()
        self._stop_at_some_call(150)
        while True:
            batch = [accept(store, next(self._numbers)) for _ in range(self._draw.randint(1, 4))]
            answers = await asyncio.gather(*batch, return_exceptions=True)
            self.acknowledged += [answer for answer in answers if isinstance(answer, str)]
            if any(isinstance(answer, StoreUnavailable) for answer in answers):
                break
        store.abandon()
        self._stop()

    def _come_up(self) -> None:
        """Make or recover the database as the store does, and bring the log into it."""
        connection = apsw.Connection(str(self._folder / "orders.db"), vfs=self._disk.vfs)
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        self._stop_at_some_call(30)
        try:
            connection.execute("PRAGMA page_size = 8192; PRAGMA journal_mode = WAL").fetchall()
            migrate(connection, known_migrations())
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except (PowerLost, StoreUnavailable) as error:
            self.history.append(str(error))
        connection.close(force=True)

    def _stop_at_some_call(self, most: int) -> None:
        stop_at(self._disk, self._draw.randrange(most), self._draw.choice(("before", "after")))

    def _stop(self) -> None:
        disk = self._disk
        disk.on_write = disk.on_sync = None
        self.history.append(f"{disk.writes} {disk.syncs} {disk.unsynced_bytes}")
        if self._power_cuts:
            disk.power_cut(self._draw)
        disk.revive()

    async def _open(self) -> SqliteStore:
        store = await open_store(self._disk, self._folder)
        connection = writing_connection(store)
        # A checkpoint every few commits, so that the database itself is torn, too.
        connection.execute(f"PRAGMA synchronous = {self._synchronous}; PRAGMA wal_autocheckpoint = 12").fetchall()
        return store

    async def missing(self) -> list[OrderId]:
        """Acknowledged orders that are gone. What is there must be whole."""
        store = await open_store(self._disk, self._folder)
        connection = writing_connection(store)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        there = [OrderId(str(order_id)) for (order_id,) in connection.execute("SELECT id FROM orders").fetchall()]
        for order_id in there:
            assert (await store.order(order_id)).id == order_id
            assert [event.seq for event in await store.events(order_id)] == [1]
        self.history.append(f"{len(there)} stored")
        store.abandon()
        return [order_id for order_id in self.acknowledged if order_id not in there]


async def lives_lose(
    folder: Path, seed: int, lives: int = 3, *, synchronous: str = "FULL", power_cuts: bool = True
) -> tuple[int, int, list[str]]:
    """How many orders were acknowledged and how many of them got lost, and the history."""
    with disk_in(folder) as disk:
        machine = Machine(folder, disk, seed, synchronous=synchronous, power_cuts=power_cuts)
        missing: list[OrderId] = []
        for _ in range(lives):
            await machine.live()
            missing += await machine.missing()
        return len(machine.acknowledged), len(set(missing)), machine.history


async def test_what_is_acknowledged_survives_any_power_cut(tmp_path: Path) -> None:
    acknowledged = 0
    for seed in range(120):
        accepted, lost, history = await lives_lose(tmp_path / str(seed), seed)
        assert lost == 0, f"seed {seed}: {history}"
        acknowledged += accepted
    assert acknowledged > 1_000


async def test_without_full_synchronization_some_of_it_is_lost(tmp_path: Path) -> None:
    lost = [(await lives_lose(tmp_path / str(seed), seed, synchronous="NORMAL"))[1] for seed in range(20)]
    assert sum(lost) > 20


@pytest.mark.parametrize("synchronous", ["FULL", "NORMAL"])
async def test_a_kill_loses_nothing(tmp_path: Path, synchronous: str) -> None:
    acknowledged = 0
    for seed in range(20):
        accepted, lost, _ = await lives_lose(tmp_path / str(seed), seed, synchronous=synchronous, power_cuts=False)
        assert lost == 0
        acknowledged += accepted
    assert acknowledged > 200


async def test_the_same_seed_gives_the_same(tmp_path: Path) -> None:
    for seed in range(5):
        once = await lives_lose(tmp_path / f"{seed}-once", seed, synchronous="NORMAL")
        again = await lives_lose(tmp_path / f"{seed}-again", seed, synchronous="NORMAL")
        assert once == again


async def accept_many(store: SqliteStore, accepted: list[OrderId]) -> None:
    while len(accepted) < 1_000:
        accepted.append(await accept(store, len(accepted) + 1))


@pytest.mark.parametrize("trouble", ["full", "sync_fails"])
async def test_a_disk_in_trouble(disk: Disk, tmp_path: Path, trouble: str) -> None:
    store = await open_store(disk, tmp_path / "disk")
    accepted = [await accept(store, 1)]
    setattr(disk, trouble, True)
    # The log is written over from its start after it was settled: only then does it grow.
    with pytest.raises(StoreUnavailable, match="disk"):
        await accept_many(store, accepted)
    refused = len(accepted) + 1
    with pytest.raises(OrderNotFound):
        await store.order(pending(refused)[0].id)
    assert (await store.order(accepted[0])).id == accepted[0]
    setattr(disk, trouble, False)
    accepted += [await accept(store, refused), await accept(store, refused + 1)]
    store.abandon()
    disk.power_cut(random.Random(1))
    store = await open_store(disk, tmp_path / "disk")
    assert [order.id for order in await store.active(2_000)] == accepted
    await store.close()


async def test_without_power_nothing_works_until_it_is_back(disk: Disk, tmp_path: Path) -> None:
    store = await open_store(disk, tmp_path / "disk")
    first = await accept(store, 1)
    stop_at(disk, 0, "before")
    with pytest.raises(StoreUnavailable):
        await accept(store, 2)
    disk.on_write = disk.on_sync = None
    with pytest.raises(StoreUnavailable):
        await accept(store, 3)
    store.abandon()
    with pytest.raises(PowerLost):
        connect(disk, tmp_path / "disk", "journal_mode = WAL")
    disk.revive()
    store = await open_store(disk, tmp_path / "disk")
    assert [order.id for order in await store.active(9)] == [first]
    await store.close()


# --- under SQLite alone -----------------------------------------------------------------------------------------------


def connect(disk: Disk, folder: Path, *settings: str) -> apsw.Connection:
    connection = apsw.Connection(str(folder / "plain.db"), vfs=disk.vfs)
    for setting in settings:
        connection.execute(f"PRAGMA {setting}").fetchall()
    return connection


def journal_loses(folder: Path, seed: int, synchronous: str) -> bool:
    """Whether a rollback journal loses one of ten commits that were acknowledged."""
    with disk_in(folder) as disk:
        settings = ("journal_mode = DELETE", f"synchronous = {synchronous}")
        connection = connect(disk, folder, *settings)
        connection.execute("CREATE TABLE numbers (number INTEGER, filling BLOB)")
        for number in range(10):
            connection.execute("INSERT INTO numbers VALUES (?, zeroblob(3000))", (number,))
        connection.close()
        disk.power_cut(random.Random(seed))
        connection = connect(disk, folder, *settings)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        found = connection.execute("SELECT number FROM numbers").fetchall()
        connection.close()
        assert found == [(number,) for number in range(len(found))]
        assert len(found) >= 9
        return len(found) < 10


def test_a_deleted_journal_comes_back_unless_the_folder_is_synced(tmp_path: Path) -> None:
    """SQLite's manual on `synchronous`: with FULL a power cut may roll the last commit back, with EXTRA not."""
    for synchronous, loses in (("FULL", True), ("EXTRA", False)):
        lost = [journal_loses(tmp_path / f"{synchronous}-{seed}", seed, synchronous) for seed in range(20)]
        assert any(lost) is loses


def unsynced_writes(folder: Path, seed: int, change: Callable[[apsw.VFSFile], object]) -> bytes | None:
    """What a change to a synced file of ten thousand times "a" leaves behind after a power cut."""
    path = folder / "file"
    with disk_in(folder) as disk:
        path.write_bytes(b"a" * 10_000)
        flags = [apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE, 0]
        file = disk._system.xOpen(str(path), flags)
        change(file)
        file.xClose()
        disk.power_cut(random.Random(seed))
    return path.read_bytes()


def test_a_write_survives_is_torn_or_is_lost(tmp_path: Path) -> None:
    found = {unsynced_writes(tmp_path / "disk", seed, lambda file: file.xWrite(b"b" * 1000, 100)) for seed in range(60)}
    ends = {0, 512, 1024, 1100}
    torn = [b"a" * 100 + b"b" * (end - 100) + b"a" * (10_000 - end) for end in ends if end]
    assert found == {b"a" * 10_000, *torn}


def test_a_write_beyond_the_end(tmp_path: Path) -> None:
    found = {
        unsynced_writes(tmp_path / "disk", seed, lambda file: file.xWrite(b"b" * 300, 9_990)) for seed in range(60)
    }
    before, torn = b"a" * 9_990, b"b" * (10_240 - 9_990)
    lost = [before + b"a" * 10, before + b"a" * 10 + bytes(290)]
    assert found == {before + b"b" * 300, before + torn, before + torn + bytes(50), *lost}


def test_a_truncation_survives_or_is_lost(tmp_path: Path) -> None:
    found = {unsynced_writes(tmp_path / "disk", seed, lambda file: file.xTruncate(4_000)) for seed in range(20)}
    assert found == {b"a" * 10_000, b"a" * 4_000}


def test_what_is_synced_is_never_lost(tmp_path: Path) -> None:
    def change(file: apsw.VFSFile) -> None:
        file.xTruncate(0)
        file.xWrite(b"c" * 5_000, 0)
        file.xSync(apsw.SQLITE_SYNC_FULL)

    assert {unsynced_writes(tmp_path / "disk", seed, change) for seed in range(20)} == {b"c" * 5_000}


@pytest.mark.parametrize("synced", ["plain.db", "plain.db-wal"])
def test_a_new_file_may_vanish_until_its_folder_is_synced(tmp_path: Path, synced: str) -> None:
    """Which happens at the first sync of a log."""

    def survives(seed: int) -> bool:
        folder = tmp_path / str(seed)
        new = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        with disk_in(folder) as disk:
            database = disk._system.xOpen(str(folder / "plain.db"), [new | apsw.SQLITE_OPEN_MAIN_DB, 0])
            log = disk._system.xOpen(str(folder / "plain.db-wal"), [new | apsw.SQLITE_OPEN_WAL, 0])
            (database if synced == "plain.db" else log).xSync(apsw.SQLITE_SYNC_NORMAL)
            database.xClose()
            log.xClose()
            disk.power_cut(random.Random(seed))
            return (folder / "plain.db").exists()

    assert {survives(seed) for seed in range(20)} == ({True, False} if synced == "plain.db" else {True})


def test_counters_and_hooks(disk: Disk, tmp_path: Path) -> None:
    connection = connect(disk, tmp_path / "disk", "journal_mode = WAL", "synchronous = NORMAL")
    connection.execute("CREATE TABLE numbers (number INTEGER)")
    before = disk.writes, disk.syncs, disk.unsynced_bytes
    seen: list[tuple[str, str, str]] = []
    disk.on_write = lambda moment, name: seen.append(("write", moment, name))
    disk.on_sync = lambda moment, name: seen.append(("sync", moment, name))
    connection.execute("INSERT INTO numbers VALUES (1)")
    assert (disk.writes - before[0], disk.syncs - before[1], disk.unsynced_bytes - before[2]) == (2, 0, 24 + 4096)
    assert seen == [("write", "before", "plain.db-wal"), ("write", "after", "plain.db-wal")] * 2
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("INSERT INTO numbers VALUES (2)")
    assert seen[-2:] == [("sync", "before", "plain.db-wal"), ("sync", "after", "plain.db-wal")]
    assert (disk.syncs - before[1], disk.unsynced_bytes) == (1, 0)
    connection.close()


def test_a_checkpoint_on_a_full_disk_fails_no_commit(disk: Disk, tmp_path: Path) -> None:
    connection = connect(disk, tmp_path / "disk", "journal_mode = WAL", "wal_autocheckpoint = 0")
    connection.execute("CREATE TABLE numbers (number INTEGER, filling BLOB)")
    insert = "INSERT INTO numbers VALUES (?, zeroblob(3000))"
    for number in range(30):
        connection.execute(insert, (number,))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    for number in range(30):
        connection.execute(insert, (number,))
    connection.execute("PRAGMA wal_checkpoint(FULL)").fetchall()
    connection.execute("PRAGMA wal_autocheckpoint = 10").fetchall()
    disk.full = True
    for number in range(60):
        connection.execute(insert, (number,))
    connection.execute("PRAGMA wal_autocheckpoint = 0").fetchall()
    with pytest.raises(apsw.FullError):
        connection.executemany(insert, ((number,) for number in range(60)))
    connection.close()


def test_open_files_are_no_case_for_a_power_cut(disk: Disk, tmp_path: Path) -> None:
    connection = connect(disk, tmp_path / "disk", "journal_mode = WAL")
    with pytest.raises(RuntimeError, match="still open"):
        disk.power_cut(random.Random(1))
    with pytest.raises(RuntimeError, match="still open"):
        disk.close()
    connection.close()


async def test_a_closed_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    known = apsw.vfs_names()
    gone: list[weakref.ref[Disk]] = []
    for seed in range(5):
        with disk_in(tmp_path / str(seed)) as disk:
            machine = Machine(tmp_path / str(seed), disk, seed)
            await machine.live()
            gone.append(weakref.ref(disk))
    del disk, machine
    gc.collect()
    assert [reference() for reference in gone] == [None] * 5
    assert apsw.vfs_names() == known
