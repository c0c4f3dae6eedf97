"""The files of a deployment as data, and what the program says about them."""

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import typer
import yaml

from bestex.api.ops import HEALTH_ROUTES
from bestex.cli.app import app
from bestex.config import Settings, load
from bestex.runtime import Role
from bestex.runtime.serving import check_role

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"

_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
_INSTRUCTION = re.compile(r"^([A-Z]+) (.*)$")


def documents(file: Path) -> list[Any]:
    """All documents of a YAML file."""
    return list(yaml.safe_load_all(file.read_text(encoding="utf-8")))


def document(file: Path) -> Any:
    """The only one."""
    (found,) = documents(file)
    return found


def variables(text: str) -> dict[str, str]:
    """Each `${NAME:-default}` of a Compose file. A variable without a default, or with two, is an error."""
    found: dict[str, str] = {}
    for name, default in _VARIABLE.findall(text):
        assert found.setdefault(name, default) == default, f"{name} has two defaults"
    return found


def interpolated(value: Any) -> Any:
    """What Compose makes of a value when no variable is set."""
    if isinstance(value, str):
        return _VARIABLE.sub(lambda match: match[2] or "", value)
    if isinstance(value, Mapping):
        return {key: interpolated(each) for key, each in value.items()}
    return [interpolated(each) for each in value] if isinstance(value, list) else value


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, continued lines joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    return [(match[1], match[2].strip()) for line in text.splitlines() if (match := _INSTRUCTION.match(line))]


def image_environment() -> dict[str, str]:
    """What the image sets."""
    words = [word for name, rest in instructions() if name == "ENV" for word in shlex.split(rest)]
    return dict(word.split("=", 1) for word in words)


def settings_of(environment: Mapping[str, str], command: str) -> Settings:
    """What a container's process would read; fails where the process would refuse to start."""
    settings = load({**image_environment(), **environment})
    if command in set(Role):
        check_role(settings, Role(command))
    return settings


def commands() -> set[str]:
    """Those of the command line."""
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    return set(group.commands)


def health_paths() -> set[str]:
    """What every process with a port answers, and a worker nothing else."""
    return {path for route in HEALTH_ROUTES for path in route.paths}


def address(url: str) -> tuple[str | None, int | None]:
    """Host and port."""
    parts = urlsplit(url)
    return parts.hostname, parts.port


def strings(value: Any) -> Iterator[str]:
    """All texts in a piece of YAML or JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)


def seconds(duration: str) -> int:
    """Of a Compose duration: `30s`, `1m`."""
    return int(duration[:-1]) * {"s": 1, "m": 60}[duration[-1]]
