"""The published client against the real front door: what one says the other understands."""

import asyncio

import pytest

from bestex.client import ApiError, AsyncClient
from bestex.orders.events import Event
from tests.api.conftest import Served
from tests.support.orders import Life, attempt

UNKNOWN = "01234567-89ab-7def-8123-456789abcdef"


async def test_an_order_from_its_post_to_its_end(served: Served) -> None:
    store = served.world.store
    async with AsyncClient(served.url) as client:
        placed = await client.place("USDC", "SOL", "1000", user_id="a/b", client_order_id="c1", slippage_bps=7)
        again = await client.place("USDC", "SOL", "1000", user_id="a/b", client_order_id="c1", slippage_bps=7)
        assert again == placed

        seen: list[Event] = []

        async def watch() -> None:
            seen.extend([event async for event in client.watch(placed.id)])

        watching = asyncio.create_task(watch())
        life = Life(await store.order(placed.id))  # type: ignore[arg-type]
        await served.world.record(life, life.routed(), life.built())
        submitted = life.submitted()
        await served.world.record(life, submitted, attempt=attempt(life.order))
        await served.world.record(life, life.confirmed())
        await served.world.record(life, life.finalized())
        async with asyncio.timeout(10):
            await watching

        order = await client.order(placed.id)
        assert order.events == seen
        assert [event.seq for event in seen] == [1, 2, 3, 4, 5, 6]
        assert (order.status, order.attempt_count, len(order.attempts)) == ("confirmed", 1, 1)
        assert order.executed_price is not None
        assert [each.id for each in (await client.orders(user_id="a/b")).orders] == [placed.id]
        assert [each.id for each in (await client.user_orders("a/b")).orders] == [placed.id]
        assert (await client.active()).orders == []


async def test_the_market_and_the_queue(served: Served) -> None:
    async with AsyncClient(served.url) as client:
        quote = await client.quote("USDC", "SOL", "1000", slippage_bps=0)
        assert quote.out_amount == quote.other_amount_threshold == quote.quotes[0].out_amount
        assert {token.symbol for token in (await client.tokens()).tokens} == {"SOL", "USDC", "JUP"}
        assert len((await client.pools()).pools) == 2
        assert (await client.queue_stats()).waiting == 0
        assert (await client.health()).status == "ok"


async def test_refusals_arrive_as_what_they_are(served: Served) -> None:
    async with AsyncClient(served.url) as client:
        with pytest.raises(ApiError) as refused:
            await client.quote("USDC", "NOPE", "1")
        assert (refused.value.status, refused.value.code, refused.value.money_moved) == (422, "UNKNOWN_TOKEN", "no")
        for call in (client.order(UNKNOWN), client.cancel(UNKNOWN), anext(client.watch(UNKNOWN))):
            with pytest.raises(ApiError) as refused:
                await call
            assert (refused.value.status, refused.value.code) == (404, "ORDER_NOT_FOUND")
