"""The real server as a process of its own."""

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

_READY = re.compile(r"http://\S+?(?=[;\s])")
_START_S = 30.0


class ServerProcess:
    """`bestex serve` on any free port of loopback, with its data in `data_dir`."""

    def __init__(self, data_dir: Path, **settings: object) -> None:
        self._data_dir = data_dir
        self._settings = settings
        self._process: asyncio.subprocess.Process | None = None
        self.url = ""

    async def start(self) -> None:
        """Returns when the server says that it serves. Raises AssertionError with its log when it does not."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BESTEX_")}
        environment |= {f"BESTEX_{name.upper()}": str(value) for name, value in self._settings.items()}
        environment["BESTEX_LOG_FORMAT"] = "json"
        with (self._data_dir / "server.log").open("a") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bestex.cli", "serve", "--port", "0", "--data-dir", str(self._data_dir),
                stdout=asyncio.subprocess.PIPE, stderr=log, env=environment,
            )  # fmt: skip
        assert self._process.stdout is not None
        async with asyncio.timeout(_START_S):
            line = (await self._process.stdout.readline()).decode()
        ready = _READY.search(line)
        assert ready is not None, f"the server did not start: {line!r} {self.log()[-2000:]}"
        self.url = ready.group()

    async def kill(self) -> None:
        """SIGKILL: no goodbye."""
        await self._end(signal.SIGKILL)

    async def terminate(self, within_s: float = 20.0) -> int:
        """SIGTERM; the exit code."""
        async with asyncio.timeout(within_s):
            return await self._end(signal.SIGTERM)

    def log(self) -> str:
        return (self._data_dir / "server.log").read_text()

    async def close(self) -> None:
        """End the process if a failed test has left it."""
        if self._process is not None and self._process.returncode is None:
            await self.kill()

    async def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        code = await self._process.wait()
        self._process = None
        return code
