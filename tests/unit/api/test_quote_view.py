"""A route in the API's words, against the route itself."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bestex.api.quote_view import quote_view
from bestex.routing.quote import Route, shares
from bestex.types import BPS, Routing
from tests.support.market import JUP, SOL, USDC
from tests.support.routes import BINS, LARGE, SMALL, TOKENS, exact_out_route, path_route, route, split_route


def view(made: Route) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(quote_view(made, TOKENS, time_taken_s=0.0012345678, simulated=True))
    return shown


@pytest.mark.parametrize("made", [split_route(), path_route(), exact_out_route()], ids=lambda made: made.kind)
def test_each_leg_is_shown_as_it_will_run(made: Route) -> None:
    plan = view(made)["routePlan"]

    assert len(plan) == len(made.legs)
    for shown, leg in zip(plan, made.legs, strict=True):
        swap = shown["swapInfo"]
        assert (swap["ammKey"], swap["label"]) == (str(leg.pool.address), leg.pool.venue.label)
        assert (swap["inputMint"], swap["outputMint"]) == (str(leg.in_mint), str(leg.out_mint))
        assert (swap["inAmount"], swap["outAmount"]) == (str(leg.in_amount), str(leg.out_amount))
        assert (swap["feeAmount"], swap["feeMint"]) == (str(leg.fee_amount), str(leg.fee_mint))
        assert (shown["hop"], shown["otherAmountThreshold"]) == (leg.hop, str(leg.other_amount_threshold))
        assert (shown["venue"], shown["dex"]) == (leg.pool.venue, leg.pool.venue.dex)
        paid, received = TOKENS.of_mint(leg.in_mint), TOKENS.of_mint(leg.out_mint)
        assert (shown["tokenIn"], shown["tokenOut"]) == (paid.symbol, received.symbol)
        assert Decimal(shown["amountIn"]).scaleb(paid.decimals) == leg.in_amount
        assert Decimal(shown["amountOut"]).scaleb(received.decimals) == leg.out_amount


def test_shares_are_those_of_a_hop() -> None:
    assert [(leg["percent"], leg["bps"]) for leg in view(split_route())["routePlan"]] == [(62, 6_250), (38, 3_750)]
    assert [(leg["percent"], leg["bps"]) for leg in view(path_route())["routePlan"]] == [(100, BPS), (100, BPS)]


def test_the_proof_is_the_routes_own() -> None:
    made = split_route()
    shown = view(made)

    assert (shown["routing"], shown["routeKind"]) == ("auto", "split")
    assert (shown["bound"], shown["boundClass"]) == (str(made.out_amount + 3), "any split over the pools of this pair")
    assert (shown["optimalityGap"], shown["optimalityGapBps"]) == ("3", "0.0001")
    assert shown["networkCost"] == "33000"
    assert shown["venue"] == "raydium_cpmm"
    assert shown["timeTaken"] == 0.001235


def test_an_exact_output_is_bounded_from_below() -> None:
    made = exact_out_route()
    shown = view(made)

    assert shown["swapMode"] == "ExactOut"
    assert (shown["bound"], shown["optimalityGap"]) == (str(made.in_amount - 5_000), "5000")
    assert (shown["inAmount"], shown["outAmount"]) == (str(made.in_amount), "2000000000")
    assert int(shown["otherAmountThreshold"]) > made.in_amount


def test_a_route_without_a_bound_or_a_rival_says_nothing_of_them() -> None:
    made = path_route()
    shown = view(route(made.legs, (), bound=None, routing=Routing.SPLIT))

    assert shown["routing"] == "split"
    for name in ("bound", "optimalityGap", "optimalityGapBps", "bestSingle", "gainOverSingleBps"):
        assert shown[name] is None, name
    assert shown["quotes"] == []
    assert shown["bestByVenue"] == {}


def test_rivals_are_shown_with_what_they_pay_and_why_they_lost() -> None:
    shown = view(split_route())
    first, second, refused = shown["quotes"]
    path, split = shown["alternatives"]

    assert shown["bestSingle"] == first
    assert shown["bestByVenue"] == {"Raydium": first, "Meteora": second}
    assert (first["pool"], first["inAmount"], first["amountIn"]) == (str(LARGE.address), "3000000000", "3000")
    assert second["pool"] == str(BINS.address)
    assert (refused["pool"], refused["error"], refused["inAmount"]) == (str(SMALL.address), "closed", None)
    assert path["tokens"] == ["USDC", "JUP", None, "SOL"]
    assert (path["mints"][0], path["mints"][-1]) == (str(USDC.mint), str(SOL.mint))
    assert (path["amountIn"], path["amountOut"], path["reason"]) == ("3000", "19", "nets less")
    assert (split["kind"], split["outAmount"], split["amountOut"]) == ("split", None, None)
    assert len(split["pools"]) == 3


def test_a_leg_of_a_token_without_a_name_has_base_units_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(TOKENS._by_mint, JUP.mint)
    first, second = view(path_route())["routePlan"]

    assert (first["tokenIn"], first["tokenOut"], first["amountOut"]) == ("USDC", None, None)
    assert (second["tokenIn"], second["amountIn"], second["tokenOut"]) == (None, None, "SOL")


@given(gap=st.integers(0, 10**12))
def test_the_gap_in_basis_points_is_never_less_than_it_is(gap: int) -> None:
    made = path_route()
    bounded = route(made.legs, made.offers, bound=made.out_amount + gap)
    shown = Decimal(view(bounded)["optimalityGapBps"])

    exact = Decimal(gap * BPS) / (made.out_amount + gap)
    assert exact <= shown < exact + Decimal("0.0001")


@given(amounts=st.lists(st.integers(0, 2**64), min_size=1, max_size=9), whole=st.sampled_from([100, BPS]))
def test_shares_add_up_and_are_off_by_less_than_one(amounts: list[int], whole: int) -> None:
    amounts = [*amounts, 1]
    told = shares(amounts, whole)

    assert sum(told) == whole
    total = sum(amounts)
    assert all(abs(share * total - amount * whole) < total for share, amount in zip(told, amounts, strict=True))
