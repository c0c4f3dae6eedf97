"""The real thing: `bestex demo`, and a server that the quickstart's programs trade on."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bestex.cli.demo.plan import PLAN

from .conftest import Outcome, start
from .test_docs import QUICKSTART

TIMEOUT_S = 120


def demo(*options: str) -> tuple[int, list[str], str]:
    """Exit code, lines of output, and what was said on stderr."""
    with start("demo", "--exit", "--network", "instant", *options) as process:
        stdout, stderr = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, stdout.splitlines(), stderr


@pytest.fixture(scope="module")
def shown() -> tuple[int, list[str], str]:
    return demo("--port", "0")


def test_every_order_ends_as_planned(shown: tuple[int, list[str], str]) -> None:
    code, lines, stderr = shown

    assert (code, stderr) == (0, ""), "\n".join(lines)
    assert f"{len(PLAN) - 1} confirmed, 1 failed (SIMULATED)" in lines
    assert not any("NOT as planned" in line for line in lines)


def test_every_status_of_every_order_is_a_plain_line(shown: tuple[int, list[str], str]) -> None:
    _, lines, _ = shown
    events = [match.groups() for line in lines if (match := re.match(r" *[\d.]+s  #(\d+) +\S+ +(\w+)", line))]

    for number, planned in enumerate(PLAN, start=1):
        statuses = [status for which, status in events if which == str(number)]
        assert statuses[0] == "pending"
        assert statuses[-1] == ("confirmed" if planned.ending == "filled" else "failed")
    assert "\x1b" not in "".join(lines)


def test_orders_that_no_single_pool_serves_best_show_their_legs(shown: tuple[int, list[str], str]) -> None:
    _, lines, _ = shown
    routed = {number: line for line in lines if " routing " in line for number in re.findall(r"#(\d+)", line)[:1]}
    path = next(str(number) for number, planned in enumerate(PLAN, start=1) if planned.token_in == "BTC")
    exact = next(number for number, planned in enumerate(PLAN, start=1) if planned.exact_out)

    assert re.search(r"BTC > \S+ .*, .*\S+ > ETH", routed[path])
    assert any(re.search(r"\w+ [\d.]+ % \+ \w+ [\d.]+ % at", line) for line in routed.values())
    assert any(f"#{exact} " in line and re.search(r"confirmed +500 JUP for [\d.]+ USDC", line) for line in lines)


def test_the_end_says_how_to_go_on(shown: tuple[int, list[str], str]) -> None:
    _, lines, _ = shown

    assert any(re.search(r"swaps by venue: .*(raydium|meteora)_\w+ \d+", line) for line in lines)
    assert any(re.search(r"POST to confirmed: [\d.]+ s median", line) for line in lines)
    assert [line.split()[0] for line in lines[-2:]] == ["curl", "curl"]


def test_what_a_good_demo_leaves_is_removed(shown: tuple[int, list[str], str]) -> None:
    _, lines, _ = shown
    (folder,) = re.findall(r"orders in (\S+),", lines[0])

    assert not Path(folder).exists()


def test_a_port_that_is_taken_is_left_alone_and_the_data_can_be_kept(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, lines, stderr = demo("--port", str(port), "--data-dir", str(tmp_path))

    assert (code, stderr) == (0, "")
    assert lines[0] == f"port {port} is taken: taking a free one"
    assert f":{port};" not in lines[1]
    assert {"bestex.db", "demo.log"} <= {file.name for file in tmp_path.iterdir()}


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_a_terminal_gets_a_table_that_updates_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = os.openpty()
    with start("demo", "--exit", "--network", "instant", "--port", "0", stdout=theirs) as process:
        os.close(theirs)
        seen = b""
        with contextlib.suppress(OSError):  # the other end is closed
            while data := os.read(ours, 65_536):
                seen += data
        os.close(ours)
        _, stderr = process.communicate(timeout=TIMEOUT_S)

    table = seen.decode().rpartition("\x1b[2K")[2]
    assert (process.returncode, stderr) == (0, "")
    assert "SIMULATED" in table
    assert table.count("confirmed") > len(PLAN) - 1
    assert "INSUFFICIENT_FUNDS" in table


def test_ctrl_c_ends_a_demo_that_goes_on_serving() -> None:
    with start("demo", "--network", "instant", "--port", "0") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("Ctrl-C"):
                process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=TIMEOUT_S)

    assert (process.returncode, stderr) == (0, "")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server's address."""
    folder = tmp_path_factory.mktemp("serve")
    options = ("--port", "0", "--network", "instant", "--data-dir", str(folder), "--log-level", "error")
    with start("serve", *options) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        try:
            yield re.findall(r"http://\S+:\d+", said)[0]
        finally:
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, stderr
    assert "Traceback" not in stderr


def run(*arguments: str) -> Outcome:
    """A command in a process of its own."""
    with start(*arguments) as process:
        stdout, stderr = process.communicate(timeout=TIMEOUT_S)
    return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)


def programs() -> list[str]:
    """The programs that the quickstart shows."""
    return re.findall(r"^```python\n(.*?)^```", QUICKSTART, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(len(programs())))
def test_the_programs_of_the_quickstart_run(server: str, number: int, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(programs()[number].replace("http://127.0.0.1:8080", server), encoding="utf-8")

    ran = subprocess.run(
        [sys.executable, "-W", "error", str(program)], check=False, capture_output=True, text=True, timeout=TIMEOUT_S
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    assert "5 confirmed" in ran.stdout


def test_the_commands_of_the_quickstart_work(server: str) -> None:
    quoted = run("quote", "1000", "USDC", "ETH", "--url", server)
    placed = run("order", "1000", "USDC", "ETH", "--watch", "--url", server)
    listed = run("orders", "--status", "confirmed", "--json", "--url", server)
    order_id = placed.stdout.splitlines()[0]
    watched = run("watch", order_id, "--json", "--url", server)

    assert [one.returncode for one in (quoted, placed, listed, watched)] == [0, 0, 0, 0]
    assert "Raydium" in quoted.stdout
    assert "Meteora" in quoted.stdout
    assert "finalized" in placed.stdout
    assert order_id in {order["id"] for order in json.loads(listed.stdout)["orders"]}
    assert [json.loads(line)["seq"] for line in watched.stdout.splitlines()] == list(range(1, 7))


def test_the_market_can_be_looked_at(server: str) -> None:
    tokens = json.loads(run("tokens", "--json", "--url", server).stdout)
    pools = run("pools", "--url", server)

    assert {"SOL", "USDC", "ETH"} <= {token["symbol"] for token in tokens["tokens"]}
    assert len(pools.stdout.splitlines()) > 10


def test_refusals_of_the_real_server_are_one_line(server: str) -> None:
    unknown = run("watch", "0199aa00-0000-7000-8000-000000000001", "--url", server)
    wrong = run("order", "1000", "USDC", "NOPE", "--url", server)
    late = run(
        "cancel", run("order", "1", "SOL", "USDC", "--watch", "--url", server).stdout.splitlines()[0], "--url", server
    )

    for refused, code in ((unknown, "ORDER_NOT_FOUND"), (wrong, "UNKNOWN_TOKEN"), (late, "ILLEGAL_TRANSITION")):
        assert (refused.returncode, refused.stdout) == (3, "")
        assert code in refused.stderr
        assert refused.stderr.count("\n") == 1
