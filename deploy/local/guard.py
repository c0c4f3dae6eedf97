"""Ends processes whose starter has died, however it died: run as a script, told their ids on standard input.

`+ID` begins to watch, `-ID` ends it. When the input ends, whoever is watched is killed, with its children.
"""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path


class Guard:
    """The starter's end. Raises nothing: a guard that has died guards nobody."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__], stdin=subprocess.PIPE, start_new_session=True
        )

    def watch(self, pid: int) -> None:
        self._tell(f"+{pid}\n")

    def forget(self, pid: int) -> None:
        """The process has ended: its id may soon be somebody else's."""
        self._tell(f"-{pid}\n")

    def close(self) -> None:
        """Whoever is still watched is killed now. Returns when that is done."""
        self._process.communicate()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()


def children(pid: int) -> list[int]:
    """Of a process on Linux; elsewhere none."""
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def tell(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process, and to its children, which may be in groups of their own as PostgreSQL's are."""
    for each in (pid, *children(pid)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, number)


def main() -> None:
    """Until the input ends."""
    watched: set[int] = set()
    for line in sys.stdin:
        (watched.add if line[0] == "+" else watched.discard)(int(line[1:]))
    for pid in watched:
        tell(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
