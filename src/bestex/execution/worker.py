"""Claims orders and keeps up to `concurrency` of them in work at once."""

import asyncio

import structlog

from bestex.errors import StoreUnavailable
from bestex.execution.engine import Engine
from bestex.ports import Bus, Claim, Clock, RateLimit, Store
from bestex.types import OrderId

_log = structlog.get_logger(__name__)

RATE_WINDOW_MS = 60_000


class Worker:
    """One worker: a name for its leases, and a number of slots. Runs until it is canceled, or told to drain."""

    def __init__(
        self,
        name: str,
        *,
        engine: Engine,
        store: Store,
        bus: Bus,
        clock: Clock,
        concurrency: int,
        rate_per_minute: int,
        lease_s: float,
        poll_s: float,
    ) -> None:
        self.name = name
        self._engine = engine
        self._store = store
        self._bus = bus
        self._clock = clock
        self._concurrency = concurrency
        self._rate = RateLimit(rate_per_minute, RATE_WINDOW_MS) if rate_per_minute else None
        self._lease_ms = round(lease_s * 1000)
        self._poll_s = poll_s
        self._in_work: dict[asyncio.Task[None], OrderId] = {}
        self._slot_freed = asyncio.Event()
        self._draining = False

    @property
    def in_work(self) -> int:
        """Orders that it works on now."""
        return len(self._in_work)

    async def run(self) -> None:
        """Claim and work orders."""
        renewing = asyncio.create_task(self._renew_leases())
        try:
            while not self._draining:
                await self._turn()
        finally:
            renewing.cancel()

    def stop_claiming(self) -> None:
        """Begin no more orders."""
        self._draining = True
        self._bus.wake()
        self._slot_freed.set()

    async def drain(self, timeout_s: float) -> None:
        """Stop claiming, and wait for the orders in work; what is not done by then is left to its lease."""
        self.stop_claiming()
        if self._in_work:
            _log.info("finishing the orders in work", orders=len(self._in_work))
            await asyncio.wait(self._in_work, timeout=timeout_s)
        for task in self._in_work:
            task.cancel()
        if self._in_work:
            _log.warning("orders left to their leases", orders=len(self._in_work))
            await asyncio.gather(*self._in_work, return_exceptions=True)

    async def _turn(self) -> None:
        free = self._concurrency - len(self._in_work)
        if free <= 0:
            self._slot_freed.clear()
            await self._slot_freed.wait()
            return
        now_ms = self._clock.now_ms()
        try:
            answer = await self._store.claim(
                self.name, limit=free, now_ms=now_ms, lease_ms=self._lease_ms, rate=self._rate
            )
        except StoreUnavailable as error:
            _log.error("cannot claim orders", reason=error.message)
            await self._clock.sleep(self._poll_s)
            return
        for claim in answer.claims:
            self._start(claim)
        if not answer.claims:
            wait_s = self._poll_s
            if answer.next_due_ms is not None:
                wait_s = min(wait_s, max(0.001, (answer.next_due_ms - self._clock.now_ms()) / 1000))
            await self._bus.wait_for_work(wait_s)

    def _start(self, claim: Claim) -> None:
        task = asyncio.create_task(self._engine.work(claim), name=f"order {claim.order.id}")
        self._in_work[task] = claim.order.id
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._in_work[task]
        self._slot_freed.set()
        if not task.cancelled():
            task.exception()  # the engine has logged it; the order's lease ends by itself

    async def _renew_leases(self) -> None:
        while True:
            await self._clock.sleep(self._lease_ms / 3000)
            if not self._in_work:
                continue
            try:
                # Of these orders only: one that was let go must come back when its lease ends.
                until_ms = self._clock.now_ms() + self._lease_ms
                await self._store.renew(self.name, list(self._in_work.values()), lease_until_ms=until_ms)
            except StoreUnavailable as error:
                _log.error("cannot renew leases", reason=error.message)
