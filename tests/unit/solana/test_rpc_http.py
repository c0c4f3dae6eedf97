"""HTTP as nodes, and what stands before them, speak it."""

import asyncio
import base64
import gzip
import shutil
import ssl
import subprocess
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import pytest

from bestex.errors import ConfigError
from bestex.runtime import SystemClock
from bestex.solana.rpc_http import HttpPosts, NoReply
from tests.support.clock import VirtualClock

Answer: TypeAlias = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
_OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


class Server:
    """Reads requests, and answers what the test says."""

    def __init__(self, *answers: bytes) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self._answers = list(answers)
        self.closes = False
        self.url = ""

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
                writer.write(answer)
                if self.closes:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def speaking(*answers: bytes, closes: bool = False, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(*answers)
    server.closes = closes
    listening = await asyncio.start_server(server.talk, "127.0.0.1", 0, ssl=tls)
    port = listening.sockets[0].getsockname()[1]
    server.url = f"{'https' if tls else 'http'}://localhost:{port}"
    try:
        yield server
    finally:
        listening.close()
        await listening.wait_closed()


@asynccontextmanager
async def posts(url: str, timeout_s: float = 5.0) -> AsyncIterator[HttpPosts]:
    http = HttpPosts(url, SystemClock(), timeout_s=timeout_s, max_connections=4)
    try:
        yield http
    finally:
        await http.close()


def with_body(body: bytes, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 200 OK", b"content-length: %d" % len(body), *headers]
    return b"\r\n".join([*lines, b"", body])


@pytest.mark.parametrize(
    "answer",
    [
        with_body(b'{"a":1}'),
        with_body(gzip.compress(b'{"a":1}'), b"Content-Encoding: gzip"),
        b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n{"a\r\n4\r\n":1}\r\n0\r\n\r\n',
        b"HTTP/1.1 100 Continue\r\n\r\n" + with_body(b'{"a":1}'),
    ],
    ids=["measured", "packed", "in chunks", "after a word in between"],
)
async def test_a_reply_and_the_next_on_the_same_connection(answer: bytes) -> None:
    async with speaking(answer) as server, posts(server.url) as http:
        for _ in range(3):
            reply = await http.post(b"ask")
            assert (reply.status, reply.content) == (200, b'{"a":1}')
        assert server.connections == 1


@pytest.mark.parametrize("ended", [b"HTTP/1.1 200 OK\r\n\r\n{}", b"HTTP/1.0 200 OK\r\n\r\n{}"])
async def test_a_reply_that_ends_with_its_connection(ended: bytes) -> None:
    async with speaking(ended, closes=True) as server, posts(server.url) as http:
        for _ in range(2):
            assert (await http.post(b"ask")).content == b"{}"
        assert server.connections == 2


async def test_a_connection_that_the_node_does_not_keep_is_not_used_again() -> None:
    async with speaking(with_body(b"{}", b"Connection: close")) as server, posts(server.url) as http:
        await http.post(b"ask")
        await http.post(b"ask")
        assert server.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"220 mail.example ESMTP\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\n{}",
        b"HTTP/1.1 200 OK\r\n",
        b"",
        with_body(zlib.compress(b"{}"), b"content-encoding: gzip"),
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
    ],
    ids=["another protocol", "too short", "half in chunks", "half a head", "nothing", "badly packed", "an upgrade"],
)
async def test_no_reply_and_the_next_request_has_a_new_connection(answer: bytes) -> None:
    async with speaking(answer, closes=True) as server, posts(server.url) as http:
        with pytest.raises(NoReply):
            await http.post(b"ask")
        server.closes = False
        server._answers[:] = [_OK]
        assert (await http.post(b"ask")).content == b"{}"
        assert server.connections == 2


async def test_a_late_reply_is_not_taken_for_the_next() -> None:
    async with speaking(b"") as server, posts(server.url, timeout_s=0.1) as http:
        with pytest.raises(TimeoutError):
            await http.post(b"ask")
        server._answers[:] = [_OK]
        assert (await http.post(b"ask")).content == b"{}"
        assert server.connections == 2


async def test_a_reply_too_many_is_not_taken_for_the_next() -> None:
    async with speaking(with_body(b"1") + with_body(b"2")[:-1], with_body(b"3")) as server, posts(server.url) as http:
        assert (await http.post(b"ask")).content == b"1"
        assert (await http.post(b"ask")).content == b"3"


async def test_a_connection_that_was_long_unused_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    async with speaking(_OK) as server, posts(server.url) as http:
        await http.post(b"ask")
        monkeypatch.setattr("bestex.solana.rpc_http._KEPT_S", 0.0)
        await http.post(b"ask")
        assert server.connections == 2


async def test_what_the_node_is_asked() -> None:
    async with speaking(_OK) as server:
        url = server.url.replace("//", "//us%40er:pass@") + "/v2/a b?api-key=k\u00e9y"
        async with posts(url) as http:
            await http.post(b"ask")
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /v2/a%20b?api-key=k%C3%A9y HTTP/1.1"
    assert server.url.removeprefix("http://").encode() in lines[1]
    assert b"authorization: Basic " + base64.b64encode(b"us@er:pass") in lines
    assert body == b"ask"


@pytest.mark.parametrize("url", ["http://host:port", "http://[::1", "https://", "//host", "http://a\u2100b"])
async def test_no_url(url: str) -> None:
    with pytest.raises(ConfigError):
        HttpPosts(url, VirtualClock(), timeout_s=1.0, max_connections=1)


async def test_nobody_listens() -> None:
    async with speaking(_OK) as server:
        pass
    async with posts(server.url) as http:
        with pytest.raises(NoReply):
            await http.post(b"ask")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
async def test_a_node_behind_tls_is_known_by_its_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
               "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
               "-keyout", str(key), "-out", str(certificate)]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)  # noqa: ASYNC221 - nothing else runs yet
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    async with speaking(_OK, tls=tls) as server:
        async with posts(server.url) as http:
            with pytest.raises(NoReply):
                await http.post(b"ask")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        async with posts(server.url) as http:
            assert (await http.post(b"ask")).content == b"{}"
