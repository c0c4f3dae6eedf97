"""A real PostgreSQL server for tests."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from deploy.local.postgres import PostgresServer

# Tests kill processes, never the machine: what the system has in memory is safe, and nothing needs to wait for a disk.
SETTINGS = {"fsync": "off"}

_MOUNT = 'mount -t tmpfs -o "$0" tmpfs "$1" && shift && exec "$@"'


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
