"""The RPC client against nodes that misbehave, and against answers as mainnet's nodes give them."""

import asyncio
import base64
import struct
from email.utils import formatdate
from typing import Any

import pytest
from solders.pubkey import Pubkey

from bestex.errors import ClusterUnavailable, ConfigError, RateLimited
from bestex.ports import TokenChange
from bestex.runtime import SystemClock
from bestex.solana.rpc import RpcCluster, web_socket_url
from bestex.solana.rpc_errors import RequestRefused
from bestex.types import ChainClock, Commitment, Signature
from bestex.venues.token import NATIVE_MINT, TOKEN_PROGRAM
from tests.support.paper import WALLET
from tests.support.rpc import (
    Reply,
    ScriptedNode,
    connected,
    opened,
    result,
    scripted,
    served,
    served_paper,
)

ME = WALLET.pubkey()
SIGNATURE = Signature("2" * 64)
CONFIRMED = Commitment.CONFIRMED


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


async def test_too_many_requests() -> None:
    async with scripted() as (node, cluster):
        node.always(429, {"Retry-After": "3"})
        with pytest.raises(RateLimited) as limited:
            await cluster.height(CONFIRMED)
        assert limited.value.context == {"retry_after_s": 3.0}
        node.always(429, {"Retry-After": formatdate(SystemClock().now_ms() / 1000 + 60, usegmt=True)})
        with pytest.raises(RateLimited) as limited:
            await cluster.send(b"x")
        seconds = limited.value.context["retry_after_s"]
        assert isinstance(seconds, float)
        assert 50 < seconds <= 60
        for told in ({}, {"Retry-After": "soon"}, {"Retry-After": "nan"}):
            node.always(429, told)
            with pytest.raises(RateLimited) as limited:
                await cluster.height(CONFIRMED)
            assert limited.value.context == {}
        node.fails(429, "slow down")
        with pytest.raises(RateLimited, match="slow down"):
            await cluster.height(CONFIRMED)


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


async def test_a_failure_is_explained_once() -> None:
    value = [{"slot": 9, "confirmations": 3, "err": {"InstructionError": [0, {"Custom": 1}]},
              "confirmationStatus": "confirmed"}]  # fmt: skip

    async def reply(request: dict[str, Any]) -> Reply:
        if request["method"] == "getTransaction":
            return result(request, landed(err={"InstructionError": [0, {"Custom": 1}]}))
        return result(request, {"context": {"slot": 12}, "value": value})

    async with scripted() as (node, cluster):
        node.reply = reply
        for _ in range(3):
            (status,) = (await cluster.statuses([SIGNATURE], search_history=False)).statuses
            assert status is not None
            assert status.error is not None
            assert status.error.program_id == str(TOKEN_PROGRAM)
        methods = [request["method"] for request in node.requests]
        assert methods.count("getTransaction") == 1


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
            await asyncio.gather(*(cluster.height(CONFIRMED) for _ in range(20)))
        assert node.most_in_flight == 3
        assert len(node.clients) <= 3


def test_where_the_web_socket_is() -> None:
    assert web_socket_url("http://127.0.0.1:8899") == "ws://127.0.0.1:8900"
    assert web_socket_url("https://api.mainnet-beta.solana.com") == "wss://api.mainnet-beta.solana.com"
    assert web_socket_url("https://host/path?api-key=1") == "wss://host/path?api-key=1"


async def test_waiting_goes_on_when_the_web_socket_is_refused() -> None:
    """The node closes every WebSocket: statuses are asked for instead."""
    node = ScriptedNode()
    async with served(node) as address, connected(address) as cluster:
        value = [{"slot": 4, "confirmations": 0, "err": None, "confirmationStatus": "processed"}]
        node.results({"context": {"slot": 5}, "value": [None]}, {"context": {"slot": 5}, "value": value})
        async with asyncio.timeout(10.0):
            await cluster.wait_landing(SIGNATURE, 60.0)


async def test_waiting_survives_the_loss_of_its_web_socket() -> None:
    async with opened() as paper:
        async with served_paper(paper) as first:
            cluster = await RpcCluster.open(first.url, clock=SystemClock(), ws_url=first.ws_url)
            await cluster.wait_landing(SIGNATURE, 0.2)
        async with asyncio.timeout(10.0):
            await cluster.wait_landing(SIGNATURE, 0.2)
        await cluster.close()


# --- answers as real nodes give them ----------------------------------------------------------------------------------


async def test_a_real_node_is_not_simulated() -> None:
    async with scripted() as (_, cluster):
        assert not cluster.simulated


async def test_the_requests_are_those_of_the_documentation() -> None:
    async with scripted() as (node, cluster):
        node.results("5sig")
        await cluster.send(b"\x01\x02")
        options = {"encoding": "base64", "skipPreflight": True, "maxRetries": 0}
        assert node.requests[-1] == {
            "jsonrpc": "2.0", "id": 2, "method": "sendTransaction", "params": ["AQI=", options],
        }  # fmt: skip
        node.results({"context": {"slot": 1}, "value": {"err": None, "logs": None}})
        assert (await cluster.simulate(b"\x01")).logs == []
        assert node.requests[-1]["params"][1] == {
            "encoding": "base64", "sigVerify": False, "replaceRecentBlockhash": True, "commitment": "processed",
        }  # fmt: skip
        node.results({"context": {"slot": 1}, "value": [None]})
        await cluster.statuses([SIGNATURE], search_history=True)
        assert node.requests[-1]["params"] == [[SIGNATURE], {"searchTransactionHistory": True}]


def account(data: bytes, owner: Pubkey = TOKEN_PROGRAM) -> dict[str, Any]:
    encoded = base64.b64encode(data).decode()
    return {
        "lamports": 5, "owner": str(owner), "data": [encoded, "base64"], "executable": False, "rentEpoch": 2**64 - 1,
        "space": len(data),
    }  # fmt: skip


def accounts_at(slot: int, count: int) -> dict[str, Any]:
    clock = account(struct.pack("<QqQQq", slot, 1_700_000_000, 700, 701, 1_790_000_000))
    return {"context": {"slot": slot, "apiVersion": "2.3.0"}, "value": [account(b"x")] * count + [clock]}


async def test_the_clock_is_read_with_the_accounts() -> None:
    async with scripted() as (node, cluster):
        node.results(accounts_at(300_000_000, 1))
        answer = await cluster.accounts([ME], CONFIRMED)
        assert answer.clock == ChainClock(300_000_000, 1_790_000_000, 700)
        names, options = node.requests[-1]["params"]
        assert names == [str(ME), "SysvarC1ock11111111111111111111111111111111"]
        assert options == {"encoding": "base64", "commitment": "confirmed"}


async def test_a_hundred_accounts_are_read_until_both_answers_are_of_one_slot() -> None:
    async with scripted(max_connections=1) as (node, cluster):
        node.results(accounts_at(7, 99), accounts_at(8, 1), accounts_at(8, 99), accounts_at(8, 1))
        answer = await cluster.accounts([ME] * 100, CONFIRMED)
        assert (answer.slot, len(answer.accounts)) == (8, 100)
        assert len(node.requests) == 1 + 4


async def test_a_node_that_never_shows_two_answers_of_one_slot_is_unavailable() -> None:
    async with scripted(max_connections=1) as (node, cluster):
        node.results(*(accounts_at(slot, 1 if slot % 2 else 99) for slot in range(16)))
        with pytest.raises(ClusterUnavailable, match="one slot"):
            await cluster.accounts([ME] * 100, CONFIRMED)


@pytest.mark.parametrize(
    "value",
    [
        [],
        [None],
        [None, None, None],
        [None, account(b"too short")],
        [{"lamports": 1, "owner": "nobody", "data": ["", "base64"]}, account(bytes(40))],
        [{"lamports": 1, "owner": str(ME), "data": ["x", "base64"]}, account(bytes(40))],
        [{"lamports": 1, "owner": str(ME), "data": ["", "base64+zstd"]}, account(bytes(40))],
    ],
)
async def test_accounts_that_cannot_be_read(value: list[Any]) -> None:
    async with scripted() as (node, cluster):
        node.results({"context": {"slot": 1}, "value": value})
        with pytest.raises(ClusterUnavailable, match="getMultipleAccounts"):
            await cluster.accounts([ME], CONFIRMED)


def landed(**changes: Any) -> dict[str, Any]:
    """A v0 transaction whose token accounts come from a lookup table."""
    keys = [str(ME), str(TOKEN_PROGRAM)]
    meta = {
        "err": None, "status": {"Ok": None}, "fee": 5_000, "computeUnitsConsumed": 4_000, "logMessages": None,
        "preBalances": [10**9, 1, 10], "postBalances": [10**9 - 5_010, 1, 20], "innerInstructions": [], "rewards": [],
        "loadedAddresses": {"writable": [str(NATIVE_MINT)], "readonly": []},
        "preTokenBalances": [],
        "postTokenBalances": [
            {"accountIndex": 2, "mint": str(NATIVE_MINT), "owner": str(ME), "programId": str(TOKEN_PROGRAM),
             "uiTokenAmount": {"amount": "10", "decimals": 9, "uiAmount": 1e-8, "uiAmountString": "0.00000001"}},
        ],
    } | changes  # fmt: skip
    message = {
        "accountKeys": keys, "header": {}, "recentBlockhash": str(ME),
        "instructions": [{"programIdIndex": 1, "accounts": [0, 2], "data": "3Bxs4h24hBtQy9rw", "stackHeight": 1}],
        "addressTableLookups": [{"accountKey": str(ME), "writableIndexes": [3], "readonlyIndexes": []}],
    }  # fmt: skip
    transaction = {"message": message, "signatures": [SIGNATURE]}
    return {"slot": 9, "blockTime": 1_790_000_000, "version": 0, "meta": meta, "transaction": transaction}


async def test_a_transaction_with_a_lookup_table_and_without_logs() -> None:
    async with scripted() as (node, cluster):
        node.results(landed())
        found = await cluster.transaction(SIGNATURE)
        assert found is not None
        assert found.lamport_changes == {ME: -5_010, NATIVE_MINT: 10}
        assert found.token_changes == [TokenChange(NATIVE_MINT, NATIVE_MINT, ME, 0, 10)]
        assert (found.slot, found.units_consumed, found.logs) == (9, 4_000, [])
        assert node.requests[-1]["params"][1] == {
            "encoding": "json", "commitment": "confirmed", "maxSupportedTransactionVersion": 0,
        }  # fmt: skip


async def test_a_failed_transaction_names_its_program_even_without_logs() -> None:
    error = {"InstructionError": [0, {"Custom": 6005}]}
    async with scripted() as (node, cluster):
        node.results(landed(err=error))
        found = await cluster.transaction(SIGNATURE)
        assert found is not None
        assert found.error is not None
        assert (found.error.custom_code, found.error.program_id) == (6005, str(TOKEN_PROGRAM))


@pytest.mark.parametrize(
    "changes",
    [
        {"preBalances": [1]},
        {"loadedAddresses": {"writable": ["nobody"], "readonly": []}},
        {"postTokenBalances": [{"accountIndex": 9, "mint": "x", "owner": "y", "uiTokenAmount": {"amount": "1"}}]},
        {"postTokenBalances": [{"accountIndex": 0, "mint": str(ME), "uiTokenAmount": {"amount": "1"}}]},
    ],
)
async def test_a_transaction_that_contradicts_itself(changes: dict[str, Any]) -> None:
    async with scripted() as (node, cluster):
        node.results(landed(**changes))
        with pytest.raises(ClusterUnavailable, match="getTransaction"):
            await cluster.transaction(SIGNATURE)


async def test_a_status_of_an_old_node() -> None:
    old = [{"slot": 4, "confirmations": None, "err": None}, {"slot": 5, "confirmations": 1, "err": None}]
    async with scripted() as (node, cluster):
        node.results({"context": {"slot": 5}, "value": old})
        answer = await cluster.statuses([SIGNATURE, SIGNATURE], search_history=False)
        assert [status.commitment for status in answer.statuses if status] == ["finalized", "processed"]
        with pytest.raises(ClusterUnavailable, match="2 statuses of 1"):
            await cluster.statuses([SIGNATURE], search_history=False)


async def test_a_failure_is_told_even_where_the_node_does_not_show_the_transaction() -> None:
    error = {"InstructionError": [2, {"Custom": 1}]}
    value = [{"slot": 4, "confirmations": None, "err": error, "confirmationStatus": "finalized"}]

    async def reply(request: dict[str, Any]) -> Reply:
        if request["method"] == "getTransaction":
            return 503, {}, b""
        return result(request, {"context": {"slot": 5}, "value": value})

    async with scripted() as (node, cluster):
        node.reply = reply
        (status,) = (await cluster.statuses([SIGNATURE], search_history=True)).statuses
        assert status is not None
        assert status.error is not None
        assert (status.error.instruction_index, status.error.custom_code) == (2, 1)
        assert status.error.program_id is None


async def test_more_accounts_than_a_node_takes_for_fees() -> None:
    async with scripted() as (_, cluster):
        with pytest.raises(ValueError, match="128"):
            await cluster.priority_fees([ME] * 129)


# --- a paper market from another machine ------------------------------------------------------------------------------


async def test_the_market_of_a_paper_cluster() -> None:
    async with opened() as paper, served_paper(paper) as address, connected(address) as cluster:
        market = await cluster.market()
        assert market.tokens == paper.tokens
        assert market.pools == paper.pools
        newcomer = Pubkey(bytes([9]) * 32)
        await cluster.fund_wallet(newcomer)
        await paper.validator.tick()
        answer = await cluster.accounts([newcomer], Commitment.PROCESSED)
        assert answer.accounts[0] is not None
