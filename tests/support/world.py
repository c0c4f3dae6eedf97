"""The engine on virtual time: real SQLite, the real paper cluster, and faults where a test wants them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

from solders.pubkey import Pubkey

from bestex.bus.local import LocalBus
from bestex.execution.conditions import Conditions
from bestex.execution.engine import Engine, EngineSettings
from bestex.execution.intake import Intake, OrderRequest
from bestex.execution.landing import Landing
from bestex.execution.quoting import Quoting
from bestex.execution.reconcile import Reconciler
from bestex.execution.worker import Worker
from bestex.market.book import Book
from bestex.market.tokens import Tokens
from bestex.orders.events import Event, decode_event
from bestex.orders.order import Order, OrderType
from bestex.paper.cluster import PaperCluster
from bestex.paper.network import NetworkProfile
from bestex.paper.running import InPlace
from bestex.ports import AccountsAt, Blockhash, Height, LandedTransaction, Simulation, StatusesAt
from bestex.solana.signer import KeypairSigner
from bestex.store.commit import InlineExecutor
from bestex.store.sqlite import SqliteStore
from bestex.types import Commitment, OrderId, Signature
from tests.support.clock import VirtualClock
from tests.support.entropy import SeededEntropy
from tests.support.paper import WALLET

PROFILE = NetworkProfile(
    slot_s=0.4,
    confirmed_after_slots=1,
    finalized_after_slots=12,
    blockhash_max_age_blocks=20,
    send_s=(0.01, 0.03),
    statuses_s=(0.01, 0.03),
    accounts_s=(0.01, 0.03),
    simulate_s=(0.01, 0.03),
)
LEASE_S = 10.0
_LIMIT_S = 6_000.0
"""Virtual seconds in which everything must have ended: idle workers wait in real ones, which are longer."""


Hook = Callable[[], Awaitable[None]]


async def go_on() -> None:
    """The hook of a call that goes well."""


class Halt:
    """A hook at which a call stops, until the test lets it go on; if ever."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __call__(self) -> None:
        self.reached.set()
        await self.go_on.wait()


class Faulty:
    """A cluster with hooks before and after the effect of a call; whatever they raise, the caller gets."""

    simulated = True

    def __init__(self, inner: PaperCluster) -> None:
        self._inner = inner
        self.drop_sends = False
        self.before_send: Hook = go_on
        self.after_send: Hook = go_on
        self.before_simulate: Hook = go_on
        self.sent: list[bytes] = []

    async def send(self, transaction: bytes) -> None:
        await self.before_send()
        self.sent.append(transaction)
        if not self.drop_sends:
            await self._inner.send(transaction)
        await self.after_send()

    async def simulate(self, transaction: bytes) -> Simulation:
        await self.before_simulate()
        return await self._inner.simulate(transaction)

    async def latest_blockhash(self, commitment: Commitment) -> Blockhash:
        return await self._inner.latest_blockhash(commitment)

    async def height(self, commitment: Commitment) -> Height:
        return await self._inner.height(commitment)

    async def oldest_block(self) -> Height:
        return await self._inner.oldest_block()

    async def accounts(self, addresses: Sequence[Pubkey], commitment: Commitment) -> AccountsAt:
        return await self._inner.accounts(addresses, commitment)

    async def priority_fees(self, writable: Sequence[Pubkey]) -> list[int]:
        return await self._inner.priority_fees(writable)

    async def statuses(self, signatures: Sequence[Signature], *, search_history: bool) -> StatusesAt:
        return await self._inner.statuses(signatures, search_history=search_history)

    async def transaction(self, signature: Signature) -> LandedTransaction | None:
        return await self._inner.transaction(signature)

    async def wait_landing(self, signature: Signature, timeout_s: float) -> None:
        await self._inner.wait_landing(signature, timeout_s)


class Incarnation:
    """One life of the engine's process, from its start to its crash."""

    def __init__(self, world: "World", name: str) -> None:
        self.store = SqliteStore(
            world.path / "bestex.db", clock=world.clock, write_executor=InlineExecutor(), read_executor=InlineExecutor()
        )
        self.bus = LocalBus(buffer_events=1000)
        self.tokens = Tokens(world.paper.tokens)
        self.book = Book(world.cluster, world.clock, world.paper.pools, max_age_s=0.4)
        clock, entropy = world.clock, SeededEntropy(7)
        conditions = Conditions(world.cluster, clock, percentile=75, max_unit_price_micro_lamports=1000)
        quoting = Quoting(self.book, self.tokens, conditions)
        self.intake = Intake(
            store=self.store, bus=self.bus, clock=clock, entropy=world.entropy, tokens=self.tokens,
            has_pools=quoting.has_pools, slippage_bps=50, max_attempts=3,
        )  # fmt: skip
        self.engine = Engine(
            store=self.store, cluster=world.cluster, clock=clock, entropy=entropy, signer=KeypairSigner(WALLET),
            tokens=self.tokens, quoting=quoting,
            conditions=conditions,
            landing=Landing(world.cluster, clock, resend_s=2.0, status_poll_s=0.5),
            settings=EngineSettings(retry_base_s=0.5, retry_max_s=30.0),
        )  # fmt: skip
        self._worker = Worker(
            name, engine=self.engine, store=self.store, bus=self.bus, clock=clock, concurrency=10, rate_per_minute=0,
            lease_s=LEASE_S, poll_s=1.0,
        )  # fmt: skip
        self._reconciler = Reconciler(
            f"{name}/reconciler", store=self.store, cluster=world.cluster, bus=self.bus, clock=clock, interval_s=1.0
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> Self:
        self.store.on_commit(self.bus.publish)
        await self.store.open()
        await self.book.load()
        return self

    async def start(self) -> Self:
        """Open, and begin to work."""
        await self.open()
        self._tasks = [asyncio.create_task(self._worker.run()), asyncio.create_task(self._reconciler.run())]
        return self

    async def crash(self) -> None:
        """Stop everything where it stands."""
        await self._worker.drain(0)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.store.abandon()


class World:
    """A chain that goes on, and an engine that may come and go."""

    def __init__(self, path: Path, clock: VirtualClock, paper: PaperCluster) -> None:
        self.path = path
        self.clock = clock
        self.entropy = SeededEntropy(5)
        self.paper = paper
        self.cluster = Faulty(paper)

    def incarnation(self, name: str = "one") -> Incarnation:
        return Incarnation(self, name)

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Let virtual time pass until the condition holds."""
        deadline_s = self.clock.monotonic_s() + _LIMIT_S
        while not await condition():
            assert self.clock.monotonic_s() < deadline_s, f"not within {_LIMIT_S} virtual seconds"
            await asyncio.sleep(0)

    async def until_terminal(self, engine: Incarnation, order_id: OrderId) -> tuple[Order, list[Event]]:
        """The order when it has ended, finality included, and all its events."""

        async def ended() -> bool:
            return (await engine.store.order(order_id)).is_terminal

        await self.until(ended)
        return await engine.store.order(order_id), await self.events(engine, order_id)

    async def until_event(self, engine: Incarnation, order_id: OrderId, kind: type[Event]) -> None:
        async def seen() -> bool:
            return any(isinstance(event, kind) for event in await self.events(engine, order_id))

        await self.until(seen)

    async def events(self, engine: Incarnation, order_id: OrderId) -> list[Event]:
        return [decode_event(event.payload) for event in await engine.store.events(order_id)]

    async def fills(self, order_id: OrderId) -> int:
        """How often the chain has filled the order: by the memo of successful transactions alone."""
        history = await self.paper.history()
        succeeded = ["\n".join(landed.logs) for landed in history if landed.error is None]
        return sum(f"bestex:{order_id}:" in logs for logs in succeeded)


def request(token_in: str = "USDC", token_out: str = "SOL", amount: str = "1000", **more: Any) -> OrderRequest:
    return OrderRequest(
        type=OrderType.MARKET, token_in=token_in, token_out=token_out, amount_in=amount, user_id="u", **more
    )


@asynccontextmanager
async def world(path: Path, profile: NetworkProfile = PROFILE) -> AsyncIterator[World]:
    """A chain that runs on virtual time."""
    clock = VirtualClock()
    paper = await PaperCluster.open(
        profile=profile, clock=clock, entropy=SeededEntropy(3), path=None, seed=1, wallet=WALLET.pubkey(),
        traders=False, runner=InPlace(),
    )  # fmt: skip
    tasks = [asyncio.create_task(paper.run()), asyncio.create_task(clock.drive())]
    try:
        yield World(path, clock, paper)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await paper.close()
