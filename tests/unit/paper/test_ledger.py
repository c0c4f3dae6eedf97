"""The ledger on disk: what was appended is there again, however old, and nothing else."""

import sqlite3
from pathlib import Path

import apsw
import pytest
from solders.pubkey import Pubkey
from solders.signature import Signature as WireSignature

from bestex.errors import ConfigError
from bestex.paper import ledger as module
from bestex.paper.chain import Commit
from bestex.paper.ledger import Contents, Ledger, Snapshot
from bestex.paper.records import TransactionRecord, pack_record, pack_writes, unpack_writes
from bestex.types import Account, Signature

ONE = Pubkey(bytes([1]) * 32)


def commit(seq: int) -> Commit:
    return Commit(seq=seq, slot=seq + 10, height=seq, time_ms=seq, hash=bytes([seq % 256]) * 32, closes=seq % 5 != 1)


def account(lamports: int) -> Account:
    return Account(ONE, lamports, bytes(20))


def signature(number: int) -> Signature:
    return Signature(str(WireSignature(number.to_bytes(64, "little"))))


def record(number: int) -> TransactionRecord:
    return TransactionRecord(signature(number), None, 5_000, number % 2**64, [], [], [f"log {number}"])


def append(ledger: Ledger, seq: int, *numbers: int, snapshot: Snapshot | None = None) -> None:
    records = [(signature(number), pack_record(record(number))) for number in numbers]
    ledger.append(commit(seq), records, pack_writes({ONE: account(seq)}, {ONE: account(seq - 1)}), snapshot)


def opened(path: Path | None, recent: int = 1_000) -> tuple[Ledger, Contents | None]:
    ledger = Ledger(path)
    return ledger, ledger.open(recent_slots=recent, recent_blocks=recent)


def begun(path: Path | None) -> Ledger:
    ledger, contents = opened(path)
    assert contents is None
    ledger.begin(b"listing", {ONE: account(0)}, commit(0))
    return ledger


def accounts_of(contents: Contents) -> dict[Pubkey, Account | None]:
    accounts: dict[Pubkey, Account | None] = dict(contents.accounts)
    for stored in contents.commits:
        if stored.changes is not None:
            accounts.update(unpack_writes(stored.changes, {name: found for name, found in accounts.items() if found}))
    return accounts


def test_everything_is_there_again(tmp_path: Path) -> None:
    ledger = begun(tmp_path / "paper.db")
    append(ledger, 1, 100, 101)
    append(ledger, 2)
    append(ledger, 3, 102)
    ledger.close()
    ledger, contents = opened(tmp_path / "paper.db")
    assert contents is not None
    assert contents.listing == b"listing"
    assert [stored.commit for stored in contents.commits] == [commit(seq) for seq in range(4)]
    assert [[each.units_consumed for each in stored.records] for stored in contents.commits] == [
        [],
        [100, 101],
        [],
        [102],
    ]
    assert accounts_of(contents) == {ONE: account(3)}
    ledger.close()


def test_a_file_that_was_opened_but_never_begun_is_new(tmp_path: Path) -> None:
    ledger, contents = opened(tmp_path / "paper.db")
    assert contents is None
    ledger.close()
    ledger, contents = opened(tmp_path / "paper.db")
    assert contents is None
    ledger.close()


def test_finds_any_transaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SEGMENT_ROWS", 10)
    ledger = begun(tmp_path / "paper.db")
    for seq in range(1, 30):
        append(ledger, seq, 3 * seq, 3 * seq + 1, 3 * seq + 2)
    for _ in range(2):
        for number in (3, 4, 50, 87, 89):
            found = ledger.find(signature(number))
            assert found is not None
            assert (found.seq, found.slot, found.record) == (number // 3, number // 3 + 10, record(number))
        assert ledger.find(signature(2)) is None
        assert ledger.find(Signature("no signature")) is None
        assert [found.record.units_consumed for found in ledger.history()] == list(range(3, 90))
        ledger.close()
        ledger, _ = opened(tmp_path / "paper.db")
    ledger.close()


def test_signatures_that_begin_alike_are_told_apart() -> None:
    ledger = begun(None)
    other = 5 + (1 << 300)
    append(ledger, 1, 5)
    append(ledger, 2, other)
    for number, seq in ((5, 1), (other, 2)):
        found = ledger.find(signature(number))
        assert found is not None
        assert found.seq == seq
    assert ledger.find(signature(5 + (1 << 301))) is None


def test_a_snapshot_stands_for_all_changes_before_it(tmp_path: Path) -> None:
    ledger = begun(tmp_path / "paper.db")
    append(ledger, 1, 100)
    append(ledger, 2)
    append(ledger, 3)
    append(ledger, 4, snapshot=Snapshot(2, {ONE: account(2)}, keep_from_seq=2))
    ledger.close()
    ledger, contents = opened(tmp_path / "paper.db")
    assert contents is not None
    assert contents.accounts == {ONE: account(2)}
    # Commit 1 holds a transaction and stays; the empty one before it is gone.
    assert [(stored.commit.seq, stored.changes is None) for stored in contents.commits] == [
        (1, True),
        (2, True),
        (3, False),
        (4, False),
    ]
    assert accounts_of(contents) == {ONE: account(4)}
    assert ledger.find(signature(100)) is not None
    ledger.close()


def test_only_what_is_recent_is_read(tmp_path: Path) -> None:
    ledger = begun(tmp_path / "paper.db")
    for seq in range(1, 50):
        append(ledger, seq, seq, snapshot=Snapshot(seq - 5, {ONE: account(seq - 5)}, 0) if seq > 5 else None)
    ledger.close()
    ledger, contents = opened(tmp_path / "paper.db", recent=10)
    assert contents is not None
    assert [stored.commit.seq for stored in contents.commits] == list(range(39, 50))
    assert accounts_of(contents) == {ONE: account(49)}
    ledger.close()


def test_all_changes_since_the_snapshot_are_read(tmp_path: Path) -> None:
    ledger = begun(tmp_path / "paper.db")
    for seq in range(1, 50):
        append(ledger, seq)
    ledger.close()
    ledger, contents = opened(tmp_path / "paper.db", recent=3)
    assert contents is not None
    assert accounts_of(contents) == {ONE: account(49)}
    ledger.close()


def test_asks_for_a_snapshot_now_and_then(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "_SNAPSHOT_COMMITS", 3)
    ledger = begun(tmp_path / "paper.db")
    wanted = []
    for seq in range(1, 6):
        append(ledger, seq, snapshot=Snapshot(4, {ONE: account(4)}, 0) if seq == 5 else None)
        wanted.append(ledger.wants_snapshot)
    monkeypatch.setattr(module, "_SNAPSHOT_BYTES", 10)
    append(ledger, 6)
    wanted.append(ledger.wants_snapshot)
    assert wanted == [False, False, False, True, False, True]
    ledger.close()


def test_dropped_commits_are_gone(tmp_path: Path) -> None:
    ledger = begun(tmp_path / "paper.db")
    for seq in range(1, 6):
        append(ledger, seq, seq)
    ledger.drop(4, finalized_seq=2)
    assert ledger.find(signature(4)) is None
    assert ledger.find(signature(3)) is not None
    append(ledger, 6, 4)
    found = ledger.find(signature(4))
    assert found is not None
    assert found.seq == 6
    ledger.close()
    ledger, contents = opened(tmp_path / "paper.db")
    assert contents is not None
    assert [stored.commit.seq for stored in contents.commits] == [0, 1, 2, 3, 6]
    assert contents.finalized_seq == 2
    append(ledger, 7, 4)
    ledger.close()


def test_a_seq_that_a_fork_freed_can_be_used_again() -> None:
    ledger = begun(None)
    append(ledger, 1, 5)
    ledger.drop(1, finalized_seq=0)
    append(ledger, 1, 5)
    found = ledger.find(signature(5))
    assert found is not None
    assert found.seq == 1


def test_an_append_is_whole_or_not_there(tmp_path: Path) -> None:
    ledger = begun(tmp_path / "paper.db")
    append(ledger, 1, 5)
    with pytest.raises(apsw.ConstraintError):
        append(ledger, 1, 6)
    assert ledger.find(signature(6)) is None
    append(ledger, 2, 7)
    ledger.close()
    ledger, contents = opened(tmp_path / "paper.db")
    assert contents is not None
    assert [stored.commit.seq for stored in contents.commits] == [0, 1, 2]
    ledger.close()


def test_two_processes_cannot_share_a_ledger(tmp_path: Path) -> None:
    ledger = begun(tmp_path / "paper.db")
    with pytest.raises(ConfigError, match="in use"):
        opened(tmp_path / "paper.db")
    ledger.close()


def test_a_ledger_of_another_version_is_refused(tmp_path: Path) -> None:
    begun(tmp_path / "paper.db").close()
    with sqlite3.connect(tmp_path / "paper.db") as connection:
        connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(ConfigError, match="version 9"):
        opened(tmp_path / "paper.db")


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "paper.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(ConfigError, match="not a paper ledger"):
        opened(tmp_path / "paper.db")


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "paper.db") as connection:
        connection.execute("CREATE TABLE orders (id)")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    with pytest.raises(ConfigError, match="not a paper ledger"):
        opened(tmp_path / "paper.db")


def test_a_place_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        opened(tmp_path / "nowhere" / "paper.db")
