"""Sending to a paper node, and what it shows of transactions, read with the types of Solana's own client library."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from solders.hash import Hash
from solders.rpc import responses

from bestex.paper.cluster import PaperCluster
from bestex.runtime import SystemClock
from bestex.venues.token import TOKEN_PROGRAM
from tests.support import paper as on
from tests.support.paper import JUP, STRANGER, USDC, WALLET, Client, ata, signed
from tests.support.rpc import Caller, caller, encoded, opened, typed

ME, THEM = WALLET.pubkey(), STRANGER.pubkey()
CONFIRMED = {"commitment": "confirmed"}
VERSIONED = CONFIRMED | {"maxSupportedTransactionVersion": 0}
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


async def test_preflight(node: Caller, paper: PaperCluster) -> None:
    signature, poor = await encoded(paper, on.transfer_sol(ME, THEM, 10**18))
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
    signature, raw64 = await encoded(paper, on.create_ata(ME, ME, JUP), on.memo(b"x"))
    sent = await typed(node, responses.SendTransactionResp, "sendTransaction", raw64, BASE64)
    assert str(sent.value) == signature
    await paper.validator.tick()
    error = await node.error("sendTransaction", raw64, BASE64)
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
    assert raw == raw64
    (status,) = (await typed(node, responses.GetSignatureStatusesResp, "getSignatureStatuses", [signature])).value
    assert (status.slot, status.confirmations, status.err) == (2, 1, None)


async def test_a_transaction_in_all_its_parts_after_a_restart(tmp_path: Path) -> None:
    """Whoever sent it: the ledger keeps it whole, with the balances of its time."""
    ledger = tmp_path / "paper.db"
    async with opened(path=ledger) as paper, caller(paper) as node:
        signature, raw64 = await encoded(paper, on.transfer_sol(ME, THEM, 10**7), on.create_ata(ME, THEM, USDC))
        await paper.send(base64.b64decode(raw64))
        failed = await Client(paper).send(on.transfer_sol(ME, THEM, 10**18))
        await paper.validator.tick()
        # What follows must not show.
        await Client(paper).send(on.transfer_sol(ME, THEM, 10**9), on.transfer(ata(USDC), ata(USDC, THEM), ME, 5))
        await paper.validator.tick()
        shown = [await node.result("getTransaction", name, VERSIONED) for name in (signature, failed)]
    async with opened(path=ledger) as paper, caller(paper) as node:
        assert [await node.result("getTransaction", name, VERSIONED) for name in (signature, failed)] == shown
        found = (await typed(node, responses.GetTransactionResp, "getTransaction", signature, VERSIONED)).value
        message, meta = found.transaction.transaction.message, found.transaction.meta
        assert (await node.result("getTransaction", signature, VERSIONED | BASE64))["transaction"] == [raw64, "base64"]
        before, after = (dict(zip(message.account_keys, each, strict=True))
                         for each in (meta.pre_balances, meta.post_balances))  # fmt: skip
        assert (before[THEM], after[THEM]) == (0, 10**7)
        assert after[ME] - before[ME] == -(10**7) - 5_000 - on.TOKEN_ACCOUNT_RENT
        assert sum(before.values()) - sum(after.values()) == 5_000
        assert meta.pre_token_balances == []
        (token,) = meta.post_token_balances
        assert message.account_keys[token.account_index] == ata(USDC, THEM)
        assert (token.ui_token_amount.amount, token.ui_token_amount.decimals) == ("0", 6)
        assert token.program_id == TOKEN_PROGRAM
        now_s = SystemClock().now_ms() // 1000
        assert now_s - 60 < found.block_time <= now_s
        found = (await typed(node, responses.GetTransactionResp, "getTransaction", failed, VERSIONED)).value
        meta = found.transaction.meta
        assert meta.pre_balances[0] - meta.post_balances[0] == meta.fee == 5_000


async def test_a_record_of_an_earlier_release_has_no_bytes_to_show(node: Caller, paper: PaperCluster) -> None:
    signature = await Client(paper).send(on.memo(b"x"))
    for _ in range(2):
        await paper.validator.tick()
    found = paper.validator._latest[signature]
    old = msgspec.structs.replace(found.record, raw=b"", balances=[])
    paper.validator._latest[signature] = msgspec.structs.replace(found, record=old)
    assert (await node.error("getTransaction", signature, VERSIONED))["code"] == -32011
