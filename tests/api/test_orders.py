"""Orders looked up, listed and canceled over HTTP."""

from typing import Any

import pytest

from tests.api.conftest import World
from tests.support.orders import NOW_MS, Life, attempt


async def to_submitted(world: World, life: Life) -> None:
    await world.record(life, life.routed(), life.built())
    submitted = life.submitted()
    await world.record(life, submitted, attempt=attempt(life.order))


async def get(world: World, path: str) -> dict[str, Any]:
    answer = await world.client.get(path)
    assert answer.status_code == 200, answer.text
    decoded: dict[str, Any] = answer.json()
    return decoded


async def test_a_new_order(world: World) -> None:
    placed = (await world.post()).json()
    shown = await get(world, placed["links"]["self"])

    assert {name: shown[name] for name in placed} == placed
    assert [event["event"] for event in shown["events"]] == ["accepted"]
    assert shown["attempts"] == []


async def test_ids_are_found_in_any_case(world: World) -> None:
    life = await world.placed()
    assert (await get(world, f"/api/orders/{life.order.id.upper()}"))["id"] == life.order.id


async def test_a_submitted_order_shows_its_attempt_without_the_bytes(world: World) -> None:
    life = await world.placed()
    await to_submitted(world, life)
    made = attempt(life.order)
    answer = await world.client.get(f"/api/orders/{life.order.id}")
    shown = answer.json()

    assert (shown["status"], shown["attemptCount"]) == ("submitted", 1)
    assert shown["txHash"] == made.signature
    assert shown["executedPrice"] is None
    [attempted] = shown["attempts"]
    assert attempted.pop("createdAt").endswith("Z")
    assert attempted == {
        "number": 1,
        "state": "prepared",
        "signature": made.signature,
        "txHash": made.signature,
        "blockhash": made.blockhash,
        "lastValidBlockHeight": made.last_valid_block_height,
        "inAmount": str(made.in_amount),
        "maxInAmount": str(made.in_amount),
        "quotedOutAmount": "150250000",
        "minOutAmount": "149498750",
        "venue": "raydium_cpmm",
        "pool": made.pool,
        "swaps": [f"raydium_cpmm:{made.pool}"],
        "feeLamports": 6_400,
        "slot": None,
        "error": None,
    }
    assert "transaction" not in answer.text


async def test_a_filled_order(world: World) -> None:
    life = await world.placed()
    await to_submitted(world, life)
    await world.record(life, life.confirmed())
    shown = await get(world, f"/api/orders/{life.order.id}")

    assert life.order.fill is not None
    assert {name: shown[name] for name in ("status", "finality", "txHash", "venue", "slot", "feeLamports")} == {
        "status": "confirmed",
        "finality": "confirmed",
        "txHash": life.order.fill.signature,
        "venue": "raydium_cpmm",
        "slot": 250_000_003,
        "feeLamports": 6_400,
    }
    # 150_250_000 base units of SOL (9 decimals) for 1_000_000_000 of USDC (6 decimals)
    assert (shown["amountIn"], shown["amountOut"]) == ("1000", "0.15025")
    assert (shown["inAmount"], shown["outAmount"]) == ("1000000000", "150250000")
    assert (shown["executedPrice"], shown["priceUnit"]) == ("0.00015025", "SOL per USDC")

    await world.record(life, life.finalized())
    assert (await get(world, f"/api/orders/{life.order.id}"))["finality"] == "finalized"


async def test_a_failed_order_says_why_and_whether_money_moved(world: World) -> None:
    life = await world.placed()
    await world.record(life, life.failed())
    shown = await get(world, f"/api/orders/{life.order.id}")

    assert shown["error"] == {"code": "NO_ROUTE", "message": 'no "pool"\n', "retryable": False, "moneyMoved": "no"}


async def test_an_order_that_is_retried_says_when(world: World) -> None:
    life = await world.placed()
    await world.record(life, life.routed())
    await world.record(life, life.retrying(NOW_MS + 86_400_123))
    shown = await get(world, f"/api/orders/{life.order.id}")

    assert (shown["status"], shown["retries"], shown["retryAt"]) == ("pending", 1, "2026-01-02T00:00:00.123Z")
    assert shown["error"]["code"] == "NO_ROUTE"


async def test_pages_of_orders_newest_first(world: World) -> None:
    ids = [(await world.placed(userId=f"user{number % 2}")).order.id for number in range(7)]
    seen: list[str] = []
    path = "/api/orders?limit=3"
    while True:
        page = await get(world, path)
        assert len(page["orders"]) <= 3
        seen += [order["id"] for order in page["orders"]]
        if page["nextCursor"] is None:
            break
        path = f"/api/orders?limit=3&cursor={page['nextCursor']}"
    assert sorted(seen) == sorted(ids)
    assert seen == sorted(seen, reverse=True)


async def test_orders_of_a_user_and_in_a_status(world: World) -> None:
    mine = await world.placed(userId="me & you")
    failed = await world.placed(userId="me & you")
    await world.placed(userId="else")
    await world.record(failed, failed.failed())

    both = {mine.order.id, failed.order.id}
    assert {order["id"] for order in (await get(world, "/api/orders?userId=me%20%26%20you"))["orders"]} == both
    assert {order["id"] for order in (await get(world, "/api/orders/user/me%20%26%20you"))["orders"]} == both
    for path in ("/api/orders?userId=me+%26+you&status=failed", "/api/orders/user/me%20%26%20you?status=failed"):
        assert [order["id"] for order in (await get(world, path))["orders"]] == [failed.order.id]
    assert (await get(world, "/api/orders?userId=nobody"))["orders"] == []


@pytest.mark.parametrize("user", ["a/b", "ünï", "a%2Fb", "?", "active"])
async def test_odd_users_in_the_path(world: World, user: str) -> None:
    from urllib.parse import quote  # noqa: PLC0415

    life = await world.placed(userId=user)
    listed = await get(world, f"/api/orders/user/{quote(user, safe='')}")
    assert [order["id"] for order in listed["orders"]] == [life.order.id]
    listed = await get(world, f"/api/orders?userId={quote(user, safe='')}")
    assert [order["id"] for order in listed["orders"]] == [life.order.id]


async def test_active_orders_oldest_first(world: World) -> None:
    lives = [await world.placed() for _ in range(4)]
    await world.record(lives[1], lives[1].canceled())
    await to_submitted(world, lives[2])
    await world.record(lives[2], lives[2].confirmed())

    active = await get(world, "/api/orders/active")
    assert [order["id"] for order in active["orders"]] == sorted(lives[index].order.id for index in (0, 2, 3))
    assert len((await get(world, "/api/orders/active?limit=2"))["orders"]) == 2


async def test_canceling_a_waiting_order(world: World) -> None:
    life = await world.placed()
    answer = await world.client.delete(f"/api/orders/{life.order.id}")

    assert answer.status_code == 200
    assert answer.json()["status"] == "canceled"
    assert (await get(world, f"/api/orders/{life.order.id}"))["status"] == "canceled"


async def test_canceling_a_submitted_order_is_a_request(world: World) -> None:
    life = await world.placed()
    await to_submitted(world, life)
    for _ in range(2):
        answer = await world.client.delete(f"/api/orders/{life.order.id}")
        assert answer.status_code == 202
        assert (answer.json()["status"], answer.json()["cancelRequested"]) == ("submitted", True)


@pytest.mark.parametrize(("end", "money_moved"), [("failed", "no"), ("canceled", "no"), ("confirmed", "yes")])
async def test_canceling_too_late(world: World, end: str, money_moved: str) -> None:
    life = await world.placed()
    if end == "confirmed":
        await to_submitted(world, life)
    await world.record(life, getattr(life, end)())
    answer = await world.client.delete(f"/api/orders/{life.order.id}")

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (409, "ILLEGAL_TRANSITION")
    assert (problem["orderId"], problem["orderStatus"], problem["moneyMoved"]) == (life.order.id, end, money_moved)


async def test_answers_are_not_to_be_cached(world: World) -> None:
    assert (await world.client.get("/api/orders")).headers["cache-control"] == "no-store"
