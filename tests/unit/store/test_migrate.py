"""Numbered migrations: each applied once and whole, and never one that is not known."""

import re
from pathlib import Path

import apsw
import msgspec
import pytest

from bestex.errors import ConfigError, StoreUnavailable
from bestex.store.migrate import Migration, known_migrations, migrate
from tests.contract.store_contract import place
from tests.support.sqlite import make_store, opened

FIRST = Migration(1, "first", "CREATE TABLE one (a INTEGER) STRICT; INSERT INTO one VALUES (1);")
SECOND = Migration(2, "second", "ALTER TABLE one ADD COLUMN b INTEGER; INSERT INTO one VALUES (2, 2);")


@pytest.fixture
def connection() -> apsw.Connection:
    return apsw.Connection(":memory:")


def test_migrations_are_numbered_without_gaps() -> None:
    known = known_migrations()
    assert [migration.number for migration in known] == list(range(1, len(known) + 1))
    assert all(re.fullmatch(r"[a-z_]+", migration.name) for migration in known)


def test_each_is_applied_once(connection: apsw.Connection) -> None:
    migrate(connection, [FIRST])
    migrate(connection, [FIRST])
    migrate(connection, [FIRST, SECOND])
    migrate(connection, [FIRST, SECOND])
    assert connection.execute("SELECT a, b FROM one").fetchall() == [(1, None), (2, 2)]
    recorded = connection.execute("SELECT number, name, checksum FROM migrations").fetchall()
    assert recorded == [(each.number, each.name, each.checksum) for each in (FIRST, SECOND)]


def test_one_that_fails_leaves_nothing(connection: apsw.Connection) -> None:
    broken = msgspec.structs.replace(SECOND, sql=SECOND.sql + "INSERT INTO nowhere VALUES (1);")
    with pytest.raises(apsw.SQLError):
        migrate(connection, [FIRST, broken])
    assert connection.execute("SELECT * FROM one").fetchall() == [(1,)]
    assert connection.execute("SELECT number FROM migrations").fetchall() == [(1,)]
    migrate(connection, [FIRST, SECOND])


def test_a_newer_database_is_refused(connection: apsw.Connection) -> None:
    migrate(connection, [FIRST, SECOND])
    with pytest.raises(ConfigError, match=r"newer Bestex.*migration 2 \(second\), this version knows 1"):
        migrate(connection, [FIRST])


def test_a_migration_that_was_changed_is_refused(connection: apsw.Connection) -> None:
    migrate(connection, [FIRST])
    changed = msgspec.structs.replace(FIRST, sql=FIRST.sql + " ")
    with pytest.raises(ConfigError, match=r"migration 1 \(first\) is not the one"):
        migrate(connection, [changed])


async def test_a_store_does_not_open_a_newer_database(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await place(store, 1)
    connection = apsw.Connection(str(tmp_path / "orders.db"))
    connection.execute("INSERT INTO migrations VALUES (9999, 'future', '')")
    connection.close()
    with pytest.raises(ConfigError, match="newer"):
        await make_store(tmp_path).open()
    # It let go of everything: once the database is put right, it opens.
    connection = apsw.Connection(str(tmp_path / "orders.db"))
    connection.execute("DELETE FROM migrations WHERE number = 9999")
    connection.close()
    async with opened(tmp_path) as store:
        assert len(await store.active(9)) == 1


async def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "orders.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreUnavailable, match="not a SQLite database"):
        await make_store(tmp_path).open()
