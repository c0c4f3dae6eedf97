"""The commands of a deployment of many processes refuse what cannot work, in one line that names the setting."""

import json
import os
import signal
import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from .conftest import Outcome, start

Run = Callable[..., Outcome]
NOWHERE = "postgresql://bestex:geheim@127.0.0.1:1/bestex"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BESTEX_STARTUP_S", "0.1")
    monkeypatch.setenv("BESTEX_DATABASE_RETRY_S", "0.1")


@pytest.mark.parametrize("role", ["api", "worker"])
def test_a_part_needs_a_database_that_is_shared(bestex: Run, role: str) -> None:
    refused = bestex(role, "--cluster-url", "http://127.0.0.1:1")

    assert refused.exit_code == 5
    assert refused.stderr.startswith(f"bestex: `bestex {role}` needs database_url")


@pytest.mark.parametrize("role", ["api", "worker"])
def test_a_part_needs_a_cluster_that_is_shared(bestex: Run, role: str) -> None:
    refused = bestex(role, "--database-url", NOWHERE)

    assert refused.exit_code == 5
    assert refused.stderr.startswith(f"bestex: `bestex {role}` needs cluster_url")


def test_migrate_needs_a_database(bestex: Run) -> None:
    refused = bestex("migrate")

    assert (refused.exit_code, "needs database_url" in refused.stderr) == (5, True)


@pytest.mark.parametrize("url", ["mysql://db/bestex", "bestex", "postgres:/bestex"])
def test_a_malformed_database_url_is_a_wrong_setting(bestex: Run, url: str) -> None:
    refused = bestex("migrate", "--database-url", url)

    assert refused.exit_code == 5
    assert refused.stderr.startswith("bestex: setting database_url: ")
    assert refused.stderr.count("\n") == 1


def test_a_database_that_does_not_answer_is_said_without_its_password(bestex: Run) -> None:
    refused = bestex("migrate", "--database-url", NOWHERE)

    assert refused.exit_code == 5
    assert "STORE_UNAVAILABLE" in refused.stderr
    assert "geheim" not in refused.stderr + refused.stdout


@pytest.mark.parametrize("url", ["http://redis", "redis"])
def test_a_malformed_redis_url_is_a_wrong_setting(
    bestex: Run, url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BESTEX_REDIS_URL", url)

    refused = bestex("serve", "--port", "0", "--data-dir", str(tmp_path))

    assert refused.exit_code == 5
    assert refused.stderr.startswith("bestex: setting redis_url: ")


def test_a_cluster_that_is_not_there_is_said(bestex: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BESTEX_CLUSTER_URL", "http://127.0.0.1:1")

    refused = bestex("serve", "--port", "0", "--data-dir", str(tmp_path))

    assert (refused.exit_code, "CLUSTER_UNAVAILABLE" in refused.stderr) == (5, True)


def test_a_node_of_a_real_network_is_refused(bestex: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Mainnet(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            answer = {"jsonrpc": "2.0", "id": asked["id"], "result": {"solana-core": "3.0.0", "feature-set": 1}}
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Mainnet) as node:
        serving = Thread(target=node.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        monkeypatch.setenv("BESTEX_CLUSTER_URL", f"http://127.0.0.1:{node.server_port}")
        try:
            refused = bestex("serve", "--port", "0", "--data-dir", str(tmp_path))
        finally:
            node.shutdown()
            serving.join()

    assert refused.exit_code == 5
    assert "is not a paper cluster" in refused.stderr


def test_paper_says_that_its_port_is_taken(bestex: Run, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = bestex("paper", "--port", str(port), "--data-dir", str(tmp_path))

    assert refused.exit_code == 5
    assert f"127.0.0.1:{port}" in refused.stderr


def test_paper_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    with start("paper", "--port", "0", "--data-dir", str(tmp_path)) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        os.kill(process.pid, signal.SIGTERM)
        _, stderr = process.communicate(timeout=30)

    assert said.startswith("A paper cluster serves at http://127.0.0.1:")
    assert "simulated" in said
    assert (process.returncode, "Traceback" in stderr) == (0, False)
    assert (tmp_path / "paper.db").exists()
