"""The API describes itself, without reaching for the internet, and the handwritten reference does not lie."""

import re
from pathlib import Path
from typing import Any

import pytest

from bestex.api.market_schemas import AlternativeView, OfferView, QuoteView, RouteLeg
from bestex.api.metrics import Metrics
from bestex.api.problems import PROBLEMS
from bestex.api.schemas import RULES, OrderView, PlaceOrder, QueueView
from tests.api.conftest import BODY, SystemClock, World

REFERENCE = (Path(__file__).parents[2] / "docs" / "reference" / "api.md").read_text(encoding="utf-8")


async def document(world: World) -> dict[str, Any]:
    answer = await world.client.get("/docs/openapi.json")
    assert answer.status_code == 200
    decoded: dict[str, Any] = answer.json()
    return decoded


async def test_the_root_leads_to_the_page(world: World) -> None:
    answer = await world.client.get("/")
    assert (answer.status_code, answer.headers["location"]) == (302, "/docs")


async def test_the_page_is_served_whole_without_any_other_host(world: World) -> None:
    page = await world.client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "://" not in page.text
    linked = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(linked) == 3
    for path in [*linked, *re.findall(r'fetch\("([^"]+)"', page.text)]:
        answer = await world.client.get(path)
        assert answer.status_code == 200
        assert len(answer.content) > 500


async def test_the_document_is_openapi_3_1(world: World) -> None:
    described = await document(world)
    assert described["openapi"].startswith("3.1.")
    assert described["info"]["title"] == "Bestex"
    for code in ("1000", "1012", "1013", "4400", "4404"):
        assert f"| {code} |" in described["info"]["description"]


async def test_every_route_is_described(world: World) -> None:
    described = await document(world)
    assert {(path, method) for path, operations in described["paths"].items() for method in operations} == {
        ("/api/orders/execute", "post"),
        ("/api/orders/execute", "get"),
        ("/api/orders/{order_id}/ws", "get"),
        ("/api/orders", "get"),
        ("/api/orders/user/{user_id}", "get"),
        ("/api/orders/active", "get"),
        ("/api/orders/{order_id}", "get"),
        ("/api/orders/{order_id}", "delete"),
        ("/api/quote", "get"),
        ("/api/tokens", "get"),
        ("/api/pools", "get"),
        ("/api/problems", "get"),
        ("/api/queue/stats", "get"),
        ("/health", "get"),
        ("/health/live", "get"),
        ("/health/ready", "get"),
        ("/metrics", "get"),
    }
    for operations in described["paths"].values():
        for operation in operations.values():
            assert operation["summary"]
            assert operation["tags"]


async def test_all_references_resolve(world: World) -> None:
    described = await document(world)

    def check(node: Any) -> None:
        if isinstance(node, dict):
            if (reference := node.get("$ref")) is not None:
                assert reference.startswith("#/components/schemas/")
                assert reference.rpartition("/")[2] in described["components"]["schemas"]
            for child in node.values():
                check(child)
        elif isinstance(node, list):
            for child in node:
                check(child)

    check(described)


async def test_the_body_of_an_order_is_described(world: World) -> None:
    described = await document(world)
    request = described["paths"]["/api/orders/execute"]["post"]
    schema = described["components"]["schemas"]["PlaceOrder"]

    assert request["requestBody"]["content"]["application/json"]["example"] == BODY | {"tokenOut": "ETH"}
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == set(RULES)
    for amount in ("amountIn", "amountOut", "maxAmountIn"):
        assert schema["properties"][amount]["anyOf"][0]["type"] == ["number", "string"]
    assert set(schema["required"]) == {"type", "tokenIn", "tokenOut", "userId"}
    assert schema["oneOf"] == [{"required": ["amountIn"]}, {"required": ["amountOut"]}]
    assert {parameter["name"] for parameter in request["parameters"]} == {"Idempotency-Key"}


async def test_errors_are_described_as_problems(world: World) -> None:
    described = await document(world)
    for operations in described["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    assert set(response["content"]) == {"application/problem+json"}


def test_there_is_a_rule_for_every_field_of_an_order() -> None:
    assert set(RULES) == set(PlaceOrder.__struct_encode_fields__)


class TestReference:
    """docs/reference/api.md."""

    async def test_it_names_every_route(self, world: World) -> None:
        for path, operations in (await document(world))["paths"].items():
            plain = path.replace("{order_id}", "{id}").replace("{user_id}", "{userId}")
            for method in operations:
                assert f"{method.upper()} {plain}" in REFERENCE, (method, plain)

    @pytest.mark.parametrize(
        "kind", [PlaceOrder, OrderView, QuoteView, RouteLeg, OfferView, AlternativeView, QueueView]
    )
    def test_it_names_every_field(self, kind: Any) -> None:
        for name in kind.__struct_encode_fields__:
            assert f"`{name}`" in REFERENCE, name

    def test_its_table_of_problems_is_the_table(self) -> None:
        rows = re.findall(r"^\| `([A-Z_]+)` \| (\d{3}) \| (yes|no) \| `(\w+)` \|", REFERENCE, re.MULTILINE)
        told = {code: (int(status), retryable == "yes", moved) for code, status, retryable, moved in rows}
        table = {error.code: (kind.status, kind.retryable, kind.money_moved) for error, kind in PROBLEMS.items()}
        assert told == table

    def test_it_names_every_metric(self) -> None:
        metrics = Metrics(SystemClock())
        exposed = metrics.exposition(None).decode()
        for name in re.findall(r"^# TYPE (bestex_\w+)", exposed, re.MULTILINE):
            if not name.endswith("_created"):
                assert f"`{name}`" in REFERENCE, name
