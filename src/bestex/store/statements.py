"""SQL from files: `-- name: x` begins the statement called x."""

from collections.abc import Mapping
from importlib import resources

_MARK = "-- name:"


def load(name: str) -> Mapping[str, str]:
    """The statements of `queries/<name>.sql` by their names."""
    statements: dict[str, str] = {}
    for part in script(name).split(_MARK)[1:]:
        title, _, body = part.partition("\n")
        statements[title.strip()] = body.strip()
    return statements


def script(name: str) -> str:
    """All of `queries/<name>.sql`."""
    return resources.files("bestex.store").joinpath("queries", f"{name}.sql").read_text(encoding="utf-8")
