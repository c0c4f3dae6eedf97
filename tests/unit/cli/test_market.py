"""quote, pools, tokens."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from bestex.cli.market import behind_bps
from tests.unit.client.engine_double import Answer, EngineDouble
from tests.unit.client.samples import POOLS, QUOTE, TOKENS, encode

from .conftest import Outcome

Run = Callable[..., Outcome]


def test_a_quote_shows_every_pool_best_first_with_its_distance(ask: Run, engine: EngineDouble) -> None:
    engine.answers.append(Answer(200, encode(QUOTE)))

    quoted = ask("quote", "1000", "USDC", "ETH", "--slippage-bps", "50")

    heading, best, second, refusal, note = quoted.stdout.splitlines()
    assert heading.split() == ["VENUE", "OUT", "ETH", "PRICE", "BPS", "TO", "BEST", "POOL"]
    assert best.split() == ["Meteora", "DLMM", "0.2934", "0.0002934", "0.0", "PoolM"]
    assert second.split() == ["Raydium", "CPMM", "0.2931066", "0.0002931066", "-10.0", "PoolR"]
    assert refusal.split() == ["Raydium", "CPMM", "-", "-", "-", "PoolX", "(swaps", "are", "closed)"]
    assert "an order accepts no less than 0.291933 ETH" in note
    assert "SIMULATED" in note
    assert "\x1b" not in quoted.stdout
    assert engine.targets == ["/api/quote?tokenIn=USDC&tokenOut=ETH&amountIn=1000&slippageBps=50"]


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


@pytest.mark.parametrize(("out", "shown"), [(1_000_000, "0.0"), (999_000, "-10.0"), (999_999, "-0.0"), (1, "-10000.0")])
def test_the_distance_to_the_best_quote(out: int, shown: str) -> None:
    assert behind_bps(out, 1_000_000) == shown
