"""A front door over a real store, a real bus and real pools; the orders' lives are written by the test."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import uvicorn
from solders.pubkey import Pubkey

from bestex.api.app import create_app
from bestex.api.front import Front
from bestex.api.metrics import Metrics
from bestex.api.server import make_server
from bestex.api.wire import App
from bestex.bus.local import LocalBus, LocalSubscription
from bestex.config import Settings
from bestex.execution.intake import Intake
from bestex.execution.quoting import Quoting
from bestex.listening import listen
from bestex.market.book import Book
from bestex.market.tokens import Tokens
from bestex.orders.attempt import Attempt
from bestex.orders.events import Event
from bestex.orders.order import Order
from bestex.ports import AccountsAt, Store
from bestex.store.sqlite import SqliteStore
from bestex.types import Account, Commitment, OrderId
from tests.support.cluster import ScriptedCluster
from tests.support.entropy import SeededEntropy
from tests.support.market import CLOCK, JUP, SOL, USDC, cpmm_accounts, dlmm_accounts
from tests.support.orders import Life

BODY: dict[str, Any] = {"type": "market", "tokenIn": "USDC", "tokenOut": "SOL", "amountIn": 1000, "userId": "user123"}
REFUSED_POOL = Pubkey.from_bytes(bytes(31) + b"\x07")


class SystemClock:
    """The machine's own time: the server under test runs in it."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class StillMarket(ScriptedCluster):
    """A cluster whose accounts never change."""

    def __init__(self, accounts: dict[Pubkey, Account]) -> None:
        super().__init__(SystemClock())
        self._accounts = accounts

    async def accounts(self, addresses: Sequence[Pubkey], commitment: Commitment) -> AccountsAt:
        self._check()
        return AccountsAt(CLOCK.slot, CLOCK, [self._accounts.get(address) for address in addresses])


class WatchedBus(LocalBus):
    """Counts the subscriptions that are open."""

    open = 0

    def subscribe(self, order_id: OrderId) -> LocalSubscription:
        subscription = super().subscribe(order_id)
        close = subscription.close
        is_open = True

        def closing() -> None:
            nonlocal is_open
            self.open -= is_open
            is_open = False
            close()

        self.open += 1
        subscription.close = closing  # type: ignore[method-assign]
        return subscription


@dataclass
class Readiness:
    """What `Front.ready` does."""

    error: Exception | None = None
    waits: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.waits.set()

    async def __call__(self) -> None:
        await self.waits.wait()
        if self.error is not None:
            raise self.error


@dataclass(repr=False)
class World:
    """The front door and everything behind it."""

    front: Front
    store: Store
    bus: WatchedBus
    cluster: StillMarket
    readiness: Readiness
    app: App
    client: httpx.AsyncClient

    async def post(self, **changes: Any) -> httpx.Response:
        """POST the usual order with some fields changed; a field that is `...` is left out."""
        body = {name: value for name, value in (BODY | changes).items() if value is not ...}
        return await self.client.post("/api/orders/execute", json=body)

    async def placed(self, **changes: Any) -> Life:
        """An order that was accepted over HTTP, ready for what the engine would do with it."""
        answer = await self.post(**changes)
        assert answer.status_code == 201, answer.text
        return Life(await self.store.order(OrderId(answer.json()["orderId"])))

    async def record(self, life: Life, *events: Event, attempt: Attempt | None = None) -> Order:
        """Write events that the order has taken already."""
        await self.store.record(life.change(*events, attempt=attempt))
        return life.order

    async def stored(self) -> int:
        """How many orders there are."""
        page = await self.store.orders(user_id=None, status=None, cursor=None, limit=500)
        return len(page.orders)


@asynccontextmanager
async def world_in(directory: Path, **changes: Any) -> AsyncIterator[World]:
    """A world with some settings changed."""
    settings = msgspec.structs.replace(Settings(), **{"port": 0, "shutdown_s": 2.0} | changes)
    metrics = Metrics(SystemClock())
    pools = cpmm_accounts(SOL, USDC, (10**13, 15 * 10**11)) | dlmm_accounts(
        SOL, USDC, (10**13, 15 * 10**11), active_id=-1_898
    )
    cluster = StillMarket(pools)
    book = Book(cluster, SystemClock(), [*_pool_addresses(pools), REFUSED_POOL], max_age_s=0.4)
    await book.load()
    bus, readiness = WatchedBus(buffer_events=settings.stream_buffer_events), Readiness()
    async with AsyncExitStack() as exits:
        store = SqliteStore(directory / "bestex.db", clock=SystemClock(), on_batch=metrics.observe_batch)
        await store.open()
        exits.push_async_callback(store.close)
        store.on_commit(bus.publish)
        store.on_commit(metrics.observe_commits)
        front = _front(settings, store, bus, book, metrics, readiness)
        app = create_app(front)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        client = await exits.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://bestex"))
        yield World(front, store, bus, cluster, readiness, app, client)


def _front(
    settings: Settings, store: Store, bus: WatchedBus, book: Book, metrics: Metrics, readiness: Readiness
) -> Front:
    clock, tokens = SystemClock(), Tokens([SOL, USDC, JUP])
    quoting = Quoting(book, tokens)
    intake = Intake(
        store=store,
        bus=bus,
        clock=clock,
        entropy=SeededEntropy(1),
        tokens=tokens,
        has_pools=quoting.has_pools,
        slippage_bps=settings.slippage_bps,
        max_attempts=settings.max_attempts,
    )
    return Front(
        settings=settings,
        store=store,
        bus=bus,
        intake=intake,
        quoting=quoting,
        book=book,
        tokens=tokens,
        clock=clock,
        metrics=metrics,
        simulated=True,
        ready=readiness,
    )


def _pool_addresses(accounts: dict[Pubkey, Account]) -> list[Pubkey]:
    from bestex.venues import PROGRAMS  # noqa: PLC0415

    return [
        address
        for address, account in accounts.items()
        if account.owner in PROGRAMS and PROGRAMS[account.owner].is_pool(account)
    ]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with world_in(tmp_path) as made:
        yield made


class Served:
    """A world behind a real server on a loopback port."""

    def __init__(self, world: World, server: uvicorn.Server, port: int) -> None:
        self.world = world
        self.server = server
        self.port = port
        self.url = f"http://127.0.0.1:{port}"


@asynccontextmanager
async def served_in(directory: Path, **changes: Any) -> AsyncIterator[Served]:
    """A world with some settings changed, served."""
    async with world_in(directory, **changes) as world:
        server = make_server(world.app, world.front.settings, lambda: None)
        with listen(world.front.settings.host, world.front.settings.port) as listener:
            running = asyncio.create_task(server.serve(sockets=[listener]))
            try:
                await until(lambda: server.started or running.done())
                yield Served(world, server, listener.getsockname()[1])
            finally:
                server.should_exit = True
                await running


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with served_in(tmp_path) as made:
        yield made


async def until(condition: Callable[[], bool] | Callable[[], Awaitable[bool]], timeout_s: float = 10.0) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(timeout_s):
        while True:
            met = condition()
            if met if isinstance(met, bool) else await met:
                return
            await asyncio.sleep(0.002)
