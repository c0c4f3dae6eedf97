"""A process of Bestex, from its start to its end."""

import asyncio
import gc
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from enum import StrEnum
from typing import Any

import uvicorn

from bestex.api.app import create_app, create_ops_app
from bestex.api.front import Front
from bestex.api.metrics import Metrics
from bestex.api.server import loop_factory, make_server
from bestex.config import Settings
from bestex.errors import ClusterUnavailable, ConfigError
from bestex.listening import listen, url_of
from bestex.logs import configure_logs
from bestex.paper.server import serve_paper
from bestex.runtime.backends import Backends, open_paper, open_signer, postgres_store
from bestex.runtime.background import Background, Stop
from bestex.runtime.compose import compose
from bestex.runtime.patience import patiently
from bestex.runtime.system import SystemClock, SystemEntropy

_GIL_SWITCH_S = 0.0005
"""The store's and the ledger's threads need the interpreter for microseconds at a time; with Python's own 5 ms between
switches they would wait that long for it at every statement."""

_GC_THRESHOLD = 50_000
"""Objects more than were freed before a collection; Python's own 700 cost a tenth of the time under load."""


class Role(StrEnum):
    """What a process is for."""

    ALL = "serve"
    """Takes orders and works them."""
    API = "api"
    """Takes orders, answers, streams."""
    WORKER = "worker"
    """Works orders; its server only says how it is."""


class Running:
    """A serving process."""

    def __init__(self, server: uvicorn.Server, serving: asyncio.Task[None], url: str) -> None:
        self.url = url
        self._server = server
        self._serving = serving

    async def wait_closed(self) -> None:
        """Until the server is told to stop (SIGINT, SIGTERM) or fails."""
        await asyncio.shield(self._serving)

    def stop(self) -> None:
        """Tell the server to stop: no new connections, open streams are closed with a reason."""
        self._server.should_exit = True


@asynccontextmanager
async def assembled(settings: Settings, role: Role) -> AsyncIterator[tuple[Front, Background, Stop]]:
    """A working engine without its HTTP server. Ends by finishing the orders in work, as far as time allows."""
    clock, entropy = SystemClock(), SystemEntropy()
    metrics, background = Metrics(clock, times_orders=role is not Role.API), Background()
    name = f"{socket.gethostname()}-{os.getpid()}-{entropy.bytes(4).hex()}"
    async with AsyncExitStack() as exits:
        ports = await Backends(settings, clock, entropy, background=background, exits=exits).open(metrics)
        workers = 0 if role is Role.API else 1
        engines = compose(settings, ports, name, metrics=metrics, workers=workers, check=background.check)
        await patiently(engines.book.load, settings.startup_s, clock)
        stop = Stop(clock, settings.shutdown_s, [*(each.stop_claiming for each in engines.workers), ports.bus.close])
        if engines.workers:
            background.start("reconciler", engines.reconciler.run())
        for worker in engines.workers:
            background.start("worker", worker.run())
            exits.push_async_callback(stop.drain, worker)
        exits.callback(background.expect_stop)
        yield engines.front, background, stop


@asynccontextmanager
async def running(settings: Settings, role: Role = Role.ALL) -> AsyncIterator[Running]:
    """A serving process in this event loop. Port 0 takes any free port.

    Raises ConfigError when the port is taken, and at its end ClusterUnavailable if a part of the engine had failed.
    """
    check_role(settings, role)
    with listen(settings.host, settings.port) as listener:
        async with assembled(settings, role) as (front, background, stop):

            def begin_stop() -> None:
                background.expect_stop()
                stop.begin()

            app = create_ops_app(front) if role is Role.WORKER else create_app(front)
            server = make_server(app, settings, begin_stop)
            background.on_failure = lambda: setattr(server, "should_exit", True)
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            started = Running(server, serving, url_of(listener))
            while not server.started and not serving.done():
                await front.clock.sleep(0.005)
            try:
                yield started
            finally:
                started.stop()
                await serving
        if background.failure is not None:
            raise ClusterUnavailable(background.failure)


def check_role(settings: Settings, role: Role) -> None:
    """Raises ConfigError for settings with which a process of this role would be alone in the world."""
    if role is Role.ALL:
        return
    if not settings.database_url:
        raise ConfigError(f"`bestex {role}` needs database_url: SQLite belongs to one process, which is `bestex serve`")
    if not settings.cluster_url:
        raise ConfigError(f"`bestex {role}` needs cluster_url, the same for all: `bestex paper` serves a paper cluster")


def serve(settings: Settings, on_ready: Callable[[str], None] | None = None, role: Role = Role.ALL) -> None:
    """Serve until SIGINT or SIGTERM. Raises ConfigError, StoreUnavailable, ClusterUnavailable."""

    async def main() -> None:
        async with running(settings, role) as started:
            _settle()
            if on_ready is not None:
                on_ready(started.url)
            await started.wait_closed()

    _run(settings, main)


def paper(settings: Settings, on_ready: Callable[[str, str], None] | None = None) -> None:
    """Serve a paper cluster at `host` and `paper_port` until SIGINT or SIGTERM. `on_ready` is told both addresses.

    Raises ConfigError, ClusterUnavailable.
    """

    async def main() -> None:
        clock = SystemClock()
        cluster = await open_paper(settings, clock, SystemEntropy(), open_signer(settings).pubkey)
        try:
            _settle()
            await serve_paper(
                cluster,
                clock=clock,
                host=settings.host,
                port=settings.paper_port,
                on_ready=lambda address: on_ready(*address) if on_ready is not None else None,
            )
        finally:
            await cluster.close()

    _run(settings, main)


def migrate(settings: Settings) -> None:
    """Bring the database at `database_url` up to date. Raises ConfigError, StoreUnavailable."""
    if not settings.database_url:
        raise ConfigError("`bestex migrate` needs database_url; SQLite is migrated when it is opened")

    async def main() -> None:
        store = postgres_store(settings, SystemClock())
        await store.open()
        await store.close()

    _run(settings, main)


def _run(settings: Settings, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    configure_logs(settings)
    sys.setswitchinterval(_GIL_SWITCH_S)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(main())


def _settle() -> None:
    """What is there now stays: the garbage collector need not look at it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD)
