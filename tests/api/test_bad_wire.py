"""Everything that can be wrong on the wire: sizes, encodings of transfer, sockets."""

import contextlib
import json
from pathlib import Path

import pytest

from bestex.api import stream_target, wire
from tests.api.conftest import Served, served_in, until
from tests.api.raw import RawConnection
from tests.api.test_bad_input import EXECUTE, body, check_problem


async def test_ten_megabytes(served: Served) -> None:
    async with await RawConnection.open(served.port) as connection:
        status, _, content = await connection.request("POST", EXECUTE, b" " * 10_000_000)
        assert (status, json.loads(content)["code"]) == (413, "BODY_TOO_LARGE")
        status, _, content = await connection.request("POST", EXECUTE, body())
        assert status == 201, "the connection goes on"
    assert await served.world.stored() == 1


async def test_ten_megabytes_in_chunks(served: Served) -> None:
    async with await RawConnection.open(served.port) as connection:
        await start_chunks(connection)
        chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
        for _ in range(320):
            await connection.send(chunk)
        await connection.send(b"0\r\n\r\n")
        status, _, content = await connection.response()
        assert (status, json.loads(content)["code"]) == (413, "BODY_TOO_LARGE")
    await still_serves(served)


async def test_chunks_that_never_end_are_answered_at_the_limit(served: Served) -> None:
    async with await RawConnection.open(served.port) as connection:
        await start_chunks(connection)
        chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
        for _ in range(4):
            await connection.send(chunk)
        status, _, _ = await connection.response()
        assert status == 413
    await still_serves(served)


async def test_a_body_in_chunks_is_read(served: Served) -> None:
    async with await RawConnection.open(served.port) as connection:
        await start_chunks(connection)
        for byte in body():
            await connection.send(b"1\r\n" + bytes([byte]) + b"\r\n")
        await connection.send(b"0\r\n\r\n")
        assert (await connection.response())[0] == 201


async def test_a_length_that_promises_too_much(served: Served) -> None:
    """The client says more than it sends, and leaves."""
    async with await RawConnection.open(served.port) as connection:
        await connection.send(head("Content-Length: 5000") + body())
    await still_serves(served)


async def test_a_length_that_promises_too_little(served: Served) -> None:
    """What goes on after the declared end is no request."""
    async with await RawConnection.open(served.port) as connection:
        await connection.send(head(f"Content-Length: {len(body()) - 5}") + body())
        assert (await connection.response())[0] == 400
    await still_serves(served)


@pytest.mark.parametrize("length", ["1000000000000", "9" * 17])
async def test_a_length_above_the_limit_is_refused_before_the_body_comes(served: Served, length: str) -> None:
    async with await RawConnection.open(served.port) as connection:
        await connection.send(head(f"Content-Length: {length}"))
        assert (await connection.response())[0] == 413
    await still_serves(served)


async def test_a_body_that_does_not_come(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_BODY_TIMEOUT_S", 0.05)
    async with await RawConnection.open(served.port) as connection:
        await connection.send(head("Content-Length: 500") + b"{")
        status, _, content = await connection.response()
        assert (status, json.loads(content)["code"]) == (408, "REQUEST_TIMEOUT")
    await still_serves(served)


@pytest.mark.parametrize("endless", [b"x", b"x: y\r\n"])
async def test_a_head_that_never_ends(served: Served, endless: bytes) -> None:
    async with await RawConnection.open(served.port) as connection:
        await connection.send(b"GET /health HTTP/1.1\r\nHost: x\r\nlong: ")
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                await connection.send(endless * (10_000 // len(endless)))
        await until(lambda: not served.server.server_state.connections)
    await still_serves(served)


async def test_a_large_body_is_no_large_head(tmp_path: Path) -> None:
    async with served_in(tmp_path, body_limit_bytes=300_000) as served:
        async with await RawConnection.open(served.port) as connection:
            for _ in range(3):
                large = b" " * 250_000 + body()
                assert (await connection.request("POST", EXECUTE, large))[0] == 201
        await still_serves(served)


async def test_not_http(served: Served) -> None:
    async with await RawConnection.open(served.port) as connection:
        await connection.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n")
        assert (await connection.response())[0] == 400
    await still_serves(served)


@pytest.mark.parametrize(
    ("path", "close"),
    [
        ("?orderId=01234567-89ab-7def-8123-456789abcdef", stream_target.NO_SUCH_ORDER),
        ("?orderId=nonsense", stream_target.NO_SUCH_ORDER),
        ("?orderId=%00", stream_target.NO_SUCH_ORDER),
        ("?orderId=%ff", stream_target.NO_SUCH_ORDER),
        ("", (4400, "orderId is missing: connect to /api/orders/execute?orderId=...")),
        ("?orderId=", (4400, "orderId is missing: connect to /api/orders/execute?orderId=...")),
        ("?orderId={id}&fromSeq=0", (4400, "fromSeq must be a whole number from 1 on")),
        ("?orderId={id}&fromSeq=-1", (4400, "fromSeq must be a whole number from 1 on")),
        ("?orderId={id}&fromSeq=", (4400, "fromSeq must be a whole number from 1 on")),
        ("?orderId={id}&fromSeq=1.0", (4400, "fromSeq must be a whole number from 1 on")),
        ("?orderId={id}&fromSeq=two", (4400, "fromSeq must be a whole number from 1 on")),
        ("?orderId={id}&fromSeq=" + "9" * 400, (4400, "fromSeq must be a whole number from 1 on")),
        ("?orderId={id}&fromSeq=%D9%A1", (4400, "fromSeq must be a whole number from 1 on")),
        ("?orderId={id}&orderId={id}", (4400, "the query takes fromSeq and orderId, once each")),
        ("?orderId={id}&from_seq=1", (4400, "the query takes fromSeq and orderId, once each")),
        ("?orderId={id}" + "&a=1" * 20, (4400, "the query is malformed")),
    ],
)
async def test_streams(served: Served, path: str, close: tuple[int, str]) -> None:
    life = await served.world.placed()
    async with await RawConnection.open(served.port) as connection:
        await connection.upgrade(EXECUTE + path.format(id=life.order.id))
        assert await connection.closed() == tuple(close)
    assert await served.world.stored() == 1


async def test_a_stream_where_there_is_none(served: Served) -> None:
    async with await RawConnection.open(served.port) as connection:
        await connection.send(
            b"GET /api/nothing HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        status, headers, content = await connection.response()
        assert (status, headers["content-type"]) == (404, "application/problem+json")
        check_problem(json.loads(content), "PATH_NOT_FOUND", headers["content-type"])


def head(*headers: str) -> bytes:
    lines = [f"POST {EXECUTE} HTTP/1.1", "Host: x", "Content-Type: application/json", *headers, "", ""]
    return "\r\n".join(lines).encode()


async def start_chunks(connection: RawConnection) -> None:
    await connection.send(head("Transfer-Encoding: chunked"))


async def still_serves(served: Served) -> None:
    before = await served.world.stored()
    async with await RawConnection.open(served.port) as connection:
        assert (await connection.request("POST", EXECUTE, body()))[0] == 201
    assert await served.world.stored() == before + 1
