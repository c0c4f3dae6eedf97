"""The cluster on this machine: `make cluster`, the demo against it, and that nothing of it stays behind."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from deploy.local.cluster import LocalCluster, Ports
from deploy.local.ports import PortTaken, free_ports
from deploy.local.postgres import binaries
from deploy.local.process import NotStarted
from typer.testing import CliRunner

from bestex.cli.app import app
from tests.unit.client.engine_double import Answer, engine_double

ROOT = Path(__file__).parents[2]
WAIT_S = 60.0
READY = "Ctrl-C stops all."
Run = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where nobody may go, too: PostgreSQL runs as nobody where tests run as root."""
    with tempfile.TemporaryDirectory(prefix="bestex-cluster-", dir="/tmp", ignore_cleanup_errors=True) as name:
        os.chmod(name, 0o755)
        yield Path(name)


class Cluster:
    """`make cluster` as a process of its own."""

    def __init__(self, folder: Path, *options: str, ports: int | None = None) -> None:
        first = free_ports(7) if ports is None else ports
        given = dict(zip(("api", "postgres", "redis", "worker"), (first, first + 2, first + 3, first + 4), strict=True))
        given["paper"] = first + 5
        self._said = folder.with_suffix(".said")
        with self._said.open("w") as said:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-m", "deploy.local", "--data-dir", str(folder), "--network", "instant",
                    "--workers", "1", *(text for name, port in given.items() for text in (f"--{name}-port", str(port))),
                    *options,
                ],
                cwd=ROOT, stdout=said, stderr=said, text=True,
                env={name: value for name, value in os.environ.items() if not name.startswith("BESTEX_")},
            )  # fmt: skip

    @property
    def said(self) -> str:
        return self._said.read_text()

    def until_said(self, text: str) -> None:
        until(lambda: text in self.said or self.process.poll() is not None)
        assert text in self.said, self.said

    def pids(self) -> dict[str, int]:
        return {name: int(pid) for name, pid in re.findall(r"^([a-z]\S+) +(\d+) ", self.said, flags=re.MULTILINE)}

    def url(self, name: str) -> str:
        found = re.search(rf"^{name} .*?(http://\S+)", self.said, flags=re.MULTILINE)
        assert found is not None, self.said
        return found[1]

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._said.unlink()


def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.02)  # between two looks


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def state_of_postgres(data: Path) -> str:
    """As it has written it down; `in production` when it did not end in good order."""
    told = subprocess.run([binaries() / "pg_controldata", data], capture_output=True, text=True, check=True).stdout
    found = re.search(r"^Database cluster state: +(.*)$", told, flags=re.MULTILINE)
    assert found is not None, told
    return found[1]


def demo(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bestex.cli", "demo", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)


def test_a_cluster_serves_the_demo_starts_again_who_died_and_drains(folder: Path) -> None:
    with Cluster(folder / "data") as cluster:
        cluster.until_said(READY)
        pids = cluster.pids()
        assert pids.keys() == {"postgres", "redis", "paper", "api-1", "api-2", "worker-1"}

        shown = demo("--url", cluster.url("api-2"))
        assert (shown.returncode, shown.stderr) == (0, ""), shown.stdout
        assert "9 confirmed, 1 failed (SIMULATED)" in shown.stdout
        assert f"Bestex serves at {cluster.url('api-2')}" in shown.stdout

        os.kill(pids["worker-1"], signal.SIGKILL)
        os.kill(pids["postgres"], signal.SIGKILL)
        cluster.until_said("worker-1 has ended with exit code -9; starting it again in 1 s")
        cluster.until_said("worker-1 runs again")
        cluster.until_said("postgres runs again")
        again = demo("--url", cluster.url("api-1"))
        assert (again.returncode, again.stderr) == (0, ""), again.stdout

        cluster.process.send_signal(signal.SIGINT)
        assert cluster.process.wait(WAIT_S) == 0, cluster.said
        assert f"orders and ledger are kept in {folder / 'data'}" in cluster.said
        assert not any(map(is_running, pids.values()))
        assert cluster.said.count("has ended") == 2, "nobody is started again who was told to stop"
        assert state_of_postgres(folder / "data" / "postgres" / "data") == "shut down", "nothing is left to recover"


async def test_a_cluster_shares_its_folder_and_ports_with_nobody_and_takes_its_processes_with_it(folder: Path) -> None:
    first = free_ports(20)
    others = Ports(api=first + 10, worker=first + 11, paper=first + 12, postgres=first + 14, redis=first + 15)
    with Cluster(folder / "data", "--apis", "1", ports=first) as cluster:
        cluster.until_said(READY)
        pids = cluster.pids()
        with pytest.raises(NotStarted, match="another cluster runs on"):
            await LocalCluster(folder / "data", apis=1, workers=1, ports=others).__aenter__()
        with pytest.raises(PortTaken, match=rf"port .*{first} \(api-1\)"):
            await LocalCluster(folder / "more", apis=1, workers=1, ports=others._replace(api=first)).__aenter__()
        assert all(map(is_running, pids.values()))
        cluster.process.kill()
        until(lambda: not any(map(is_running, pids.values())))


def test_a_port_that_is_taken_is_named_and_nothing_is_left(folder: Path) -> None:
    first = free_ports(7)
    with socket.create_server(("127.0.0.1", first + 3)), Cluster(folder / "data", ports=first) as cluster:
        assert cluster.process.wait(WAIT_S) == 5
        assert f"cluster: in use on 127.0.0.1: port {first + 3} (redis)" in cluster.said


def test_fresh_removes_nothing_but_a_cluster(folder: Path) -> None:
    (folder / "precious").write_text("")
    with Cluster(folder, "--fresh") as cluster:
        assert cluster.process.wait(WAIT_S) == 5
        assert "remove it yourself" in cluster.said
    assert (folder / "precious").exists()


@pytest.mark.parametrize("option", [("--port", "1"), ("--data-dir", "x"), ("--network", "fast"), ("--host", "x")])
def test_the_demo_at_a_server_takes_nothing_that_is_for_its_own(option: tuple[str, str]) -> None:
    refused = CliRunner().invoke(app, ["demo", "--url", "http://127.0.0.1:9", *option])

    assert (refused.exit_code, refused.stdout) == (2, "")
    assert f"{option[0]}: of a server of the demo's own" in refused.stderr


def test_the_demo_says_that_nobody_answers() -> None:
    alone = CliRunner().invoke(app, ["demo", "--url", "http://127.0.0.1:9"])

    assert (alone.exit_code, alone.stdout) == (4, "")
    assert alone.stderr.startswith("bestex: no server answers at http://127.0.0.1:9")


def test_the_demo_leaves_a_server_alone_that_trades_for_money() -> None:
    with engine_double() as engine:
        engine.answers.append(Answer(200, msgspec.json.encode({"status": "ok", "simulated": False})))
        refused = CliRunner().invoke(app, ["demo", "--url", engine.url])

    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "is not on a paper market" in refused.stderr
