"""SQLite as we use it: durable at every commit, and with errors that say what is wrong."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import apsw

from bestex.errors import ConfigError, StoreUnavailable

Bindings: TypeAlias = Mapping[str, Any] | Sequence[Any]

_OLDEST = (3, 51, 0)
"""The first with jsonb_each()."""
_PAGE_BYTES = 8192
_CHECKPOINT_PAGES = 4000
_LOG_BYTES = 128 * 1024 * 1024
_CACHE_KIB = 65536
_BUSY_MS = 5000

_REASONS: tuple[tuple[type[apsw.Error], str], ...] = (
    (apsw.FullError, "the disk is full"),
    (apsw.IOError, "the disk reports an error"),
    (apsw.BusyError, "another program holds the database"),
    (apsw.LockedError, "the database is locked"),
    (apsw.ProtocolError, "another program holds the database"),
    (apsw.CantOpenError, "the database cannot be opened"),
    (apsw.ReadOnlyError, "the database cannot be written to"),
    (apsw.PermissionsError, "the database cannot be written to"),
    (apsw.AuthError, "the database cannot be written to"),
    (apsw.NotADBError, "the file is not a SQLite database"),
    (apsw.CorruptError, "the database is damaged"),
    (apsw.NoMemError, "memory is exhausted"),
    (apsw.InterruptError, "the database was interrupted"),
    (apsw.ConnectionClosedError, "the store is closed"),
)
_UNREACHABLE = tuple(kind for kind, _ in _REASONS)


@contextmanager
def reachable() -> Iterator[None]:
    """Turn what the disk or the system does to us into StoreUnavailable; defects of ours pass as they are."""
    try:
        yield
    except _UNREACHABLE as error:
        reason = next(reason for kind, reason in _REASONS if isinstance(error, kind))
        raise StoreUnavailable(f"{reason} ({error})") from error


def connect_writer(path: Path, vfs: str | None) -> apsw.Connection:
    """The one connection that writes. Raises StoreUnavailable, and ConfigError for a SQLite that is too old."""
    check_version(apsw.sqlite_lib_version())
    with reachable():
        connection = apsw.Connection(str(path), vfs=vfs)
        connection.set_busy_timeout(_BUSY_MS)
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        mode = scalar(connection, "PRAGMA journal_mode = WAL")
        if mode != "wal":
            raise StoreUnavailable(f"{path} cannot have a write-ahead log; its journal is {mode}")
        # NORMAL would lose commits at a power cut; fullfsync does for macOS what fsync does elsewhere.
        connection.execute("PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}; PRAGMA temp_store = MEMORY")
    return connection


def settle(connection: apsw.Connection) -> None:
    """Make everything last that is in the log.

    A process that was killed between a write to the log and its sync leaves a commit that the next one can read and a
    power cut can take: nothing may be said on the strength of it before it is synced.
    """
    connection.execute("PRAGMA wal_checkpoint(FULL)").fetchall()


def connect_reader(path: Path, vfs: str | None) -> apsw.Connection:
    """A connection that reads what is committed. Raises StoreUnavailable."""
    with reachable():
        connection = apsw.Connection(str(path), vfs=vfs, flags=apsw.SQLITE_OPEN_READWRITE)
        connection.set_busy_timeout(_BUSY_MS)
        connection.execute(f"PRAGMA query_only = ON; PRAGMA cache_size = -{_CACHE_KIB}; PRAGMA temp_store = MEMORY")
    return connection


def check_version(version: str) -> None:
    """Raise ConfigError for a SQLite without the functions that we use."""
    if tuple(int(part) for part in version.split(".")) < _OLDEST:
        wanted = ".".join(str(part) for part in _OLDEST)
        raise ConfigError(f"SQLite {version} is too old, {wanted} is needed: install a newer apsw")


def scalar(connection: apsw.Connection, sql: str, bindings: Bindings = ()) -> object:
    """The first column of the only row. The statement is run to its end, so that no read stays open behind it."""
    ((value, *_),) = connection.execute(sql, bindings).fetchall()
    return value


def text(connection: apsw.Connection, sql: str, bindings: Bindings = ()) -> str:
    """As `scalar`, for statements that answer with one text."""
    value = scalar(connection, sql, bindings)
    assert isinstance(value, str)
    return value
