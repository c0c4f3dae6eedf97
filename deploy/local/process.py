"""A member of the deployment that is a process of ours: started, killed, frozen, and told to stop."""

import asyncio
import re
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.local.guard import Guard, tell

START_S = 60.0
_POLL_S = 0.01


class NotStarted(Exception):
    """A member did not start; the message has the end of its log."""


class Process:
    """One process at a time, all of whose output goes to the end of `log`."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        ready: str,
        guard: Guard,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`ready`: a regular expression for what it says when it serves. `environment`: the whole of it."""
        self.name = name
        self.log = log
        self._command = command
        self._ready = re.compile(ready)
        self._guard = guard
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """None: it does not run."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def start(self, *options: str) -> None:
        """Returns when it serves. Raises NotStarted. `options`: of this start alone, after the command's own."""
        assert self.pid is None, f"{self.name} runs already"
        begin = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("a") as output:
            # In a session of its own: Ctrl-C in a terminal is for us, who stop all in the right order.
            self._process = await asyncio.create_subprocess_exec(
                *self._command, *options,
                stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, env=self._environment,
                start_new_session=True,
            )  # fmt: skip
        self._guard.watch(self._process.pid)
        try:
            async with asyncio.timeout(START_S):
                while not self._ready.search(self.said(begin)):
                    if self._process.returncode is not None:
                        raise NotStarted(self._why(f"ended with {self._process.returncode}", begin))
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise NotStarted(self._why(f"is not ready after {START_S:.0f} s", begin)) from None

    async def kill(self) -> None:
        """SIGKILL: no goodbye. Does nothing when it does not run."""
        self.signal(signal.SIGKILL)
        await self.wait()

    async def terminate(self, within_s: float = 30.0) -> int | None:
        """SIGTERM; the exit code, negative for the number of a signal; None: it did not run.

        Raises TimeoutError, after having killed it.
        """
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(within_s):
                return await self.wait()
        except TimeoutError:
            await self.kill()
            raise TimeoutError(f"{self.name} had not ended {within_s:.0f} s after SIGTERM: {self.log}") from None

    async def restart(self) -> None:
        """Stop in good order, and start."""
        await self.terminate()
        await self.start()

    def freeze(self) -> None:
        """Connections stay, answers do not come."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def signal(self, number: signal.Signals) -> None:
        """Does nothing when it does not run."""
        if (pid := self.pid) is not None:
            tell(pid, number)

    async def wait(self) -> int | None:
        """Until it has ended; the exit code of the last one, None: there was none."""
        process = self._process
        if process is None:
            return None
        code = await process.wait()
        self._guard.forget(process.pid)
        return code

    def said(self, begin: int = 0) -> str:
        """The log from a byte on."""
        with self.log.open("rb") as file:
            file.seek(begin)
            return file.read().decode(errors="replace")

    def _why(self, what: str, begin: int) -> str:
        return f"{self.name} {what}; the end of {self.log}:\n{self.said(begin)[-1500:]}"
