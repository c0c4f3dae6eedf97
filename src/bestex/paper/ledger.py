"""The chain on disk. What `append` has returned from survives a kill and a power cut; what it has not is not there.

All methods block; they belong on the ledger's own thread, one at a time.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import apsw
import msgspec
from solders.pubkey import Pubkey
from solders.signature import Signature as WireSignature

from bestex.errors import ConfigError
from bestex.paper.chain import Commit
from bestex.paper.records import (
    TransactionRecord,
    pack_accounts,
    pack_records,
    unpack_accounts,
    unpack_record,
    unpack_records,
)
from bestex.types import Account, BlockHeight, Signature, Slot

_APPLICATION_ID = 0x62787031
_VERSION = 1
_SEGMENT_ROWS = 4_096
_SNAPSHOT_BYTES = 4 * 1024 * 1024
_SNAPSHOT_COMMITS = 2_000
_SQL = {file.stem: file.read_text(encoding="utf-8") for file in (Path(__file__).parent / "sql").glob("*.sql")}


class Snapshot(msgspec.Struct, frozen=True):
    """All accounts as of a finalized commit: earlier changes need not be kept."""

    seq: int
    accounts: dict[Pubkey, Account]
    keep_from_seq: int
    """Commits before this one no longer matter for blockhashes."""


class Stored(msgspec.Struct, frozen=True):
    """A commit as it is read back."""

    commit: Commit
    records: list[TransactionRecord]
    changes: bytes | None
    """To be applied to the accounts; None where the snapshot has them already."""


class Contents(msgspec.Struct, frozen=True):
    """What a new process needs to go on."""

    listing: bytes
    accounts: dict[Pubkey, Account]
    """As of the snapshot."""
    commits: list[Stored]
    """Oldest first: all that are recent, and all since the snapshot."""
    finalized_seq: int
    """At least up to here commits were final."""


class Found(msgspec.Struct, frozen=True, gc=False):
    """A transaction of any age."""

    seq: int
    slot: Slot
    time_ms: int
    """UTC, of its block."""
    record: TransactionRecord


class Ledger:
    """One SQLite file, or memory without a path."""

    def __init__(self, path: Path | None, *, vfs: str | None = None) -> None:
        self._path = path
        self._vfs = vfs
        self._db: apsw.Connection | None = None
        self._segment = 0
        self._segment_rows = 0
        self._unsnapped_bytes = 0
        self._unsnapped_commits = 0

    @property
    def wants_snapshot(self) -> bool:
        """Whether so much has changed that the next `append` should come with a snapshot."""
        if self._path is None:
            return False
        return self._unsnapped_bytes > _SNAPSHOT_BYTES or self._unsnapped_commits > _SNAPSHOT_COMMITS

    def open(self, *, recent_slots: int, recent_blocks: int) -> Contents | None:
        """Open the file and read what is in it; None for a new one. Raises ConfigError when it is not ours to use."""
        try:
            self._db = self._connect()
            if self._is_new():
                self._db.execute("BEGIN IMMEDIATE;" + _SQL["schema"] + "COMMIT;")
                return None
            return self._read(recent_slots, recent_blocks)
        except apsw.BusyError as error:
            raise ConfigError(f"{self._path} is in use by another process") from error
        except apsw.NotADBError as error:
            raise ConfigError(f"{self._path} is not a paper ledger") from error
        except (apsw.CantOpenError, apsw.ReadOnlyError) as error:
            raise ConfigError(f"{self._path} cannot be written: {error}") from error

    def close(self) -> None:
        """Close the file; `open` may follow."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def begin(self, listing: bytes, accounts: dict[Pubkey, Account], first: Commit) -> None:
        """Write the genesis of a new chain."""
        db = self._open_db()
        snapshot = {"snapshot_seq": first.seq, "accounts": pack_accounts(accounts.items()), "keep_from_seq": first.seq}
        with db:
            db.execute("INSERT INTO market (listing) VALUES (?)", (listing,))
            db.execute(_SQL["snapshot"], snapshot)
            db.execute(_SQL["append"], self._row(first, (), b"\x90"))

    def append(
        self, commit: Commit, records: Sequence[tuple[Signature, bytes]], changes: bytes, snapshot: Snapshot | None
    ) -> None:
        """Make a commit durable: its packed records by signature, its packed writes.

        In memory, where no later process will go on from it, an empty commit needs no row.
        """
        if self._path is None and not records:
            return
        db = self._open_db()
        with db:
            db.execute(_SQL["append"], self._row(commit, records, changes))
            if snapshot is not None:
                db.execute(
                    _SQL["snapshot"],
                    {
                        "snapshot_seq": snapshot.seq,
                        "accounts": pack_accounts(snapshot.accounts.items()),
                        "keep_from_seq": snapshot.keep_from_seq,
                    },
                )
        self._count(len(records), len(changes), snapshot)

    def drop(self, first_seq: int, *, finalized_seq: int) -> None:
        """Take back all commits from `first_seq` on. The shorter chain must not forget what was final."""
        db = self._open_db()
        with db:
            db.execute(_SQL["drop"], {"seq": first_seq, "finalized_seq": finalized_seq})

    def find(self, signature: Signature) -> Found | None:
        """A transaction of any age; None if it never landed, or its text is no signature."""
        try:
            prefix = _prefix(signature)
        except ValueError:
            return None
        rows = self._open_db().execute(_SQL["find"], {"segment": self._segment, "prefix": prefix})
        for seq, slot, time_ms, blob in rows:
            for data in unpack_records(blob):
                record = unpack_record(data)
                if record.signature == signature:
                    return Found(seq, slot, time_ms, record)
        return None

    def history(self) -> list[Found]:
        """Every transaction that landed, oldest first."""
        rows = self._open_db().execute(
            "SELECT seq, slot, time_ms, records FROM commits WHERE records IS NOT NULL ORDER BY seq"
        )
        return [
            Found(seq, slot, time_ms, unpack_record(data))
            for seq, slot, time_ms, blob in rows
            for data in unpack_records(blob)
        ]

    def _connect(self) -> apsw.Connection:
        name = ":memory:" if self._path is None else str(self._path)
        db = apsw.Connection(name, vfs=self._vfs)
        db.pragma("locking_mode", "exclusive")
        db.pragma("journal_mode", "wal")
        db.pragma("synchronous", "full")
        return db

    def _is_new(self) -> bool:
        """Whether nothing is in the file yet. Raises ConfigError for what is not ours."""
        db = self._open_db()
        if db.execute("SELECT count(*) FROM sqlite_schema").get == 0:
            return True
        if db.pragma("application_id") != _APPLICATION_ID:
            raise ConfigError(f"{self._path} is not a paper ledger")
        version = db.pragma("user_version")
        if version != _VERSION:
            raise ConfigError(f"{self._path} is a paper ledger of version {version}; this release reads {_VERSION}")
        return False

    def _open_db(self) -> apsw.Connection:
        assert self._db is not None, "the ledger is not open"
        return self._db

    def _row(self, commit: Commit, records: Sequence[tuple[Signature, bytes]], changes: bytes) -> dict[str, object]:
        return {
            "seq": commit.seq,
            "slot": commit.slot,
            "height": commit.height,
            "time_ms": commit.time_ms,
            "hash": commit.hash,
            "closes": commit.closes,
            "records": pack_records([record for _, record in records]) if records else None,
            "changes": changes,
            "segment": self._segment,
            "prefixes": json.dumps([_prefix(signature) for signature, _ in records]),
        }

    def _count(self, records: int, changed_bytes: int, snapshot: Snapshot | None) -> None:
        self._segment_rows += records
        if self._segment_rows >= _SEGMENT_ROWS:
            self._segment += 1
            self._segment_rows = 0
        self._unsnapped_bytes = 0 if snapshot else self._unsnapped_bytes + changed_bytes
        self._unsnapped_commits = 0 if snapshot else self._unsnapped_commits + 1

    def _read(self, recent_slots: int, recent_blocks: int) -> Contents | None:
        db = self._open_db()
        market = db.execute("SELECT listing FROM market").fetchone()
        snapshot = db.execute("SELECT seq, accounts FROM snapshot").fetchone()
        if market is None or snapshot is None:
            return None
        seq, accounts = snapshot
        ((self._segment, self._segment_rows, finalized_seq),) = db.execute(_SQL["resume"])
        commits = list(self._recent(seq, recent_slots, recent_blocks))
        self._unsnapped_commits = len(commits)
        return Contents(market[0], unpack_accounts(accounts), commits[::-1], finalized_seq)

    def _recent(self, snapshot_seq: int, recent_slots: int, recent_blocks: int) -> Iterator[Stored]:
        """Commits newest first, as far back as they matter."""
        newest: tuple[Slot, BlockHeight] | None = None
        for seq, slot, height, time_ms, hash_, closes, records, changes in self._open_db().execute(_SQL["recent"]):
            newest = newest or (slot, height)
            if seq <= snapshot_seq and slot < newest[0] - recent_slots and height < newest[1] - recent_blocks:
                return
            unpacked = [unpack_record(data) for data in unpack_records(records)] if records else []
            commit = Commit(seq=seq, slot=slot, height=height, time_ms=time_ms, hash=hash_, closes=bool(closes))
            yield Stored(commit, unpacked, changes)


def _prefix(signature: Signature) -> int:
    """The signature's first eight bytes as SQLite's integer. Raises ValueError for text that is no signature."""
    return int.from_bytes(bytes(WireSignature.from_string(signature))[:8], "little", signed=True)
