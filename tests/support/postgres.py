"""A real PostgreSQL server for tests."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest
from deploy.local.postgres import PostgresServer

# Tests kill processes, never the machine: what the system has in memory is safe, and nothing needs to wait for a disk.
SETTINGS = {"fsync": "off"}

_MOUNT = 'mount -t tmpfs -o "$0" tmpfs "$1" && shift && exec "$@"'


_OTHERS_LEAVE = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
_TABLES = """
    SELECT string_agg(oid::regclass::text, ', ') FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND relname <> 'migrations'
"""


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """A server in a folder that is removed afterwards."""
    with server_folder() as folder:
        server = PostgresServer(folder, settings=SETTINGS)
        server.start()
        try:
            yield server
        finally:
            server.stop()


async def empty_database(server: PostgresServer, *, migrated: bool = False) -> str:
    """The server's one database for tests, with nothing in it; its DSN. Whoever was connected is cut off.

    The same one again and again: a folder with a hundred databases takes longer to remove than the tests took.
    `migrated`: if a store has made its tables there before, they stay, without any row.
    """
    dsn = server.dsn("tests")
    try:
        connection = await asyncpg.connect(dsn)
    except asyncpg.InvalidCatalogNameError:
        return await server.create_database("tests")
    try:
        await connection.execute(_OTHERS_LEAVE)
        tables = await connection.fetchval(_TABLES) if migrated else None
        await connection.execute(f"TRUNCATE {tables}" if tables else "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    finally:
        await connection.close()
    return dsn


async def count(dsn: str, table: str) -> int:
    """Rows that are committed, as anyone sees them."""
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetchval(f"SELECT count(*) FROM {table}")
    await connection.close()
    assert isinstance(rows, int)
    return rows


@contextmanager
def server_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bestex-pg-", dir="/tmp") as folder:  # short: a socket's path has 107 bytes
        yield Path(folder)


@contextmanager
def server_with_small_disk(size: str) -> Iterator[tuple[PostgresServer, Path]]:
    """A server, and a folder that holds so much and no more, as only the server sees it: for a tablespace.

    Skips the test where the system lets nobody mount.
    """
    with server_folder() as folder, server_folder() as small:
        if os.geteuid() == 0:
            owner, space = "size={},uid=nobody", ["unshare", "--mount"]
            drop = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]
        else:
            owner, space, drop = "size={}", ["unshare", "--user", "--map-current-user", "--keep-caps", "--mount"], []
        inside = [*space, "sh", "-c", _MOUNT, owner.format(size), str(small), *drop]
        tried = subprocess.run([*inside, "true"], capture_output=True, text=True, check=False)
        if tried.returncode:
            pytest.skip(f"a small file system cannot be mounted here: {tried.stderr.strip()}")
        server = PostgresServer(folder, settings=SETTINGS, inside=inside)
        server.start()
        try:
            yield server, small
        finally:
            server.stop()
