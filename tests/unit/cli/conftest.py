"""The command line, run against a scripted server."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest
from typer.testing import CliRunner

from bestex.cli.app import app
from tests.unit.client.engine_double import EngineDouble, engine_double

Outcome: TypeAlias = Any
"""What CliRunner gives: exit_code, stdout, stderr."""


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of this machine, and no colors that a build server may force."""
    for name in ("BESTEX_URL", "BESTEX_CONFIG", "BESTEX_USER", "FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
def engine() -> Iterator[EngineDouble]:
    with engine_double() as double:
        yield double


@pytest.fixture
def bestex() -> Callable[..., Outcome]:
    """Run a command in this process."""

    def run(*arguments: str) -> Outcome:
        return CliRunner().invoke(app, list(arguments), prog_name="bestex")

    return run


@pytest.fixture
def ask(engine: EngineDouble, bestex: Callable[..., Outcome]) -> Callable[..., Outcome]:
    """Run a client command against the scripted server."""

    def run(*arguments: str) -> Outcome:
        return bestex(*arguments, "--url", engine.url)

    return run


def start(*arguments: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """Run a command in a process of its own, its output in pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", "bestex.cli", *arguments], stdout=stdout, stderr=subprocess.PIPE, text=True
    )
