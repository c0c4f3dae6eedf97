"""Events in one line: which pools, in which shares, and how far from the best."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from bestex.cli.narrate import Pair, explain
from bestex.orders.events import Accepted, Confirmed, PoolQuote, Routed, RoutedLeg
from bestex.orders.status import Status
from bestex.types import OrderId
from tests.unit.client.samples import TX_HASH, life

PAIR = Pair("USDC", "ETH", 8, {"MintIn": "USDC", "MintOut": "ETH", "MintSol": "SOL"})
EXACT_OUT = msgspec.structs.replace(PAIR, exact_out=True, in_decimals=6)
HEADER: dict[str, Any] = {"order_id": OrderId("o"), "seq": 1, "at": datetime(2026, 1, 31, tzinfo=UTC)}


def accepted(**changes: Any) -> Accepted:
    event = life()[0]
    assert isinstance(event, Accepted)
    return msgspec.structs.replace(event, **changes)


def routed(**changes: Any) -> Routed:
    event = life()[1]
    assert isinstance(event, Routed)
    return msgspec.structs.replace(event, **changes)


def leg(venue: str, bps: int, *, hop: int = 0, mints: tuple[str, str] = ("MintIn", "MintOut")) -> RoutedLeg:
    return RoutedLeg(
        venue=venue,
        dex=venue.partition("_")[0].title(),
        pool="Pool",
        input_mint=mints[0],
        output_mint=mints[1],
        in_amount="1",
        out_amount="1",
        other_amount_threshold="1",
        fee_amount="0",
        fee_mint="MintIn",
        bps=bps,
        hop=hop,
    )


def test_one_pool_is_named_with_both_exchanges_best_quotes() -> None:
    told = "meteora_dlmm chosen at 0.0002934; Raydium 0.2931066, Meteora 0.2934 ETH"

    assert explain(routed(), PAIR) == told
    assert explain(routed(legs=[leg("meteora_dlmm", 10_000)]), PAIR) == told


def test_a_split_shows_its_legs_its_gain_and_its_gap() -> None:
    event = routed(
        legs=[leg("raydium_clmm", 6_210), leg("meteora_dlmm", 3_790)], gain_over_single_bps="12.31", optimality_gap="3"
    )

    assert explain(event, PAIR) == (
        "raydium_clmm 62.10 % + meteora_dlmm 37.90 % at 0.0002934, +12.31 bps over one pool, gap at most 3 base units; "
        "Raydium 0.2931066, Meteora 0.2934 ETH"
    )


def test_a_path_shows_its_hops() -> None:
    legs = [
        leg("raydium_clmm", 10_000, mints=("MintIn", "MintSol")),
        leg("raydium_cpmm", 7_500, hop=1, mints=("MintSol", "M" * 43)),
        leg("meteora_dlmm", 2_500, hop=1, mints=("MintSol", "M" * 43)),
        leg("meteora_dlmm", 10_000, hop=2, mints=("M" * 43, "MintOut")),
    ]

    assert explain(routed(legs=legs), PAIR) == (
        "USDC > SOL raydium_clmm, SOL > MMMM…MMMM raydium_cpmm 75.00 % + meteora_dlmm 25.00 %, "
        "MMMM…MMMM > ETH meteora_dlmm at 0.0002934; Raydium 0.2931066, Meteora 0.2934 ETH"
    )


def test_a_pair_without_pools_says_so() -> None:
    legs = [leg("raydium_clmm", 10_000, mints=("MintIn", "MintSol")), leg("meteora_dlmm", 10_000, hop=1)]

    assert explain(routed(legs=legs, quotes=[], optimality_gap="1"), PAIR).endswith(
        "at 0.0002934, gap at most 1 base unit; no pool trades USDC against ETH directly"
    )


def test_pools_are_compared_by_what_they_ask_for_an_exact_output() -> None:
    quotes = [
        PoolQuote(venue="raydium_cpmm", dex="Raydium", pool="R", in_amount="999500000", out_amount="29340000"),
        PoolQuote(venue="meteora_dlmm", dex="Meteora", pool="M", error="closed"),
    ]

    assert explain(routed(quotes=quotes), EXACT_OUT).endswith("; Raydium 999.5, Meteora none USDC")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "1000 USDC -> ETH, slippage 50 bps"),
        ({"routing": "split"}, "1000 USDC -> ETH, slippage 50 bps, routing split"),
        (
            {"swap_mode": "exact_out", "amount_in": None, "amount_out": "0.5", "max_amount_in": "1700"},
            "USDC -> 0.5 ETH exactly, at most 1700 USDC, slippage 50 bps",
        ),
        (
            {"swap_mode": "exact_out", "amount_in": None, "amount_out": "0.5"},
            "USDC -> 0.5 ETH exactly, slippage 50 bps",
        ),
    ],
)
def test_what_was_asked_for(changes: dict[str, Any], told: str) -> None:
    assert explain(accepted(**changes), PAIR) == told


@pytest.mark.parametrize(
    ("difference", "told"),
    [("0", "bps, tx"), ("-10000", "bps (-10000 base units), tx"), ("1", "bps (+1 base unit), tx")],
)
def test_a_fill_that_is_not_as_quoted_says_by_how_much(difference: str, told: str) -> None:
    event = life()[4]
    assert isinstance(event, Confirmed)

    assert f"slippage -3.41 {told} {TX_HASH}" in explain(
        msgspec.structs.replace(event, quote_difference=difference), PAIR
    )


def test_a_fill_from_several_pools_says_so() -> None:
    event = life()[4]
    assert isinstance(event, Confirmed)
    assert event.status is Status.CONFIRMED
    several = msgspec.structs.replace(event, legs=["meteora_dlmm:M", "raydium_cpmm:R", "raydium_clmm:C"])

    assert explain(event, PAIR).startswith("0.2933 ETH from meteora_dlmm at 0.0002933 ETH per USDC, slippage")
    assert explain(several, PAIR).startswith("0.2933 ETH from meteora_dlmm and 2 more at 0.0002933")
    assert explain(several, EXACT_OUT).startswith("0.2933 ETH for 1000 USDC from meteora_dlmm and 2 more at")
    assert TX_HASH in explain(event, PAIR)
