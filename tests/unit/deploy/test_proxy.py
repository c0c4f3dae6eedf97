"""The network that tests cut: what each end of a connection sees of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from deploy.local.proxy import Proxy

WAIT_S = 20.0


class Echo:
    """A server that says everything again, and keeps what it has heard."""

    def __init__(self) -> None:
        self.heard = b""
        self.gone = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1000):
                self.heard += data
                writer.write(data)
        except ConnectionResetError:
            pass
        finally:
            self.gone += 1
            writer.close()


@pytest.fixture
async def echo() -> Echo:
    return Echo()


@pytest.fixture
async def proxy(echo: Echo) -> AsyncIterator[Proxy]:
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    async with server, Proxy(server.sockets[0].getsockname()[:2]) as running:
        yield running


@asynccontextmanager
async def said(proxy: Proxy, data: bytes) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection that has sent something."""
    reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
    writer.write(data)
    yield reader, writer
    writer.transport.abort()


async def is_echoed(proxy: Proxy, data: bytes) -> bool:
    async with said(proxy, data) as (reader, _):
        return await asyncio.wait_for(reader.readexactly(len(data)), WAIT_S) == data


async def test_it_passes_on_what_comes_and_the_end(proxy: Proxy, echo: Echo) -> None:
    async with said(proxy, b"hello") as (reader, writer):
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), WAIT_S) == b"hello"
    assert (echo.gone, proxy.connections) == (1, 1)


async def test_a_reset_is_one_for_both_ends_and_new_connections_are_let_through(proxy: Proxy) -> None:
    async with said(proxy, b"a") as (reader, _):
        await asyncio.wait_for(reader.readexactly(1), WAIT_S)
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), WAIT_S)
    assert await is_echoed(proxy, b"b")


async def test_while_it_refuses_nobody_gets_through(proxy: Proxy, echo: Echo) -> None:
    proxy.refuse()
    async with said(proxy, b"a") as (reader, _):
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), WAIT_S)
    proxy.heal()
    assert await is_echoed(proxy, b"b")
    assert (echo.heard, proxy.connections) == (b"b", 1)


async def test_what_is_stalled_arrives_when_it_is_healed(proxy: Proxy, echo: Echo) -> None:
    proxy.stall()
    async with said(proxy, b"late") as (reader, writer):
        writer.write_eof()
        answer = asyncio.create_task(reader.read())
        done, _ = await asyncio.wait((answer,), timeout=0.1)
        assert (done, echo.heard) == (set(), b"")
        proxy.heal()
        assert await asyncio.wait_for(answer, WAIT_S) == b"late"


@pytest.mark.parametrize("forward", [True, False])
async def test_it_cuts_once_at_given_bytes(proxy: Proxy, echo: Echo, forward: bool) -> None:
    proxy.cut_at(lambda data: data == b"now", forward=forward)
    assert await is_echoed(proxy, b"not yet")
    async with said(proxy, b"now") as (reader, _):
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), WAIT_S)
    assert proxy.met.is_set()
    assert echo.heard == b"not yet" + b"now" * forward
    assert await is_echoed(proxy, b"now")
