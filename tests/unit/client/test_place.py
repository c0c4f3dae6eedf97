"""A placed order is placed once, whatever happens to the connection."""

import json
from decimal import Decimal
from typing import Any

import pytest

from bestex.client import ApiError, Client, ConnectionFailed, Retry
from bestex.client.protocol import amount_text
from bestex.client.retry import Repeated

from .conftest import AT_ONCE, Caller
from .engine_double import Answer, Cut, EngineDouble
from .samples import ORDER, ORDER_ID, PROBLEM, encode

CREATED = Answer(201, encode(ORDER))
UNAVAILABLE = Answer(503, encode(PROBLEM | {"code": "STORE_UNAVAILABLE", "detail": "no disk", "retryable": True}))


def place(caller: Caller, **more: Any) -> Any:
    return caller.call("place", "USDC", "ETH", "1000", user_id="alice", **more)


def test_the_answer_is_the_order(caller: Caller, engine: EngineDouble) -> None:
    engine.answers.append(CREATED)

    placed = place(caller)

    assert (placed.order_id, placed.status, placed.amount_in) == (ORDER_ID, "pending", "1000")
    assert placed.created_at.isoformat() == "2026-01-31T12:00:00+00:00"


def test_what_is_sent_is_what_was_asked_for_and_nothing_else(caller: Caller, engine: EngineDouble) -> None:
    engine.answers.append(CREATED)
    engine.answers.append(CREATED)

    place(caller)
    place(caller, slippage_bps=0, priority=9, client_order_id="c-1", max_retries=0)

    least, most = (json.loads(request.body) for request in engine.seen)
    assert least == {"type": "market", "tokenIn": "USDC", "tokenOut": "ETH", "amountIn": "1000", "userId": "alice"}
    assert most == least | {"slippageBps": 0, "priority": 9, "clientOrderId": "c-1", "maxRetries": 0}
    assert engine.targets == ["/api/orders/execute"] * 2
    assert engine.seen[0].headers["content-type"] == "application/json"


@pytest.mark.parametrize("failure", [Cut(), UNAVAILABLE], ids=["cut", "503"])
def test_a_post_is_repeated_under_the_same_key(caller: Caller, engine: EngineDouble, failure: Answer | Cut) -> None:
    engine.answers.extend([failure, failure, CREATED])

    assert place(caller).order_id == ORDER_ID
    keys = {request.headers["idempotency-key"] for request in engine.seen}
    bodies = {request.body for request in engine.seen}
    assert len(engine.seen) == 3
    assert len(keys) == len(bodies) == 1
    assert len(keys.pop()) == 32


def test_every_order_has_its_own_key(caller: Caller, engine: EngineDouble) -> None:
    engine.answers.extend([CREATED, CREATED])

    place(caller)
    place(caller)

    first, second = (request.headers["idempotency-key"] for request in engine.seen)
    assert first != second


def test_giving_up_after_cuts_says_that_the_outcome_is_unknown(caller: Caller, engine: EngineDouble) -> None:
    engine.answers.extend([Cut()] * 3)

    with pytest.raises(ConnectionFailed, match="unknown") as caught:
        place(caller)
    assert caught.value.in_doubt
    assert len(engine.seen) == 3


def test_giving_up_after_503_gives_the_refusal(caller: Caller, engine: EngineDouble) -> None:
    engine.answers.extend([UNAVAILABLE] * 3)

    with pytest.raises(ApiError, match="no disk") as caught:
        place(caller)
    assert (caught.value.status, caught.value.code, caught.value.retryable) == (503, "STORE_UNAVAILABLE", True)
    assert caught.value.money_moved == "no"


def test_a_503_after_a_cut_leaves_the_outcome_unknown(caller: Caller, engine: EngineDouble) -> None:
    engine.answers.extend([Cut(), UNAVAILABLE, UNAVAILABLE])

    with pytest.raises(ApiError) as caught:
        place(caller)
    assert caught.value.money_moved == "possible"


def test_a_server_that_dies_after_a_cut_leaves_the_outcome_unknown() -> None:
    tries = Repeated(AT_ONCE)
    tries.failed(ConnectionFailed("cut", in_doubt=True))
    tries.failed(ConnectionFailed("no server"))

    with pytest.raises(ConnectionFailed, match="no server; whether an earlier try took effect is unknown") as caught:
        tries.failed(ConnectionFailed("no server"))
    assert caught.value.in_doubt


def test_an_order_that_never_reached_a_server_is_not_in_doubt(unused_url: str) -> None:
    with Client(unused_url, retry=AT_ONCE) as client, pytest.raises(ConnectionFailed) as caught:
        client.place("USDC", "ETH", "1000", user_id="alice")
    assert not caught.value.in_doubt


def test_waits_double_up_to_a_bound_and_are_spread() -> None:
    retry = Retry(first_s=0.1, max_s=1.0)

    for failures, longest_s in ((1, 0.1), (2, 0.2), (3, 0.4), (5, 1.0), (60, 1.0)):
        waits = {retry.wait_s(failures) for _ in range(50)}
        assert longest_s / 2 <= min(waits) < max(waits) <= longest_s


@pytest.mark.parametrize("status", [400, 409, 422, 429, 500, 502])
def test_other_refusals_are_not_repeated(caller: Caller, engine: EngineDouble, status: int) -> None:
    engine.answers.append(Answer(status, encode(PROBLEM)))

    with pytest.raises(ApiError) as caught:
        place(caller)
    assert caught.value.status == status
    assert len(engine.seen) == 1


@pytest.mark.parametrize("amount", [1.5, 1000.0, True, b"1"])
def test_a_float_is_no_amount(caller: Caller, engine: EngineDouble, amount: Any) -> None:
    with pytest.raises(TypeError, match="floats are not exact"):
        caller.call("place", "USDC", "ETH", amount, user_id="alice")
    with pytest.raises(TypeError):
        caller.call("quote", "USDC", "ETH", amount)
    with pytest.raises(TypeError):
        caller.call("place", "USDC", "ETH", amount_out=1, max_amount_in=amount, user_id="alice")
    assert engine.seen == []


@pytest.mark.parametrize("amounts", [{}, {"amount_in": 1, "amount_out": 1}])
def test_one_amount_is_exact(caller: Caller, engine: EngineDouble, amounts: dict[str, int]) -> None:
    with pytest.raises(TypeError, match="the one that is to be exact"):
        caller.call("place", "USDC", "ETH", user_id="alice", **amounts)
    with pytest.raises(TypeError, match="the one that is to be exact"):
        caller.call("quote", "USDC", "ETH", **amounts)
    assert engine.seen == []


def test_an_exact_output_is_sent_with_its_bound_and_its_routing(caller: Caller, engine: EngineDouble) -> None:
    engine.answers.append(CREATED)

    caller.call(
        "place", "USDC", "ETH", amount_out=Decimal("0.5"), max_amount_in="1700", routing="split", user_id="alice"
    )

    assert json.loads(engine.seen[0].body) == {
        "type": "market",
        "tokenIn": "USDC",
        "tokenOut": "ETH",
        "swapMode": "ExactOut",
        "amountOut": "0.5",
        "maxAmountIn": "1700",
        "routing": "split",
        "userId": "alice",
    }


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("1000", "1000"),
        (1000, "1000"),
        (Decimal("0.10"), "0.10"),
        (Decimal("1E+3"), "1000"),
        (Decimal("1E-9"), "0.000000001"),
    ],
)
def test_amounts_are_sent_exactly(amount: str | int | Decimal, text: str) -> None:
    assert amount_text(amount) == text


@pytest.mark.parametrize("amount", [Decimal("NaN"), Decimal("Infinity")])
def test_an_amount_is_a_number(amount: Decimal) -> None:
    with pytest.raises(ValueError, match="is not an amount"):
        amount_text(amount)
