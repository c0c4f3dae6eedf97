"""PostgreSQL as a member of the deployment."""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import asyncpg

from deploy.local.guard import Guard, tell
from deploy.local.ports import HOST
from deploy.local.postgres import PostgresServer
from deploy.local.process import NotStarted

T = TypeVar("T")

_POLL_S = 0.05
_STOP_S = 30.0


class Database:
    """One server on a port of loopback, with the database `bestex`, which is made at the first start.

    Whoever is on this machine is let in.
    """

    name = "postgres"

    def __init__(self, folder: Path, port: int, settings: Mapping[str, str], guard: Guard) -> None:
        """`settings`: those of `postgresql.conf`. Raises NotStarted when there is no place or no binary for it."""
        _check_nobody_can_enter(folder)
        folder.mkdir(exist_ok=True)
        self.port = port
        self.log = folder / "log"
        self._guard = guard
        self._pid: int | None = None
        self._starting: asyncio.Task[None] | None = None
        # No socket in the folder, whose path may be longer than a socket's can be.
        self._server = _told(
            lambda: PostgresServer(folder, port=port, settings={"unix_socket_directories": "", **settings})
        )

    def dsn(self, port: int | None = None, database: str = "bestex") -> str:
        """`port`: of a proxy in front of it."""
        return f"postgresql://bestex@{HOST}:{port or self.port}/{database}"

    @property
    def pid(self) -> int | None:
        """Of the postmaster; None: it does not run."""
        if self._pid is not None and os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            self._reaped()
        return self._pid

    async def start(self) -> None:
        """Returns when it takes connections. Raises NotStarted."""
        self._starting = asyncio.create_task(self._begin())
        await asyncio.shield(self._starting)
        connection = await asyncpg.connect(self.dsn(database="postgres"))
        try:
            if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = 'bestex'"):
                await connection.execute("CREATE DATABASE bestex")
        finally:
            await connection.close()

    async def _begin(self) -> None:
        await asyncio.to_thread(_told, self._server.start)
        self._pid = self._server.pid
        assert self._pid is not None
        self._guard.watch(self._pid)

    async def kill(self) -> None:
        """SIGKILL to all of its processes. Does nothing when it does not run."""
        if self._starting is not None:  # a thread cannot be canceled: a start that was given up goes on to its end
            await asyncio.gather(self._starting, return_exceptions=True)
        if (pid := self.pid) is not None:
            self._pid = None
            await asyncio.to_thread(self._server.kill)
            self._guard.forget(pid)

    async def terminate(self, within_s: float = _STOP_S) -> int | None:
        """Stop in good order: the next start has nothing to recover. None: it did not run.

        Raises TimeoutError, after having killed it.
        """
        if (pid := self.pid) is None:
            return None
        stopping = asyncio.create_task(asyncio.to_thread(self._server.stop, "fast"))
        done, _ = await asyncio.wait((stopping,), timeout=within_s)
        if not done:
            await self.kill()
            await asyncio.wait((stopping,))  # it would take the next server for this one
            raise TimeoutError(f"postgres had not stopped after {within_s:.0f} s: {self.log}")
        stopping.result()
        self._pid = None
        self._guard.forget(pid)
        return 0

    async def restart(self) -> None:
        """Stop in good order, and start."""
        await self.terminate()
        await self.start()

    def freeze(self) -> None:
        """Connections stay, answers do not come."""
        self._tell(signal.SIGSTOP)

    def thaw(self) -> None:
        self._tell(signal.SIGCONT)

    async def wait(self) -> int | None:
        """Until it has ended; the exit code is not known."""
        while self.pid is not None:
            await asyncio.sleep(_POLL_S)
        return None

    def _tell(self, number: signal.Signals) -> None:
        if self.pid is not None:
            tell(self.pid, number)

    def _reaped(self) -> None:
        assert self._pid is not None
        os.waitpid(self._pid, 0)  # a zombie's locks would be taken for held
        self._guard.forget(self._pid)
        self._pid = None


def _told(act: Callable[[], T]) -> T:
    """What it returns. A server that does not come up says so by AssertionError, a missing binary by an OSError."""
    try:
        return act()
    except (AssertionError, OSError) as error:
        raise NotStarted(f"postgres: {error}") from error


def _check_nobody_can_enter(folder: Path) -> None:
    """As root, PostgreSQL runs as nobody, who has to get to its data."""
    if os.geteuid() != 0:
        return
    for parent in folder.resolve().parents:
        if parent.exists() and not parent.stat().st_mode & 0o001:
            raise NotStarted(f"postgres runs as nobody when root starts it, and nobody may not enter {parent}")
