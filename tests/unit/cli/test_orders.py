"""order, watch, orders, cancel."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from bestex.orders.events import Canceled, Event, Expired, encode_event
from bestex.orders.status import Status
from tests.unit.client.engine_double import Answer, Close, EngineDouble
from tests.unit.client.samples import (
    ORDER,
    ORDER_ID,
    START,
    TOKENS,
    TX_HASH,
    detail,
    encode,
    failed,
    payloads,
)

from .conftest import Outcome

Run = Callable[..., Outcome]
FILLED = ORDER | {"status": "confirmed", "amountOut": "0.2933", "executedPrice": "0.0002933", "venue": "meteora_dlmm"}


def answers(engine: EngineDouble, *documents: Any) -> None:
    engine.answers.extend(Answer(200, encode(document)) for document in documents)


def test_an_order_is_placed_and_its_id_printed(ask: Run, engine: EngineDouble) -> None:
    answers(engine, ORDER)

    placed = ask("order", "1000", "USDC", "ETH", "--user", "alice", "--slippage-bps", "10", "--priority", "5")

    assert (placed.exit_code, placed.stdout) == (0, f"{ORDER_ID}\n")
    assert json.loads(engine.seen[0].body) == {
        "type": "market",
        "tokenIn": "USDC",
        "tokenOut": "ETH",
        "amountIn": "1000",
        "userId": "alice",
        "slippageBps": 10,
        "priority": 5,
    }


def test_an_exact_output_is_placed_with_its_bound_and_its_routing(ask: Run, engine: EngineDouble) -> None:
    answers(engine, ORDER)

    placed = ask("order", "2", "USDC", "ETH", "--exact-out", "--max-in", "310.5", "--routing", "best")

    assert placed.exit_code == 0, placed.stderr
    assert json.loads(engine.seen[0].body) == {
        "type": "market",
        "tokenIn": "USDC",
        "tokenOut": "ETH",
        "swapMode": "ExactOut",
        "amountOut": "2",
        "maxAmountIn": "310.5",
        "routing": "best",
        "userId": "cli",
    }


def test_a_bound_of_the_input_needs_an_exact_output(ask: Run, engine: EngineDouble) -> None:
    refused = ask("order", "1000", "USDC", "ETH", "--max-in", "310.5")

    assert refused.exit_code == 2
    assert "--exact-out" in refused.stderr
    assert engine.seen == []


def test_an_order_can_be_printed_as_json(ask: Run, engine: EngineDouble) -> None:
    answers(engine, ORDER)

    placed = ask("order", "1000", "USDC", "ETH", "--json")

    assert json.loads(placed.stdout)["orderId"] == ORDER_ID


def test_a_placed_order_can_be_watched(ask: Run, engine: EngineDouble) -> None:
    answers(engine, ORDER, detail(), TOKENS)
    engine.streams.append([*payloads(), Close(1000)])

    watched = ask("order", "1000", "USDC", "ETH", "--watch")

    assert watched.exit_code == 0
    assert watched.stdout.splitlines()[0] == ORDER_ID
    assert [line.split()[1] for line in watched.stdout.splitlines()[1:]] == [
        "pending",
        "routing",
        "building",
        "submitted",
        "confirmed",
        "finalized",
    ]


def test_a_watched_order_in_json_is_one_event_a_line(ask: Run, engine: EngineDouble) -> None:
    answers(engine, ORDER)
    engine.streams.append([*payloads(), Close(1000)])

    watched = ask("order", "1000", "USDC", "ETH", "--watch", "--json")

    assert watched.stdout.encode().splitlines() == payloads()


def test_watching_explains_every_event(ask: Run, engine: EngineDouble) -> None:
    answers(engine, detail(), TOKENS)
    engine.streams.append([*payloads(), Close(1000)])

    lines = ask("watch", ORDER_ID).stdout.splitlines()

    assert lines[0] == "12:00:00.250Z  pending    1000 USDC -> ETH, slippage 50 bps"
    assert "meteora_dlmm chosen at 0.0002934; Raydium 0.2931066, Meteora 0.2934 ETH" in lines[1]
    assert "612 bytes, fee at most 5100 lamports" in lines[2]
    assert f"attempt 1: tx {TX_HASH}" in lines[3]
    assert "0.2933 ETH from meteora_dlmm at 0.0002933 ETH per USDC, slippage -3.41 bps" in lines[4]
    assert lines[4].endswith("SIMULATED")
    assert "slot 43" in lines[5]


def test_watching_may_start_later(ask: Run, engine: EngineDouble) -> None:
    engine.streams.append([*payloads()[4:], Close(1000)])

    watched = ask("watch", ORDER_ID, "--from", "5", "--json")

    assert watched.stdout.encode().splitlines() == payloads()[4:]
    assert engine.targets == [f"/api/orders/{ORDER_ID}/ws?fromSeq=5"]


ENDINGS: list[Event] = [
    failed(),
    Canceled(order_id=ORDER_ID, seq=2, status=Status.CANCELED, at=START, explanation="by the client"),
    Expired(order_id=ORDER_ID, seq=2, status=Status.EXPIRED, at=START, explanation="too late"),
]


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda event: event.status)
def test_an_order_that_ends_without_a_fill_ends_with_1(ask: Run, engine: EngineDouble, ending: Event) -> None:
    answers(engine, detail(), TOKENS)
    engine.streams.append([payloads()[0], encode_event(ending)])

    watched = ask("watch", ORDER_ID)

    assert watched.exit_code == 1
    assert watched.stdout.splitlines()[-1].split()[1] == ending.status


def test_a_failure_says_why_and_whether_money_moved(ask: Run, engine: EngineDouble) -> None:
    answers(engine, detail(), TOKENS)
    engine.streams.append([payloads()[0], encode_event(failed())])

    assert "SLIPPAGE_EXCEEDED: the price moved; money moved: no" in ask("watch", ORDER_ID).stdout


def test_watching_an_unknown_order_is_refused(ask: Run, engine: EngineDouble) -> None:
    engine.streams.append([Close(4404, "no order has this id")])

    refused = ask("watch", "nope", "--json")

    assert (refused.exit_code, refused.stdout) == (3, "")
    assert refused.stderr == "bestex: no order has this id (ORDER_NOT_FOUND, no money moved)\n"


def test_orders_are_listed(ask: Run, engine: EngineDouble) -> None:
    answers(engine, {"orders": [FILLED, ORDER], "nextCursor": "abc"})

    listed = ask("orders", "--user", "alice", "--status", "confirmed", "--limit", "2", "--cursor", "x")

    heading, filled, waiting, more = listed.stdout.splitlines()
    assert heading.split() == ["ID", "STATUS", "USER", "IN", "OUT", "PRICE", "VENUE", "CREATED"]
    assert filled.split()[:8] == [ORDER_ID, "confirmed", "alice", "1000", "USDC", "0.2933", "ETH", "0.0002933"]
    assert waiting.split()[5:9] == ["-", "ETH", "-", "-"]
    assert more == "more: --cursor abc"
    assert engine.targets == ["/api/orders?userId=alice&status=confirmed&cursor=x&limit=2"]


def test_active_orders_are_listed(ask: Run, engine: EngineDouble) -> None:
    answers(engine, {"orders": [ORDER]})

    assert ORDER_ID in ask("orders", "--active").stdout
    assert engine.targets == ["/api/orders/active?limit=20"]


def test_no_orders_is_said(ask: Run, engine: EngineDouble) -> None:
    answers(engine, {"orders": [], "nextCursor": None})

    assert ask("orders").stdout == "no orders\n"


@pytest.mark.parametrize(
    ("flags", "document"), [((), {"orders": [ORDER], "nextCursor": None}), (("--active",), {"orders": [ORDER]})]
)
def test_orders_as_json_are_one_document(
    ask: Run, engine: EngineDouble, flags: tuple[str, ...], document: dict[str, Any]
) -> None:
    answers(engine, document)

    listed = json.loads(ask("orders", *flags, "--json").stdout)

    assert [order["id"] for order in listed["orders"]] == [ORDER_ID]


@pytest.mark.parametrize(
    ("status", "said"),
    [("canceled", f"{ORDER_ID} is canceled\n"), ("submitted", f"{ORDER_ID} is submitted: asked to cancel")],
)
def test_a_cancel_says_what_it_did(ask: Run, engine: EngineDouble, status: str, said: str) -> None:
    answers(engine, ORDER | {"status": status})

    canceled = ask("cancel", ORDER_ID)

    assert canceled.exit_code == 0
    assert canceled.stdout.startswith(said)
    assert engine.seen[0].method == "DELETE"


def test_a_cancel_as_json_is_the_order(ask: Run, engine: EngineDouble) -> None:
    answers(engine, ORDER | {"status": "canceled"})

    assert json.loads(ask("cancel", ORDER_ID, "--json").stdout)["status"] == "canceled"


def test_the_server_and_the_user_can_come_from_the_environment(
    bestex: Run, engine: EngineDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BESTEX_URL", engine.url)
    monkeypatch.setenv("BESTEX_USER", "bob")
    answers(engine, ORDER)

    assert bestex("order", "1", "USDC", "ETH").exit_code == 0
    assert json.loads(engine.seen[0].body)["userId"] == "bob"
