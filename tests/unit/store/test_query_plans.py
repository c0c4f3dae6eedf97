"""Nothing that is done often may cost more beside ten million orders than beside ten."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import apsw
import pytest

from bestex.store import statements
from bestex.store.database import connect_writer
from bestex.store.migrate import known_migrations, migrate

READS = statements.load("read")
KNOWN_KEYS = statements.load("write")["known_keys"]
HISTORY = ("orders", "order_events", "stored", "attempts", "idempotency_keys", "used")
"""Tables that grow for ever, and what the statements call them."""


def _batch_statements() -> list[str]:
    """What the trigger does, statement by statement."""
    text = re.sub(r"--.*", "", statements.script("batch"))
    body = text.partition("BEGIN")[2].rpartition("END;")[0]
    found = [re.sub(r"NEW\.\w+", "'[]'", part).strip() for part in body.split(";")]
    return [each for each in found if each and "raise(" not in each]


@pytest.fixture
def connection(tmp_path: Path) -> apsw.Connection:
    connection = connect_writer(tmp_path / "orders.db", None)
    migrate(connection, known_migrations())
    return connection


def _plan(connection: apsw.Connection, sql: str) -> list[str]:
    named = re.findall(r":(\w+)", sql)
    bindings: Mapping[str, Any] | Sequence[Any] = dict.fromkeys(named, "[]") if named else ["[]"] * ("?1" in sql)
    return [str(detail) for *_, detail in connection.execute("EXPLAIN QUERY PLAN " + sql, bindings)]


def _scans_of_history(details: list[str]) -> list[str]:
    return [
        detail
        for detail in details
        if any(re.match(rf"SCAN {table}\b", detail) for table in HISTORY)
        # The open orders are few; only opening goes through all of them.
        and "USING INDEX orders_open" not in detail
        and "VIRTUAL TABLE" not in detail
    ]


@pytest.mark.parametrize("name", sorted(READS))
def test_no_read_goes_through_history(connection: apsw.Connection, name: str) -> None:
    details = _plan(connection, READS[name])
    assert details
    assert _scans_of_history(details) == []


def test_keys_are_looked_up(connection: apsw.Connection) -> None:
    assert _scans_of_history(_plan(connection, KNOWN_KEYS)) == []


def test_no_write_goes_through_history(connection: apsw.Connection) -> None:
    written = _batch_statements()
    assert len(written) == 11
    for sql in written:
        assert _scans_of_history(_plan(connection, sql)) == [], sql


@pytest.mark.parametrize("name", ["page", "page_of_user", "page_ended", "page_ended_of_user"])
def test_pages_are_read_in_order(connection: apsw.Connection, name: str) -> None:
    inner = READS[name].partition("FROM (")[2].rpartition(")")[0]
    details = _plan(connection, inner)
    assert len(details) == 1
    assert details[0].startswith("SEARCH orders USING")


def test_the_check_finds_a_scan(connection: apsw.Connection) -> None:
    assert _scans_of_history(_plan(connection, "SELECT id FROM orders WHERE document LIKE '%x%'"))
