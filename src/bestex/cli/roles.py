"""Commands that run one part of a deployment of many processes: api, worker, paper, migrate."""

from typing import Annotated

import typer

from bestex.cli.options import (
    Concurrency,
    Config,
    DataDir,
    Host,
    LogLevel,
    PaperNetwork,
    Port,
    RatePerMinute,
    examples,
)
from bestex.cli.output import print_line
from bestex.cli.serving import run_server
from bestex.cli.settings import read_settings

_PANEL = "Settings (override the file and BESTEX_* variables)"

DatabaseUrl = Annotated[
    str | None,
    typer.Option("--database-url", metavar="URL", help="PostgreSQL: the orders of all.", rich_help_panel=_PANEL),
]
RedisUrl = Annotated[
    str | None,
    typer.Option("--redis-url", metavar="URL", help="Redis: streams and limits across.", rich_help_panel=_PANEL),
]
ClusterUrl = Annotated[
    str | None,
    typer.Option("--cluster-url", metavar="URL", help="Solana RPC node, `bestex paper`.", rich_help_panel=_PANEL),
]
PaperPort = Annotated[
    int | None,
    typer.Option("--port", min=0, max=65534, help="JSON-RPC; WebSocket at the next port.", rich_help_panel=_PANEL),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    urls = "--database-url postgresql://db/bestex --redis-url redis://redis --cluster-url http://paper:8899"
    app.command("api", epilog=examples(f"bestex api --port 8080 {urls}"))(api)
    app.command("worker", epilog=examples(f"bestex worker --port 8081 --concurrency 50 {urls}"))(worker)
    app.command("paper", epilog=examples("bestex paper", "bestex paper --port 9900 --network realistic"))(paper)
    app.command("migrate", epilog=examples("bestex migrate --database-url postgresql://db/bestex"))(migrate)


def api(
    *,
    config: Config = None,
    host: Host = None,
    port: Port = None,
    database_url: DatabaseUrl = None,
    redis_url: RedisUrl = None,
    cluster_url: ClusterUrl = None,
    log_level: LogLevel = None,
) -> None:
    """Take orders, answer and stream; any number of workers execute them. Needs PostgreSQL and a cluster's URL."""
    run_server(
        "api",
        "Bestex takes orders at {url}; Ctrl-C stops it",
        config,
        host=host,
        port=port,
        database_url=database_url,
        redis_url=redis_url,
        cluster_url=cluster_url,
        log_level=log_level,
    )


def worker(
    *,
    config: Config = None,
    host: Host = None,
    port: Port = None,
    database_url: DatabaseUrl = None,
    redis_url: RedisUrl = None,
    cluster_url: ClusterUrl = None,
    concurrency: Concurrency = None,
    rate_per_minute: RatePerMinute = None,
    log_level: LogLevel = None,
) -> None:
    """Execute orders that any API node has taken. Its port answers /health/live, /health/ready and /metrics only."""
    run_server(
        "worker",
        "Bestex works on orders, health at {url}/health; Ctrl-C stops it",
        config,
        host=host,
        port=port,
        database_url=database_url,
        redis_url=redis_url,
        cluster_url=cluster_url,
        concurrency=concurrency,
        rate_per_minute=rate_per_minute,
        log_level=log_level,
    )


def paper(
    *,
    config: Config = None,
    host: Host = None,
    port: PaperPort = None,
    data_dir: DataDir = None,
    network: PaperNetwork = None,
    log_level: LogLevel = None,
) -> None:
    """Serve a simulated Solana cluster: JSON-RPC over HTTP and WebSocket, with its ledger on disk."""
    settings = read_settings(
        config,
        {"host": host, "paper_port": port, "data_dir": data_dir, "network": network, "log_level": log_level},
    )
    from bestex import runtime  # noqa: PLC0415 - client commands start faster without the engine

    def ready(url: str, ws_url: str) -> None:
        print_line(f"A paper cluster serves at {url} and {ws_url}, all simulated; Ctrl-C stops it")

    runtime.paper(settings, ready)


def migrate(*, config: Config = None, database_url: DatabaseUrl = None, log_level: LogLevel = None) -> None:
    """Bring the PostgreSQL database up to date. Every other command does it at its start, too; one at a time."""
    settings = read_settings(config, {"database_url": database_url, "log_level": log_level})
    from bestex import runtime  # noqa: PLC0415 - client commands start faster without the engine

    runtime.migrate(settings)
    print_line("the database is up to date")
