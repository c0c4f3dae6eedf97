"""The baseline: another engine's server.mjs with the same API, on the same PostgreSQL and Redis."""

import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
from deploy.local.ports import HOST, free_ports

from bench.cluster.backing import Servers
from bench.cluster.deployment import Deployment, counted, nothing

_ENDED = "SELECT status, count(*) FROM orders WHERE status IN ('confirmed', 'failed') GROUP BY status"


def install(source: Path, folder: Path) -> Path:
    """A copy with its packages from npm. Raises SystemExit when there is none."""
    if not (source / "server.mjs").is_file() or not (source / "package.json").is_file():
        raise SystemExit(f"{source} has no server.mjs and package.json")
    copy = folder / "baseline"
    copy.mkdir()
    for name in ("server.mjs", "package.json"):
        shutil.copy(source / name, copy)
    done = subprocess.run(
        ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund"],
        cwd=copy, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise SystemExit(f"npm install failed: {done.stderr[-500:]}")
    return copy


@asynccontextmanager
async def baseline(copy: Path, servers: Servers) -> AsyncIterator[Deployment]:
    """One node process, with nothing stored yet."""
    async with servers.fresh() as backing:
        port = free_ports(1)
        told = {"PG": backing.dsn, "REDIS_PORT": str(backing.redis_port), "PORT": str(port), "NODE_ENV": "production"}
        command = ["node", str(copy / "server.mjs")]
        async with servers.process("node", command, "listening", os.environ | told) as node:
            connection = await asyncpg.connect(backing.dsn)
            try:
                processes = {"node": node} | backing.processes
                yield Deployment(f"http://{HOST}:{port}", processes, lambda: counted(connection, _ENDED), nothing)
            finally:
                await connection.close()
