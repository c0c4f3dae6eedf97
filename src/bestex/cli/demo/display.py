"""The demo on screen: a table that updates in place, or one plain line per event where nobody watches."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from types import TracebackType
from typing import Protocol, Self

from rich.live import Live
from rich.table import Table
from rich.text import Text

from bestex.cli.demo.progress import Progress
from bestex.cli.narrate import explain, short, word
from bestex.cli.output import console, print_line
from bestex.orders.events import Event

_TITLE = "paper market: everything is SIMULATED"
_WIDE = 150
"""Columns that a table with one line per order needs; narrower terminals get two lines per order."""
_STAGES = 4
"""Statuses of a life that are shown with their time; a retry pushes the oldest out."""
_STYLES = {
    "pending": "dim",
    "routing": "cyan",
    "building": "cyan",
    "submitted": "yellow",
    "confirmed": "bold green",
    "failed": "bold red",
    "refused": "bold red",
    "canceled": "red",
    "expired": "red",
}


class Display(Protocol):
    """Shows the demo's orders as they go."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def event(self, progress: Progress, event: Event) -> None:
        """An event came, and is in `progress` already."""
        ...

    def refused(self, progress: Progress) -> None:
        """The server did not take an order."""
        ...

    def tick(self) -> None:
        """Time has passed."""
        ...


class Lines:
    """One plain line per event."""

    def __init__(self, started: datetime) -> None:
        self._started = started

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def event(self, progress: Progress, event: Event) -> None:
        self._line(progress, event.at, word(event), explain(event, progress.pair))

    def refused(self, progress: Progress) -> None:
        self._line(progress, progress.stages[-1].at, progress.status, progress.problem)

    def tick(self) -> None:
        pass

    def _line(self, progress: Progress, at: datetime, status: str, text: str) -> None:
        after_s = (at - self._started).total_seconds()
        pair = f"{progress.pair.token_in}->{progress.pair.token_out}"
        print_line(f"{after_s:7.3f}s  #{progress.number:<2} {pair:<10} {status:<9}  {text}")


class LiveTable:
    """A table that updates in place."""

    def __init__(self, board: Sequence[Progress]) -> None:
        self._board = board
        self._console = console()
        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="visible")

    def __enter__(self) -> Self:
        self._live.start()
        self.tick()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.tick()
        self._live.stop()

    def event(self, progress: Progress, event: Event) -> None:
        """The next tick shows it."""

    def refused(self, progress: Progress) -> None:
        """The next tick shows it."""

    def tick(self) -> None:
        self._live.update(table(self._board, datetime.now(UTC), self._console.width), refresh=True)


def table(board: Sequence[Progress], now: datetime, width: int) -> Table:
    """All orders as they stand now, fit for a terminal of so many columns."""
    return _wide(board, now) if width >= _WIDE else _narrow(board, now)


def _wide(board: Sequence[Progress], now: datetime) -> Table:
    shown = Table(title=_TITLE, box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading, justify in _WIDE_COLUMNS:
        shown.add_column(heading, justify="right" if justify == ">" else "left", no_wrap=True)
    for one in board:
        status, stages = _status(one, now)
        raydium, meteora = _quotes(one)
        shown.add_row(
            str(one.number),
            f"{one.pair.token_in}→{one.pair.token_out}",
            one.planned.exact,
            status,
            stages,
            raydium,
            meteora,
            one.venue,
            short(one.tx_hash),
            digits(one.executed_price),
            _slippage(one) or Text(one.problem.split(":")[0], style="red"),
        )
    return shown


_WIDE_COLUMNS = (
    ("#", ">"),
    ("PAIR", "<"),
    ("EXACTLY", ">"),
    ("STATUS", "<"),
    ("SECONDS", "<"),
    ("RAYDIUM", ">"),
    ("METEORA", ">"),
    ("VENUE", "<"),
    ("TX", "<"),
    ("PRICE", ">"),
    ("SLIPPAGE", ">"),
)


def _narrow(board: Sequence[Progress], now: datetime) -> Table:
    shown = Table(title=_TITLE, box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    shown.add_column("#", justify="right")
    for heading in ("ORDER", "STATUS\nseconds", "RAYDIUM\nMETEORA", "VENUE\ntx", "PRICE\nslippage"):
        shown.add_column(heading, no_wrap=True)
    for one in board:
        status, stages = _status(one, now)
        raydium, meteora = _quotes(one)
        shown.add_row(
            str(one.number),
            _order(one),
            Text.assemble(status, "\n", stages),
            Text.assemble(raydium, "\n", meteora),
            f"{one.venue}\n{short(one.tx_hash)}",
            Text.assemble(digits(one.executed_price), "\n", _slippage(one) or (one.problem.split(":")[0], "red")),
        )
    return shown


def _status(one: Progress, now: datetime) -> tuple[Text, Text]:
    """The latest status, and how long each one lasted: `p0.1 r0.4` is 0.1 s pending, then 0.4 s routing."""
    elapsed = one.elapsed_s(now)
    stages = " ".join(f"{status[0]}{seconds:.1f}" for status, seconds in elapsed[-_STAGES:])
    return Text(one.status or "posting", style=_STYLES.get(one.status, "dim")), Text(stages, style="dim")


def _quotes(one: Progress) -> tuple[Text, Text]:
    """Both exchanges' best quotes; those that the route trades on are marked."""
    chosen = {venue.partition("_")[0] for venue in one.venues}
    return (
        Text(digits(one.raydium), style="green" if "raydium" in chosen else ""),
        Text(digits(one.meteora), style="green" if "meteora" in chosen else ""),
    )


def _order(one: Progress) -> str:
    """The trade in two lines, with the amount that is exact."""
    if one.planned.exact_out:
        return f"{one.pair.token_in}\n→ {one.planned.exact}"
    return f"{one.planned.exact}\n→ {one.pair.token_out}"


def _slippage(one: Progress) -> str:
    return f"{digits(one.slippage_bps, 3)} bps" if one.slippage_bps else ""


def digits(amount: str, count: int = 7) -> str:
    """A decimal number to so many significant digits, without an exponent; other text as it is."""
    try:
        number = Decimal(amount)
    except ArithmeticError:
        return amount
    if number == 0:
        return "0"
    places = max(0, count - 1 - number.adjusted())
    text = f"{number:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
