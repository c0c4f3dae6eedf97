"""Settings for a command: from the file, the environment and the options, and where each one came from."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from bestex.config import Settings, load

_OF_COMMANDS = frozenset({"BESTEX_CONFIG", "BESTEX_TRACEBACK", "BESTEX_URL", "BESTEX_USER"})
"""Variables that mean something to the command line only."""


class Setting(msgspec.Struct, frozen=True):
    """One effective setting, safe to print."""

    name: str
    value: Any
    source: str
    """`default`, `file` and its path, or `env` and the variable's name."""


def read_settings(file: Path | None, options: Mapping[str, Any]) -> Settings:
    """The effective settings; options that are None were not given. Raises ConfigError."""
    return load(_environ(), file, options)


def explained(file: Path | None) -> list[Setting]:
    """Every setting with its source, secrets hidden. Raises ConfigError."""
    public = load(_environ(), file).public()
    in_file = tomllib.loads(file.read_text(encoding="utf-8")).keys() if file else frozenset[str]()
    return [Setting(name, value, _source(name, file if name in in_file else None)) for name, value in public.items()]


def _source(name: str, file: Path | None) -> str:
    variable = f"BESTEX_{name.upper()}"
    if variable in os.environ:
        return f"env {variable}"
    return f"file {file}" if file else "default"


def _environ() -> dict[str, str]:
    return {name: text for name, text in os.environ.items() if name not in _OF_COMMANDS}
