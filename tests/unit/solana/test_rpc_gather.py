"""Many calls at the same moment: few requests, and to each its own answer."""

import asyncio
import json
from typing import Any

import pytest

from bestex.errors import ClusterUnavailable
from bestex.ports import Height
from bestex.solana.rpc_errors import RequestRefused
from bestex.types import Commitment, Signature
from tests.support.rpc import Reply, apart, result, scripted

CONFIRMED = Commitment.CONFIRMED
HEIGHT = {"absoluteSlot": 3, "blockHeight": 2}


async def test_calls_of_one_moment_share_a_request() -> None:
    async def reply(request: dict[str, Any]) -> Reply:
        return result(request, f"sent {request['params'][0]}")

    async with scripted() as (node, cluster):
        node.reply = reply
        await asyncio.gather(*(cluster.send(bytes([at])) for at in range(20)))
        assert node.batches == [16, 4]
        assert len({request["id"] for request in node.requests}) == 21
        await apart(cluster.send(b"x"), cluster.send(b"y"))
        assert node.batches == [16, 4]


async def test_each_call_of_a_batch_gets_its_own_answer() -> None:
    """In any order; a failure is of one call only, and so is a missing answer."""

    async def backwards(batch: list[dict[str, Any]]) -> Reply:
        one, two, three, _ = (json.loads(result(request, HEIGHT)[2]) for request in batch)
        two["result"] = {"absoluteSlot": 9, "blockHeight": 8}
        del three["result"]
        three["error"] = {"code": -32005, "message": "behind"}
        return 200, {}, json.dumps([three, two, one]).encode()

    async with scripted() as (node, cluster):
        node.reply_to_batch = backwards
        calls = (cluster.height(CONFIRMED) for _ in range(4))
        one, two, three, four = await asyncio.gather(*calls, return_exceptions=True)
        assert (one, two) == (Height(2, 3), Height(8, 9))
        assert isinstance(three, ClusterUnavailable)
        assert "behind" in three.message
        assert isinstance(four, ClusterUnavailable)
        assert "no answer" in four.message


@pytest.mark.parametrize(
    "refusal",
    [
        (200, b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no batches"}}'),
        (200, b'{"jsonrpc":"2.0","id":null,"result":7}'),
        (400, b"<html>"),
        (413, b""),
    ],
)
async def test_a_node_that_takes_no_batches_is_asked_one_by_one(refusal: tuple[int, bytes]) -> None:
    async def refuse(batch: list[dict[str, Any]]) -> Reply:
        return refusal[0], {}, refusal[1]

    async with scripted() as (node, cluster):
        node.results(HEIGHT)
        node.reply_to_batch = refuse
        for _ in range(2):
            answers = await asyncio.gather(*(cluster.height(CONFIRMED) for _ in range(5)))
            assert answers == [Height(2, 3)] * 5
        assert node.batches == [5], "it is not asked twice"


@pytest.mark.parametrize(
    "failure",
    [
        (502, b"<html>"),
        (200, b'{"jsonrpc":"2.0","id":null,"error":{"code":-32005,"message":"behind"}}'),
    ],
)
async def test_a_batch_that_fails_says_nothing_of_batches(failure: tuple[int, bytes]) -> None:
    async def fail(batch: list[dict[str, Any]]) -> Reply:
        return failure[0], {}, failure[1]

    async with scripted() as (node, cluster):
        node.reply_to_batch = fail
        for _ in range(2):
            answers = await asyncio.gather(*(cluster.height(CONFIRMED) for _ in range(5)), return_exceptions=True)
            assert {type(answer) for answer in answers} == {ClusterUnavailable}
        assert node.batches == [5, 5]


async def test_statuses_of_many_orders_are_one_call_of_one_slot() -> None:
    async def reply(request: dict[str, Any]) -> Reply:
        names, options = request["params"]
        depth = 100 if options["searchTransactionHistory"] else 1
        value = [{"slot": int(name), "confirmations": depth, "err": None} for name in names]
        return result(request, {"context": {"slot": len(names)}, "value": value})

    def looked(*names: int, search: bool = False) -> Any:
        return cluster.statuses([Signature(str(name)) for name in names], search_history=search)

    async with scripted() as (node, cluster):
        node.reply = reply
        answers = await asyncio.gather(looked(1), looked(2, 3), looked(4, search=True), looked(), looked(5))
        slots = [[status.slot for status in answer.statuses if status] for answer in answers]
        assert slots == [[1], [2, 3], [4], [], [5]]
        assert [answer.slot for answer in answers] == [4, 4, 1, 4, 4]
        assert len(node.requests) == 1 + 2
        await asyncio.gather(*(looked(*range(100)) for _ in range(3)))
        assert [len(request["params"][0]) for request in node.requests[3:]] == [200, 100]


async def test_statuses_that_a_node_refuses_together_are_asked_for_one_by_one() -> None:
    """One bad signature is not everybody's."""

    async def reply(request: dict[str, Any]) -> Reply:
        (names, _) = request["params"]
        if "bad" in names:
            error = {"code": -32602, "message": "Invalid param: Invalid"}
            return 200, {}, json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error}).encode()
        return result(request, {"context": {"slot": 4}, "value": [None for _ in names]})

    async with scripted() as (node, cluster):
        node.reply = reply
        asked = [cluster.statuses([Signature(name)], search_history=False) for name in ("good", "bad", "fine")]
        good, bad, fine = await asyncio.gather(*asked, return_exceptions=True)
        assert good == fine
        assert isinstance(bad, RequestRefused)


async def test_one_who_gives_up_takes_nothing_from_the_others() -> None:
    gate = asyncio.Event()

    async def reply(request: dict[str, Any]) -> Reply:
        await gate.wait()
        return result(request, HEIGHT)

    async with scripted() as (node, cluster):
        node.reply = reply
        gone, here = (asyncio.create_task(cluster.height(CONFIRMED)) for _ in range(2))
        while not node.in_flight:
            await asyncio.sleep(0)
        gone.cancel()
        gate.set()
        assert await here == Height(2, 3)
        assert gone.cancelled()


async def test_those_who_are_asked_for_one_by_one_wait_no_longer_than_the_others() -> None:
    """The node takes its time to refuse a batch, and then says nothing at all: one time-out holds for both."""
    stuck = asyncio.Event()

    async def silent(request: dict[str, Any]) -> Reply:
        await stuck.wait()
        return result(request, HEIGHT)

    async def refuse(batch: list[dict[str, Any]]) -> Reply:
        await asyncio.sleep(0.6)
        node.reply = silent
        return 400, {}, b"<html>"

    async with scripted(timeout_s=1.0) as (node, cluster):
        node.reply_to_batch = refuse
        began_s = asyncio.get_running_loop().time()
        calls = (cluster.height(CONFIRMED) for _ in range(3))
        answers = await asyncio.gather(*calls, return_exceptions=True)
        elapsed_s = asyncio.get_running_loop().time() - began_s
        assert ["no answer within 1 s" in str(answer) for answer in answers] == [True] * 3
        assert elapsed_s < 1.5, "0.6 s and another second would be more"
        stuck.set()
