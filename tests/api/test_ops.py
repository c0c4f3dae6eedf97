"""Health, the queue, metrics, the table of problems."""

import asyncio
import re
from pathlib import Path
from typing import Any, NoReturn

import pytest
from websockets.asyncio.client import connect

from bestex.api import ops
from bestex.errors import StoreUnavailable
from tests.api.conftest import Served, World, world_in
from tests.api.raw import RawConnection
from tests.support.orders import NOW_MS, attempt


@pytest.mark.parametrize("path", ["/health", "/health/ready", "/health/live"])
async def test_a_ready_engine_is_healthy(world: World, path: str) -> None:
    answer = await world.client.get(path)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "simulated": True})


async def test_head_is_get_without_the_body(served: Served) -> None:
    async with await RawConnection.open(served.port) as connection:
        await connection.send(b"HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n")
        status, headers = await connection.head()
        assert (status, headers["content-type"]) == (200, "application/json")
        status, _, content = await connection.request("GET", "/health")
        assert (status, len(content)) == (200, int(headers["content-length"]))
    assert (await samples(served.world))['bestex_http_requests_total{method="HEAD",route="/health",status="200"}'] == 1


@pytest.mark.parametrize("path", ["/health", "/health/ready"])
async def test_an_engine_that_is_not_ready_says_why(world: World, path: str) -> None:
    world.readiness.error = StoreUnavailable("the disk is full")
    answer = await world.client.get(path)

    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["cause"]) == (503, "NOT_READY", "STORE_UNAVAILABLE")
    assert problem["detail"] == "the disk is full"
    assert (await world.client.get("/health/live")).status_code == 200


async def test_faults_of_the_check_are_not_told(world: World) -> None:
    world.readiness.error = ZeroDivisionError("secret")
    answer = await world.client.get("/health")
    assert (answer.status_code, answer.json()["code"]) == (503, "NOT_READY")
    assert "secret" not in answer.text


async def test_an_engine_that_does_not_answer_is_not_ready(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "_READY_TIMEOUT_S", 0.01)
    world.readiness.waits.clear()
    answer = await world.client.get("/health")
    assert (answer.status_code, answer.json()["code"]) == (503, "NOT_READY")


async def test_the_queue(tmp_path: Path) -> None:
    async with world_in(tmp_path, rate_per_minute=0, concurrency=7) as world:
        lives = [await world.placed() for _ in range(4)]
        await world.record(lives[1], lives[1].canceled())
        await world.record(lives[2], lives[2].failed())
        shown = (await world.client.get("/api/queue/stats")).json()

    assert (shown["pending"], shown["canceled"], shown["failed"], shown["confirmed"]) == (2, 1, 1, 0)
    assert shown["byStatus"] == {
        "pending": 2, "routing": 0, "building": 0, "submitted": 0, "confirmed": 0, "failed": 1, "canceled": 1,
        "expired": 0,
    }  # fmt: skip
    assert (shown["waiting"], shown["delayed"], shown["inWork"], shown["startedInLastMinute"]) == (2, 0, 0, 0)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", shown["oldestWaitingAt"])
    assert shown["limits"] == {"concurrency": 7, "ratePerMinute": None, "maxAttempts": 3}


async def test_an_empty_queue(world: World) -> None:
    shown = (await world.client.get("/api/queue/stats")).json()
    assert (shown["waiting"], shown["oldestWaitingAt"], shown["limits"]["ratePerMinute"]) == (0, None, 100)


async def test_metrics_of_a_life(world: World) -> None:
    life = await world.placed()
    await world.record(life, life.routed())
    await world.record(life, life.retrying(NOW_MS))
    await world.record(life, life.routed())
    await world.record(life, life.built())
    submitted = life.submitted()
    await world.record(life, submitted, attempt=attempt(life.order))
    await world.record(life, life.confirmed())
    await world.record(life, life.finalized())
    await world.placed()
    shown = await samples(world)

    assert shown['bestex_order_events_total{event="accepted",status="pending"}'] == 2
    assert shown['bestex_order_events_total{event="routed",status="routing"}'] == 2
    assert shown['bestex_order_events_total{event="finalized",status="confirmed"}'] == 1
    assert shown["bestex_order_retries_total"] == 1
    stages = {"pending": 2, "routing": 2, "building": 1, "submitted": 1, "confirmed": 1, "failed": 0}
    for status, count in stages.items():
        assert shown[f'bestex_order_stage_seconds_count{{status="{status}"}}'] == count
    assert shown['bestex_order_seconds_count{status="confirmed"}'] == 1
    assert shown['bestex_orders{status="confirmed"}'] == 1
    assert shown['bestex_queue_orders{state="waiting"}'] == 1
    assert shown["bestex_queue_oldest_seconds"] >= 0
    assert shown["bestex_store_commit_operations_count"] >= 8
    assert shown["bestex_store_commit_seconds_sum"] > 0
    assert shown['bestex_http_requests_total{method="POST",route="/api/orders/execute",status="201"}'] == 2
    assert len(world.front.metrics._open) == 1, "the order that has ended is forgotten"


async def test_orders_of_other_processes_are_timed_from_their_acceptance(world: World) -> None:
    life = await world.placed()
    world.front.metrics._open.clear()
    await world.record(life, life.routed())
    await world.record(life, life.failed())
    shown = await samples(world)

    waited_s = shown['bestex_order_stage_seconds_sum{status="pending"}']
    assert shown['bestex_order_stage_seconds_count{status="pending"}'] == 1
    assert shown['bestex_order_stage_seconds_count{status="routing"}'] == 1
    assert shown['bestex_order_seconds_count{status="failed"}'] == 1
    assert waited_s > 0
    assert shown['bestex_order_seconds_sum{status="failed"}'] >= waited_s
    assert world.front.metrics._open == {}


async def test_an_order_that_is_met_in_the_middle_of_its_life_is_timed_from_there(world: World) -> None:
    life = await world.placed()
    await world.record(life, life.routed())
    world.front.metrics._open.clear()
    before = await samples(world)
    await world.record(life, life.built())
    await world.record(life, life.failed())
    shown = await samples(world)

    for status, more in (("pending", 0), ("routing", 0), ("building", 1)):
        name = f'bestex_order_stage_seconds_count{{status="{status}"}}'
        assert shown[name] - before[name] == more
    assert shown['bestex_order_seconds_count{status="failed"}'] == 1


async def test_a_node_that_sees_no_ends_times_nothing(world: World) -> None:
    world.front.metrics._times_orders = False
    await world.placed()
    shown = await samples(world)

    assert shown['bestex_order_events_total{event="accepted",status="pending"}'] == 1
    assert world.front.metrics._open == {}


async def test_metrics_do_not_wait_for_a_store_that_says_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def for_ever(*_: object) -> NoReturn:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(world.front.store, "stats", for_ever)
    monkeypatch.setattr("bestex.api.ops._STATS_TIMEOUT_S", 0.01)
    shown = await samples(world)

    assert "bestex_websockets_open" in shown
    assert "bestex_queue_oldest_seconds" not in shown


async def test_orders_that_never_end_are_forgotten_in_the_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bestex.api.metrics._MOST_OPEN", 3)
    ids = [(await world.placed()).order.id for _ in range(5)]
    assert list(world.front.metrics._open) == ids[2:]


async def test_requests_are_counted_by_route_not_by_path(world: World) -> None:
    for path in ("/api/orders/nonsense", "/api/orders/other", "/nothing", "/nothing/else"):
        await world.client.get(path)
    await world.client.post("/api/orders/execute", content=b"{")
    shown = await samples(world)

    assert shown['bestex_http_requests_total{method="GET",route="/api/orders/{order_id}",status="404"}'] == 2
    assert shown['bestex_http_requests_total{method="GET",route="(none)",status="404"}'] == 2
    assert shown['bestex_http_requests_total{method="POST",route="/api/orders/execute",status="400"}'] == 1


async def test_sockets_are_counted(served: Served) -> None:
    life = await served.world.placed()
    async with connect(f"ws://127.0.0.1:{served.port}/api/orders/{life.order.id}/ws") as socket:
        await socket.recv()
        assert (await samples(served.world))["bestex_websockets_open"] == 1
        await served.world.record(life, life.failed())
        assert [message async for message in socket]
    shown = await samples(served.world)
    assert shown["bestex_websockets_open"] == 0
    assert shown["bestex_websocket_messages_total"] == 2


async def test_metrics_without_a_store(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any) -> Any:
        raise StoreUnavailable("no disk")

    await samples(world)
    monkeypatch.setattr(world.store, "stats", fail)
    shown = await samples(world)
    assert "bestex_websockets_open" in shown
    assert not any(name.startswith("bestex_queue") for name in shown)
    assert (await world.client.get("/api/queue/stats")).status_code == 503


async def samples(world: World) -> dict[str, float]:
    answer = await world.client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}
