"""A quote on screen, from a route made by hand to the lines that a trader reads."""

import io
import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from bestex.api.quote_view import quote_view
from bestex.cli import output, quotes
from bestex.client.quotes import Quote
from bestex.routing.quote import Alternative, Route
from tests.support.routes import BINS, LARGE, SMALL, TOKENS, exact_out_route, path_route, route, split_route
from tests.unit.client.engine_double import Answer, EngineDouble
from tests.unit.client.samples import QUOTE, encode

from .conftest import Outcome

Run = Callable[..., Outcome]


def shown(made: Route | dict[str, Any], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines of a route's quote, as the server would answer it."""
    answer = made if isinstance(made, dict) else quote_view(made, TOKENS, time_taken_s=0.001, simulated=True)
    quotes.print_quote(msgspec.json.decode(encode(answer), type=Quote))
    return capsys.readouterr().out.splitlines()


def test_a_quote_is_printed(ask: Run, engine: EngineDouble) -> None:
    engine.answers.append(Answer(200, encode(QUOTE)))

    lines = ask("quote", "1000", "USDC", "ETH").stdout.splitlines()

    limits = "price impact 0.12 %; least out 0.291933 ETH at 50 bps slippage; network cost 0.00000012 ETH"
    assert lines == [
        "1000 USDC -> 0.2934 ETH, 0.0002934 ETH per USDC; SIMULATED",
        f"one pool, Meteora DLMM; {limits}",
        "gap: at most 30 base units (0.02 bps) below the best possible: any split over the pools of this pair",
        "",
        "   SHARE                        VENUE                IN         OUT  FEE BPS  POOL",
        "100.00 %  ####################  Meteora DLMM  1000 USDC  0.2934 ETH      3.0  PoolM",
        "",
        "ONE POOL        OUT ETH         PRICE  BPS TO ROUTE                POOL",
        "Meteora DLMM     0.2934     0.0002934          0.00  best Meteora  PoolM",
        "Raydium CPMM  0.2931066  0.0002931066        -10.00  best Raydium  PoolR",
        "Raydium CPMM          -             -             -                PoolX (swaps are closed)",
        "",
        "not taken: split over 2 pools, 0.29340005 ETH: nets less after costs",
    ]


def test_a_split_shows_each_pool_with_its_share(capsys: pytest.CaptureFixture[str]) -> None:
    made = split_route()
    lines = shown(made, capsys)
    first, second = made.legs

    assert lines[1].startswith("split over 2 pools; price impact 0.3121 %; least out ")
    assert lines[2].startswith("gap: at most 3 base units (<0.01 bps) below the best possible: any split over")
    assert "+17.54 bps over the best single pool, Raydium CPMM 19.910278993 SOL" in lines[3]
    assert lines[6].split()[:4] == ["62.50", "%", "#############", "Raydium"]
    assert lines[7].split()[:4] == ["37.50", "%", "########", "Meteora"]
    assert lines[6].endswith(f"25.0  {first.pool.address}")
    assert lines[7].endswith(f"10.0  {second.pool.address}")
    assert lines[10].split()[-3:] == ["best", "Raydium", str(LARGE.address)]
    assert lines[11].split()[-3:] == ["best", "Meteora", str(BINS.address)]
    assert lines[12].endswith(f"{SMALL.address} (closed)")
    assert lines[14:] == [
        "not taken: path USDC > JUP > 1111…1116 > SOL, 19 SOL: nets less",
        "not taken: split over 3 pools: does not fit into one transaction",
    ]


def test_a_path_shows_its_hops_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(path_route(), capsys)

    assert lines[1].startswith("path USDC > JUP > SOL, 2 swaps;")
    assert lines[5].split()[:2] == ["HOP", "SHARE"]
    assert [line.split()[0] for line in lines[6:8]] == ["1", "2"]
    assert re.search(r"1000 USDC +1993\.01197 JUP", lines[6])
    assert re.search(r"1993\.01197 JUP +6\.951193451 SOL", lines[7])


def test_a_pair_without_pools_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    made = path_route()
    nothing = Alternative(
        kind="split", mints=(made.in_mint, made.out_mint), pools=(), in_amount=None, out_amount=None, reason="no pool"
    )
    lines = shown(route(made.legs, (), best_single=None, alternatives=(nothing,)), capsys)

    assert lines[-3:] == ["no pool trades USDC against SOL directly", "", "not taken: split: no pool"]


def test_one_pool_that_was_not_taken_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    made = split_route()
    one = Alternative(
        kind="single",
        mints=(made.in_mint, made.out_mint),
        pools=(LARGE.address,),
        in_amount=made.in_amount,
        out_amount=19_910_278_993,
        reason="nets 17.54 bps less",
    )

    assert shown(msgspec.structs.replace(made, alternatives=(one,)), capsys)[-1] == (
        "not taken: one pool, Raydium CPMM, 19.910278993 SOL: nets 17.54 bps less"
    )


def test_an_exact_output_is_measured_by_its_input(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(exact_out_route(), capsys)

    assert lines[0].startswith("300.616244 USDC -> 2 SOL")
    assert "; most in 302.119324 USDC at 50 bps slippage; network cost 0.033 USDC" in lines[1]
    assert lines[2].startswith("gap: at most 5000 base units (0.17 bps) above the best possible")
    assert lines[3] == "gain: +4.50 bps over the best single pool, Raydium CPMM 300.751579 USDC"
    assert [line.split()[4] for line in lines[10:12]] == ["-4.50", "-6.51"]
    assert lines[9].split()[2:4] == ["IN", "USDC"]


def test_no_bound_no_line_about_it(capsys: pytest.CaptureFixture[str]) -> None:
    made = path_route()
    unproven = route(made.legs, made.offers, bound=None, best_single=None)

    assert not any(line.startswith(("gap", "gain")) for line in shown(unproven, capsys))


def test_a_route_that_is_the_best_possible_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    made = split_route()
    best = msgspec.structs.replace(made, bound=made.out_amount)

    assert shown(best, capsys)[2] == "gap: 0, proven the best possible: any split over the pools of this pair"


def test_a_token_without_a_name_is_shown_by_its_mint(capsys: pytest.CaptureFixture[str]) -> None:
    document = msgspec.to_builtins(quote_view(path_route(), TOKENS, time_taken_s=0.0, simulated=False))
    first, second = document["routePlan"]
    first |= {"tokenOut": None, "amountOut": None}
    second |= {"tokenIn": None, "amountIn": None}
    lines = shown(document, capsys)

    assert lines[1].startswith("path USDC > JUPy…DvCN > SOL, 2 swaps;")
    assert "1993011970 raw JUPy…DvCN" in lines[6]
    assert "SIMULATED" not in lines[0]


class Screen(io.StringIO):
    """A terminal."""

    encoding = "UTF-8"

    def isatty(self) -> bool:
        return True


class TestBars:
    @pytest.mark.parametrize(
        ("part", "drawn"), [(0, ""), (1, "▏"), (5_000, "██"), (5_001, "██▏"), (9_999, "████"), (10_000, "████")]
    )
    def test_on_a_terminal_they_are_exact_to_an_eighth(
        self, monkeypatch: pytest.MonkeyPatch, part: int, drawn: str
    ) -> None:
        monkeypatch.setattr("sys.stdout", Screen())
        monkeypatch.delenv("NO_COLOR")
        assert output.bar(part, 10_000, 4) == drawn

    @pytest.mark.parametrize(("part", "drawn"), [(0, ""), (1, "#"), (5_000, "##"), (5_001, "###"), (10_000, "####")])
    def test_elsewhere_they_are_ascii(self, monkeypatch: pytest.MonkeyPatch, part: int, drawn: str) -> None:
        assert output.bar(part, 10_000, 4) == drawn
        monkeypatch.setattr("sys.stdout", Screen())
        assert output.bar(part, 10_000, 4) == drawn, "NO_COLOR is set"

    def test_a_terminal_that_knows_no_unicode_gets_ascii(self, monkeypatch: pytest.MonkeyPatch) -> None:
        screen = Screen()
        screen.encoding = "ascii"
        monkeypatch.setattr("sys.stdout", screen)
        monkeypatch.delenv("NO_COLOR")
        assert output.bar(1, 2, 4) == "##"


@pytest.mark.parametrize(
    ("out", "shown_bps"), [(1_000_000, "0.00"), (999_000, "-10.00"), (1_000_500, "5.00"), (1, "-9999.99")]
)
def test_the_distance_to_the_route(out: int, shown_bps: str) -> None:
    assert quotes.behind_bps(out, 1_000_000) == shown_bps


def test_asking_more_is_worse() -> None:
    assert quotes.behind_bps(1_001_000, 1_000_000, exact_out=True) == "-10.00"


@pytest.mark.parametrize(
    ("exact", "told"), [("0.0000", "0"), ("0.0001", "<0.01"), ("0.01", "0.01"), ("0.0101", "0.02"), ("12.3", "12.30")]
)
def test_a_gap_is_never_shown_smaller_than_it_is(exact: str, told: str) -> None:
    assert quotes.gap_bps(exact) == told
