"""Clients under way while servers come and go: each places one order under its own key and follows it to its end."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from typing import Self

from bestex.client import AsyncClient
from bestex.client.results import OrderDetail
from bestex.client.retry import Retry
from bestex.orders.events import Canceled, Event, Expired, Failed, Finalized

PAIRS = [
    ("USDC", "SOL", "150.5"),
    ("SOL", "USDC", "1.25"),
    ("USDC", "ETH", "900"),
    ("SOL", "JUP", "2"),
    ("USDT", "USDC", "75"),
]
PATIENT = Retry(tries=1_000, first_s=0.05, max_s=0.5)
"""Outlasts every restart."""
ENDINGS = (Finalized, Failed, Canceled, Expired)


class Traffic:
    """What the clients did, and what they were told."""

    def __init__(self) -> None:
        self.accepted: dict[int, str] = {}
        """Order ids by the number of the client: what a server has acknowledged."""
        self.streams: dict[str, list[Event]] = {}
        """What each order's stream has brought, across all connections."""
        self._tasks: list[asyncio.Task[None]] = []
        self._exits = AsyncExitStack()
        self._client: AsyncClient

    @property
    def seen(self) -> int:
        """Events that have reached clients."""
        return sum(map(len, self.streams.values()))

    @property
    def ended(self) -> int:
        return sum(isinstance(events[-1], ENDINGS) for events in self.streams.values() if events)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._exits.aclose()

    async def begin(self, url: str, numbers: Iterable[int]) -> None:
        """Let one client a number trade at the server, each in a task of its own."""
        client = await self._exits.enter_async_context(AsyncClient(url, retry=PATIENT))
        self._tasks += [asyncio.create_task(self._trade(client, number)) for number in numbers]

    async def finish(self, within_s: float) -> None:
        """Until every client has seen the end of its order. Raises what any of them could not bear."""
        async with asyncio.timeout(within_s):
            await asyncio.gather(*self._tasks)

    def check(self) -> None:
        """Raise what any client could not bear so far."""
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.result()

    async def until(self, condition: Callable[[], bool], within_s: float = 30.0) -> None:
        """Until the condition holds, while no client has failed."""
        async with asyncio.timeout(within_s):
            while not condition():
                self.check()
                await asyncio.sleep(0.005)

    async def until_seen(self, more: int) -> None:
        """Until so many more events have reached clients, or there will be none."""
        target = self.seen + more
        await self.until(lambda: self.seen >= target or self.ended == len(self._tasks))

    async def _trade(self, client: AsyncClient, number: int) -> None:
        order_id = await place(client, number)
        self.accepted[number] = order_id
        stream = self.streams.setdefault(order_id, [])
        async for event in client.watch(order_id):
            stream.append(event)


async def place(client: AsyncClient, number: int) -> str:
    """Place the order of this number, under its own key; its id."""
    token_in, token_out, amount = PAIRS[number % len(PAIRS)]
    order = await client.place(token_in, token_out, amount, user_id="crash", client_order_id=f"order-{number}")
    return order.order_id


async def details(url: str, order_ids: Iterable[str]) -> dict[str, OrderDetail]:
    """The orders as the server tells them."""
    async with AsyncClient(url, retry=PATIENT) as client:
        return {order_id: await client.order(order_id) for order_id in order_ids}
