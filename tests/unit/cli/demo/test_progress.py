"""An order's events add up to what the demo shows of it."""

from datetime import timedelta

import msgspec
import pytest

from bestex.cli.demo.plan import PLAN, Ending, Planned
from bestex.cli.demo.progress import Progress
from bestex.cli.narrate import Pair
from bestex.orders.events import Canceled, Confirmed, PoolQuote, Retrying, RolledBack, Routed, RoutedLeg
from bestex.orders.order import OrderError
from bestex.orders.status import Status
from tests.unit.client.samples import ORDER_ID, START, TX_HASH, failed, life

NOW = START + timedelta(seconds=2)


def progress(ending: Ending = Ending.FILLED) -> Progress:
    return Progress(
        number=1, planned=Planned("USDC", "ETH", "1000", ending=ending), pair=Pair("USDC", "ETH", out_decimals=8)
    )


def after(count: int) -> Progress:
    one = progress()
    for event in life()[:count]:
        one.apply(event)
    return one


def test_before_it_is_placed_an_order_has_no_status() -> None:
    one = progress()

    assert (one.status, one.elapsed_s(NOW), one.ended, one.as_planned) == ("", [], False, False)


def test_routing_shows_the_best_quote_of_each_exchange_in_token_units() -> None:
    one = after(2)

    assert (one.raydium, one.meteora, one.venue) == ("0.2931066", "0.2934", "meteora_dlmm")


def test_a_route_of_several_legs_shows_the_biggest_first() -> None:
    routed, confirmed = life()[1], life()[4]
    assert isinstance(routed, Routed)
    assert isinstance(confirmed, Confirmed)
    one = progress()
    one.apply(msgspec.structs.replace(routed, legs=[swap("raydium_cpmm"), swap("meteora_dlmm"), swap("raydium_cpmm")]))
    assert one.venues == ("meteora_dlmm", "raydium_cpmm", "raydium_cpmm")
    assert one.venue == "meteora_dlmm +2"

    one.apply(msgspec.structs.replace(confirmed, legs=["raydium_clmm:C", "meteora_dlmm:M"]))
    assert one.venue == "meteora_dlmm +1"


def swap(venue: str) -> RoutedLeg:
    return RoutedLeg(
        venue=venue, dex="", pool="P", input_mint="MintIn", output_mint="MintOut", in_amount="1", out_amount="1",
        other_amount_threshold="1", fee_amount="0", fee_mint="MintIn", bps=1,
    )  # fmt: skip


def test_an_exact_output_shows_what_each_exchange_asks() -> None:
    quote = PoolQuote(venue="raydium_cpmm", dex="Raydium", pool="R", in_amount="999500000", out_amount="29340000")
    routed = life()[1]
    assert isinstance(routed, Routed)
    one = progress()
    one.pair = msgspec.structs.replace(one.pair, exact_out=True, in_decimals=6)
    one.apply(msgspec.structs.replace(routed, quotes=[quote]))

    assert (one.raydium, one.meteora) == ("999.5", "-")


def test_a_fill_shows_what_it_was() -> None:
    one = after(5)

    assert (one.tx_hash, one.executed_price, one.slippage_bps) == (TX_HASH, "0.0002933", "-3.41")
    assert (one.status, one.ended, one.as_planned) == ("confirmed", True, True)


def test_each_status_is_timed_and_the_last_goes_on() -> None:
    assert after(3).elapsed_s(NOW) == [("pending", 0.25), ("routing", 0.25), ("building", 1.25)]


@pytest.mark.parametrize("count", [5, 6])
def test_the_clock_stops_when_the_order_ends(count: int) -> None:
    assert after(count).elapsed_s(NOW) == [
        ("pending", 0.25),
        ("routing", 0.25),
        ("building", 0.25),
        ("submitted", 0.25),
    ]


def test_a_retry_is_shown_with_its_reason_until_the_fill() -> None:
    one = after(2)
    error = OrderError("SLIPPAGE_EXCEEDED", "the price moved", retryable=True, money_moved="no")
    one.apply(
        Retrying(
            order_id=ORDER_ID,
            seq=3,
            status=Status.PENDING,
            at=START,
            attempt=1,
            error=error,
            retry_at=NOW,
            retries_left=1,
        )
    )
    assert (one.status, one.problem, one.ended) == ("pending", "SLIPPAGE_EXCEEDED: the price moved", False)

    one.apply(life()[4])
    assert one.problem == ""


def test_a_fork_takes_a_fill_back() -> None:
    one = after(5)
    one.apply(
        RolledBack(order_id=ORDER_ID, seq=6, status=Status.SUBMITTED, at=START, tx_hash=TX_HASH, explanation="fork")
    )

    assert (one.status, one.ended, one.as_planned) == ("submitted", False, False)


@pytest.mark.parametrize("ending", Ending)
def test_an_order_ends_as_planned_or_not(ending: Ending) -> None:
    one = progress(ending)
    one.apply(life()[0])
    one.apply(failed())

    assert one.as_planned is (ending is Ending.FAILED)
    assert one.problem == "SLIPPAGE_EXCEEDED: the price moved"


def test_a_canceled_order_is_never_as_planned() -> None:
    one = progress(Ending.FAILED)
    one.apply(life()[0])
    one.apply(Canceled(order_id=ORDER_ID, seq=2, status=Status.CANCELED, at=START, explanation="by the client"))

    assert one.ended
    assert not one.as_planned


def test_an_order_that_the_server_does_not_take_is_refused() -> None:
    one = progress()
    one.refuse("NO_ROUTE", "no pool", START)

    assert (one.status, one.problem, one.ended, one.as_planned) == ("refused", "NO_ROUTE: no pool", True, False)


def test_the_plan_shows_what_it_promises() -> None:
    directions = {(planned.token_in, planned.token_out) for planned in PLAN}

    assert len(PLAN) == 10
    assert sum((there, back) in directions for back, there in directions) >= 6
    assert sum(planned.ending is Ending.FAILED for planned in PLAN) == 1
    assert any(planned.by_mint for planned in PLAN)
    assert any(planned.repeated for planned in PLAN)
    assert any(planned.exact_out for planned in PLAN)
    assert len({planned.priority for planned in PLAN}) > 2
