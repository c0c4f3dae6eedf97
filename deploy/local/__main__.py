"""`make cluster`: the deployment on this machine, until Ctrl-C or SIGTERM."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from bestex.config import Network
from deploy.local.cluster import LocalCluster, Ports
from deploy.local.ports import HOST, PortTaken
from deploy.local.process import NotStarted
from deploy.local.watch import keep_running

_OURS = frozenset({"database_url", "redis_url", "cluster_url", "host", "port", "paper_port", "data_dir"})
"""Settings that the cluster itself gives to its processes."""
_NOT_STARTED, _USAGE = 5, 2


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0 after a good end, 5 when it cannot start, as `bestex` itself has them."""
    options = _parser().parse_args(arguments)
    try:
        return asyncio.run(_run(options))
    except (NotStarted, PortTaken) as error:
        print(f"cluster: {error}", file=sys.stderr)
        if isinstance(error, PortTaken):
            print("cluster: other ports can be given, see --help", file=sys.stderr)
        return _NOT_STARTED


async def _run(options: argparse.Namespace) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    cluster = _cluster(options)
    _say(f"starting PostgreSQL, Redis, a paper cluster, {options.apis} API nodes, {options.workers} workers ...")
    started = asyncio.Event()
    running = asyncio.create_task(_serve(cluster, started, stop))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait((running, stopped), return_when=asyncio.FIRST_COMPLETED)
    if not started.is_set() and not running.done():
        running.cancel()  # in the middle of the start
        await asyncio.wait((running,))
        return 128 + signal.SIGINT
    return await running


async def _serve(cluster: LocalCluster, started: asyncio.Event, stop: asyncio.Event) -> int:
    async with cluster:
        started.set()
        _show(cluster)
        watches = [asyncio.create_task(keep_running(member, _say)) for member in cluster.members.values()]
        await stop.wait()
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
        _say("stopping: API nodes, workers, paper cluster, Redis, PostgreSQL ...")
        try:
            codes = await cluster.terminate()
        except TimeoutError as error:
            _say(str(error))
            return 1
    # SIGTERM itself ends who was still starting, such as one that had been killed a moment ago.
    failed = {name: code for name, code in codes.items() if code not in (0, None, -signal.SIGTERM)}
    _say(f"stopped; orders and ledger are kept in {cluster.folder}")
    for name, code in failed.items():
        _say(f"{name} ended with exit code {code}; its log: {cluster.members[name].log}")
    return 1 if failed else 0


def _cluster(options: argparse.Namespace) -> LocalCluster:
    given = {name[7:].lower(): text for name, text in os.environ.items() if name.startswith("BESTEX_")}
    settings = {name: text for name, text in given.items() if name not in _OURS and name != "pg_bin"}
    if options.network is not None:
        settings["network"] = options.network
    ports = Ports(
        options.api_port, options.worker_port, options.paper_port, options.postgres_port, options.redis_port
    )  # fmt: skip
    return LocalCluster(
        Path(options.data_dir), apis=options.apis, workers=options.workers, ports=ports, settings=settings,
        postgres={"fsync": "on"}, fresh=options.fresh,
    )  # fmt: skip


def _show(cluster: LocalCluster) -> None:
    addresses = {
        "postgres": cluster.database.dsn(), "redis": f"redis://{HOST}:{cluster.ports.redis}",
        "paper": f"http://{HOST}:{cluster.ports.paper}",
    }  # fmt: skip
    rows = [("", "PROCESS", "ADDRESS", "LOG")]
    workers = 0
    for name, member in cluster.members.items():
        address = addresses.get(name, "")
        if name.startswith("api-"):
            address = cluster.urls[int(name.removeprefix("api-")) - 1]
        elif name.startswith("worker-"):
            address = f"http://{HOST}:{cluster.ports.worker + workers}/health/ready"
            workers += 1
        rows.append((name, str(member.pid), address, str(member.log)))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    print()
    for row in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]))
    first, last = cluster.urls[0], cluster.urls[-1]
    body = '{"type": "market", "tokenIn": "USDC", "tokenOut": "ETH", "amountIn": 1000, "userId": "user123"}'
    print(
        f"\nAll of it is SIMULATED. Any API node takes an order, any worker executes it, any API node streams it:\n"
        f"  bestex demo --url {first}\n"
        f"  curl -s {first}/api/orders/execute -H 'content-type: application/json' -d '{body}'\n"
        f"  bestex watch ORDER_ID --url {last}\n"
        f"Kill what you like (kill -9 PROCESS): it is started again. Ctrl-C stops all.\n",
        flush=True,
    )


def _say(text: str) -> None:
    print(text, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description=__doc__)
    parser.add_argument("--network", choices=[each.value for each in Network], help="of the paper cluster (fast)")
    parser.add_argument("--data-dir", default="data/cluster", metavar="DIR", help="kept, and used again (%(default)s)")
    parser.add_argument("--fresh", action="store_true", help="begin with nothing: remove what DIR has")
    for name, default, text in (
        ("apis", 2, "how many API nodes"),
        ("workers", 2, "how many workers"),
        ("api-port", 8080, "of the first API node; the others follow"),
        ("worker-port", 8090, "of the first worker's health and metrics; the others follow"),
        ("paper-port", 8899, "of the paper cluster's JSON-RPC; its WebSocket is at the next"),
        ("postgres-port", 15432, "of PostgreSQL"),
        ("redis-port", 16379, "of Redis"),
    ):
        parser.add_argument(f"--{name}", type=_count, default=default, metavar="N", help=f"{text} (%(default)s)")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 65000")
    return int(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
