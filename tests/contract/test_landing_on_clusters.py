"""Landing on each cluster: the paper cluster in this process, and the same behind sockets."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
from solders.instruction import Instruction

from bestex.execution.landing import Dead, FailedOnChain, Landed, Landing, Outcome
from bestex.orders.attempt import Attempt, AttemptState
from bestex.paper.cluster import PaperCluster
from bestex.ports import Cluster, Height
from bestex.runtime import SystemClock
from bestex.types import Commitment, OrderId
from tests.support import paper as on
from tests.support.paper import FINAL_AFTER_8, STRANGER, WALLET, signed
from tests.support.rpc import connected, opened, served_paper

ME, THEM = WALLET.pubkey(), STRANGER.pubkey()
SHORT_LIVED = msgspec.structs.replace(FINAL_AFTER_8, blockhash_max_age_blocks=3, status_cache_slots=4)
DROPS = msgspec.structs.replace(SHORT_LIVED, drop_probability=1.0)


class On(msgspec.Struct):
    """The cluster that lands, and the truth behind it."""

    cluster: Cluster
    paper: PaperCluster

    async def attempt(self, *instructions: Instruction) -> Attempt:
        blockhash = await self.cluster.latest_blockhash(Commitment.CONFIRMED)
        signature, raw = signed(blockhash.blockhash, instructions)
        return Attempt(
            order_id=OrderId("o"), number=1, state=AttemptState.PREPARED, signature=signature, transaction=raw,
            blockhash=blockhash.blockhash, last_valid_block_height=blockhash.last_valid_block_height, in_amount=1,
            quoted_out_amount=1, min_out_amount=1, venue="raydium_cpmm", pool="pool", fee_lamports=5_000,
            created_at_ms=0,
        )  # fmt: skip

    async def land(self, attempt: Attempt) -> Outcome:
        """Land it while slots pass."""
        landing = Landing(self.cluster, SystemClock(), resend_s=0.05, status_poll_s=0.01)
        task = asyncio.create_task(landing.land(attempt))
        try:
            async with asyncio.timeout(20.0):
                while not task.done():
                    await self.paper.validator.tick()
                    await asyncio.wait({task}, timeout=0.01)
                return await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(params=["in process", "over sockets", "over HTTP alone"])
async def on_cluster(request: pytest.FixtureRequest) -> AsyncIterator[On]:
    async with opened(SHORT_LIVED) as paper:
        if request.param == "in process":
            yield On(paper, paper)
            return
        more = {"ws_url": ""} if request.param == "over HTTP alone" else {}
        async with served_paper(paper) as address, connected(address, **more) as cluster:
            yield On(cluster, paper)


async def test_landed(on_cluster: On) -> None:
    attempt = await on_cluster.attempt(on.transfer_sol(ME, THEM, 10**7))
    outcome = await on_cluster.land(attempt)
    assert isinstance(outcome, Landed)
    assert outcome.transaction.lamport_changes == {ME: -(10**7) - 5_000, THEM: 10**7}
    (only,) = await on_cluster.paper.history()
    assert only.signature == attempt.signature


async def test_failed_on_chain_once_it_is_final(on_cluster: On) -> None:
    outcome = await on_cluster.land(await on_cluster.attempt(on.transfer_sol(ME, THEM, 10**18)))
    assert isinstance(outcome, FailedOnChain)
    assert (outcome.error.name, outcome.error.custom_code) == ("InstructionError", 1)
    assert (await on_cluster.paper.height(Commitment.FINALIZED)).slot >= outcome.slot


async def test_dead_when_every_send_is_lost(on_cluster: On, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_cluster.paper.validator, "_profile", DROPS)
    attempt = await on_cluster.attempt(on.memo(b"x"))
    outcome = await on_cluster.land(attempt)
    assert isinstance(outcome, Dead)
    assert outcome.finalized_height > attempt.last_valid_block_height
    assert await on_cluster.paper.history() == []


async def test_an_old_landing_is_found_in_the_history(on_cluster: On) -> None:
    """Sent before a crash, landed long ago, forgotten by the node's recent memory."""
    attempt = await on_cluster.attempt(on.memo(b"x"))
    await on_cluster.cluster.send(attempt.transaction)
    for _ in range(30):
        await on_cluster.paper.validator.tick()
    (before,) = (await on_cluster.cluster.statuses([attempt.signature], search_history=False)).statuses
    assert before is None
    outcome = await on_cluster.land(attempt)
    assert isinstance(outcome, Landed)
    assert outcome.finalized


async def test_a_history_that_is_too_short_proves_nothing(on_cluster: On, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node deleted where the transaction is; without that question it would be dead, and filled again."""
    attempt = msgspec.structs.replace(await on_cluster.attempt(on.memo(b"x")), last_valid_block_height=170)
    await on_cluster.cluster.send(attempt.transaction)
    for _ in range(30):
        await on_cluster.paper.validator.tick()

    async def nothing(_: object, __: object = None) -> None:
        return None

    async def oldest() -> Height:
        asked.set()
        return Height(21, 21)

    async def high(_: Commitment) -> Height:
        return Height(171, 20)

    asked = asyncio.Event()
    monkeypatch.setattr(on_cluster.paper.validator, "find", nothing)
    monkeypatch.setattr(on_cluster.paper, "oldest_block", oldest)
    monkeypatch.setattr(on_cluster.paper, "height", high)
    monkeypatch.setattr(on_cluster.cluster, "oldest_block", oldest)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await on_cluster.land(attempt)
    assert asked.is_set()


async def test_a_fork_takes_it_away_and_it_is_sent_again(on_cluster: On) -> None:
    attempt = await on_cluster.attempt(on.memo(b"x"))
    await on_cluster.cluster.send(attempt.transaction)
    await on_cluster.paper.validator.tick()
    assert await on_cluster.paper.validator.fork(1) == 1
    assert isinstance(await on_cluster.land(attempt), Landed)
    assert len(await on_cluster.paper.history()) == 1
