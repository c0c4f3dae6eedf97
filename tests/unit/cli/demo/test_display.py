"""The demo's table fits its terminal, and its lines are plain."""

from datetime import timedelta
from io import StringIO

import pytest
from rich.console import Console

from bestex.cli.demo.display import Lines, digits, table
from bestex.cli.demo.plan import Ending, Planned
from bestex.cli.demo.progress import Progress
from bestex.cli.demo.summary import invitation, summary
from bestex.cli.narrate import Pair, short
from tests.unit.client.samples import ORDER_ID, START, failed, life

NOW = START + timedelta(seconds=2)


@pytest.fixture
def board() -> list[Progress]:
    filled, fresh, lost = (
        Progress(
            number=number,
            planned=Planned("USDC", "ETH", "1000", ending=ending, repeated=number == 1, note="posted twice"),
            pair=Pair("USDC", "ETH", 8),
            order_id=ORDER_ID,
        )
        for number, ending in ((1, Ending.FILLED), (2, Ending.FILLED), (3, Ending.FAILED))
    )
    for event in life():
        filled.apply(event)
    filled.confirmed_after_s = 1.25
    lost.apply(life()[0])
    lost.apply(failed())
    return [filled, fresh, lost]


def rendered(board: list[Progress], width: int) -> list[str]:
    console = Console(file=StringIO(), width=width)
    console.print(table(board, NOW, width))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 100, 149, 150, 200])
def test_the_table_says_everything_whatever_the_width(board: list[Progress], width: int) -> None:
    lines = rendered(board, width)
    text = " ".join(lines)

    assert max(map(len, lines)) <= width
    for part in (
        "SIMULATED",
        "1000",
        "USDC",
        "ETH",
        "0.2931066",
        "0.2934",
        "meteora_dlmm",
        "5xHk…Po9iM"[:4],
        "0.0002933",
        "-3.41 bps",
        "posting",
        "p0.2 r0.2 b0.2 s0.2",
        "SLIPPAGE_EXCEEDED",
    ):
        assert part in text, part


@pytest.mark.parametrize("width", [80, 150])
def test_many_legs_of_long_names_fit_too(board: list[Progress], width: int) -> None:
    one = board[0]
    one.venues = ("meteora_damm_v2",) * 4
    one.planned = Planned("USDC", "BONK", "25000000", exact_out=True)
    one.pair = Pair("USDC", "BONK", 5)
    lines = rendered(board, width)

    assert max(map(len, lines)) <= width
    assert any("meteora_damm_v2 +3" in line for line in lines)
    assert any("25000000 BONK" in line for line in lines)


def test_a_wide_table_has_one_line_for_each_order(board: list[Progress]) -> None:
    assert len(rendered(board, 200)) == 2 + len(board)


def test_lines_are_plain_and_one_for_each_event(board: list[Progress], capsys: pytest.CaptureFixture[str]) -> None:
    with Lines(START) as lines:
        for event in life():
            lines.event(board[0], event)
        board[1].refuse("NO_ROUTE", "no pool", NOW)
        lines.refused(board[1])
        lines.tick()

    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(life()) + 1
    assert printed[0] == "  0.250s  #1  USDC->ETH  pending    1000 USDC -> ETH, slippage 50 bps"
    assert printed[-1] == "  2.000s  #2  USDC->ETH  refused    NO_ROUTE: no pool"


def test_the_summary_counts_fills_and_explains_the_rest(board: list[Progress]) -> None:
    lines = summary(board)

    assert lines[0] == "1 confirmed, 1 not placed, 1 failed (SIMULATED)"
    assert lines[1] == "swaps by venue: meteora_dlmm 1 (SIMULATED)"
    assert lines[2] == "POST to confirmed: 1.25 s median, 1.25 s longest (SIMULATED)"
    assert "#2 not placed (NOT as planned, posted twice): no reason given" in lines
    assert "#3 failed (as planned, posted twice): SLIPPAGE_EXCEEDED: the price moved" in lines
    assert lines[-1] == f"#1 posted twice: one order, {ORDER_ID}"


def test_a_demo_without_a_fill_has_a_summary_too(board: list[Progress]) -> None:
    assert summary(board[1:2]) == [
        "1 not placed (SIMULATED)",
        "#2 not placed (NOT as planned, posted twice): no reason given",
    ]


def test_the_invitation_can_be_pasted() -> None:
    where, post, get = invitation("http://127.0.0.1:1", ORDER_ID)

    assert where.endswith("http://127.0.0.1:1")
    assert post.startswith("  curl -s http://127.0.0.1:1/api/orders/execute -H 'content-type: application/json' -d '{")
    assert get == f"  curl -s http://127.0.0.1:1/api/orders/{ORDER_ID}"


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("0.000293412345", "0.0002934123"),
        ("3412.5512345", "3412.551"),
        ("12345678.9", "12345679"),
        ("1000", "1000"),
        ("0.0", "0"),
        ("-", "-"),
        ("", ""),
        ("-3.41", "-3.41"),
    ],
)
def test_numbers_are_short_and_never_in_exponents(amount: str, shown: str) -> None:
    assert digits(amount) == shown


def test_long_names_keep_head_and_tail() -> None:
    assert short("5xHkQ1fJ8mZ2tYbV7cN4pR6s") == "5xHk…pR6s"
    assert short("short") == "short"
