"""The command line: `bestex --help`."""

from bestex.cli.app import main

__all__ = ["main"]
