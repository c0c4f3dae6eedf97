"""The hint that a transaction has landed: by WebSocket, and without one."""

import asyncio
from typing import Any

from bestex.runtime import SystemClock
from bestex.solana.rpc import RpcCluster, web_socket_url
from bestex.types import Signature
from tests.support.rpc import Reply, ScriptedNode, connected, opened, result, served, served_paper

SIGNATURE = Signature("2" * 64)


def test_where_the_web_socket_is() -> None:
    assert web_socket_url("http://127.0.0.1:8899") == "ws://127.0.0.1:8900"
    assert web_socket_url("https://api.mainnet-beta.solana.com") == "wss://api.mainnet-beta.solana.com"
    assert web_socket_url("https://host/path?api-key=1") == "wss://host/path?api-key=1"
    assert web_socket_url("https://host:443/") == "wss://host/"
    assert web_socket_url("http://user:word@[::1]:8899/") == "ws://user:word@[::1]:8900/"


async def test_waiting_goes_on_when_the_web_socket_is_refused() -> None:
    """The node closes every WebSocket: statuses are asked for instead."""
    node = ScriptedNode()
    async with served(node) as address, connected(address) as cluster:
        value = [{"slot": 4, "confirmations": 0, "err": None, "confirmationStatus": "processed"}]
        node.results({"context": {"slot": 5}, "value": [None]}, {"context": {"slot": 5}, "value": value})
        async with asyncio.timeout(10.0):
            await cluster.wait_landing(SIGNATURE, 60.0)


async def test_all_who_wait_without_a_web_socket_are_told_by_one_poll() -> None:
    """Each as soon as its own transaction is seen; who gives up is no longer asked for."""
    seen = {"1" * 64}

    async def reply(request: dict[str, Any]) -> Reply:
        if request["method"] != "getSignatureStatuses":
            return result(request, {})
        found = {"slot": 4, "confirmations": 0, "err": None, "confirmationStatus": "processed"}
        value = [found if name in seen else None for name in request["params"][0]]
        return result(request, {"context": {"slot": 5}, "value": value})

    node = ScriptedNode()
    async with served(node) as address, connected(address, ws_url="") as cluster, asyncio.timeout(10.0):
        node.reply = reply
        early, late, never = (Signature(str(at) * 64) for at in (1, 2, 3))
        waiting = asyncio.create_task(cluster.wait_landing(late, 60.0))
        await asyncio.gather(cluster.wait_landing(never, 0.1), cluster.wait_landing(early, 60.0))
        assert not waiting.done()
        seen.add(late)
        await waiting
        assert node.requests[-1]["params"][0] == [late]


async def test_waiting_survives_the_loss_of_its_web_socket() -> None:
    async with opened() as paper:
        async with served_paper(paper) as first:
            cluster = await RpcCluster.open(first.url, clock=SystemClock(), ws_url=first.ws_url)
            await cluster.wait_landing(SIGNATURE, 0.2)
        async with asyncio.timeout(10.0):
            await cluster.wait_landing(SIGNATURE, 0.2)
        await cluster.close()
