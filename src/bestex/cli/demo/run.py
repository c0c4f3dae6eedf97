"""The demo from start to end: a server in this process or one that runs elsewhere, the orders, the summary."""

import asyncio
import secrets
import shutil
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bestex.cli.demo.display import Display, Lines, LiveTable
from bestex.cli.demo.plan import PLAN
from bestex.cli.demo.progress import Progress
from bestex.cli.demo.summary import invitation, summary
from bestex.cli.demo.trade import Trader
from bestex.cli.exits import ExitCode, fail
from bestex.cli.narrate import Pair
from bestex.cli.output import print_line
from bestex.client import ApiError, AsyncClient
from bestex.config import Settings
from bestex.logs import configure_logs
from bestex.runtime import running

_TICK_S = 0.1
_SHUTDOWN_S = 1.0
"""Nobody wants to wait long for a demo to end."""
_LIMIT_S = 180.0
"""Orders that take longer than this count as not having ended as planned."""


def run(settings: Settings, *, data_dir: str | None, exit_after: bool) -> bool:
    """Run the demo; whether every order ended as planned. A temporary directory is kept only if one did not."""
    folder = Path(data_dir or tempfile.mkdtemp(prefix="bestex-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "demo.log"
    shutdown_s = min(settings.shutdown_s, _SHUTDOWN_S)
    demo = _Demo(msgspec.structs.replace(settings, data_dir=str(folder), shutdown_s=shutdown_s), log)
    keep = True
    try:
        configure_logs(settings, log)
        asyncio.run(demo.run(exit_after=exit_after))
        keep = not demo.as_planned
    except KeyboardInterrupt:
        keep = False
        raise
    finally:
        if data_dir is None and not keep:
            shutil.rmtree(folder, ignore_errors=True)
    return demo.as_planned


def run_at(url: str) -> bool:
    """Run the demo's orders on a server that runs already; whether every order ended as planned.

    Raises ApiError, ConnectionFailed; typer.Exit for a server that trades for money.
    """
    demo = _Demo()
    asyncio.run(demo.run_at(url))
    return demo.as_planned


class _Demo:
    def __init__(self, settings: Settings | None = None, log: Path | None = None) -> None:
        """Of the server in this process, if there is one."""
        self._settings = settings or Settings()
        self._log = log
        self._board: Sequence[Progress] = ()

    @property
    def as_planned(self) -> bool:
        return bool(self._board) and all(progress.as_planned for progress in self._board)

    async def run(self, *, exit_after: bool) -> None:
        async with running(self._settings) as engine, AsyncClient(engine.url) as client:
            print_line(f"Bestex serves at {engine.url}; orders in {self._settings.data_dir}, log in {self._log}")
            closed = asyncio.ensure_future(engine.wait_closed())
            await self._trade(client, closed)
            self._sum_up(engine.url)
            if not exit_after:
                print_line("Ctrl-C stops the server.")
                await closed

    async def run_at(self, url: str) -> None:
        async with AsyncClient(url) as client:
            if not (await client.health()).simulated:
                raise fail(
                    f"the server at {url} is not on a paper market: the demo trades on those only", ExitCode.USAGE
                )
            try:
                await client.tokens()
            except ApiError as error:
                if error.status != 404:
                    raise
                said = f"the server at {url} takes no orders: that of `bestex worker` only says how it is"
                raise fail(said, ExitCode.USAGE) from error
            print_line(f"Bestex serves at {url}; what it keeps, it keeps")
            await self._trade(client, asyncio.get_running_loop().create_future())
            self._sum_up(url)

    async def _trade(self, client: AsyncClient, closed: asyncio.Future[None]) -> None:
        tokens = {token.symbol: token for token in (await client.tokens()).tokens}
        symbols = {token.mint: token.symbol for token in tokens.values()}
        self._board = [
            Progress(
                number=number,
                planned=planned,
                pair=Pair(
                    planned.token_in,
                    planned.token_out,
                    tokens[planned.token_out].decimals,
                    symbols=symbols,
                    exact_out=planned.exact_out,
                    in_decimals=tokens[planned.token_in].decimals,
                ),
            )
            for number, planned in enumerate(PLAN, start=1)
        ]
        trader = Trader(client, tokens, run_id=f"demo-{secrets.token_hex(4)}")
        display: Display = LiveTable(self._board) if sys.stdout.isatty() else Lines(datetime.now(UTC))
        with display:
            trades = [asyncio.create_task(trader.trade(progress, display)) for progress in self._board]
            await _wait(trades, display, closed)
        if closed.done():
            raise fail(f"the server was stopped before every order had ended; its log: {self._log}", ExitCode.FAILED)

    def _sum_up(self, url: str) -> None:
        print_line()
        for line in summary(self._board):
            print_line(line)
        print_line()
        for line in invitation(url, self._board[0].order_id):
            print_line(line)


async def _wait(trades: Sequence[asyncio.Task[None]], display: Display, closed: asyncio.Future[None]) -> None:
    """Keep the display going until all orders have ended, the time is over, or the server has closed."""
    pending: set[asyncio.Task[None]] = set(trades)
    try:
        async with asyncio.timeout(_LIMIT_S):
            while pending and not closed.done():
                done, pending = await asyncio.wait(pending, timeout=_TICK_S)
                display.tick()
                for trade in done:
                    trade.result()
    except TimeoutError:
        pass
    finally:
        for trade in pending:
            trade.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
