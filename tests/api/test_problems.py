"""The one table of problems, and what an answer is made of."""

import inspect

import msgspec
import pytest

from bestex import errors
from bestex.api import refusals
from bestex.api.problems import PROBLEMS, kind_of, problem
from bestex.api.refusals import FieldProblem
from bestex.errors import BestexError
from tests.api.conftest import World

ALL = [
    each
    for module in (errors, refusals)
    for _, each in inspect.getmembers(module, inspect.isclass)
    if issubclass(each, BestexError) and each.__module__ == module.__name__
]


@pytest.mark.parametrize("error", ALL, ids=lambda error: error.__name__)
def test_every_error_has_its_row(error: type[BestexError]) -> None:
    assert error in PROBLEMS
    kind = PROBLEMS[error]
    assert 400 <= kind.status <= 599
    assert kind.money_moved in {"no", "possible", "yes"}
    assert kind.title
    assert error.code == error.code.upper()
    assert error.__doc__


def test_codes_are_unique() -> None:
    codes = [error.code for error in PROBLEMS]
    assert len(codes) == len(set(codes))


def test_an_error_that_is_not_in_the_table_is_its_base() -> None:
    class Special(errors.NoRoute):
        code = "SPECIAL"

    assert kind_of(Special("")) is PROBLEMS[errors.NoRoute]
    assert msgspec.json.decode(problem(Special("x"), "/x").body)["code"] == "SPECIAL"


def test_a_problem_tells_the_context_but_not_all_of_it() -> None:
    error = errors.LimitExceeded(
        "too much",
        order_id="o-1",
        limit_raw=5,
        detail="not this",
        secret=object(),
        keys={"a": 1},
        nothing=None,
        errors=[FieldProblem("amountIn", "too much")],
    )
    status, headers, body = problem(error, "/api/orders/a b\udcff")
    assert status == 422
    assert headers == [(b"content-type", b"application/problem+json")]
    assert msgspec.json.decode(body) == {
        "type": "/api/problems#LIMIT_EXCEEDED",
        "title": "A risk limit forbids the order",
        "status": 422,
        "detail": "too much",
        "instance": "/api/orders/a%20b%3F",
        "code": "LIMIT_EXCEEDED",
        "retryable": False,
        "moneyMoved": "no",
        "orderId": "o-1",
        "limitRaw": 5,
        "errors": [{"field": "amountIn", "message": "too much"}],
    }


def test_an_error_that_knows_better_overrules_the_table() -> None:
    answer = problem(errors.RateLimited("slow", retryable=False, money_moved="yes", retry_after_s=7), "/")
    body = msgspec.json.decode(answer.body)

    assert (answer.status, body["retryable"], body["moneyMoved"]) == (429, False, "yes")
    assert (b"retry-after", b"7") in answer.headers
    assert "retryAfterS" not in body


def test_text_that_utf8_cannot_hold_is_replaced() -> None:
    body = msgspec.json.decode(problem(errors.UnknownToken("no \ud800", token="\ud800"), "/").body)
    assert (body["detail"], body["token"]) == ("no ?", "?")


async def test_the_table_is_served(world: World) -> None:
    answer = await world.client.get("/api/problems")
    served = {row["code"]: row for row in answer.json()}

    assert set(served) == {error.code for error in PROBLEMS}
    assert served["NO_ROUTE"] == {
        "code": "NO_ROUTE",
        "status": 422,
        "title": "No pool can trade this",
        "retryable": False,
        "moneyMoved": "no",
        "meaning": "No known pool can trade this amount of this pair.",
    }


async def test_the_type_of_a_problem_leads_to_the_table(world: World) -> None:
    told = (await world.client.get("/api/orders/nonsense")).json()
    path, _, code = told["type"].partition("#")
    assert code in {row["code"] for row in (await world.client.get(path)).json()}
