"""How a command becomes a server."""

from pathlib import Path

from bestex.cli.output import print_line
from bestex.cli.settings import read_settings


def run_server(role: str, says: str, config: Path | None, **options: object) -> None:
    """Serve in a role until SIGINT or SIGTERM. `says`: what is printed when it serves, of its `{url}`.

    `options`: settings by name, None for those that were not given. Raises what `runtime.serve` raises.
    """
    settings = read_settings(config, options)
    from bestex import runtime  # noqa: PLC0415 - client commands start faster without the engine

    runtime.serve(settings, lambda url: print_line(says.format(url=url)), role=runtime.Role(role))
