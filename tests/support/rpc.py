"""Paper clusters and scripted nodes behind real sockets on loopback."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import msgspec
from solders.instruction import Instruction

from bestex.paper.cluster import PaperCluster
from bestex.paper.network import NetworkProfile
from bestex.paper.running import InPlace
from bestex.paper.server import Address, App, Message, Receive, Scope, Send, paper_app, serving
from bestex.ports import LandedTransaction
from bestex.runtime import SystemClock
from bestex.solana.rpc import RpcCluster
from bestex.types import Commitment, Signature
from tests.support.entropy import SeededEntropy
from tests.support.paper import FINAL_AFTER_8, WALLET, signed

Reply: TypeAlias = tuple[int, Mapping[str, str], bytes]
"""HTTP status, headers, body."""


@asynccontextmanager
async def opened(
    profile: NetworkProfile = FINAL_AFTER_8, *, traders: bool = False, path: Path | None = None
) -> AsyncIterator[PaperCluster]:
    """A cluster in real time, whose blocks are made by `validator.tick`."""
    cluster = await PaperCluster.open(
        profile=profile,
        clock=SystemClock(),
        entropy=SeededEntropy(0),
        path=path,
        seed=1,
        wallet=WALLET.pubkey(),
        traders=traders,
        runner=InPlace(),
    )
    try:
        yield cluster
    finally:
        await cluster.close()


@asynccontextmanager
async def served(app: App) -> AsyncIterator[Address]:
    """An application on a loopback port."""
    async with serving(app, SystemClock(), host="127.0.0.1", port=0) as (address, _):
        yield address


@asynccontextmanager
async def served_paper(cluster: PaperCluster) -> AsyncIterator[Address]:
    async with served(paper_app(cluster, SystemClock())) as address:
        yield address


@asynccontextmanager
async def connected(address: Address, **options: Any) -> AsyncIterator[RpcCluster]:
    """A client of a node that is served."""
    options = dict[str, Any](clock=SystemClock(), ws_url=address.ws_url, timeout_s=5.0) | options
    cluster = await RpcCluster.open(address.url, **options)
    try:
        yield cluster
    finally:
        await cluster.close()


class Caller:
    """Speaks JSON-RPC by hand."""

    def __init__(self, address: Address, http: httpx.AsyncClient) -> None:
        self.address = address
        self.http = http

    async def result(self, method: str, *params: Any) -> Any:
        answer = await self.answer(method, *params)
        assert "error" not in answer, answer
        return answer["result"]

    async def error(self, method: str, *params: Any) -> Any:
        return (await self.answer(method, *params))["error"]

    async def answer(self, method: str, *params: Any) -> Any:
        return await self.post({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})

    async def post(self, spoken: Any) -> Any:
        body = spoken if isinstance(spoken, bytes) else json.dumps(spoken).encode()
        answer = await self.http.post(self.address.url, content=body)
        assert answer.status_code == 200
        return answer.json() if answer.content else None


@asynccontextmanager
async def caller(cluster: PaperCluster) -> AsyncIterator[Caller]:
    async with served_paper(cluster) as address, httpx.AsyncClient(timeout=5.0) as http:
        yield Caller(address, http)


class Line:
    """One WebSocket, spoken by hand."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket

    async def ask(self, method: str, *params: Any) -> Any:
        await self.socket.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
        return await self.hear()

    async def hear(self) -> Any:
        async with asyncio.timeout(5.0):
            return json.loads(await self.socket.recv())


async def typed(node: Caller, kind: Any, method: str, *params: Any) -> Any:
    """An answer, read by the types of Solana's own client library."""
    answer = await node.answer(method, *params)
    read = kind.from_json(json.dumps(answer))
    assert isinstance(read, kind), answer
    return read


async def encoded(paper: PaperCluster, *instructions: Instruction) -> tuple[Signature, str]:
    """A transaction of the wallet in base64, and its signature."""
    blockhash = await paper.latest_blockhash(Commitment.FINALIZED)
    signature, raw = signed(blockhash.blockhash, instructions)
    return signature, base64.b64encode(raw).decode()


class ScriptedNode:
    """A node that answers what the test says; until then, as a real one does to `getVersion`."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.clients: set[Any] = set()
        self.in_flight = self.most_in_flight = 0
        self.reply: Callable[[dict[str, Any]], Awaitable[Reply]] | None = None
        self.reply_to_batch: Callable[[list[dict[str, Any]]], Awaitable[Reply]] = self._answer_batch
        self.batches: list[int] = []
        """How many calls each of them had."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await receive()
            await send({"type": "websocket.close"})
            return
        message: Message = await receive()
        spoken = json.loads(message["body"])
        self.requests += spoken if isinstance(spoken, list) else [spoken]
        self.clients.add(tuple(scope["client"]))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            status, headers, body = await self._reply_to(spoken)
        finally:
            self.in_flight -= 1
        named = [(name.encode(), value.encode()) for name, value in headers.items()]
        named.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": named})
        await send({"type": "http.response.body", "body": body})

    def results(self, *results: Any) -> None:
        """Answer with these in turn, with the last for ever."""
        left = list(results)

        async def reply(request: dict[str, Any]) -> Reply:
            return result(request, left.pop(0) if len(left) > 1 else left[0])

        self.reply = reply

    def always(self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> None:
        async def reply(request: dict[str, Any]) -> Reply:
            return status, headers or {}, body

        self.reply = reply

    def fails(self, number: int, message: str = "no") -> None:
        async def reply(request: dict[str, Any]) -> Reply:
            error = {"code": number, "message": message}
            return 200, {}, json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error}).encode()

        self.reply = reply

    async def _reply_to(self, spoken: Any) -> Reply:
        if not isinstance(spoken, list):
            return await self._answer(spoken)
        self.batches.append(len(spoken))
        return await self.reply_to_batch(spoken)

    async def _answer_batch(self, batch: list[dict[str, Any]]) -> Reply:
        """Each by itself; what is not well fails all."""
        replies = [await self._answer(request) for request in batch]
        failed = [reply for reply in replies if reply[0] != 200]
        return failed[0] if failed else (200, {}, b"[" + b",".join(body for _, _, body in replies) + b"]")

    async def _answer(self, request: dict[str, Any]) -> Reply:
        if self.reply is not None:
            return await self.reply(request)
        return result(request, {"solana-core": "2.3.0", "feature-set": 1})


def result(request: dict[str, Any], value: Any) -> Reply:
    """A good answer."""
    return 200, {}, json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": value}).encode()


async def apart(*calls: Coroutine[Any, Any, Any]) -> list[Any]:
    """Make calls at once, but each begun in a turn of the event loop of its own."""
    tasks = []
    for call in calls:
        tasks.append(asyncio.create_task(call))
        for _ in range(3):
            await asyncio.sleep(0)
    return await asyncio.gather(*tasks)


@asynccontextmanager
async def scripted(**options: Any) -> AsyncIterator[tuple[ScriptedNode, RpcCluster]]:
    """A scripted node and its client, without a WebSocket."""
    node = ScriptedNode()
    async with served(node) as address, connected(address, **{"ws_url": ""} | options) as cluster:
        yield node, cluster


def in_order(landed: LandedTransaction | None) -> LandedTransaction | None:
    """The transaction with its token changes in the order of their accounts: the wire has an order of its own."""
    if landed is None:
        return None
    changes: Sequence[Any] = sorted(landed.token_changes, key=lambda change: bytes(change.account))
    return msgspec.structs.replace(landed, token_changes=list(changes))
