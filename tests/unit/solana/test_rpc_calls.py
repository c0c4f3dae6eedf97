"""The RPC client's calls to nodes that do not answer, and its connections."""

import asyncio
from typing import Any

import pytest

from bestex.errors import ClusterUnavailable, ConfigError
from bestex.runtime import SystemClock
from bestex.solana.rpc import RpcCluster
from bestex.solana.rpc_errors import RequestRefused
from bestex.types import Commitment, Signature
from tests.support.rpc import Reply, ScriptedNode, apart, result, scripted, served

SIGNATURE = Signature("2" * 64)
CONFIRMED = Commitment.CONFIRMED
HEIGHT = {"absoluteSlot": 3, "blockHeight": 2}


# --- nodes that do not answer -----------------------------------------------------------------------------------------


async def test_no_node_at_all() -> None:
    async with served(ScriptedNode()) as address:
        pass
    with pytest.raises(ClusterUnavailable):
        await RpcCluster.open(address.url, clock=SystemClock())


async def test_a_node_that_has_gone() -> None:
    node = ScriptedNode()
    async with served(node) as address:
        cluster = await RpcCluster.open(address.url, clock=SystemClock(), ws_url="")
    with pytest.raises(ClusterUnavailable, match="getEpochInfo"):
        await cluster.height(CONFIRMED)
    async with asyncio.timeout(5.0):
        await cluster.wait_landing(SIGNATURE, 0.3)
    await cluster.close()


async def test_a_silent_node_is_left_in_time_and_the_connection_is_not_lost_for_good() -> None:
    stuck = asyncio.Event()

    async def reply(request: dict[str, Any]) -> Reply:
        await stuck.wait()
        return result(request, {"absoluteSlot": 3, "blockHeight": 2})

    async with scripted(timeout_s=0.2, max_connections=1) as (node, cluster):
        node.reply = reply
        for _ in range(2):
            with pytest.raises(ClusterUnavailable, match=r"no answer within 0\.2 s"):
                await cluster.height(CONFIRMED)
        stuck.set()
        assert (await cluster.height(CONFIRMED)).slot == 3


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (502, b"<html>bad gateway</html>"),
        (200, b""),
        (200, b"\xff"),
        (200, b"[]"),
        (200, b'{"jsonrpc":"2.0","id":1}'),
        (200, b'{"jsonrpc":"2.0","id":999999,"result":{"absoluteSlot":1,"blockHeight":1}}'),
        (200, b'{"jsonrpc":"2.0","id":2,"result":{"absoluteSlot":"one","blockHeight":1}}'),
        (200, b'{"jsonrpc":"2.0","id":2,"result":null}'),
    ],
)
async def test_answers_that_are_none(status: int, body: bytes) -> None:
    async with scripted() as (node, cluster):
        node.always(status, body=body)
        with pytest.raises(ClusterUnavailable, match="getEpochInfo"):
            await cluster.height(CONFIRMED)


@pytest.mark.parametrize("number", [-32001, -32004, -32005, -32007, -32014, -32016, -32603, -1])
async def test_a_node_that_is_behind_may_answer_later(number: int) -> None:
    async with scripted() as (node, cluster):
        node.fails(number, "Node is behind by 42 slots")
        with pytest.raises(ClusterUnavailable, match="42 slots") as failed:
            await cluster.height(CONFIRMED)
        assert failed.value.context == {"rpc_code": number}
        assert not isinstance(failed.value, RequestRefused)


@pytest.mark.parametrize("number", [-32700, -32600, -32601, -32602, -32002, -32003, -32011, -32015])
async def test_a_refusal_is_told_from_a_failure(number: int) -> None:
    async with scripted() as (node, cluster):
        node.fails(number, "never")
        with pytest.raises(RequestRefused, match="never"):
            await cluster.send(b"x")


async def test_a_node_without_history_proves_nothing() -> None:
    async with scripted() as (node, cluster):
        node.fails(-32011, "Transaction history is not available from this node")
        with pytest.raises(ClusterUnavailable):
            await cluster.statuses([SIGNATURE], search_history=True)


@pytest.mark.parametrize("url", ["", "localhost:8899", "ftp://host", "http://", "http://[::1"])
async def test_a_malformed_url(url: str) -> None:
    with pytest.raises(ConfigError):
        await RpcCluster.open(url, clock=SystemClock())


async def test_a_providers_key_is_in_no_message(caplog: pytest.LogCaptureFixture) -> None:
    async with served(ScriptedNode()) as address:
        cluster = await RpcCluster.open(f"{address.url}/?api-key=hush", clock=SystemClock())
        await cluster.wait_landing(SIGNATURE, 0.1)
    with pytest.raises(ClusterUnavailable) as failed:
        await cluster.height(CONFIRMED)
    await cluster.close()
    with pytest.raises(ConfigError) as refused:
        await RpcCluster.open("ftp://host/?api-key=hush", clock=SystemClock())
    assert "hush" not in f"{failed.value}{failed.value.context}{refused.value.message}{caplog.text}"


# --- connections ------------------------------------------------------------------------------------------------------


async def test_one_connection_is_kept() -> None:
    async with scripted() as (node, cluster):
        node.results({"absoluteSlot": 1, "blockHeight": 1})
        for _ in range(5):
            await cluster.height(CONFIRMED)
        assert len(node.clients) == 1


async def test_connections_are_bounded() -> None:
    gate = asyncio.Event()

    async def reply(request: dict[str, Any]) -> Reply:
        if node.in_flight == 3:
            gate.set()
        await gate.wait()
        return result(request, {"absoluteSlot": 1, "blockHeight": 1})

    async with scripted(max_connections=3) as (node, cluster):
        node.reply = reply
        async with asyncio.timeout(10.0):
            await apart(*(cluster.height(CONFIRMED) for _ in range(20)))
        assert node.most_in_flight == 3
        assert len(node.clients) <= 3
