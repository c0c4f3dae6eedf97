"""Brings a PostgreSQL database to the present schema: numbered files, each applied once and whole, by one process."""

import hashlib
import re
from collections.abc import Sequence
from importlib import resources

import asyncpg
import msgspec

from bestex.errors import ConfigError
from bestex.store import statements

_sql = statements.load("postgres/upkeep")
MONTHS_AHEAD = 2
_NEEDS = re.compile(r"-- needs: (\d+)\n")


class Migration(msgspec.Struct, frozen=True):
    """A file `migrations/postgres/<number>_<name>.sql`."""

    number: int
    name: str
    sql: str

    @property
    def needs(self) -> int:
        """The latest migration that a program must know to work with this one: its first line says so.

        A migration that needs none but older ones can be applied while programs of the version before still run.
        """
        found = _NEEDS.match(self.sql)
        if found is None:
            raise ValueError(f"migration {self.number} does not begin with `-- needs: <number>`")
        return int(found[1])

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def known_migrations() -> list[Migration]:
    """All that this version knows, in order."""
    found = []
    for file in resources.files("bestex.store").joinpath("migrations", "postgres").iterdir():
        number, _, name = file.name.removesuffix(".sql").partition("_")
        if file.name.endswith(".sql") and number.isdecimal():
            found.append(Migration(int(number), name, file.read_text(encoding="utf-8")))
    return sorted(found, key=lambda migration: migration.number)


async def migrate(connection: asyncpg.Connection, known: Sequence[Migration], *, now_ms: int) -> None:
    """Apply what is missing, each migration in a transaction of its own, and create partitions of the coming months.

    Other processes wait meanwhile.

    Raises ConfigError when the schema needs a newer version than this, or is another one.
    """
    await connection.execute("SET lock_timeout = 0")
    await connection.execute(_sql["lock_schema"])
    try:
        await connection.execute(_sql["create_migrations"])
        applied = await connection.fetch(_sql["applied_migrations"])
        _check(applied, known)
        done = {row["number"] for row in applied}
        for migration in known:
            if migration.number not in done:
                await _apply(connection, migration)
        await connection.execute(_sql["create_partitions"], now_ms, MONTHS_AHEAD)
    finally:
        if not connection.is_closed():
            await connection.execute(_sql["unlock_schema"])
            await connection.execute("RESET lock_timeout")


def _check(applied: Sequence[asyncpg.Record], known: Sequence[Migration]) -> None:
    by_number = {migration.number: migration for migration in known}
    latest = max(by_number, default=0)
    for row in applied:
        number, name = row["number"], row["name"]
        if row["needs"] > latest:
            raise ConfigError(
                f"the database was migrated by a newer Bestex: its migration {number} ({name}) needs a program that "
                f"knows migration {row['needs']}, this version knows {latest}",
                migration=number,
            )
        migration = by_number.get(number)
        if migration is not None and migration.checksum != row["checksum"]:
            raise ConfigError(
                f"the database was migrated by another Bestex: its migration {number} ({name}) is not the one of this "
                "version",
                migration=number,
            )


async def _apply(connection: asyncpg.Connection, migration: Migration) -> None:
    async with connection.transaction():
        await connection.execute(migration.sql)
        await connection.execute(
            _sql["note_migration"], migration.number, migration.name, migration.checksum, migration.needs
        )
