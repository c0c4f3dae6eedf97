"""The `bestex` command: its commands, its help, its version."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from bestex import __version__
from bestex.cli import market, orders, roles, server, sim, venues
from bestex.cli.exits import EXIT_CODES, reported

_EXAMPLES = """[bold]Examples[/bold]

bestex demo

bestex serve --data-dir /var/lib/bestex

bestex quote 1000 USDC ETH

bestex order 1000 USDC ETH --watch"""


class _Commands(TyperGroup):
    """All commands, with expected errors as one line on stderr."""

    def invoke(self, ctx: Any) -> Any:
        with reported():
            return super().invoke(ctx)


app = typer.Typer(
    name="bestex",
    cls=_Commands,
    help="Bestex: best execution for orders on Solana DEXs. Paper trading by default: nothing here costs money.\n\n"
    + EXIT_CODES,
    epilog=_EXAMPLES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bestex {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options without a command."""


server.register(app)
roles.register(app)
orders.register(app)
market.register(app)
venues.register(app)
sim.register(app)


def main() -> None:
    """Run the command line and exit with its code."""
    app()
