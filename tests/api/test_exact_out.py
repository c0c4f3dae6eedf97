"""Orders that say what they want to receive, and orders that say how they may be routed."""

from typing import Any

import msgspec
import pytest

from bestex.api.views import order_view
from bestex.orders.order import Fill, Order
from bestex.orders.status import Status
from bestex.types import OrderId, Routing, Signature, SwapMode
from tests.api.conftest import World

EXACT_OUT: dict[str, Any] = {"amountIn": ..., "amountOut": "0.5", "swapMode": "ExactOut"}


async def stored(world: World, order: dict[str, Any]) -> Order:
    return await world.store.order(OrderId(order["orderId"]))


async def test_an_exact_output_is_stored_and_shown(world: World) -> None:
    answer = await world.post(**EXACT_OUT, maxAmountIn=80)

    assert answer.status_code == 201, answer.text
    shown = answer.json()
    assert (shown["swapMode"], shown["routing"]) == ("ExactOut", "auto")
    assert (shown["amountOut"], shown["outAmount"]) == ("0.5", "500000000")
    assert (shown["maxAmountIn"], shown["maxInAmount"]) == ("80", "80000000")
    assert (shown["amountIn"], shown["inAmount"]) == (None, None)
    terms = (await stored(world, shown)).terms
    assert (terms.swap_mode, terms.out_amount, terms.max_in_amount) == (SwapMode.EXACT_OUT, 500_000_000, 80_000_000)


async def test_an_exact_output_without_a_bound_has_none(world: World) -> None:
    shown = (await world.post(**EXACT_OUT, maxAmountIn=None)).json()

    assert (shown["maxAmountIn"], shown["maxInAmount"]) == (None, None)
    assert (await stored(world, shown)).terms.max_in_amount is None


async def test_what_an_exact_output_cost_is_shown_once_it_is_filled(world: World) -> None:
    placed = (await world.post(**EXACT_OUT)).json()
    order = await stored(world, placed)
    fill = Fill(Signature("tx"), 7, in_amount=75_000_001, out_amount=500_000_000, fee_lamports=5_000, venue="v")
    filled = msgspec.structs.replace(order, status=Status.CONFIRMED, fill=fill)

    shown = msgspec.to_builtins(order_view(filled, simulated=True))

    assert (shown["amountIn"], shown["inAmount"]) == ("75.000001", "75000001")
    assert (shown["amountOut"], shown["outAmount"]) == ("0.5", "500000000")
    assert shown["executedPrice"] == "0.00666666657777"


@pytest.mark.parametrize("written", ['"0.1"', "0.1", "1e-1"])
async def test_amounts_out_are_read_exactly(world: World, written: str) -> None:
    body = f'{{"type":"market","tokenIn":"USDC","tokenOut":"SOL","swapMode":"ExactOut","amountOut":{written},\
"maxAmountIn":{written},"userId":"u"}}'
    answer = await world.client.post("/api/orders/execute", content=body, headers={"content-type": "application/json"})

    assert answer.status_code == 201, answer.text
    assert (answer.json()["outAmount"], answer.json()["maxInAmount"]) == ("100000000", "100000")


@pytest.mark.parametrize("routing", list(Routing))
async def test_the_routing_asked_for_is_stored_and_shown(world: World, routing: Routing) -> None:
    shown = (await world.post(routing=routing)).json()

    assert shown["routing"] == routing
    assert (await stored(world, shown)).terms.routing is routing


async def test_defaults_that_are_written_out_make_the_same_request(world: World) -> None:
    first = await world.post(clientOrderId="c")
    again = await world.post(clientOrderId="c", routing="auto", swapMode="ExactIn", amountOut=None, maxAmountIn=None)

    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["id"] == first.json()["id"]


@pytest.mark.parametrize(
    "other",
    [
        {"routing": "best"},
        {"amountOut": "0.6"},
        {"maxAmountIn": 80},
        {"amountIn": 1000, "amountOut": ..., "swapMode": "ExactIn"},
    ],
)
async def test_another_route_or_amount_is_another_request(world: World, other: dict[str, Any]) -> None:
    await world.post(**EXACT_OUT, clientOrderId="c")
    answer = await world.post(**EXACT_OUT | other, clientOrderId="c")

    assert (answer.status_code, answer.json()["code"]) == (409, "IDEMPOTENCY_MISMATCH")
    assert await world.stored() == 1
