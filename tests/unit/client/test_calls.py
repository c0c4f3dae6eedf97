"""Every question goes to its route, and every answer comes back typed."""

import importlib
import inspect
import json
import pkgutil
from typing import Any

import msgspec
import pytest

import bestex.api
from bestex.client import ApiError, AsyncClient, Client, ConnectionFailed, quotes, results

from .conftest import Caller
from .engine_double import Answer, Cut, EngineDouble
from .samples import ORDER, ORDER_ID, POOLS, PROBLEM, QUEUE, QUOTE, TOKENS, detail, encode, life

HEALTH = {"status": "ok", "simulated": True}
SERVED: dict[str, type[msgspec.Struct]] = {
    name: answer
    for module in pkgutil.iter_modules(bestex.api.__path__)
    if module.name.endswith("schemas")
    for name, answer in vars(importlib.import_module(f"bestex.api.{module.name}")).items()
    if isinstance(answer, type) and issubclass(answer, msgspec.Struct)
}
"""What the server answers, by name."""
PAGE = {"orders": [ORDER], "nextCursor": "c2"}


@pytest.mark.parametrize(
    ("method", "args", "kwargs", "request_line", "answer"),
    [
        ("order", (ORDER_ID,), {}, f"GET /api/orders/{ORDER_ID}", detail()),
        ("order", ("a/b",), {}, "GET /api/orders/a%2Fb", detail()),
        ("orders", (), {}, "GET /api/orders", PAGE),
        (
            "orders",
            (),
            {"user_id": "a&b", "status": "failed", "cursor": "c", "limit": 5},
            "GET /api/orders?userId=a%26b&status=failed&cursor=c&limit=5",
            PAGE,
        ),
        ("user_orders", ("a/b",), {"limit": 2}, "GET /api/orders/user/a%2Fb?limit=2", PAGE),
        ("active", (), {"limit": 3}, "GET /api/orders/active?limit=3", {"orders": [ORDER]}),
        ("cancel", (ORDER_ID,), {}, f"DELETE /api/orders/{ORDER_ID}", ORDER),
        (
            "quote",
            ("USDC", "ETH", 1000),
            {"slippage_bps": 10},
            "GET /api/quote?tokenIn=USDC&tokenOut=ETH&amountIn=1000&slippageBps=10",
            QUOTE,
        ),
        (
            "quote",
            ("USDC", "ETH"),
            {"amount_out": "0.5", "routing": "best"},
            "GET /api/quote?tokenIn=USDC&tokenOut=ETH&swapMode=ExactOut&amountOut=0.5&routing=best",
            QUOTE,
        ),
        ("tokens", (), {}, "GET /api/tokens", TOKENS),
        ("pools", (), {}, "GET /api/pools", POOLS),
        ("queue_stats", (), {}, "GET /api/queue/stats", QUEUE),
        ("health", (), {}, "GET /health", HEALTH),
    ],
)
def test_a_question_goes_to_its_route_and_its_answer_loses_nothing(
    caller: Caller,
    engine: EngineDouble,
    method: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    request_line: str,
    answer: dict[str, Any],
) -> None:
    engine.answers.append(Answer(200, encode(answer | {"fieldOfTheFuture": 1})))

    result = caller.call(method, *args, **kwargs)

    assert f"{engine.seen[0].method} {engine.seen[0].target}" == request_line
    assert json.loads(msgspec.json.encode(result)) == _plain(answer)


def test_the_history_of_an_order_is_typed(caller: Caller, engine: EngineDouble) -> None:
    engine.answers.append(Answer(200, encode(detail())))

    found = caller.call("order", ORDER_ID)

    assert found.events == life()
    assert found.attempts[0].min_out_amount == "29193300"


def test_a_problem_is_an_error_with_everything_it_says(caller: Caller, engine: EngineDouble) -> None:
    engine.answers.append(
        Answer(502, encode(PROBLEM | {"moneyMoved": "possible", "retryable": True}), "application/problem+json")
    )

    with pytest.raises(ApiError) as caught:
        caller.call("quote", "USDC", "BONK", 1)

    error = caught.value
    assert str(error) == error.detail == "no pool trades USDC against BONK"
    assert (error.status, error.code, error.retryable, error.money_moved) == (502, "NO_ROUTE", True, "possible")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'{"detail": "no code"}'])
def test_a_refusal_without_a_problem_is_told_by_its_status(caller: Caller, engine: EngineDouble, body: bytes) -> None:
    engine.answers.append(Answer(502, body))

    with pytest.raises(ApiError, match="502 Bad Gateway") as caught:
        caller.call("tokens")
    assert caught.value.code == "HTTP_502"


@pytest.mark.parametrize("status", [200, 299])
def test_an_answer_of_something_else_is_an_error(caller: Caller, engine: EngineDouble, status: int) -> None:
    engine.answers.append(Answer(status, b"<html>hello</html>"))

    with pytest.raises(ApiError, match="not a Bestex server") as caught:
        caller.call("pools")
    assert (caught.value.code, caught.value.money_moved) == ("UNEXPECTED_ANSWER", "no")


def test_a_question_is_asked_once(caller: Caller, engine: EngineDouble) -> None:
    engine.answers.append(Cut())

    with pytest.raises(ConnectionFailed, match="GET /api/tokens"):
        caller.call("tokens")
    assert len(engine.seen) == 1


def test_a_lost_cancel_says_that_its_effect_is_unknown(caller: Caller, engine: EngineDouble) -> None:
    engine.answers.append(Cut())

    with pytest.raises(ConnectionFailed, match="unknown"):
        caller.call("cancel", ORDER_ID)


def test_a_server_that_is_not_there_is_named(unused_url: str) -> None:
    with Client(unused_url) as client, pytest.raises(ConnectionFailed, match=f"no server answers at {unused_url}"):
        client.health()


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://x", ""])
def test_an_address_is_an_http_url(url: str) -> None:
    with pytest.raises(ValueError, match="is not a server's address"):
        Client(url)


def test_a_slash_at_the_end_of_the_address_does_not_matter(engine: EngineDouble) -> None:
    engine.answers.append(Answer(200, encode(HEALTH)))

    with Client(engine.url + "/") as client:
        assert client.health().status == "ok"
    assert engine.targets == ["/health"]


def test_both_clients_offer_the_same() -> None:
    def offered(client: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(method).parameters)
            for name, method in inspect.getmembers(client, inspect.isfunction)
            if not name.startswith("_")
        }

    blocking, asynchronous = offered(Client), offered(AsyncClient)
    blocking["aclose"] = blocking.pop("close")
    assert blocking == asynchronous


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (results.OrderView, "OrderView"),
        (results.OrderDetail, "OrderDetail"),
        (results.AttemptView, "AttemptView"),
        (results.OrderPage, "OrderList"),
        (results.ActiveOrders, "ActiveOrders"),
        (results.TokenView, "TokenView"),
        (results.PoolView, "PoolView"),
        (results.PoolSide, "PoolSide"),
        (results.RefusedPool, "RefusedPool"),
        (results.PoolList, "PoolList"),
        (quotes.Offer, "OfferView"),
        (quotes.SwapInfo, "SwapInfo"),
        (quotes.RouteLeg, "RouteLeg"),
        (quotes.Alternative, "AlternativeView"),
        (quotes.Quote, "QuoteView"),
        (results.Limits, "Limits"),
        (results.QueueStats, "QueueView"),
        (results.Health, "Health"),
    ],
)
def test_results_have_every_field_that_the_server_sends(ours: type[msgspec.Struct], theirs: str) -> None:
    def names(answer: type[msgspec.Struct]) -> set[str]:
        return {field.encode_name for field in msgspec.structs.fields(answer)}

    assert names(ours) == names(SERVED[theirs])


def _plain(answer: dict[str, Any]) -> Any:
    """Times as msgspec writes them."""
    return json.loads(encode(answer).decode().replace("00.000Z", "00Z"))
