"""A real PostgreSQL server for tests."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.postgres import PostgresServer

# Tests kill processes, never the machine: what the system has in memory is safe, and nothing needs to wait for a disk.
_SETTINGS = {"fsync": "off"}


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """A server in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="bestex-pg-", dir="/tmp") as folder:  # short: a socket's path has 107 bytes
        server = PostgresServer(Path(folder), settings=_SETTINGS)
        server.start()
        try:
            yield server
        finally:
            server.stop()
