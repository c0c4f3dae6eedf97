"""What any client gets from a paper node, read with the types of Solana's own client library."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from solders.hash import Hash
from solders.rpc import responses

from bestex.paper.cluster import PaperCluster
from bestex.paper.network import FAST, INSTANT, REALISTIC
from bestex.paper.rpc_shapes import amount_json
from bestex.paper.rpc_wire import answer_body
from tests.support import paper as on
from tests.support.paper import STRANGER, USDC, WALLET, Client, ata, signed
from tests.support.rpc import Caller, caller, encoded, opened, typed

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


async def test_reading_the_chain(node: Caller, paper: PaperCluster) -> None:
    for _ in range(12):
        await paper.validator.tick()
    blockhash = (await typed(node, responses.GetLatestBlockhashResp, "getLatestBlockhash", CONFIRMED)).value
    assert blockhash.last_valid_block_height == 12 + 150
    assert (await typed(node, responses.GetSlotResp, "getSlot", CONFIRMED)).value == 12
    assert (await typed(node, responses.GetBlockHeightResp, "getBlockHeight")).value == 5
    epoch = (await typed(node, responses.GetEpochInfoResp, "getEpochInfo", {"commitment": "processed"})).value
    assert (epoch.absolute_slot, epoch.block_height, epoch.epoch, epoch.slot_index) == (13, 13, 0, 13)
    assert (await typed(node, responses.GetFirstAvailableBlockResp, "getFirstAvailableBlock")).value == 0
    assert (await typed(node, responses.MinimumLedgerSlotResp, "minimumLedgerSlot")).value == 0
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
    _, raw64 = await encoded(paper, on.memo(b"x"))
    message = base64.b64encode(base64.b64decode(raw64)[65:]).decode()
    assert (await typed(node, responses.GetFeeForMessageResp, "getFeeForMessage", message)).value == 5_000
    _, raw = signed(str(Hash.default()), [on.memo(b"x")])
    stale = base64.b64encode(raw[65:]).decode()
    assert (await typed(node, responses.GetFeeForMessageResp, "getFeeForMessage", stale)).value is None


async def test_simulation(node: Caller, paper: PaperCluster) -> None:
    _, good = await encoded(paper, on.memo(b"x"))
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


@pytest.mark.parametrize(
    ("amount", "decimals", "shown"),
    [
        (0, 0, "0"), (70, 0, "70"), (0, 6, "0"), (1, 6, "0.000001"), (1_234_500, 6, "1.2345"),
        (1_000_000, 6, "1"), (10_000_000, 6, "10"), (2**64 - 1, 9, "18446744073.709551615"),
    ],
)  # fmt: skip
def test_amounts_for_people(amount: int, decimals: int, shown: str) -> None:
    told = amount_json(amount, decimals)
    assert told == {
        "amount": str(amount), "decimals": decimals, "uiAmount": amount / 10**decimals, "uiAmountString": shown,
    }  # fmt: skip


@pytest.mark.parametrize(("in_turn", "together"), [(True, 1), (False, 3)])
async def test_calls_of_a_batch_wait_together_unless_they_need_not_wait(in_turn: bool, together: int) -> None:
    running = most = 0

    async def call(method: str, params: list[Any]) -> object:
        nonlocal running, most
        running, most = running + 1, max(most, running + 1)
        await asyncio.sleep(0)
        running -= 1
        return params[0]

    batch = [{"jsonrpc": "2.0", "id": at, "method": "x", "params": [at]} for at in range(3)]
    answers = json.loads(await answer_body(json.dumps(batch).encode(), call, in_turn=in_turn))
    assert [(answer["id"], answer["result"]) for answer in answers] == [(0, 0), (1, 1), (2, 2)]
    assert most == together


def test_where_answers_take_their_time() -> None:
    assert not INSTANT.delays
    assert FAST.delays
    assert REALISTIC.delays
    assert msgspec.structs.replace(INSTANT, send_s=(0.0, 0.1)).delays
