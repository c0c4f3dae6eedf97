"""config: what is set, and where it comes from."""

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from bestex.config import Settings

from .conftest import Outcome

Run = Callable[..., Outcome]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "bestex.toml"
    path.write_text('port = 9000\nnetwork = "instant"\nwallet_secret = "hunter2"\n', encoding="utf-8")
    monkeypatch.setenv("BESTEX_PORT", "9001")
    return path


def test_every_setting_has_a_source(bestex: Run, file: Path) -> None:
    shown = json.loads(bestex("config", "--config", str(file), "--json").stdout)

    assert shown.keys() == {field.name for field in msgspec.structs.fields(Settings)}
    assert shown["port"] == {"value": 9001, "source": "env BESTEX_PORT"}
    assert shown["network"] == {"value": "instant", "source": f"file {file}"}
    assert shown["host"] == {"value": "127.0.0.1", "source": "default"}


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_secrets_are_not_shown(bestex: Run, file: Path, flags: tuple[str, ...]) -> None:
    shown = bestex("config", "--config", str(file), *flags)

    assert "hunter2" not in shown.stdout
    assert "(set)" in shown.stdout


@pytest.mark.parametrize(
    ("name", "url", "shown"),
    [
        ("database_url", "postgresql://me:hunter2@a:1,b:2/bestex", "postgresql://a:1,b:2/bestex (partly hidden)"),
        ("database_url", "postgresql://db/bestex?password=hunter2", "postgresql://db/bestex (partly hidden)"),
        ("redis_url", "redis://:hunter2@redis:6379/0", "redis://redis:6379/0 (partly hidden)"),
        ("cluster_url", "https://rpc.example/hunter2", "https://rpc.example (partly hidden)"),
        ("cluster_url", "http://paper:8899", "http://paper:8899"),
        ("redis_url", "", ""),
    ],
)
def test_addresses_are_shown_without_what_opens_them(
    bestex: Run, monkeypatch: pytest.MonkeyPatch, name: str, url: str, shown: str
) -> None:
    monkeypatch.setenv(f"BESTEX_{name.upper()}", url)

    assert json.loads(bestex("config", "--json").stdout)[name]["value"] == shown


def test_the_table_has_a_line_for_each_setting(bestex: Run, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BESTEX_CONFIG", str(file))

    heading, *lines = bestex("config").stdout.splitlines()

    assert heading.split() == ["SETTING", "VALUE", "SOURCE"]
    assert len(lines) == len(msgspec.structs.fields(Settings))
    assert ["port", "9001", "env", "BESTEX_PORT"] in [line.split() for line in lines]


def test_variables_of_the_command_line_are_no_settings(bestex: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BESTEX_URL", "BESTEX_USER", "BESTEX_TRACEBACK"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    assert bestex("config").exit_code == 0


def test_a_variable_that_means_nothing_is_an_error(bestex: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BESTEX_PROT", "9000")

    wrong = bestex("config")

    assert (wrong.exit_code, wrong.stdout) == (5, "")
    assert "no setting is called prot" in wrong.stderr
