"""The vendors' packages: installed outside of the project, driven in a process of their own."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.sdk.cases import PROJECT, VERSIONS, RecordedPool, Swap
from bestex.venues.pool import Venue

DEFAULT_PACKAGES = Path.home() / ".cache" / "bestex" / "sdk"
_SCRIPTS = Path(__file__).parent / "scripts"
_MANIFEST_NAME = "bestex-bench-sdk"
_INSTALL_SECONDS = 600


class Unavailable(Exception):
    """The packages cannot be had or driven; the message is for the reader."""


def install(packages: Path) -> None:
    """Have the pinned packages in this directory. Raises Unavailable, naming what is missing."""
    missing = [name for name in ("node", "npm") if shutil.which(name) is None]
    if missing:
        raise Unavailable(f"{' and '.join(missing)} not found: the vendors' packages run on Node.js 20 or newer")
    if packages.is_relative_to(PROJECT):
        raise Unavailable("The packages do not belong into the project: name a directory outside of it")
    if all(installed_version(packages, name) == version for name, version in VERSIONS.items()):
        return
    manifest = packages / "package.json"
    if packages.is_dir() and any(packages.iterdir()) and _manifest_name(manifest) != _MANIFEST_NAME:
        raise Unavailable(f"{packages} holds something else: name an empty or a new directory")
    packages.mkdir(parents=True, exist_ok=True)
    manifest.write_text(json.dumps({"name": _MANIFEST_NAME, "private": True, "dependencies": VERSIONS}, indent=2))
    print(f"Installing {', '.join(f'{name} {version}' for name, version in VERSIONS.items())}", flush=True)
    command = [
        "npm",
        "install",
        "--ignore-scripts",
        "--omit-lockfile-registry-resolved=true",
        "--no-audit",
        "--no-fund",
    ]
    try:
        subprocess.run(command, cwd=packages, capture_output=True, text=True, check=True, timeout=_INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"npm install did not end within {_INSTALL_SECONDS} s") from None
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"npm install failed with status {error.returncode}:\n{error.stderr.strip()}") from None


def installed_version(packages: Path, name: str) -> str | None:
    """Version of a package in the directory; None if it is not there."""
    try:
        version = json.loads((packages / "node_modules" / name / "package.json").read_text())["version"]
    except (OSError, ValueError, KeyError):
        return None
    return str(version)


def _manifest_name(manifest: Path) -> str | None:
    try:
        return str(json.loads(manifest.read_text()).get("name"))
    except (OSError, ValueError):
        return None


class Package:
    """A vendor's package in its own process, which works only while it is asked."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.functions: tuple[str, ...] = ()
        """Quote functions, the leanest first."""

    def ask(self, **request: Any) -> dict[str, Any]:
        """One request and its answer. Raises Unavailable if the script fails."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(json.dumps(request) + "\n")
            stdin.flush()
            line = stdout.readline()
        except BrokenPipeError:
            line = ""
        answer = json.loads(line) if line else {"error": "the script ended"}
        if "error" in answer:
            raise Unavailable(f"bench/sdk: {request['op']}: {answer['error']}")
        return dict(answer)

    def open(self, pools: list[RecordedPool]) -> None:
        """Give it the pools; they are known by their place in the list from now on."""
        described = [pool._asdict() | {"swaps": [_request(swap) for swap in pool.swaps]} for pool in pools]
        self.functions = tuple(self.ask(op="open", pools=described)["functions"])

    def amounts(self, pool: int, swap: int, function: str) -> tuple[int, int] | str:
        """What is paid and received, or why the package refuses."""
        answer = self.ask(op="answer", pool=pool, swap=swap, function=function)
        return str(answer["refused"]) if "refused" in answer else (int(answer["in"]), int(answer["out"]))

    def timer(self, what: str, pool: int, swap: int, function: str) -> Callable[[int], int]:
        """Nanoseconds of so many calls of one of: further quotes, first quote, decode, decode + first quote."""

        asked = 0

        def run(count: int) -> int:
            nonlocal asked
            where = {"pool": pool, "swap": swap, "function": function}
            answer = self.ask(op="time", what=what, **where, asked=asked, count=count)
            asked += count
            return int(answer["ns"])

        return run


def _request(swap: Swap) -> dict[str, str]:
    return {"input_mint": swap.in_mint, "amount": str(swap.amount)}


@contextmanager
def started(packages: Path, venue: Venue) -> Iterator[Package]:
    """The package behind a venue's script, until the block ends."""
    command = ["node", "--no-warnings", str(_SCRIPTS / "measure.mjs"), str(packages), venue.value]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Package(process)
