"""docs/reference/cli.md is true: every command and option is there, and nothing else is."""

import re
from pathlib import Path

import pytest
import typer.main

from bestex.cli.app import app
from bestex.cli.exits import ExitCode

ROOT = Path(__file__).parents[3]
REFERENCE = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
QUICKSTART = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")


def commands() -> dict[str, set[str]]:
    """Every command and its long options."""
    group = typer.main.get_command(app)
    found = getattr(group, "commands")  # noqa: B009 - the type of a group depends on Typer's version
    return {
        name: {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
        - {"--help"}
        for name, command in found.items()
    }


def sections() -> dict[str, str]:
    """The reference, by command."""
    parts = re.split(r"^### `bestex (\w+)`$", REFERENCE, flags=re.MULTILINE)
    return {name: text.split("\n## ")[0] for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def options(text: str) -> set[str]:
    """Options that stand first in a table's row."""
    return set(re.findall(r"^\| `(--[\w-]+)`", text, flags=re.MULTILINE))


def shared(heading: str) -> set[str]:
    """The options under a heading of the second level."""
    return options(REFERENCE.split(f"\n## {heading}\n")[1].split("\n### ")[0])


ASKING = shared("Commands that ask a server")
RUNNING = shared("Commands that run a server")
PART = shared("Commands that run a part of a deployment")


def test_every_command_is_documented_and_no_other() -> None:
    assert sections().keys() == commands().keys()
    assert set(re.findall(r"^\| \[`(\w+)`\]", REFERENCE, flags=re.MULTILINE)) == commands().keys()


@pytest.mark.parametrize("command", sorted(commands()))
def test_every_option_is_documented_and_no_other(command: str) -> None:
    documented = options(sections()[command])
    if command == "config":
        documented |= {"--config", "--json"}
    elif command in {"serve", "demo"}:
        documented |= RUNNING
    elif command in {"api", "worker", "paper", "migrate"}:
        documented |= PART
    elif command not in {"venues", "sim"}:
        documented |= ASKING

    assert documented == commands()[command]


def test_every_exit_code_is_documented_and_no_other() -> None:
    documented = REFERENCE.split("## Exit codes")[1].split("\n## ")[0]

    assert {int(code) for code in re.findall(r"^\| (\d+) \|", documented, flags=re.MULTILINE)} == set(ExitCode)


@pytest.mark.parametrize("page", [REFERENCE, QUICKSTART], ids=["reference", "quickstart"])
def test_every_command_line_that_is_shown_exists(page: str) -> None:
    known = commands()
    shown = re.findall(r"bestex ([a-z]+)((?: [^\n`|]*)?)", "\n".join(re.findall(r"^\$ (.*)$", page, re.MULTILINE)))

    assert shown
    for command, rest in shown:
        assert command in known
        assert set(re.findall(r"(?<= )--[\w-]+", rest)) <= known[command]


def test_links_of_the_quickstart_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", QUICKSTART):
        assert (ROOT / "docs" / target).exists(), target
