"""The paper cluster as a Solana node: JSON-RPC over HTTP, and serving it."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from solders.pubkey import Pubkey
from solders.rpc import responses
from websockets.asyncio.client import connect

from bestex.errors import ConfigError
from bestex.paper.cluster import PaperCluster
from bestex.paper.network import INSTANT
from bestex.paper.server import Address, serve_paper
from bestex.runtime import SystemClock
from bestex.venues.token import TOKEN_PROGRAM
from tests.support import paper as on
from tests.support.paper import STRANGER, USDC, WALLET, ata
from tests.support.rpc import Caller, Line, caller, opened, typed

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


# --- JSON-RPC ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "number"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b"\xff", -32700),
        (b"[" * 10_000, -32700),
        (b"[]", -32600),
        (b"1", -32600),
        (b"{}", -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"getHealth"}', -32600),
        (b'{"jsonrpc":"2.0","id":{},"method":"getHealth"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"getHealth","params":{}}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"getNothing"}', -32601),
    ],
)
async def test_what_is_no_request(node: Caller, body: bytes, number: int) -> None:
    assert (await node.post(body))["error"]["code"] == number


async def test_a_batch_and_a_notification(node: Caller) -> None:
    call = {"jsonrpc": "2.0", "method": "getHealth"}
    answers = await node.post([call | {"id": "a"}, call, call | {"id": 2, "method": "x"}, 7])
    assert [answer["id"] for answer in answers] == ["a", 2, None]
    assert [answer.get("error", {}).get("code") for answer in answers] == [None, -32601, -32600]
    assert await node.post(call) is None
    assert await node.post([call]) is None
    assert (await node.post([call] * 101))["error"]["code"] == -32600


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("getBalance", []),
        ("getBalance", ["nobody"]),
        ("getBalance", [7]),
        ("getBalance", [NOWHERE, {"commitment": "sure"}]),
        ("getBalance", [NOWHERE, {"minContextSlot": "1"}]),
        ("getMultipleAccounts", [[NOWHERE] * 101]),
        ("getAccountInfo", [NOWHERE, {"encoding": "morse", "commitment": "processed"}]),
        ("getSignatureStatuses", [["1" * 64] * 257]),
        ("getSignatureStatuses", [["short"]]),
        ("getRecentPrioritizationFees", [[NOWHERE] * 129]),
        ("sendTransaction", ["!", BASE64]),
        ("sendTransaction", ["0OIl"]),
        ("sendTransaction", ["AAAA", BASE64]),
        ("sendTransaction", ["AAAA", {"encoding": "hex"}]),
        ("sendTransaction", ["2" * 2_000]),
        ("simulateTransaction", ["AAAA", BASE64 | {"sigVerify": True, "replaceRecentBlockhash": True}]),
        ("getTransaction", ["1" * 64, {"commitment": "processed"}]),
        ("getFeeForMessage", [""]),
        ("isBlockhashValid", ["x"]),
        ("requestAirdrop", [NOWHERE, 0]),
        ("requestAirdrop", [NOWHERE, 2**64 - 1]),
        ("getMinimumBalanceForRentExemption", [-1]),
        ("getTokenAccountBalance", [NOWHERE]),
        ("getTokenAccountBalance", [str(ME)]),
    ],
)
async def test_parameters_that_no_node_takes(node: Caller, method: str, params: list[Any]) -> None:
    assert (await node.error(method, *params))["code"] == -32602


async def test_http(node: Caller) -> None:
    url, http = node.address.url, node.http
    assert (await http.get(f"{url}/health")).text == "ok"
    assert (await http.get(url)).status_code == 405
    assert (await http.post(url, content=b" " * 300_000)).status_code == 413


async def test_a_node_that_has_not_reached_a_slot(node: Caller) -> None:
    for method, params in (
        ("getBalance", [str(ME)]), ("getLatestBlockhash", []), ("getBlockHeight", []), ("getSlot", []),
        ("getEpochInfo", []), ("isBlockhashValid", [str(ME)]),
    ):  # fmt: skip
        error = await node.error(method, *params, {"minContextSlot": 99})
        assert (error["code"], error["data"]) == (-32016, {"contextSlot": 1})


async def test_a_node_whose_ledger_has_failed(node: Caller, paper: PaperCluster) -> None:
    paper.validator._failure = OSError("disk full")
    for method, params in (("getHealth", []), ("getSlot", []), ("getBalance", [str(ME)])):
        assert (await node.error(method, *params))["code"] == -32005
    assert (await node.http.get(f"{node.address.url}/health")).text == "behind"


async def test_the_listing(node: Caller, paper: PaperCluster) -> None:
    listing = await node.result("bestex_getListing")
    assert listing["simulated"] is True
    assert listing["pools"] == [str(pool) for pool in paper.pools]
    assert listing["tokens"][0] == {
        "symbol": "SOL", "mint": str(on.SOL), "decimals": 9, "program": str(TOKEN_PROGRAM),
    }  # fmt: skip


async def test_an_airdrop_and_a_funded_wallet(node: Caller, paper: PaperCluster) -> None:
    for _ in range(2):
        await typed(node, responses.RequestAirdropResp, "requestAirdrop", NOWHERE, 2_000_000_000)
    await paper.validator.tick()
    balance = await typed(node, responses.GetBalanceResp, "getBalance", NOWHERE, {"commitment": "processed"})
    assert balance.value == 4_000_000_000
    assert (await node.result("bestex_fundWallet", NOWHERE))["funded"] is False
    newcomer = Pubkey(bytes([9]) * 32)
    assert (await node.result("bestex_fundWallet", str(newcomer)))["funded"] is True
    assert on.balance(paper, ata(USDC, newcomer)) == on.balance(paper, ata(USDC))


# --- serving ----------------------------------------------------------------------------------------------------------


def free_ports() -> int:
    """A free port whose successor is free, too."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


async def test_serving_until_a_signal_on_both_ports() -> None:
    async with opened(INSTANT) as paper:
        ready: asyncio.Future[Address] = asyncio.get_running_loop().create_future()
        port = free_ports()
        task = asyncio.create_task(serve_paper(paper, clock=SystemClock(), port=port, on_ready=ready.set_result))
        async with asyncio.timeout(10.0):
            address = await ready
            assert address == Address(f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port + 1}")
            with pytest.raises(ConfigError, match=f"127.0.0.1:{port}"):
                await serve_paper(paper, clock=SystemClock(), port=port)
            async with httpx.AsyncClient() as http, connect(address.ws_url) as socket:
                node = Caller(address, http)
                signature = await node.result("requestAirdrop", NOWHERE, 10**9)
                line = Line(socket)
                await line.ask("signatureSubscribe", signature, {"commitment": "finalized"})
                assert (await line.hear())["params"]["result"]["value"] == {"err": None}
                os.kill(os.getpid(), signal.SIGTERM)
                await task


async def test_a_failing_ledger_ends_the_serving(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(INSTANT) as paper:

        async def run() -> None:
            raise OSError("disk full")

        monkeypatch.setattr(paper, "run", run)
        async with asyncio.timeout(10.0):
            with pytest.raises(OSError, match="disk full"):
                await serve_paper(paper, clock=SystemClock(), port=0)
