"""quote, pools, tokens."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.client.engine_double import Answer, EngineDouble
from tests.unit.client.samples import POOLS, QUOTE, TOKENS, encode

from .conftest import Outcome

Run = Callable[..., Outcome]


def test_a_quote_is_asked_for_as_the_options_say(ask: Run, engine: EngineDouble) -> None:
    engine.answers.extend([Answer(200, encode(QUOTE))] * 2)

    ask("quote", "1000", "USDC", "ETH", "--slippage-bps", "50", "--routing", "split")
    ask("quote", "0.5", "USDC", "ETH", "--exact-out")

    assert engine.targets == [
        "/api/quote?tokenIn=USDC&tokenOut=ETH&amountIn=1000&routing=split&slippageBps=50",
        "/api/quote?tokenIn=USDC&tokenOut=ETH&swapMode=ExactOut&amountOut=0.5",
    ]


def test_an_unknown_routing_is_wrong_usage(ask: Run, engine: EngineDouble) -> None:
    refused = ask("quote", "1000", "USDC", "ETH", "--routing", "fastest")

    assert refused.exit_code == 2
    assert "'auto'" in refused.stderr
    assert engine.seen == []


def test_pools_are_listed_with_those_that_are_not_traded(ask: Run, engine: EngineDouble) -> None:
    engine.answers.append(Answer(200, encode(POOLS)))

    heading, pool, refused = ask("pools").stdout.splitlines()

    assert heading.split() == ["VENUE", "TOKEN", "RESERVE", "TOKEN", "RESERVE", "FEE", "%", "POOL"]
    assert pool.split() == ["Raydium", "CPMM", "USDC", "5", "AAAA…AAAA", "77", "raw", "0.25", "PoolR"]
    assert refused == "not traded: PoolZ: Token-2022 transfer hook"


def test_tokens_are_listed(ask: Run, engine: EngineDouble) -> None:
    engine.answers.append(Answer(200, encode(TOKENS)))

    heading, usdc, eth = ask("tokens").stdout.splitlines()

    assert heading.split() == ["SYMBOL", "DECIMALS", "MINT"]
    assert usdc.split() == ["USDC", "6", "MintIn"]
    assert eth.split() == ["ETH", "8", "MintOut"]


@pytest.mark.parametrize(
    ("arguments", "document"),
    [(("quote", "1000", "USDC", "ETH"), QUOTE), (("pools",), POOLS), (("tokens",), TOKENS)],
)
def test_json_is_what_the_server_said(
    ask: Run, engine: EngineDouble, arguments: tuple[str, ...], document: dict[str, Any]
) -> None:
    engine.answers.append(Answer(200, encode(document)))

    assert json.loads(ask(*arguments, "--json").stdout) == document
