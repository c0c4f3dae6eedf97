"""Arguments and options that several commands share, and the foot of their help."""

from pathlib import Path
from typing import Annotated

import typer

from bestex.cli.exits import EXIT_CODES
from bestex.client.protocol import server_url
from bestex.config import Network
from bestex.types import Routing as Routes

_CONNECTION = "Connection and output"
_SETTINGS = "Settings (override the file and BESTEX_* variables)"


def server_address(text: str | None) -> str | None:
    """A server's address, normalized. Raises BadParameter."""
    try:
        return None if text is None else server_url(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


Url = Annotated[
    str,
    typer.Option(
        "--url", envvar="BESTEX_URL", callback=server_address, help="The server's address.", rich_help_panel=_CONNECTION
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Machine output: one JSON document.", rich_help_panel=_CONNECTION)]
JsonLines = Annotated[
    bool, typer.Option("--json", help="Machine output: one JSON document a line.", rich_help_panel=_CONNECTION)
]
Amount = Annotated[
    str,
    typer.Argument(
        metavar="AMOUNT",
        help="What to spend, in units of TOKEN_IN; with --exact-out what to receive, in units of TOKEN_OUT.",
        show_default=False,
    ),
]
ExactOut = Annotated[bool, typer.Option("--exact-out", help="AMOUNT is what to receive, exactly.")]
Routing = Annotated[
    Routes | None,
    typer.Option("--routing", help="auto: what nets most; best: one pool; split: all pools of the pair."),
]
TokenIn = Annotated[
    str, typer.Argument(metavar="TOKEN_IN", help="Symbol or mint address of what is spent.", show_default=False)
]
TokenOut = Annotated[
    str, typer.Argument(metavar="TOKEN_OUT", help="Symbol or mint address of what is received.", show_default=False)
]
OrderId = Annotated[str, typer.Argument(metavar="ORDER_ID", help="The order's id.", show_default=False)]

Config = Annotated[
    Path | None,
    typer.Option(
        "--config", envvar="BESTEX_CONFIG", metavar="FILE", help="TOML file of settings.", rich_help_panel=_SETTINGS
    ),
]
Host = Annotated[str | None, typer.Option("--host", help="Address to listen on.", rich_help_panel=_SETTINGS)]
Port = Annotated[
    int | None, typer.Option("--port", min=0, max=65535, help="Port; 0 takes any free one.", rich_help_panel=_SETTINGS)
]
DataDir = Annotated[
    str | None, typer.Option("--data-dir", metavar="DIR", help="Where orders are kept.", rich_help_panel=_SETTINGS)
]
PaperNetwork = Annotated[
    Network | None, typer.Option("--network", help="How the paper network behaves.", rich_help_panel=_SETTINGS)
]
Concurrency = Annotated[
    int | None, typer.Option("--concurrency", min=1, help="Orders in work at once.", rich_help_panel=_SETTINGS)
]
RatePerMinute = Annotated[
    int | None,
    typer.Option("--rate-per-minute", min=0, help="Orders begun in a minute; 0: no limit.", rich_help_panel=_SETTINGS),
]
LogLevel = Annotated[
    str | None, typer.Option("--log-level", metavar="LEVEL", help="debug, info, warning...", rich_help_panel=_SETTINGS)
]


def examples(*commands: str) -> str:
    """The foot of a command's help: examples and exit codes."""
    return "\n\n".join(("[bold]Examples[/bold]", *commands, EXIT_CODES))
