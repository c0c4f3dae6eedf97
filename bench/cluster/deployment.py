"""A server under test: ours in several layouts, all with the limits lifted and no simulated delay."""

import contextlib
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import msgspec
from deploy.local.ports import HOST, free_ports

from bench.cluster.backing import Servers
from bench.cluster.client import Count
from bench.load import Connection

LAYOUTS = {
    "sqlite": "bestex serve: all in one process, SQLite",
    "serve": "bestex serve: all in one process, PostgreSQL and Redis",
    "split": "bestex api + worker + paper",
    "workers": "bestex api + 2 workers + paper",
    "api": "bestex api + paper: orders are taken, and nobody works on them",
}
_MEMBERS = {
    "serve": ["serve"],
    "api": ["paper", "api"],
    "split": ["paper", "api", "worker"],
    "workers": ["paper", "api", "worker", "worker-2"],
}
LIFTED = {
    "NETWORK": "instant",
    "RATE_PER_MINUTE": "0",
    "SLIPPAGE_BPS": "300",
    "MARKET_MAX_AGE_S": "0.4",
    "LOG_LEVEL": "error",
}
_ENDED = """
    SELECT status, count(*) FROM ended_orders GROUP BY status
    UNION ALL SELECT status, count(*) FROM open_orders WHERE status = 'confirmed' GROUP BY status
"""
_SERVES = r"(at|and) (http|ws)://\S+"
_OPEN = "SELECT count(*) FROM open_orders"


@dataclass
class Deployment:
    """What a client needs to know of a running server, and its processes."""

    url: str
    processes: Mapping[str, int]
    """Process ids by name."""
    count: Count
    """How many orders have ended how, as the database says."""
    pending: Count
    """What is still to be done for orders that have ended, such as to see them final."""
    dsn: str = ""
    """Of its database, where that is PostgreSQL."""
    join: Callable[[str], AbstractAsyncContextManager[int]] | None = None
    """Let one more process of ours take part, `worker` for instance; its id. It ends with the context."""
    terms: Mapping[str, str] = field(default_factory=dict)
    """What orders for it say that others do not understand."""


@asynccontextmanager
async def ours(
    layout: str, servers: Servers, folder: Path, concurrency: int, routing: str = "auto"
) -> AsyncIterator[Deployment]:
    """One of LAYOUTS, with nothing stored yet. `folder`: for its data."""
    terms = {"routing": routing}
    environment = {name: text for name, text in os.environ.items() if not name.startswith("BESTEX_")}
    environment |= {f"BESTEX_{name}": text for name, text in LIFTED.items()}
    environment |= {"BESTEX_CONCURRENCY": str(concurrency), "BESTEX_DATA_DIR": str(folder)}
    if layout == "sqlite":
        async with _processes(["serve"], servers, environment) as (url, processes, _):
            with contextlib.closing(Connection(url)) as line:
                yield Deployment(url, processes, lambda: _stats(line), nothing, terms=terms)
        return
    async with servers.fresh() as backing:
        environment["BESTEX_DATABASE_URL"] = backing.dsn
        environment["BESTEX_REDIS_URL"] = f"redis://{HOST}:{backing.redis_port}"
        async with _processes(_MEMBERS[layout], servers, environment) as (url, processes, told):
            connection = await asyncpg.connect(backing.dsn)
            try:
                yield Deployment(
                    url, processes | backing.processes, lambda: counted(connection, _ENDED), lambda: _left(connection),
                    backing.dsn, lambda role: _process(role, free_ports(2), servers, told), terms,
                )  # fmt: skip
            finally:
                await connection.close()


@asynccontextmanager
async def _processes(
    names: list[str], servers: Servers, environment: dict[str, str]
) -> AsyncIterator[tuple[str, dict[str, int], dict[str, str]]]:
    """The URL that takes orders, the process ids by name, and what others have to be told that join them.

    A role's second process is called `role-2`.
    """
    url, found = "", dict[str, int]()
    async with contextlib.AsyncExitStack() as stack:
        for name in names:
            role, port = name.split("-")[0], free_ports(2)
            found[name] = await stack.enter_async_context(_process(name, port, servers, environment))
            if role == "paper":
                environment = environment | {"BESTEX_CLUSTER_URL": f"http://{HOST}:{port}"}
            elif role in ("serve", "api"):
                url = f"http://{HOST}:{port}"
        yield url, found, environment


def _process(name: str, port: int, servers: Servers, environment: dict[str, str]) -> AbstractAsyncContextManager[int]:
    command = [sys.executable, "-m", "bestex.cli", name.split("-", maxsplit=1)[0], "--port", str(port)]
    return servers.process(name, command, _SERVES, environment)


async def counted(connection: "asyncpg.Connection[asyncpg.Record]", query: str) -> Counter[str]:
    """Statuses and how often, as the query finds them."""
    return Counter({str(status): int(number) for status, number in await connection.fetch(query)})


async def _left(connection: "asyncpg.Connection[asyncpg.Record]") -> Counter[str]:
    return Counter({"open": int(await connection.fetchval(_OPEN))})


async def nothing() -> Counter[str]:
    """An ended order asks for no more."""
    return Counter()


async def _stats(line: Connection) -> Counter[str]:
    """From /api/queue/stats, where there is no database to ask."""
    _, answer = await line.request("GET", "/api/queue/stats")
    told = msgspec.json.decode(answer, type=dict[str, object])
    ends = ("confirmed", "failed", "canceled", "expired")
    return Counter({name: number for name in ends if isinstance(number := told.get(name), int)})
