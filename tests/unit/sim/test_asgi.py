"""The network without a network, against small applications."""

import asyncio
import random
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from bestex.api.wire import Message, Receive, Scope, Send
from bestex.sim.asgi import Closed, ConnectionLost, ConnectionRefused, HandshakeRefused, Server
from bestex.sim.loop import Deadlock, Group, SimLoop

T = TypeVar("T")


def simulate(main: Coroutine[Any, Any, T], seed: int = 1, *, faults: int = 0) -> T:
    loop = SimLoop(random.Random(seed))  # type: ignore[abstract]  # no sockets, no processes
    try:
        result = loop.run(main)
    finally:
        loop.close()
    assert len(loop.faults) == faults, loop.faults
    return result


async def answer(send: Send, status: int, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"x-kind", b"echo")]})
    await send({"type": "http.response.body", "body": body[:1], "more_body": True})
    await send({"type": "http.response.body", "body": body[1:]})


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = (await receive())["body"]
    await answer(send, 200, b"|".join([scope["method"].encode(), scope["path"].encode(), scope["query_string"], body]))


def test_a_request_is_answered() -> None:
    async def main() -> None:
        got = await Server(echo, Group("process")).request("POST", "/a%20b?c=d", headers=[(b"x", b"y")], body=b"body")
        assert (got.status, got.body) == (200, b"POST|/a b|c=d|body")
        assert got.header(b"x-kind") == b"echo"
        assert got.header(b"none") is None

    simulate(main())


def test_headers_and_peer_are_in_the_scope() -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        await answer(send, 204, b"")

    simulate(Server(app, Group("process")).request("GET", "/", headers=[(b"accept", b"*/*")]))
    assert (b"accept", b"*/*") in seen[0]["headers"]
    assert (b"host", b"127.0.0.1:8080") in seen[0]["headers"]
    assert seen[0]["type"] == "http"


def test_an_application_that_fails_answers_500_and_is_a_fault() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("broken")

    assert simulate(Server(app, Group("process")).request("GET", "/"), faults=1).status == 500


def test_an_application_that_forgets_to_answer_is_a_fault() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        return

    assert simulate(Server(app, Group("process")).request("GET", "/"), faults=1).status == 500


def test_half_an_answer_is_a_lost_connection() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def main() -> None:
        with pytest.raises(ConnectionLost):
            await Server(app, Group("process")).request("GET", "/")

    simulate(main())


def test_a_killed_server_loses_its_requests_and_takes_no_more() -> None:
    unwound: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            unwound.append("finally")

    async def main() -> None:
        group = Group("process")
        server = Server(app, group)
        waiting = [asyncio.create_task(server.request("GET", f"/{number}")) for number in range(3)]
        await asyncio.sleep(1)
        group.kill()
        server.lost()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [ConnectionLost] * 3
        assert not server.up
        for attempt in (server.request("GET", "/"), server.connect("/ws")):
            with pytest.raises(ConnectionRefused):
                await attempt
        assert unwound == []

    simulate(main())


def test_an_answer_that_was_sent_before_the_crash_arrives() -> None:
    async def main() -> None:
        group = Group("process")
        server = Server(app, group)
        here.append(group)
        assert (await server.request("GET", "/")).body == b"done"

    here: list[Group] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, 200, b"done")
        here[0].kill()
        await asyncio.sleep(0)

    simulate(main())


def test_a_server_that_was_killed_unheard_leaves_its_callers_waiting() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(10)

    async def main() -> None:
        group = Group("process")
        asyncio.get_running_loop().call_later(1, group.kill)
        await Server(app, group).request("GET", "/")

    with pytest.raises(Deadlock):
        simulate(main())


def test_a_caller_who_goes_away_is_served_all_the_same() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        seen.append((await receive())["type"])
        await answer(send, 200, b"nobody reads this")
        seen.append("answered")

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await Server(app, Group("process")).request("GET", "/")
        await asyncio.sleep(1)

    simulate(main())
    assert seen == ["http.disconnect", "answered"]


# --- WebSockets -------------------------------------------------------------------------------------------------------


class Stream:
    """Accepts, sends so many frames, and closes or waits for the client to go."""

    def __init__(self, frames: int, *, close: Message | None = None) -> None:
        self.frames = frames
        self.close = close
        self.sent = 0
        self.met: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept"})
        try:
            for number in range(self.frames):
                await send({"type": "websocket.send", "text": str(number)})
                self.sent += 1
        except OSError:
            self.met.append("OSError")
            return
        if self.close is not None:
            await send(self.close)
        else:
            self.met.append((await receive())["type"])
            with pytest.raises(OSError):
                await send({"type": "websocket.send", "text": "too late"})


CLOSE = {"type": "websocket.close", "code": 1000, "reason": "order confirmed"}


@pytest.mark.parametrize("seed", range(10))
def test_frames_come_in_order_and_then_the_end(seed: int) -> None:
    async def main() -> None:
        socket = await Server(Stream(50, close=dict(CLOSE)), Group("process")).connect("/ws")
        assert [await socket.receive() for _ in range(50)] == [b"%d" % number for number in range(50)]
        assert await socket.receive() == Closed(1000, "order confirmed")
        assert await socket.receive() == Closed(1000, "order confirmed")

    simulate(main(), seed)


def test_a_client_that_goes_away_is_noticed() -> None:
    app = Stream(1)

    async def main() -> None:
        socket = await Server(app, Group("process")).connect("/ws")
        assert await socket.receive() == b"0"
        socket.close()
        await asyncio.sleep(1)

    simulate(main())
    assert app.met == ["websocket.disconnect"]


def test_a_client_that_does_not_read_makes_the_server_wait() -> None:
    app = Stream(1000)

    async def main() -> None:
        socket = await Server(app, Group("process")).connect("/ws")
        await asyncio.sleep(1)
        held = app.sent
        assert 0 < held < 20
        await socket.receive()
        await asyncio.sleep(1)
        assert app.sent == held + 1
        socket.close()
        await asyncio.sleep(1)

    simulate(main())
    assert app.met == ["OSError"]


def test_an_application_that_returns_without_closing_breaks_the_connection() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})

    async def main() -> None:
        closed = await (await Server(app, Group("process")).connect("/ws")).receive()
        assert isinstance(closed, Closed)
        assert closed.code == 1006

    simulate(main())


def test_a_killed_server_breaks_its_sockets_after_what_was_on_the_way() -> None:
    async def main() -> None:
        group = Group("process")
        server = Server(Stream(2), group)
        socket = await server.connect("/ws")
        await asyncio.sleep(1)
        group.kill()
        server.lost()
        assert [await socket.receive(), await socket.receive()] == [b"0", b"1"]
        assert await socket.receive() == Closed(1006, "the connection broke")

    simulate(main())


def test_a_server_killed_during_the_handshake() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(10)

    async def main() -> None:
        group = Group("process")
        server = Server(app, group)
        connecting = asyncio.create_task(server.connect("/ws"))
        await asyncio.sleep(1)
        group.kill()
        server.lost()
        with pytest.raises(ConnectionLost):
            await connecting

    simulate(main())


def test_a_client_that_does_not_wait_for_the_handshake() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(10)
        await send({"type": "websocket.accept"})

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await Server(app, Group("process")).connect("/ws")
        await asyncio.sleep(20)

    simulate(main())


@pytest.mark.parametrize(
    ("messages", "status"),
    [
        ([{"type": "websocket.close", "code": 4404}], 403),
        (
            [
                {"type": "websocket.http.response.start", "status": 404, "headers": []},
                {"type": "websocket.http.response.body", "body": b"{}"},
            ],
            404,
        ),
    ],
)
def test_a_refused_handshake_tells_its_status(messages: list[Message], status: int) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    async def main() -> None:
        with pytest.raises(HandshakeRefused) as refused:
            await Server(app, Group("process")).connect("/ws")
        assert refused.value.status == status

    simulate(main())


def test_a_frozen_server_answers_when_it_goes_on() -> None:
    async def main() -> None:
        group = Group("process")
        group.freeze()
        asyncio.get_running_loop().call_later(5, group.thaw)
        assert (await Server(echo, group).request("GET", "/")).status == 200
        assert asyncio.get_running_loop().time() == 5

    simulate(main())
