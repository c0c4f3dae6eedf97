"""The real server as a process of its own."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

_READY = re.compile(r"http://\S+?:(\d+)(?=[;\s])")
_START_S = 30.0


class ServerProcess:
    """`bestex serve` on loopback, with its data in `data_dir` and its log beside it.

    The first start takes any free port, later ones the same again, so that clients find the server.
    """

    def __init__(self, data_dir: Path, *, command: Sequence[str] = (), **settings: object) -> None:
        """`command` is put before the server's own, and has to end in an exec of it: the process id must stay."""
        self._data_dir = data_dir
        self._command = command
        self._settings = settings
        self._process: asyncio.subprocess.Process | None = None
        self._port = "0"
        self.url = ""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Returns when the server says that it serves. Raises AssertionError with its log when it does not."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BESTEX_")}
        environment |= {f"BESTEX_{name.upper()}": str(value) for name, value in self._settings.items()}
        environment["BESTEX_LOG_FORMAT"] = "json"
        self._data_dir.mkdir(exist_ok=True)
        with self._log_path.open("a") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                sys.executable, "-m", "bestex.cli", "serve", "--port", self._port, "--data-dir", str(self._data_dir),
                stdout=asyncio.subprocess.PIPE, stderr=log, env=environment,
            )  # fmt: skip
        assert self._process.stdout is not None
        async with asyncio.timeout(_START_S):
            line = (await self._process.stdout.readline()).decode()
        ready = _READY.search(line)
        assert ready is not None, f"the server did not start: {line!r} {self.log()[-2000:]}"
        self.url, self._port = ready[0], ready[1]

    async def kill(self) -> None:
        """SIGKILL: no goodbye."""
        self.signal(signal.SIGKILL)
        await self.exit_code()

    async def terminate(self, within_s: float = 20.0) -> int:
        """SIGTERM; the exit code."""
        self.signal(signal.SIGTERM)
        return await self.exit_code(within_s)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def exit_code(self, within_s: float = 20.0) -> int:
        """Wait for the end; negative: the number of the signal that ended it."""
        assert self._process is not None
        async with asyncio.timeout(within_s):
            code = await self._process.wait()
        self._process = None
        return code

    def log(self) -> str:
        return self._log_path.read_text()

    async def close(self) -> None:
        """End the process if a failed test has left it."""
        if self.running:
            await self.kill()

    @property
    def _log_path(self) -> Path:
        # Beside the data: a file system that is full must not swallow what the server says about it.
        return self._data_dir.with_suffix(".log")
