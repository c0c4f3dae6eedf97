"""The whole engine behind its public API: paper cluster, SQLite, real signatures, real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from bench.load import Connection
from solders.transaction import VersionedTransaction

from bestex.client import ApiError, AsyncClient
from bestex.config import Settings, load
from bestex.orders.events import Confirmed, Failed, Finalized, Retrying, Routed, Submitted
from bestex.runtime import Running, running
from bestex.store.sqlite import SqliteStore
from bestex.types import OrderId

WAIT_S = 30.0


def settings(data_dir: Path, **changes: Any) -> Settings:
    return load({}, overrides={"port": 0, "data_dir": str(data_dir), "network": "instant", **changes})


@asynccontextmanager
async def engine(data_dir: Path, **changes: Any) -> AsyncIterator[tuple[Running, AsyncClient]]:
    async with AsyncExitStack() as exits:
        started = await exits.enter_async_context(running(settings(data_dir, **changes)))
        yield started, await exits.enter_async_context(AsyncClient(started.url))


async def ended(client: AsyncClient, order_id: str) -> list[Any]:
    """All events of an order, to the last."""
    async with asyncio.timeout(WAIT_S):
        return [event async for event in client.watch(order_id)]


async def until_begun(client: AsyncClient, order_id: str) -> None:
    async with asyncio.timeout(WAIT_S):
        async for event in client.watch(order_id):
            if event.seq >= 2:
                return


async def test_the_mission_on_one_tcp_connection(tmp_path: Path) -> None:
    """POST, then the same connection becomes a WebSocket that tells everything from the first event on."""
    async with engine(tmp_path) as (started, client):
        connection = Connection(started.url)
        order = {"type": "market", "tokenIn": "USDC", "tokenOut": "ETH", "amountIn": 1000, "userId": "user123"}
        status, answer = await connection.request("POST", "/api/orders/execute", json.dumps(order).encode())
        created = json.loads(answer)
        assert status == 201
        assert (created["status"], created["amountIn"], created["tokenIn"]) == ("pending", "1000", "USDC")
        await connection.upgrade(f"/api/orders/execute?orderId={created['orderId']}")
        events = []
        async with asyncio.timeout(WAIT_S):
            while (message := await connection.receive()) is not None:
                events.append(json.loads(message))
        connection.close()

        assert [event["status"] for event in events] == [
            "pending", "routing", "building", "submitted", "confirmed", "confirmed",
        ]  # fmt: skip
        assert [event["seq"] for event in events] == [1, 2, 3, 4, 5, 6]
        assert events[-1]["finality"] == "finalized"
        _, routed, _, submitted, confirmed, _ = events
        assert {quote["dex"] for quote in routed["quotes"]} == {"Raydium", "Meteora"}
        offered = [int(quote["outAmount"]) for quote in routed["quotes"] if "outAmount" in quote]
        assert max(offered) == offered[0] <= int(routed["outAmount"])
        assert sum(int(leg["outAmount"]) for leg in routed["legs"]) == int(routed["outAmount"])
        assert int(routed["bound"]) - int(routed["outAmount"]) == int(routed["optimalityGap"])
        assert confirmed["txHash"] == submitted["txHash"]
        assert confirmed["outAmount"] == routed["outAmount"], "pools did not move: paid to the last base unit"
        assert confirmed["simulated"] is True

        found = await client.order(created["orderId"])
        assert found.status == "confirmed"
        assert found.tx_hash == confirmed["txHash"]


async def test_one_pool_is_taken_where_that_is_asked_for(tmp_path: Path) -> None:
    async with engine(tmp_path, paper_traders=False) as (_, client):
        quote = await client.quote("USDC", "ETH", 1000, routing="best")
        order = await client.place("USDC", "ETH", 1000, user_id="u", routing="best")
        events = await ended(client, order.order_id)
    routed = next(event for event in events if isinstance(event, Routed))
    fill = next(event for event in events if isinstance(event, Confirmed))
    assert (routed.kind, len(routed.legs)) == ("single", 1)
    assert quote.best_single is not None
    assert routed.pool == quote.best_single.pool == fill.pool
    assert fill.out_amount == quote.out_amount == quote.quotes[0].out_amount


async def test_a_large_order_is_filled_by_several_pools_as_quoted(tmp_path: Path) -> None:
    async with engine(tmp_path, paper_traders=False) as (_, client):
        quote = await client.quote("USDC", "SOL", 250_000)
        order = await client.place("USDC", "SOL", 250_000, user_id="u")
        events = await ended(client, order.order_id)
        attempt = (await client.order(order.order_id)).attempts[-1]
    fill = next(event for event in events if isinstance(event, Confirmed))
    assert quote.route_kind == "split"
    assert fill.out_amount == quote.out_amount, "pools did not move: paid to the last base unit"
    assert (fill.slippage_bps_realized, fill.quote_difference) == ("0.00", "0")
    assert fill.legs == attempt.swaps == [f"{leg.venue}:{leg.swap_info.amm_key}" for leg in quote.route_plan]
    assert quote.best_single is not None
    assert int(fill.out_amount) > int(quote.best_single.out_amount or 0)


async def test_an_exact_output_is_received_exactly_for_what_was_quoted(tmp_path: Path) -> None:
    async with engine(tmp_path, paper_traders=False) as (_, client):
        quote = await client.quote("USDC", "SOL", amount_out="12.5")
        order = await client.place("USDC", "SOL", amount_out="12.5", max_amount_in=quote.amount_in, user_id="u")
        await ended(client, order.order_id)
        filled = await client.order(order.order_id)
        dearer = await client.place("USDC", "SOL", amount_out=12, max_amount_in=1000, user_id="u", max_retries=0)
        refused = (await ended(client, dearer.order_id))[-1]
    assert (filled.status, filled.amount_out, filled.amount_in) == ("confirmed", "12.5", quote.amount_in)
    assert filled.attempts[-1].max_in_amount == filled.max_in_amount == quote.in_amount
    assert isinstance(refused, Failed)
    assert (refused.error.code, refused.error.money_moved) == ("NO_ROUTE", "no")


async def test_the_transaction_is_real(tmp_path: Path) -> None:
    async with engine(tmp_path) as (_, client):
        order = await client.place("SOL", "USDC", "2.5", user_id="u")
        events = await ended(client, order.order_id)
    store = SqliteStore(tmp_path / "bestex.db", clock=_StoppedClock())
    await store.open()
    (attempt,) = await store.attempts(OrderId(order.order_id))
    await store.close()
    transaction = VersionedTransaction.from_bytes(attempt.transaction)
    assert transaction.verify_with_results() == [True]
    assert str(transaction.signatures[0]) == next(event.tx_hash for event in events if isinstance(event, Submitted))


class _StoppedClock:
    def now_ms(self) -> int:
        return 0

    def monotonic_s(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody sleeps here")


@pytest.mark.parametrize("network", ["instant", "fast"])
async def test_all_pairs_in_both_directions(tmp_path: Path, network: str) -> None:
    async with engine(tmp_path, network=network, rate_per_minute=0, concurrency=50, slippage_bps=300) as (_, client):
        pools = (await client.pools()).pools
        pairs = {(pool.tokens[0].symbol or "", pool.tokens[1].symbol or "") for pool in pools}
        assert len(pairs) >= 8
        # The wallet begins without JUP, and without an account for it.
        await ended(client, (await client.place("USDC", "JUP", 500, user_id="pairs")).order_id)
        for way in (1, -1):
            sizes = {"USDC": "50", "USDT": "50", "SOL": "0.3", "ETH": "0.01", "BTC": "0.0005"}
            ways = [pair[::way] for pair in pairs]
            placed = [await client.place(one, other, sizes.get(one, "20"), user_id="pairs") for one, other in ways]
            for order in placed:
                events = await ended(client, order.order_id)
                assert isinstance(events[-1], Finalized), events[-1]
                fill = next(event for event in events if isinstance(event, Confirmed))
                least = next(event for event in events[::-1] if isinstance(event, Submitted)).min_out_amount
                assert int(fill.out_amount) >= int(least)


async def test_two_equal_orders_are_two_fills(tmp_path: Path) -> None:
    async with engine(tmp_path) as (_, client):
        placed = await asyncio.gather(*(client.place("USDC", "SOL", 100, user_id="twin") for _ in range(2)))
        hashes = set()
        for order in placed:
            events = await ended(client, order.order_id)
            hashes |= {event.tx_hash for event in events if isinstance(event, Confirmed)}
    assert len(hashes) == 2


async def test_the_same_key_is_the_same_order(tmp_path: Path) -> None:
    async with engine(tmp_path) as (_, client):
        one = await client.place("USDC", "SOL", 100, user_id="u", client_order_id="mine")
        await ended(client, one.order_id)
        again = await client.place("USDC", "SOL", "100.0", user_id="u", client_order_id="mine")
        assert (again.order_id, again.status) == (one.order_id, "confirmed")
        with pytest.raises(ApiError) as refused:
            await client.place("USDC", "SOL", 101, user_id="u", client_order_id="mine")
        assert refused.value.status == 409
        other_account = await client.place("USDC", "SOL", 101, user_id="v", client_order_id="mine")
        assert other_account.order_id != one.order_id


async def test_a_hopeless_try_is_repeated_with_growing_waits_and_then_fails(tmp_path: Path) -> None:
    """So little that every pool would pay nothing."""
    async with engine(tmp_path, retry_base_s=0.05) as (_, client):
        order = await client.place("BONK", "USDC", "0.00001", user_id="u")
        events = await ended(client, order.order_id)
    retries = [event for event in events if isinstance(event, Retrying)]
    waits = [(event.retry_at - event.at).total_seconds() for event in retries]
    assert [event.retries_left for event in retries] == [1, 0]
    assert 0.05 <= waits[0] < waits[1]
    last = events[-1]
    assert isinstance(last, Failed)
    assert (last.error.code, last.error.money_moved) == ("NO_ROUTE", "no")


async def test_fewer_retries_when_the_order_says_so(tmp_path: Path) -> None:
    async with engine(tmp_path) as (_, client):
        order = await client.place("BONK", "USDC", "0.00001", user_id="u", max_retries=0)
        events = await ended(client, order.order_id)
    assert [type(event) for event in events[1:]] == [Failed]


async def test_more_than_the_wallet_holds_fails_before_anything_is_signed(tmp_path: Path) -> None:
    async with engine(tmp_path) as (_, client):
        order = await client.place("SOL", "USDC", 15_000_000, user_id="u")
        events = await ended(client, order.order_id)
    assert isinstance(events[-1], Failed)
    assert events[-1].error.code == "INSUFFICIENT_FUNDS"
    assert not any(isinstance(event, Submitted) for event in events)


async def test_priority_is_respected(tmp_path: Path) -> None:
    async with engine(tmp_path, network="fast", concurrency=1, paper_traders=False) as (_, client):
        first = await client.place("USDC", "SOL", 10, user_id="u")
        await until_begun(client, first.order_id)
        low = await client.place("USDC", "SOL", 10, user_id="u")
        high = await client.place("USDC", "SOL", 10, user_id="u", priority=9)
        began: dict[str, datetime] = {}
        for order in (low, high):
            events = await ended(client, order.order_id)
            began[order.order_id] = next(event.at for event in events if isinstance(event, Routed))
    assert began[high.order_id] < began[low.order_id]


async def test_a_waiting_order_can_be_canceled_and_an_ended_one_cannot(tmp_path: Path) -> None:
    async with engine(tmp_path, network="fast", concurrency=1) as (_, client):
        first = await client.place("USDC", "SOL", 10, user_id="u")
        await until_begun(client, first.order_id)
        waiting = await client.place("USDC", "SOL", 10, user_id="u")
        canceled = await client.cancel(waiting.order_id)
        assert canceled.status == "canceled"
        events = await ended(client, waiting.order_id)
        assert [event.status for event in events] == ["pending", "canceled"]
        assert (await ended(client, first.order_id))[-1].status == "confirmed"
        for order in (first, waiting):
            with pytest.raises(ApiError) as refused:
                await client.cancel(order.order_id)
            assert refused.value.status == 409


async def test_the_rate_limit_holds_and_survives_a_restart(tmp_path: Path) -> None:
    limits = {"rate_per_minute": 2}
    async with engine(tmp_path, **limits) as (_, client):
        placed = [await client.place("USDC", "SOL", 10, user_id="u") for _ in range(4)]
        for order in placed[:2]:
            assert (await ended(client, order.order_id))[-1].status == "confirmed"
        stats = await client.queue_stats()
        assert (stats.pending, stats.started_in_last_minute) == (2, 2)
    async with engine(tmp_path, **limits) as (_, client):
        again = await client.place("USDC", "SOL", 10, user_id="u")
        stats = await client.queue_stats()
        assert (stats.pending, stats.started_in_last_minute) == (3, 2)
        assert (await client.order(again.order_id)).status == "pending"


async def test_history_survives_a_restart(tmp_path: Path) -> None:
    async with engine(tmp_path) as (_, client):
        order = await client.place("USDC", "SOL", 10, user_id="u")
        before = await ended(client, order.order_id)
    async with engine(tmp_path) as (_, client):
        assert await ended(client, order.order_id) == before
        assert (await client.order(order.order_id)).status == "confirmed"
