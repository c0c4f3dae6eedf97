"""The RPC client and answers as mainnet's nodes give them."""

import base64
import struct
from typing import Any

import pytest
from solders.hash import Hash
from solders.instruction import CompiledInstruction
from solders.message import MessageAddressTableLookup, MessageHeader, MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature as WireSignature
from solders.transaction import VersionedTransaction

from bestex.errors import ClusterUnavailable
from bestex.ports import Height, TokenChange
from bestex.types import ChainClock, Commitment, Signature
from bestex.venues.token import NATIVE_MINT, TOKEN_PROGRAM
from tests.support.paper import WALLET
from tests.support.rpc import Reply, connected, opened, result, scripted, served_paper

ME = WALLET.pubkey()
SIGNATURE = Signature("2" * 64)
CONFIRMED = Commitment.CONFIRMED
MANY = [Pubkey(bytes([at]) * 32) for at in range(100)]


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
        answer = await cluster.accounts(MANY, CONFIRMED)
        assert (answer.slot, len(answer.accounts)) == (8, 100)
        assert len(node.requests) == 1 + 4


async def test_a_node_that_never_shows_two_answers_of_one_slot_is_unavailable() -> None:
    async with scripted(max_connections=1) as (node, cluster):
        node.results(*(accounts_at(slot, 1 if slot % 2 else 99) for slot in range(16)))
        with pytest.raises(ClusterUnavailable, match="one slot"):
            await cluster.accounts(MANY, CONFIRMED)


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


def wire(keys: list[Pubkey]) -> str:
    """A v0 transaction of one instruction, whose second account a lookup table names."""
    message = MessageV0(
        MessageHeader(1, 0, 1),
        keys,
        Hash.default(),
        [CompiledInstruction(1, b"\x03", bytes([0, 2]))],
        [MessageAddressTableLookup(ME, bytes([3]), b"")],
    )
    return base64.b64encode(bytes(VersionedTransaction.populate(message, [WireSignature.default()]))).decode()


def landed(**changes: Any) -> dict[str, Any]:
    """A v0 transaction whose token accounts come from a lookup table."""
    transaction = changes.pop("transaction", [wire([ME, TOKEN_PROGRAM]), "base64"])
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
            "encoding": "base64", "commitment": "confirmed", "maxSupportedTransactionVersion": 0,
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
        {"loadedAddresses": None},
        {"transaction": [wire([ME, TOKEN_PROGRAM]), "base58"]},
        {"transaction": [wire([ME, TOKEN_PROGRAM])[:-8], "base64"]},
        {"transaction": ["not base64", "base64"]},
        {"transaction": {"message": {}, "signatures": []}},
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


async def test_where_the_history_begins() -> None:
    async with scripted() as (node, cluster):
        node.results(250_000_000, {"blockhash": "x", "blockHeight": 230_000_000, "parentSlot": 249_999_999})
        assert await cluster.oldest_block() == Height(230_000_000, 250_000_000)
        options = {"transactionDetails": "none", "rewards": False, "maxSupportedTransactionVersion": 0}
        assert node.requests[-1]["params"] == [250_000_000, options]
        node.results(7, {"blockhash": "x", "blockHeight": None})
        assert await cluster.oldest_block() == Height(7, 7)
        node.results(0)
        assert await cluster.oldest_block() == Height(0, 0)
        node.results(250_000_000, None)
        with pytest.raises(ClusterUnavailable, match="250000000"):
            await cluster.oldest_block()


async def test_a_status_of_an_old_node() -> None:
    old = [{"slot": 4, "confirmations": None, "err": None}, {"slot": 5, "confirmations": 1, "err": None}]
    async with scripted() as (node, cluster):
        node.results({"context": {"slot": 5}, "value": old})
        answer = await cluster.statuses([SIGNATURE, SIGNATURE], search_history=False)
        assert [status.commitment for status in answer.statuses if status] == ["finalized", "processed"]
        with pytest.raises(ClusterUnavailable, match="2 statuses of 1"):
            await cluster.statuses([SIGNATURE], search_history=False)


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
