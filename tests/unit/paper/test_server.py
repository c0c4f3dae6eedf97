"""The paper cluster as a Solana node: what any client gets, read with the types of Solana's own client library."""

import asyncio
import base64
import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.rpc import responses
from websockets.asyncio.client import connect

from bestex.errors import ConfigError
from bestex.paper.cluster import PaperCluster
from bestex.paper.network import INSTANT
from bestex.paper.server import Address, serve_paper
from bestex.runtime import SystemClock
from bestex.types import Commitment, Signature
from bestex.venues.token import TOKEN_PROGRAM
from tests.support import paper as on
from tests.support.paper import JUP, STRANGER, USDC, WALLET, Client, ata, signed
from tests.support.rpc import Caller, caller, opened

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


async def transaction(paper: PaperCluster, *instructions: Any) -> tuple[Signature, str]:
    blockhash = await paper.latest_blockhash(Commitment.FINALIZED)
    signature, raw = signed(blockhash.blockhash, instructions)
    return signature, base64.b64encode(raw).decode()


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


# --- answers, read by Solana's own types ------------------------------------------------------------------------------


async def typed(node: Caller, kind: Any, method: str, *params: Any) -> Any:
    answer = await node.answer(method, *params)
    read = kind.from_json(json.dumps(answer))
    assert isinstance(read, kind), answer
    return read


async def test_reading_the_chain(node: Caller, paper: PaperCluster) -> None:
    for _ in range(12):
        await paper.validator.tick()
    blockhash = (await typed(node, responses.GetLatestBlockhashResp, "getLatestBlockhash", CONFIRMED)).value
    assert blockhash.last_valid_block_height == 12 + 150
    assert (await typed(node, responses.GetSlotResp, "getSlot", CONFIRMED)).value == 12
    assert (await typed(node, responses.GetBlockHeightResp, "getBlockHeight")).value == 5
    epoch = (await typed(node, responses.GetEpochInfoResp, "getEpochInfo", {"commitment": "processed"})).value
    assert (epoch.absolute_slot, epoch.block_height, epoch.epoch, epoch.slot_index) == (13, 13, 0, 13)
    await typed(node, responses.GetEpochScheduleResp, "getEpochSchedule")
    valid = await typed(node, responses.IsBlockhashValidResp, "isBlockhashValid", str(blockhash.blockhash), CONFIRMED)
    assert valid.value
    assert not (await typed(node, responses.IsBlockhashValidResp, "isBlockhashValid", str(Hash.default()))).value
    assert (await typed(node, responses.GetMinimumBalanceForRentExemptionResp,
                        "getMinimumBalanceForRentExemption", 165)).value == on.TOKEN_ACCOUNT_RENT  # fmt: skip


async def test_what_the_node_is(node: Caller) -> None:
    assert (await typed(node, responses.GetVersionResp, "getVersion")).value.solana_core == "2.3.0"
    assert (await node.result("getVersion"))["bestex-paper"]["simulated"] is True
    assert await typed(node, responses.GetHealthResp, "getHealth")
    genesis = (await typed(node, responses.GetGenesisHashResp, "getGenesisHash")).value
    async with opened() as same, caller(same) as other:
        assert (await typed(other, responses.GetGenesisHashResp, "getGenesisHash")).value == genesis


async def test_accounts(node: Caller, paper: PaperCluster) -> None:
    found = (await typed(node, responses.GetAccountInfoResp, "getAccountInfo", str(ata(USDC)), BASE64)).value
    true = on.head(paper, ata(USDC))
    assert true is not None
    assert (bytes(found.data), found.lamports, found.owner) == (true.data, true.lamports, true.owner)
    sliced = await node.result("getAccountInfo", str(ata(USDC)), BASE64 | {"dataSlice": {"offset": 64, "length": 8}})
    assert base64.b64decode(sliced["value"]["data"][0]) == true.data[64:72]
    short = (await typed(node, responses.GetAccountInfoResp, "getAccountInfo", str(USDC))).value
    assert bytes(short.data) == on.head(paper, USDC).data  # type: ignore[union-attr]
    assert (await node.error("getAccountInfo", str(ata(USDC))))["code"] == -32600
    for encoding in ("base64+zstd", "jsonParsed"):
        answer = await node.result("getAccountInfo", str(ata(USDC)), {"encoding": encoding})
        assert answer["value"]["data"][1] == "base64"
    program = (await typed(node, responses.GetAccountInfoResp, "getAccountInfo", str(on.MEMO_PROGRAM), BASE64)).value
    assert program.executable
    many = await typed(node, responses.GetMultipleAccountsResp, "getMultipleAccounts", [NOWHERE, str(USDC)], BASE64)
    assert many.value[0] is None
    assert (await typed(node, responses.GetBalanceResp, "getBalance", str(ME))).value == on.lamports(paper, ME)
    assert (await typed(node, responses.GetBalanceResp, "getBalance", NOWHERE)).value == 0
    held = await typed(node, responses.GetTokenAccountBalanceResp, "getTokenAccountBalance", str(ata(USDC)))
    assert (int(held.value.amount), held.value.decimals) == (on.balance(paper, ata(USDC)), 6)
    assert held.value.ui_amount_string == "1000000000"


async def test_fees(node: Caller, paper: PaperCluster) -> None:
    client = Client(paper)
    await client.send(on.unit_price(500), on.transfer_sol(ME, THEM, 10**7))
    await paper.validator.tick()
    fees = await typed(node, responses.GetRecentPrioritizationFeesResp, "getRecentPrioritizationFees", [str(THEM)])
    assert [(fee.slot, fee.prioritization_fee) for fee in fees.value] == [(2, 500)]
    _, encoded = await transaction(paper, on.memo(b"x"))
    message = base64.b64encode(base64.b64decode(encoded)[65:]).decode()
    assert (await typed(node, responses.GetFeeForMessageResp, "getFeeForMessage", message)).value == 5_000
    _, raw = signed(str(Hash.default()), [on.memo(b"x")])
    stale = base64.b64encode(raw[65:]).decode()
    assert (await typed(node, responses.GetFeeForMessageResp, "getFeeForMessage", stale)).value is None


async def test_simulation(node: Caller, paper: PaperCluster) -> None:
    _, good = await transaction(paper, on.memo(b"x"))
    found = (await typed(node, responses.SimulateTransactionResp, "simulateTransaction", good, BASE64)).value
    assert found.err is None
    assert found.units_consumed > 0
    _, raw = signed(str(Hash.default()), [on.memo(b"x")])
    stale = base64.b64encode(raw).decode()
    told = await node.result("simulateTransaction", stale, BASE64)
    assert told["value"]["err"] == "BlockhashNotFound"
    told = await node.result("simulateTransaction", stale, BASE64 | {"replaceRecentBlockhash": True})
    assert told["value"]["err"] is None
    assert told["value"]["replacementBlockhash"]["lastValidBlockHeight"] == 151
    unsigned = base64.b64encode(raw[:1] + bytes(64) + raw[65:]).decode()
    assert (await node.error("simulateTransaction", unsigned, BASE64 | {"sigVerify": True}))["code"] == -32003
    assert (await node.error("simulateTransaction", good, BASE64 | {"accounts": {"addresses": []}}))["code"] == -32602


# --- transactions -----------------------------------------------------------------------------------------------------


async def test_preflight(node: Caller, paper: PaperCluster) -> None:
    signature, poor = await transaction(paper, on.transfer_sol(ME, THEM, 10**18))
    error = await node.error("sendTransaction", poor, BASE64)
    assert error["code"] == -32002
    assert (
        error["message"] == "Transaction simulation failed: Error processing Instruction 0: custom program error: 0x1"
    )
    assert error["data"]["err"] == {"InstructionError": [0, {"Custom": 1}]}
    assert error["data"]["logs"]
    _, raw = signed(str(Hash.default()), [on.memo(b"x")])
    error = await node.error("sendTransaction", base64.b64encode(raw).decode(), BASE64)
    assert (error["code"], error["data"]["err"]) == (-32002, "BlockhashNotFound")
    unsigned = base64.b64encode(raw[:1] + bytes(64) + raw[65:]).decode()
    assert (await node.error("sendTransaction", unsigned, BASE64))["code"] == -32003
    assert await node.result("sendTransaction", poor, BASE64 | {"skipPreflight": True, "maxRetries": 0}) == signature


async def test_a_transaction_once_landed(node: Caller, paper: PaperCluster) -> None:
    signature, encoded = await transaction(paper, on.create_ata(ME, ME, JUP), on.memo(b"x"))
    sent = await typed(node, responses.SendTransactionResp, "sendTransaction", encoded, BASE64)
    assert str(sent.value) == signature
    await paper.validator.tick()
    error = await node.error("sendTransaction", encoded, BASE64)
    assert (error["code"], error["data"]["err"]) == (-32002, "AlreadyProcessed")
    await paper.validator.tick()
    version = {"maxSupportedTransactionVersion": 0}
    assert await node.result("getTransaction", signature, version) is None, "not finalized yet"
    assert (await node.error("getTransaction", signature, CONFIRMED))["code"] == -32015
    for encoding in ("json", "base58", "base64"):
        options = CONFIRMED | version | {"encoding": encoding}
        found = (await typed(node, responses.GetTransactionResp, "getTransaction", signature, options)).value
        assert found.slot == 2
        meta = found.transaction.meta
        assert (meta.fee, meta.err, len(meta.pre_balances)) == (5_000, None, len(meta.post_balances))
        assert len(meta.pre_token_balances or []) == 0
        assert [each.ui_token_amount.amount for each in meta.post_token_balances] == ["0"]
    raw = (await node.result("getTransaction", signature, CONFIRMED | version | BASE64))["transaction"][0]
    assert raw == encoded
    (status,) = (await typed(node, responses.GetSignatureStatusesResp, "getSignatureStatuses", [signature])).value
    assert (status.slot, status.confirmations, status.err) == (2, 1, None)


async def test_a_transaction_that_came_another_way(node: Caller, paper: PaperCluster) -> None:
    """The ledger knows what it did; its bytes are nowhere."""
    signature = await Client(paper).send(on.transfer_sol(ME, THEM, 10**7))
    for _ in range(2):
        await paper.validator.tick()
    version = CONFIRMED | {"maxSupportedTransactionVersion": 0}
    found = await node.result("getTransaction", signature, version)
    assert found["bestex-paper"] == {"simulated": True, "partial": True}
    keys, meta = found["transaction"]["message"]["accountKeys"], found["meta"]
    moved = {
        key: after - before for key, before, after in zip(keys, meta["preBalances"], meta["postBalances"], strict=True)
    }
    assert moved == {str(ME): -(10**7) - 5_000, str(THEM): 10**7}
    assert (await node.error("getTransaction", signature, version | BASE64))["code"] == -32011


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


async def test_the_listing(node: Caller, paper: PaperCluster) -> None:
    listing = await node.result("bestex_getListing")
    assert listing["simulated"] is True
    assert listing["pools"] == [str(pool) for pool in paper.pools]
    assert listing["tokens"][0] == {
        "symbol": "SOL", "mint": str(on.SOL), "decimals": 9, "program": str(TOKEN_PROGRAM),
    }  # fmt: skip


# --- the WebSocket ----------------------------------------------------------------------------------------------------


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


async def test_subscriptions_end_with_their_commitment(node: Caller, paper: PaperCluster) -> None:
    signature, encoded = await transaction(paper, on.transfer_sol(ME, THEM, 10**18))
    async with connect(node.address.ws_url) as socket:
        line = Line(socket)
        numbers = [(await line.ask("signatureSubscribe", signature, {"commitment": each}))["result"]
                   for each in ("processed", "confirmed", "finalized")]  # fmt: skip
        await node.result("sendTransaction", encoded, BASE64 | {"skipPreflight": True})
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
