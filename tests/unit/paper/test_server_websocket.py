"""The WebSocket of a paper node."""

from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.client import connect

from bestex.paper.cluster import PaperCluster
from tests.support import paper as on
from tests.support.paper import STRANGER, WALLET
from tests.support.rpc import Caller, Line, caller, encoded, opened

ME, THEM = WALLET.pubkey(), STRANGER.pubkey()
CONFIRMED = {"commitment": "confirmed"}
BASE64 = {"encoding": "base64"}
NOWHERE = str(STRANGER.pubkey())


@pytest.fixture
async def paper() -> AsyncIterator[PaperCluster]:
    async with opened() as cluster:
        yield cluster


@pytest.fixture
async def node(paper: PaperCluster) -> AsyncIterator[Caller]:
    async with caller(paper) as made:
        yield made


async def test_subscriptions_end_with_their_commitment(node: Caller, paper: PaperCluster) -> None:
    signature, raw64 = await encoded(paper, on.transfer_sol(ME, THEM, 10**18))
    async with connect(node.address.ws_url) as socket:
        line = Line(socket)
        numbers = [(await line.ask("signatureSubscribe", signature, {"commitment": each}))["result"]
                   for each in ("processed", "confirmed", "finalized")]  # fmt: skip
        await node.result("sendTransaction", raw64, BASE64 | {"skipPreflight": True})
        for number, blocks in zip(numbers, (1, 1, 7), strict=True):
            for _ in range(blocks):
                await paper.validator.tick()
            told = await line.hear()
            assert told["method"] == "signatureNotification"
            assert told["params"]["subscription"] == number
            assert told["params"]["result"]["value"] == {"err": {"InstructionError": [0, {"Custom": 1}]}}
        assert (await line.ask("signatureUnsubscribe", numbers[0]))["error"]["code"] == -32602
        again = await line.ask("signatureSubscribe", signature)
        assert (await line.hear())["params"]["subscription"] == again["result"]


async def test_what_a_web_socket_does_not_take(node: Caller) -> None:
    async with connect(node.address.ws_url) as socket:
        line = Line(socket)
        assert (await line.ask("getHealth"))["error"]["code"] == -32601
        assert (await line.ask("signatureSubscribe", "x"))["error"]["code"] == -32602
        await socket.send("nonsense")
        assert (await line.hear())["error"]["code"] == -32700
        number = (await line.ask("signatureSubscribe", "1" * 64))["result"]
        assert (await line.ask("signatureUnsubscribe", number))["result"] is True
