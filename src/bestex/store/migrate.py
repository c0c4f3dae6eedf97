"""Brings a database to the present schema: numbered files, each applied once and whole."""

import hashlib
from collections.abc import Sequence
from importlib import resources

import apsw
import msgspec

from bestex.errors import ConfigError
from bestex.store.database import reachable, text

_applied: msgspec.json.Decoder[list[tuple[int, str, str]]] = msgspec.json.Decoder(list[tuple[int, str, str]])


class Migration(msgspec.Struct, frozen=True):
    """A file `migrations/<number>_<name>.sql`."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def known_migrations() -> list[Migration]:
    """All that this version knows, in order."""
    folder = resources.files("bestex.store").joinpath("migrations")
    found = []
    for file in folder.iterdir():
        stem, dot, ending = file.name.partition(".")
        number, _, name = stem.partition("_")
        if dot + ending == ".sql" and number.isdecimal():
            found.append(Migration(int(number), name, file.read_text(encoding="utf-8")))
    return sorted(found, key=lambda migration: migration.number)


def migrate(connection: apsw.Connection, known: Sequence[Migration]) -> None:
    """Apply what is missing, each migration in a transaction of its own.

    Raises ConfigError when the database was written by a newer version, or by one whose migrations were others.
    """
    with reachable():
        connection.execute(
            "CREATE TABLE IF NOT EXISTS migrations "
            "(number INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL) STRICT"
        )
        listed = text(connection, "SELECT json_group_array(json_array(number, name, checksum)) FROM migrations")
        applied = {number: (name, checksum) for number, name, checksum in _applied.decode(listed)}
        _check(applied, known)
        for migration in known:
            if migration.number not in applied:
                _apply(connection, migration)


def _check(applied: dict[int, tuple[str, str]], known: Sequence[Migration]) -> None:
    by_number = {migration.number: migration for migration in known}
    for number, (name, checksum) in sorted(applied.items()):
        migration = by_number.get(number)
        if migration is None:
            raise ConfigError(
                f"the database was written by a newer Bestex: its schema has migration {number} ({name}), "
                f"this version knows {max(by_number, default=0)}",
                migration=number,
            )
        if migration.checksum != checksum:
            raise ConfigError(
                f"the database was written by another Bestex: its migration {number} ({name}) is not the one of this "
                "version",
                migration=number,
            )


def _apply(connection: apsw.Connection, migration: Migration) -> None:
    with connection:  # a savepoint, and so a transaction here
        connection.execute(migration.sql)
        connection.execute(
            "INSERT INTO migrations VALUES (?, ?, ?)", (migration.number, migration.name, migration.checksum)
        )
