"""PostgreSQL as a member of the deployment: how it ends."""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator

import pytest
from deploy.local.database import Database
from deploy.local.guard import Guard
from deploy.local.ports import free_ports
from deploy.local.postgres import binaries

from tests.support.postgres import SETTINGS, server_folder


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    with server_folder() as folder:
        folder.chmod(0o755)  # PostgreSQL runs as nobody where tests run as root
        guard = Guard()
        running = Database(folder / "postgres", free_ports(1), SETTINGS, guard)
        await running.start()
        try:
            yield running
        finally:
            await running.kill()
            guard.close()


def state(database: Database) -> bytes:
    command = [binaries() / "pg_controldata", database.log.parent / "data"]
    return next(
        line.split(b":")[1].strip()
        for line in subprocess.run(command, capture_output=True, check=True).stdout.splitlines()
        if line.startswith(b"Database cluster state")
    )


async def test_stopped_in_good_order_it_has_nothing_to_recover(database: Database) -> None:
    assert await database.terminate() == 0
    assert (state(database), database.pid) == (b"shut down", None)
    assert await database.terminate() is None


async def test_killed_it_has(database: Database) -> None:
    await database.kill()
    assert state(database) == b"in production"
    await database.start()
    assert database.pid is not None


async def test_one_that_does_not_stop_in_time_is_killed_and_named(database: Database) -> None:
    database.freeze()
    with pytest.raises(TimeoutError, match=r"postgres had not stopped after 0 s: .*/log"):
        await database.terminate(within_s=0.3)
    assert database.pid is None
    await database.start()


async def test_a_start_that_is_given_up_leaves_a_server_that_can_be_killed() -> None:
    with server_folder() as folder, contextlib.closing(Guard()) as guard:
        folder.chmod(0o755)
        given_up = Database(folder / "postgres", free_ports(1), SETTINGS, guard)
        starting = asyncio.create_task(given_up.start())
        lock = folder / "postgres" / "data" / "postmaster.pid"
        while not lock.exists():
            await asyncio.sleep(0.001)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        await given_up.kill()
        assert not lock.exists()
