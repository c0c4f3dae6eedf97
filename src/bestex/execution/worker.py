"""Claims orders and keeps up to `concurrency` of them in work at once."""

import asyncio
from contextlib import suppress

import structlog

from bestex.errors import StoreUnavailable
from bestex.execution.allowance import Allowance, Allowed
from bestex.execution.engine import Engine
from bestex.ports import Bus, Claim, Claims, Clock, Limits, RateLimit, Store
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
        limits: Limits | None = None,
        global_concurrency: int = 0,
    ) -> None:
        """`rate_per_minute` and `global_concurrency` are those of the whole deployment; 0: no limit.

        The first holds by the store's count, and `limits` spare it questions. The second holds by `limits` alone:
        without an answer from them, the worker goes on within its own `concurrency`.
        """
        self.name = name
        self._engine = engine
        self._store = store
        self._bus = bus
        self._clock = clock
        self._concurrency = concurrency
        self._lease_ms = round(lease_s * 1000)
        self._allowance = Allowance(
            name,
            limits,
            rate=RateLimit(rate_per_minute, RATE_WINDOW_MS) if rate_per_minute else None,
            global_concurrency=global_concurrency,
            lease_ms=self._lease_ms,
        )
        self._look_ms = 0
        """While no order may be begun: when to look again for orders that dead workers have begun."""
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
        self._slot_freed.clear()
        free = self._concurrency - len(self._in_work)
        if free <= 0:
            await self._slot_freed.wait()
            return
        allowed = await self._allowance.ask(free)
        try:
            answer = await self._claim(allowed)
        except StoreUnavailable as error:
            _log.error("cannot claim orders", reason=error.message)
            await self._allowance.settle(allowed, [])
            await self._clock.sleep(self._poll_s)
            return
        for claim in answer.claims:
            self._start(claim, [allowed.slots.pop()] if allowed.slots else [])
        await self._allowance.settle(allowed, answer.claims)
        if len(answer.claims) < max(allowed.limit, 1):
            await self._wait(allowed, answer.next_due_ms)

    async def _claim(self, allowed: Allowed) -> Claims:
        now_ms = self._clock.now_ms()
        if not allowed.limit:
            return Claims([], None)
        if allowed.no_room and now_ms < self._look_ms:
            return Claims([], self._look_ms)
        answer = await self._store.claim(
            self.name, limit=allowed.limit, now_ms=now_ms, lease_ms=self._lease_ms, rate=allowed.rate
        )
        if allowed.no_room and not answer.claims:
            self._look_ms = now_ms + round(self._poll_s * 1000)
            if answer.next_due_ms is not None:
                self._look_ms = min(self._look_ms, answer.next_due_ms)
        return answer

    async def _wait(self, allowed: Allowed, next_due_ms: int | None) -> None:
        """Until there may be something to claim."""
        wait_s = self._poll_s
        if next_due_ms is not None:
            wait_s = min(wait_s, max(0.001, (next_due_ms - self._clock.now_ms()) / 1000))
        if allowed.wait_s is not None:
            wait_s = min(wait_s, allowed.wait_s)
        if allowed.limit:
            await self._bus.wait_for_work(wait_s)
            return
        # All slots of the deployment are taken: new orders are no news.
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._slot_freed.wait()

    def _start(self, claim: Claim, slot: list[str]) -> None:
        task = asyncio.create_task(self._work(claim, slot), name=f"order {claim.order.id}")
        self._in_work[task] = claim.order.id
        task.add_done_callback(self._done)

    async def _work(self, claim: Claim, slot: list[str]) -> None:
        """`slot`: its slot of the global concurrency, if that is limited."""
        try:
            await self._engine.work(claim)
        finally:
            await self._allowance.leave(slot)

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
            await self._allowance.renew()
