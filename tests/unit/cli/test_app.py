"""Help, version, exit codes, and errors in one line."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from bestex import __version__
from bestex.cli.app import app
from bestex.errors import ConfigError
from tests.unit.client.engine_double import Answer, Close, EngineDouble
from tests.unit.client.samples import ORDER_ID, PROBLEM, encode, payloads

from .conftest import Outcome, start

COMMANDS = [
    "serve",
    "demo",
    "api",
    "worker",
    "paper",
    "migrate",
    "order",
    "watch",
    "orders",
    "cancel",
    "quote",
    "pools",
    "tokens",
    "config",
    "venues",
    "sim",
]
Run = Callable[..., Outcome]


def test_help_names_every_command_and_exit_code(bestex: Run) -> None:
    shown = bestex("--help")

    assert shown.exit_code == 0
    assert all(f"│ {command} " in shown.stdout for command in COMMANDS)
    assert "Exit codes: 0 ok, 1 order failed" in shown.stdout
    assert "bestex quote 1000 USDC ETH" in shown.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples_and_exit_codes(bestex: Run, command: str) -> None:
    shown = bestex(command, "--help")

    assert shown.exit_code == 0
    assert f"Usage: bestex {command}" in shown.stdout
    assert "Examples" in shown.stdout
    assert "Exit codes: 0 ok" in shown.stdout
    assert "\x1b" not in shown.stdout


def test_the_version_is_that_of_the_package(bestex: Run) -> None:
    assert bestex("--version").stdout == f"bestex {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("order", "1000"),
        ("watch",),
        ("orders", "--status", "lost"),
        ("orders", "--active", "--user", "alice"),
        ("serve", "--network", "slow"),
        ("quote", "1", "USDC", "ETH", "--slippage-bps", "10001"),
    ],
)
def test_wrong_usage_ends_with_2(bestex: Run, arguments: tuple[str, ...]) -> None:
    wrong = bestex(*arguments)

    assert wrong.exit_code == 2
    assert wrong.stdout == ""
    assert "Traceback" not in wrong.stderr


def test_an_address_that_is_none_is_wrong_usage(bestex: Run) -> None:
    wrong = bestex("tokens", "--url", "localhost:8080")

    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert "is not a server's address" in wrong.stderr


def test_a_refusal_is_one_line_and_ends_with_3(ask: Run, engine: EngineDouble) -> None:
    engine.answers.append(Answer(422, encode(PROBLEM)))

    refused = ask("quote", "1", "USDC", "BONK")

    assert (refused.exit_code, refused.stdout) == (3, "")
    assert refused.stderr == "bestex: no pool trades USDC against BONK (NO_ROUTE, no money moved)\n"


def test_a_refusal_says_whether_it_may_work_later_and_whether_money_moved(ask: Run, engine: EngineDouble) -> None:
    engine.answers.append(Answer(500, encode(PROBLEM | {"retryable": True, "moneyMoved": "possible"})))

    assert ask("tokens").stderr.endswith("(NO_ROUTE, money may have moved, may work later)\n")


def test_a_server_that_is_not_there_ends_with_4(bestex: Run) -> None:
    missing = bestex("pools", "--url", "http://127.0.0.1:9")

    assert (missing.exit_code, missing.stdout) == (4, "")
    assert missing.stderr.startswith("bestex: no server answers at http://127.0.0.1:9")
    assert missing.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("port = 99999", "setting port"),
        ("color = 'red'", "no setting is called color"),
        ("port = ", "is not valid TOML"),
        (None, "cannot read"),
    ],
)
@pytest.mark.parametrize("command", ["serve", "demo", "config"])
def test_wrong_settings_end_with_5(bestex: Run, tmp_path: Path, command: str, text: str | None, complaint: str) -> None:
    file = tmp_path / "bestex.toml"
    if text is not None:
        file.write_text(text, encoding="utf-8")

    wrong = bestex(command, "--config", str(file))

    assert (wrong.exit_code, wrong.stdout) == (5, "")
    assert wrong.stderr.startswith("bestex: ")
    assert complaint in wrong.stderr
    assert wrong.stderr.count("\n") == 1


def test_a_fault_of_ours_is_one_line_too(bestex: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*_: object, **__: object) -> None:
        raise LookupError("that was\nnot foreseen")

    monkeypatch.setattr("bestex.cli.market.Client", fault)

    broken = bestex("tokens")

    assert broken.exit_code == 70
    assert broken.stderr.startswith("bestex: a fault of bestex itself: LookupError: that was not foreseen")
    assert broken.stderr.count("\n") == 1


def test_a_reader_that_has_gone_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with start("config", stdout=writing) as process:
        os.close(writing)
        _, stderr = process.communicate(timeout=30)

    assert (process.returncode, stderr) == (141, "")


def test_a_reader_that_leaves_a_stream_is_no_error(engine: EngineDouble) -> None:
    engine.streams.append([*payloads(), Close(1000)])
    reading, writing = os.pipe()
    os.close(reading)
    with start("watch", ORDER_ID, "--json", "--url", engine.url, stdout=writing) as process:
        os.close(writing)
        _, stderr = process.communicate(timeout=30)

    assert (process.returncode, stderr) == (141, "")


def test_ctrl_c_ends_a_stream_quietly(engine: EngineDouble) -> None:
    engine.streams.append(payloads()[:1])
    with start("watch", ORDER_ID, "--json", "--url", engine.url) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith('{"event":"accepted"')
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)

    assert (process.returncode, stderr) == (130, "")


def test_config_error_and_refusal_are_told_apart(bestex: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: object, **__: object) -> None:
        raise ConfigError("cannot listen on 127.0.0.1:1: Permission denied")

    monkeypatch.setattr("bestex.runtime.serve", wrong)

    refused = bestex("serve", "--port", "1")

    assert (refused.exit_code, refused.stderr) == (5, "bestex: cannot listen on 127.0.0.1:1: Permission denied\n")


def test_commands_are_all_there() -> None:
    names = {command.name for command in app.registered_commands} | {group.name for group in app.registered_groups}
    assert names == set(COMMANDS)
