"""What commands print: tables for people, JSON for programs; plain text where nobody watches."""

import os
import sys
from collections.abc import Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

_NATURAL_WIDTH = 10_000
"""Lines are never cut to the terminal: what is cut cannot be copied, and a pipe has no width."""


def console(*, width: int | None = None) -> Console:
    """The terminal, or a plain file. Nothing is colored for a pipe."""
    return Console(width=width, highlight=False)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str | Text]], *, right: Sequence[str] = ()) -> None:
    """A table without lines: headings, then one line each. `right` names the columns with numbers in them."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    wide = console(width=_NATURAL_WIDTH)
    with wide.capture() as captured:
        wide.print(table)
    for line in captured.get().splitlines():
        print_line(line.rstrip())


def bar(part: int, whole: int, width: int) -> str:
    """A bar of at most `width` characters; on a terminal to an eighth of one, else in plain ASCII."""
    eighths = -(-part * width * 8 // whole)
    if _is_plain():
        return "#" * -(-eighths // 8)
    full, rest = divmod(eighths, 8)
    return "█" * full + ("▏▎▍▌▋▊▉"[rest - 1] if rest else "")


def _is_plain() -> bool:
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    return not sys.stdout.isatty() or bool(os.environ.get("NO_COLOR")) or encoding != "utf8"


def print_line(text: str = "") -> None:
    """One line on stdout, at once: a reader at the other end of a pipe waits for it."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def print_json(value: Any) -> None:
    """One JSON document on stdout, indented."""
    print_line(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
