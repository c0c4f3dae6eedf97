"""POST /api/orders/execute: what is accepted, and what comes back."""

import asyncio
import re
from typing import Any

import httpx
import pytest

from bestex.errors import StoreUnavailable
from tests.api.conftest import BODY, World

EXECUTE = "/api/orders/execute"
LANES = (EXECUTE, EXECUTE + "/")
"""The hot route, and Litestar's documented handler of the same path."""


async def post(world: World, content: bytes | str, *, path: str = EXECUTE, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await world.client.post(path, content=content, headers={"content-type": "application/json"} | named)


@pytest.mark.parametrize("path", LANES)
async def test_an_order_is_stored_and_answered(world: World, path: str) -> None:
    answer = await world.client.post(path, json=BODY)

    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/json"
    order = answer.json()
    assert answer.headers["location"] == f"/api/orders/{order['orderId']}"
    created = order.pop("createdAt")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", created)
    assert order == {
        "id": order["orderId"],
        "orderId": order["id"],
        "type": "market",
        "status": "pending",
        "finality": None,
        "userId": "user123",
        "clientOrderId": None,
        "tokenIn": "USDC",
        "tokenOut": "SOL",
        "inputMint": "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v",
        "outputMint": "So11111111111111111111111111111111111111112",
        "swapMode": "ExactIn",
        "routing": "auto",
        "amountIn": "1000",
        "inAmount": "1000000000",
        "amountOut": None,
        "outAmount": None,
        "maxAmountIn": None,
        "maxInAmount": None,
        "executedPrice": None,
        "priceUnit": "SOL per USDC",
        "txHash": None,
        "venue": None,
        "slot": None,
        "feeLamports": None,
        "slippageBps": 50,
        "priority": 0,
        "maxRetries": 2,
        "retries": 0,
        "attemptCount": 0,
        "retryAt": None,
        "cancelRequested": False,
        "error": None,
        "simulated": True,
        "updatedAt": created,
        "links": {"self": f"/api/orders/{order['id']}", "events": f"/api/orders/{order['id']}/ws"},
    }
    assert await world.stored() == 1


async def test_options_are_taken_as_given(world: World) -> None:
    answer = await world.post(slippageBps=7, priority=9, clientOrderId="mine 1", maxRetries=0, tokenIn="usdc")

    order = answer.json()
    assert answer.status_code == 201
    assert (order["slippageBps"], order["priority"], order["clientOrderId"], order["maxRetries"]) == (7, 9, "mine 1", 0)
    assert order["tokenIn"] == "USDC"


async def test_options_that_are_null_are_options_not_given(world: World) -> None:
    order = (await world.post(slippageBps=None, clientOrderId=None, maxRetries=None)).json()

    assert (order["slippageBps"], order["clientOrderId"], order["maxRetries"]) == (50, None, 2)


@pytest.mark.parametrize(
    ("written", "units", "raw"),
    [
        ("1000", "1000", "1000000000"),
        ('"1000"', "1000", "1000000000"),
        ("1e3", "1000", "1000000000"),
        ("1E3", "1000", "1000000000"),
        ("1.0e+3", "1000", "1000000000"),
        ("0.5", "0.5", "500000"),
        ('"0.500000000"', "0.5", "500000"),
        ("1e-6", "0.000001", "1"),
        ("0.1", "0.1", "100000"),
        ("18446744073709.551615", "18446744073709.551615", "18446744073709551615"),
        ('"9007199254.740993"', "9007199254.740993", "9007199254740993"),
        ("9007199254.740993", "9007199254.740993", "9007199254740993"),
    ],
)
async def test_amounts_are_read_exactly(world: World, written: str, units: str, raw: str) -> None:
    answer = await post(
        world, f'{{"type":"market","tokenIn":"USDC","tokenOut":"SOL","amountIn":{written},"userId":"u"}}'
    )

    assert answer.status_code == 201, answer.text
    assert (answer.json()["amountIn"], answer.json()["inAmount"]) == (units, raw)


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        'APPLICATION/JSON;charset="UTF-8"',
        "application/x+json",
        "",
    ],
)
async def test_json_content_types_are_accepted(world: World, content_type: str) -> None:
    answer = await world.client.post(EXECUTE, json=BODY, headers={"content-type": content_type})

    assert answer.status_code == 201, answer.text


async def test_a_missing_content_type_is_accepted_from_programs(world: World) -> None:
    request = world.client.build_request("POST", EXECUTE, json=BODY)
    del request.headers["content-type"]
    assert (await world.client.send(request)).status_code == 201


async def test_a_missing_content_type_is_refused_from_web_pages(world: World) -> None:
    request = world.client.build_request("POST", EXECUTE, json=BODY, headers={"origin": "https://evil.example"})
    del request.headers["content-type"]
    answer = await world.client.send(request)
    assert (answer.status_code, answer.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize("path", LANES)
async def test_the_same_request_again_finds_the_same_order(world: World, path: str) -> None:
    first = await world.client.post(path, json=BODY, headers={"idempotency-key": "abc"})
    again = await world.client.post(path, json=BODY, headers={"idempotency-key": '"abc"'})

    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert await world.stored() == 1


async def test_a_replay_shows_the_order_as_it_stands_now(world: World) -> None:
    life = await world.placed(clientOrderId="c1")
    await world.record(life, life.routed())

    again = await world.post(clientOrderId="c1")

    assert (again.status_code, again.json()["status"], again.json()["id"]) == (200, "routing", life.order.id)


async def test_requests_at_the_same_time_make_one_order(world: World) -> None:
    answers = await asyncio.gather(*(post(world, _body(), idempotency_key="k") for _ in range(20)))

    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert await world.stored() == 1


async def test_without_a_key_the_same_request_is_another_order(world: World) -> None:
    assert (await world.post()).json()["id"] != (await world.post()).json()["id"]


async def test_a_header_key_with_other_content_is_unprocessable(world: World) -> None:
    await post(world, _body(), idempotency_key="k")
    answer = await post(world, _body(amountIn=1001), idempotency_key="k")

    assert (answer.status_code, answer.json()["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert answer.json()["moneyMoved"] == "no"
    assert await world.stored() == 1


async def test_a_client_order_id_with_other_content_is_a_conflict(world: World) -> None:
    await world.post(clientOrderId="c1")
    answer = await world.post(clientOrderId="c1", amountIn=1001)

    assert (answer.status_code, answer.json()["code"]) == (409, "IDEMPOTENCY_MISMATCH")
    assert await world.stored() == 1


async def test_keys_belong_to_a_user(world: World) -> None:
    first = await world.post(clientOrderId="c1")
    other = await world.post(clientOrderId="c1", userId="someone else")

    assert (first.status_code, other.status_code) == (201, 201)


@pytest.mark.parametrize("key", ["", '""', '"abc', "a b", '"\\x"', "é", "x" * 129, '"' + "x" * 129 + '"', 'a"b'])
async def test_malformed_keys_are_refused(world: World, key: str) -> None:
    answer = await world.client.post(EXECUTE, json=BODY, headers={b"idempotency-key": key.encode("latin-1")})

    assert (answer.status_code, answer.json()["code"]) == (400, "MALFORMED_HEADER")
    assert await world.stored() == 0


@pytest.mark.parametrize("key", ["a", "x" * 128, '"' + "x" * 128 + '"', '"a b"', r'"a\"b"', "018f-42:7/=_~"])
async def test_well_formed_keys_are_taken(world: World, key: str) -> None:
    assert (await post(world, _body(), idempotency_key=key)).status_code == 201


async def test_two_keys_are_refused(world: World) -> None:
    answer = await world.client.post(EXECUTE, json=BODY, headers=[("idempotency-key", "a"), ("idempotency-key", "b")])
    assert (answer.status_code, answer.json()["code"]) == (400, "MALFORMED_HEADER")


async def test_a_store_that_fails_leaves_the_outcome_open_and_says_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> Any:
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(world.store, "accept", fail)
    answer = await world.post()

    problem = answer.json()
    assert answer.status_code == 503
    assert (problem["code"], problem["retryable"], problem["moneyMoved"]) == ("STORE_UNAVAILABLE", True, "possible")
    assert "Idempotency-Key" in problem["detail"]
    assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize("path", LANES)
async def test_a_fault_is_a_problem_without_internals(world: World, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    async def fail(*_: object) -> Any:
        raise ZeroDivisionError("secret internals")

    monkeypatch.setattr(world.store, "accept", fail)
    answer = await world.client.post(path, json=BODY)

    assert (answer.status_code, answer.json()["code"]) == (500, "INTERNAL_ERROR")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["moneyMoved"] == "possible"
    assert "secret" not in answer.text
    assert "ZeroDivision" not in answer.text


def _body(**changes: Any) -> bytes:
    import msgspec  # noqa: PLC0415

    return msgspec.json.encode(BODY | changes)
