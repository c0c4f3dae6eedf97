"""The whole deployment: PostgreSQL, Redis, the paper cluster, API nodes and workers, each a process of its own."""

import asyncio
import fcntl
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import IO, NamedTuple, Self, TypeAlias

from deploy.local.database import Database
from deploy.local.guard import Guard
from deploy.local.ports import HOST, check_free, free_ports
from deploy.local.process import NotStarted, Process
from deploy.local.proxy import Proxy
from deploy.local.redis import RedisProcess

Member: TypeAlias = Database | Process

_LOCK = "lock"
_SERVES = r"(at|and) (http|ws)://\S+"


class Ports(NamedTuple):
    """Where each member listens, on loopback. Of several of a kind: the first; the others follow."""

    api: int
    worker: int
    paper: int
    """JSON-RPC; its WebSocket is at the next."""
    postgres: int
    redis: int


class LocalCluster:
    """Use it as an async context manager. Its processes end with it, and when we die.

    `members`: postgres, redis, paper, api-1..., worker-1..., each with `start`, `kill`, `terminate`, `restart`,
    `freeze` and `thaw`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        apis: int = 2,
        workers: int = 2,
        ports: Ports | None = None,
        proxied: bool = False,
        postgres: Mapping[str, str] | None = None,
        settings: Mapping[str, object] | None = None,
        fresh: bool = False,
    ) -> None:
        """`folder` keeps the data and logs, and is made; `fresh`: what it has is removed. `ports` None: any free ones.

        `proxied`: PostgreSQL, Redis and the paper cluster are reached through `proxies`. `postgres`: settings of
        `postgresql.conf`. `settings`: those of Bestex, by name, for all processes; others' BESTEX_* variables do not
        count.
        """
        self.folder = folder.resolve()
        self.ports = ports or _any_ports(apis, workers)
        self.members: dict[str, Member] = {}
        self.proxies: dict[str, Proxy] = {}
        self._apis = [f"api-{number}" for number in range(1, apis + 1)]
        self._workers = [f"worker-{number}" for number in range(1, workers + 1)]
        self._proxied = proxied
        self._postgres = postgres or {}
        self._settings = settings or {}
        self._fresh = fresh
        self._exits = AsyncExitStack()

    @property
    def urls(self) -> list[str]:
        """Of the API nodes."""
        return [f"http://{HOST}:{self.ports.api + index}" for index in range(len(self._apis))]

    @property
    def database(self) -> Database:
        """PostgreSQL, as it is reached by tests: not through a proxy."""
        member = self.members["postgres"]
        assert isinstance(member, Database)
        return member

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    async def __aenter__(self) -> Self:
        """Raises NotStarted, PortTaken."""
        try:
            self._prepare()
            await self._start()
        except BaseException:
            await self._exits.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exits.aclose()

    async def terminate(self, but: Sequence[str] = ()) -> dict[str, int | None]:
        """Stop all in good order: first those who take orders, then those who work them, then what they need.

        `but`: those go on.

        Their exit codes by name, None for who did not run. Raises TimeoutError.
        """
        codes: dict[str, int | None] = {}
        for stage in (self._apis, self._workers, ["paper"], ["redis"], ["postgres"]):
            names = [name for name in stage if name not in but]
            ended = await asyncio.gather(*(self.members[name].terminate() for name in names))
            codes |= dict(zip(names, ended, strict=True))
        return codes

    # --- inside -------------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        if self._fresh:
            _check_ours(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        _lock(self._exits.enter_context((self.folder / _LOCK).open("w")))
        check_free(self._wanted())
        self._make_members()
        if self._fresh:
            _empty(self.folder)
        self.logs.mkdir(exist_ok=True)

    def _make_members(self) -> None:
        guard, ports = Guard(), self.ports
        self._exits.callback(guard.close)
        self.members["postgres"] = Database(self.folder / "postgres", ports.postgres, self._postgres, guard)
        self.members["redis"] = RedisProcess(self.logs, port=ports.redis, guard=guard)
        places = {"paper": ("paper", ports.paper)}
        places |= {name: ("api", ports.api + index) for index, name in enumerate(self._apis)}
        places |= {name: ("worker", ports.worker + index) for index, name in enumerate(self._workers)}
        for name, (role, port) in places.items():
            command = (sys.executable, "-m", "bestex.cli", role, "--port", str(port))
            self.members[name] = Process(
                name, command, log=self.logs / f"{name}.log", ready=_SERVES, guard=guard,
                environment=self._environment(),
            )  # fmt: skip

    async def _start(self) -> None:
        for name, port in (("postgres", 0), ("redis", 1), ("paper", 2), ("paper-ws", 3)) if self._proxied else ():
            proxy = Proxy((HOST, self._direct(name)), self._through + port)
            self.proxies[name] = await self._exits.enter_async_context(proxy)
        for member in self.members.values():
            self._exits.push_async_callback(member.kill)
        await asyncio.gather(*(self.members[name].start() for name in ("postgres", "redis", "paper")))
        await asyncio.gather(*(self.members[name].start() for name in (*self._apis, *self._workers)))

    def _environment(self) -> dict[str, str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BESTEX_")}
        environment |= {f"BESTEX_{name.upper()}": str(value) for name, value in self._settings.items()}
        reached = {name: self._reached(name) for name in ("postgres", "redis", "paper")}
        return environment | {
            "BESTEX_DATABASE_URL": self.database.dsn(reached["postgres"]),
            "BESTEX_REDIS_URL": f"redis://{HOST}:{reached['redis']}",
            "BESTEX_CLUSTER_URL": f"http://{HOST}:{reached['paper']}",
            "BESTEX_HOST": HOST,
            "BESTEX_DATA_DIR": str(self.folder / "paper"),
            "PYTHONUNBUFFERED": "1",
        }

    @property
    def _through(self) -> int:
        """The first of the proxies' ports, which follow the workers'."""
        return self.ports.worker + len(self._workers)

    def _direct(self, name: str) -> int:
        ports = self.ports
        return {"postgres": ports.postgres, "redis": ports.redis, "paper": ports.paper, "paper-ws": ports.paper + 1}[
            name
        ]

    def _reached(self, name: str) -> int:
        """The port at which Bestex's processes find this member."""
        return self._through + ["postgres", "redis", "paper"].index(name) if self._proxied else self._direct(name)

    def _wanted(self) -> dict[int, str]:
        wanted = {self._direct(name): name for name in ("postgres", "redis", "paper", "paper-ws")}
        wanted |= {self.ports.api + index: name for index, name in enumerate(self._apis)}
        return wanted | {self.ports.worker + index: name for index, name in enumerate(self._workers)}


def _any_ports(apis: int, workers: int) -> Ports:
    proxies = 4
    first = free_ports(4 + apis + workers + proxies)
    return Ports(api=first + 4, worker=first + 4 + apis, paper=first + 2, postgres=first, redis=first + 1)


def _lock(file: IO[str]) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise NotStarted(f"another cluster runs on {Path(file.name).parent}") from None


def _check_ours(folder: Path) -> None:
    """Only what a cluster has made is removed: a wrong folder must not cost anybody a home."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / _LOCK).exists():
        raise NotStarted(f"{folder} is to be removed, and no cluster has made it: remove it yourself")


def _empty(folder: Path) -> None:
    """All but the lock, which we hold: nobody runs on the rest."""
    try:
        for each in folder.iterdir():
            if each.is_dir() and not each.is_symlink():
                shutil.rmtree(each)
            elif each.name != _LOCK:
                each.unlink()
    except OSError as error:
        raise NotStarted(f"cannot remove {error.filename}: {error.strerror}") from error
