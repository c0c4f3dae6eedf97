"""Commands that run in this process: serve, demo, config."""

import errno
import socket
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
import typer

from bestex.cli.exits import ExitCode
from bestex.cli.options import (
    Concurrency,
    Config,
    DataDir,
    Host,
    Json,
    LogLevel,
    PaperNetwork,
    Port,
    RatePerMinute,
    examples,
    server_address,
)
from bestex.cli.output import print_json, print_line, print_table
from bestex.cli.serving import run_server
from bestex.cli.settings import explained, read_settings
from bestex.config import Settings


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("serve", epilog=examples("bestex serve", "bestex serve --config bestex.toml --port 9000"))(serve)
    app.command(
        "demo",
        epilog=examples(
            "bestex demo", "bestex demo --exit --network instant", "bestex demo --url http://127.0.0.1:8080"
        ),
    )(demo)
    app.command("config", epilog=examples("bestex config", "BESTEX_PORT=9000 bestex config --json"))(config)


def serve(
    *,
    config: Config = None,
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    network: PaperNetwork = None,
    concurrency: Concurrency = None,
    rate_per_minute: RatePerMinute = None,
    log_level: LogLevel = None,
) -> None:
    """Run the server until Ctrl-C or SIGTERM; it finishes or hands back the orders in work."""
    run_server(
        "serve",
        "Bestex serves at {url}; Ctrl-C stops it",
        config,
        host=host,
        port=port,
        data_dir=data_dir,
        network=network,
        concurrency=concurrency,
        rate_per_minute=rate_per_minute,
        log_level=log_level,
    )


def demo(
    *,
    config: Config = None,
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    network: PaperNetwork = None,
    concurrency: Concurrency = None,
    rate_per_minute: RatePerMinute = None,
    log_level: LogLevel = None,
    exit_after: Annotated[bool, typer.Option("--exit", help="End after the summary.")] = False,
    url: Annotated[
        str | None, typer.Option("--url", callback=server_address, help="A server that runs already: start none.")
    ] = None,
) -> None:
    """Start a server on a paper market, trade some orders before your eyes, and go on serving.

    Orders are kept in a temporary directory unless --data-dir says otherwise. With --exit the exit code is 0 only if
    every order ended as planned; one of them is planned to fail. With --url the orders go to a server that runs
    already, and the demo ends after the summary as with --exit.
    """
    options = {
        "host": host,
        "port": port,
        "network": network,
        "concurrency": concurrency,
        "rate_per_minute": rate_per_minute,
        "log_level": log_level,
    }
    if url is not None:
        _refuse_beside_url({"data_dir": data_dir, **options})
    from bestex.cli.demo.run import run, run_at  # noqa: PLC0415 - client commands start faster without the engine

    if url is not None:
        as_planned = run_at(url)
    else:
        as_planned = run(_free(read_settings(config, options)), data_dir=data_dir, exit_after=exit_after)
    if not as_planned:
        raise typer.Exit(ExitCode.FAILED)


def config(*, config: Config = None, as_json: Json = False) -> None:
    """Show the effective settings and where each one comes from. Secrets are hidden."""
    settings = explained(config)
    if as_json:
        print_json({one.name: {"value": one.value, "source": one.source} for one in settings})
        return
    print_table(("SETTING", "VALUE", "SOURCE"), [(one.name, _shown(one.value), one.source) for one in settings])


def _refuse_beside_url(options: Mapping[str, object]) -> None:
    """Raises BadParameter for what is set of a server that the demo would start."""
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value is not None]
    if given:
        raise typer.BadParameter(f"{', '.join(given)}: of a server of the demo's own, and --url names another")


def _free(settings: Settings) -> Settings:
    """The settings, with any free port instead of one that is taken."""
    try:
        socket.create_server((settings.host, settings.port)).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            print_line(f"port {settings.port} is taken: taking a free one")
            return msgspec.structs.replace(settings, port=0)
    return settings


def _shown(value: Any) -> str:
    return msgspec.json.encode(value).decode() if not isinstance(value, str) else value or '""'
