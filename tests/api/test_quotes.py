"""Quotes in Jupiter's words, tokens, pools: against the pools' own arithmetic."""

from typing import Any

import pytest

from bestex.types import SwapMode
from tests.api.conftest import REFUSED_POOL, World
from tests.support.market import CLOCK, SOL, USDC

QUOTE = "/api/quote?tokenIn=USDC&tokenOut=SOL&amountIn=1000"


async def get(world: World, path: str) -> dict[str, Any]:
    answer = await world.client.get(path)
    assert answer.status_code == 200, answer.text
    decoded: dict[str, Any] = answer.json()
    return decoded


async def test_a_quote_is_what_the_best_pool_pays(world: World) -> None:
    shown = await get(world, QUOTE + "&slippageBps=100")
    pools = [listing.pool for listing in world.front.book.listings()]
    paid = {str(pool.address): pool.quote(USDC.mint, 10**9, SwapMode.EXACT_IN, CLOCK) for pool in pools}
    best = max(paid.values(), key=lambda quote: quote.out_amount)

    assert len(paid) == 2
    assert shown["inputMint"] == str(USDC.mint)
    assert shown["outputMint"] == str(SOL.mint)
    assert (shown["inAmount"], shown["outAmount"]) == ("1000000000", str(best.out_amount))
    assert shown["otherAmountThreshold"] == str(-(-best.out_amount * 99 // 100))
    assert (shown["swapMode"], shown["slippageBps"]) == ("ExactIn", 100)
    assert shown["contextSlot"] == CLOCK.slot
    assert isinstance(shown["timeTaken"], float)
    assert float(shown["priceImpactPct"]) >= 0
    assert (shown["amountIn"], shown["tokenIn"], shown["tokenOut"]) == ("1000", "USDC", "SOL")
    assert shown["priceUnit"] == "SOL per USDC"
    assert float(shown["price"]) == pytest.approx(best.out_amount / 10**9 / 1000)
    assert shown["simulated"] is True
    [leg] = shown["routePlan"]
    assert (leg["percent"], leg["bps"]) == (100, 10_000)
    assert leg["swapInfo"] == {
        "ammKey": leg["swapInfo"]["ammKey"],
        "label": leg["swapInfo"]["label"],
        "inputMint": shown["inputMint"],
        "outputMint": shown["outputMint"],
        "inAmount": shown["inAmount"],
        "outAmount": shown["outAmount"],
        "feeAmount": str(best.fee_amount),
        "feeMint": shown["inputMint"] if best.fee_on_input else shown["outputMint"],
    }
    assert paid[leg["swapInfo"]["ammKey"]] == best


async def test_a_large_amount_is_split_unless_one_pool_is_asked_for(world: World) -> None:
    large = "/api/quote?tokenIn=USDC&tokenOut=SOL&amountIn=25000000"
    free, split, best = [await get(world, large + routing) for routing in ("", "&routing=split", "&routing=best")]

    assert (free["routing"], split["routing"], best["routing"]) == ("auto", "split", "best")
    assert (free["routeKind"], split["routeKind"], best["routeKind"]) == ("split", "split", "single")
    assert best["bestSingle"] == best["quotes"][0]
    assert best["gainOverSingleBps"] == "0.00"
    gain = int(split["outAmount"]) / int(best["outAmount"]) - 1
    assert float(split["gainOverSingleBps"]) == pytest.approx(gain * 10_000, abs=0.01)
    assert gain > 0
    assert [offer["pool"] for offer in best["quotes"]] == [offer["pool"] for offer in split["quotes"]]
    assert (best["boundClass"], best["optimalityGap"]) == ("one pool of this pair", "0")
    assert int(split["bound"]) == int(split["outAmount"]) + int(split["optimalityGap"])
    assert int(split["networkCost"]) > 0


async def test_the_legs_of_a_split_are_what_the_pools_pay_and_add_up(world: World) -> None:
    shown = await get(world, "/api/quote?tokenIn=USDC&tokenOut=SOL&amountIn=25000000&slippageBps=30")
    pools = {str(listing.pool.address): listing.pool for listing in world.front.book.listings()}
    swaps = [leg["swapInfo"] for leg in shown["routePlan"]]

    assert {swap["ammKey"] for swap in swaps} == set(pools)
    for swap in swaps:
        paid = pools[swap["ammKey"]].quote(USDC.mint, int(swap["inAmount"]), SwapMode.EXACT_IN, CLOCK)
        assert (swap["outAmount"], swap["feeAmount"]) == (str(paid.out_amount), str(paid.fee_amount))
    assert sum(int(swap["inAmount"]) for swap in swaps) == int(shown["inAmount"]) == 25 * 10**12
    assert sum(int(swap["outAmount"]) for swap in swaps) == int(shown["outAmount"])
    assert sum(leg["bps"] for leg in shown["routePlan"]) == 10_000
    assert sum(leg["percent"] for leg in shown["routePlan"]) == 100
    assert sum(int(leg["otherAmountThreshold"]) for leg in shown["routePlan"]) >= int(shown["otherAmountThreshold"])
    assert int(shown["otherAmountThreshold"]) >= int(shown["outAmount"]) * 9_970 // 10_000


async def test_an_exact_output_is_quoted_by_what_it_costs(world: World) -> None:
    shown = await get(
        world, "/api/quote?tokenIn=USDC&tokenOut=SOL&amountOut=2.5&swapMode=ExactOut&routing=best&slippageBps=100"
    )
    pools = [listing.pool for listing in world.front.book.listings()]
    asked = sorted(pool.quote(USDC.mint, 2_500_000_000, SwapMode.EXACT_OUT, CLOCK).in_amount for pool in pools)

    assert (shown["swapMode"], shown["outAmount"], shown["amountOut"]) == ("ExactOut", "2500000000", "2.5")
    assert shown["inAmount"] == str(asked[0])
    assert shown["otherAmountThreshold"] == str(asked[0] * 101 // 100)
    assert [int(offer["inAmount"]) for offer in shown["quotes"]] == asked
    assert {offer["outAmount"] for offer in shown["quotes"]} == {"2500000000"}
    assert shown["bound"] == shown["inAmount"]


async def test_every_pools_offer_is_shown_the_losers_too(world: World) -> None:
    shown = await get(world, QUOTE)

    assert [offer["dex"] for offer in shown["quotes"]] == sorted(
        (offer["dex"] for offer in shown["quotes"]), key=lambda dex: -int(shown["bestByVenue"][dex]["outAmount"])
    )
    assert set(shown["bestByVenue"]) == {"Raydium", "Meteora"}
    assert shown["quotes"][0]["outAmount"] == shown["outAmount"]
    assert shown["quotes"][0]["venue"] == shown["venue"]
    assert {offer["label"] for offer in shown["quotes"]} == {"Raydium CPMM", "Meteora DLMM"}
    for offer in shown["quotes"]:
        assert offer["error"] is None
        assert offer["feeMint"] in {shown["inputMint"], shown["outputMint"]}


async def test_a_pool_that_cannot_trade_the_amount_says_why(world: World) -> None:
    """More than all bins of the DLMM pool hold, but constant product takes anything."""
    shown = await get(world, "/api/quote?tokenIn=USDC&tokenOut=SOL&amountIn=1000000000")

    assert [offer["dex"] for offer in shown["quotes"]] == ["Raydium", "Meteora"]
    refused = shown["quotes"][1]
    assert refused["error"]
    assert (refused["outAmount"], refused["price"], refused["feeAmount"]) == (None, None, None)
    assert set(shown["bestByVenue"]) == {"Raydium"}


async def test_the_servers_slippage_is_the_default(world: World) -> None:
    assert (await get(world, QUOTE))["slippageBps"] == world.front.settings.slippage_bps
    assert (await get(world, QUOTE + "&slippageBps=0"))["slippageBps"] == 0


async def test_a_dead_cluster_is_unavailable(world: World) -> None:
    world.cluster.down = True
    answer = await world.client.get(QUOTE)

    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["retryable"]) == (503, "CLUSTER_UNAVAILABLE", True)
    assert answer.headers["retry-after"] == "1"


async def test_an_amount_that_no_pool_can_trade_has_no_route(world: World) -> None:
    answer = await world.client.get("/api/quote?tokenIn=USDC&tokenOut=SOL&amountIn=0.000001")

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "NO_ROUTE")
    assert "Raydium CPMM" in problem["detail"]


async def test_tokens(world: World) -> None:
    shown = (await get(world, "/api/tokens"))["tokens"]
    assert {token["symbol"] for token in shown} == {"SOL", "USDC", "JUP"}
    assert next(token for token in shown if token["symbol"] == "SOL") == {
        "symbol": "SOL",
        "mint": str(SOL.mint),
        "decimals": 9,
        "program": "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA",
    }


async def test_pools(world: World) -> None:
    shown = await get(world, "/api/pools")

    assert {pool["label"] for pool in shown["pools"]} == {"Raydium CPMM", "Meteora DLMM"}
    cpmm = next(pool for pool in shown["pools"] if pool["dex"] == "Raydium")
    assert cpmm["venue"] == "raydium_cpmm"
    assert (cpmm["feePct"], cpmm["contextSlot"]) == ("0.25", CLOCK.slot)
    sol = next(side for side in cpmm["tokens"] if side["symbol"] == "SOL")
    assert sol == {"mint": str(SOL.mint), "symbol": "SOL", "reserveRaw": "10000000000000", "reserve": "10000"}
    assert shown["refused"] == [
        {"address": str(REFUSED_POOL), "reason": "no pool of a known venue at this address"},
    ]
    assert shown["simulated"] is True


async def test_a_pool_of_a_token_without_a_name(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(world.front.tokens._by_mint, SOL.mint)
    sides = (await get(world, "/api/pools"))["pools"][0]["tokens"]
    assert {side["symbol"] for side in sides} == {None, "USDC"}
    assert next(side for side in sides if side["symbol"] is None)["reserve"] is None
