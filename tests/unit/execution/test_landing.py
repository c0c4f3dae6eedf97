"""Landing: the same bytes again and again, the status as truth, dead only by proof."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from bestex.execution.landing import Dead, FailedOnChain, Landed, Landing
from bestex.orders.attempt import Attempt, AttemptState
from bestex.ports import Height, LandedTransaction, SignatureStatus, StatusesAt, TransactionError
from bestex.types import Commitment, OrderId, Signature
from tests.support.clock import VirtualClock
from tests.support.cluster import ScriptedCluster

SIGNATURE = Signature("sig")
LAST_VALID = 250
ATTEMPT = Attempt(
    order_id=OrderId("o"),
    number=1,
    state=AttemptState.PREPARED,
    signature=SIGNATURE,
    transaction=b"signed bytes",
    blockhash="hash",
    last_valid_block_height=LAST_VALID,
    in_amount=1,
    quoted_out_amount=1,
    min_out_amount=1,
    venue="raydium_cpmm",
    pool="pool",
    fee_lamports=5000,
    created_at_ms=0,
)


def landed_at(slot: int) -> LandedTransaction:
    return LandedTransaction(SIGNATURE, slot, None, 5000, 100, [], {}, [])


@pytest.fixture
async def clock() -> AsyncIterator[VirtualClock]:
    clock = VirtualClock()
    driving = asyncio.create_task(clock.drive())
    yield clock
    driving.cancel()


@pytest.fixture
def cluster(clock: VirtualClock) -> ScriptedCluster:
    return ScriptedCluster(clock)


@pytest.fixture
def landing(cluster: ScriptedCluster, clock: VirtualClock) -> Landing:
    return Landing(cluster, clock, resend_s=2.0, status_poll_s=0.5)


def status(slot: int, commitment: Commitment, error: TransactionError | None = None) -> SignatureStatus:
    return SignatureStatus(slot, commitment, error)


async def test_a_landed_transaction_is_reported_with_its_balances(landing: Landing, cluster: ScriptedCluster) -> None:
    cluster.status, cluster.landed = status(101, Commitment.CONFIRMED), landed_at(101)
    assert await landing.land(ATTEMPT) == Landed(landed_at(101), finalized=False)
    assert cluster.sent == [b"signed bytes"]


async def test_the_same_bytes_are_sent_every_two_seconds(
    landing: Landing, cluster: ScriptedCluster, clock: VirtualClock
) -> None:
    def later(waits: int) -> None:
        if waits == 20:
            cluster.status, cluster.landed = status(110, Commitment.FINALIZED), landed_at(110)

    cluster.on_wait = later
    assert await landing.land(ATTEMPT) == Landed(landed_at(110), finalized=True)
    assert clock.monotonic_s() == pytest.approx(10.0)
    assert cluster.sent == [b"signed bytes"] * 5


async def test_a_lost_answer_to_send_means_nothing(landing: Landing, cluster: ScriptedCluster) -> None:
    cluster.lose_answers = True
    cluster.status, cluster.landed = status(101, Commitment.CONFIRMED), landed_at(101)
    assert isinstance(await landing.land(ATTEMPT), Landed)


async def test_processed_is_not_enough(landing: Landing, cluster: ScriptedCluster) -> None:
    cluster.status, cluster.landed = status(101, Commitment.PROCESSED), landed_at(101)

    def later(waits: int) -> None:
        if waits == 3:
            cluster.status = status(101, Commitment.CONFIRMED)

    cluster.on_wait = later
    assert isinstance(await landing.land(ATTEMPT), Landed)


async def test_a_landed_transaction_is_not_asked_for_without_a_pause(
    landing: Landing, cluster: ScriptedCluster, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hint of a landing comes at once when it is there already."""
    looks = 0

    async def hint(signature: Signature, timeout_s: float) -> None:
        nonlocal looks
        looks += 1
        assert looks < 20, "asked again and again"
        if clock.monotonic_s() >= 3.0:
            cluster.status, cluster.landed = status(101, Commitment.CONFIRMED), landed_at(101)

    monkeypatch.setattr(cluster, "wait_landing", hint)
    cluster.status = status(101, Commitment.PROCESSED)
    assert isinstance(await landing.land(ATTEMPT), Landed)
    assert clock.monotonic_s() <= 3.5


class Asked:
    """What a cluster is asked for after a hint that comes at once; nothing is answered before all is asked."""

    def __init__(self, cluster: ScriptedCluster, monkeypatch: pytest.MonkeyPatch) -> None:
        self._statuses, self._transaction = cluster.statuses, cluster.transaction
        self.calls: list[str] = []
        for name in ("wait_landing", "statuses", "transaction"):
            monkeypatch.setattr(cluster, name, getattr(self, name))

    async def wait_landing(self, signature: Signature, timeout_s: float) -> None:
        self.calls.append("hint")

    async def statuses(self, signatures: Sequence[Signature], *, search_history: bool) -> StatusesAt:
        self.calls.append("status")
        await asyncio.sleep(0)
        self.calls.append("answer")
        return await self._statuses(signatures, search_history=search_history)

    async def transaction(self, signature: Signature) -> LandedTransaction | None:
        self.calls.append("transaction")
        return await self._transaction(signature)


async def test_a_hint_is_followed_by_one_look_at_all_that_decides(
    landing: Landing, cluster: ScriptedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.status, cluster.landed = status(101, Commitment.CONFIRMED), landed_at(101)
    asked = Asked(cluster, monkeypatch)
    assert await landing.land(ATTEMPT) == Landed(landed_at(101), finalized=False)
    assert asked.calls == ["hint", "status", "transaction", "answer"]


async def test_where_hints_come_before_a_landing_is_sure_the_transaction_is_asked_for_when_it_is(
    landing: Landing, cluster: ScriptedCluster, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked(cluster, monkeypatch)

    async def land(before: Commitment) -> list[str]:
        asked.calls.clear()
        cluster.status, cluster.landed = status(101, before), landed_at(101)
        landed = asyncio.create_task(landing.land(ATTEMPT))
        await clock.sleep(0.05)
        cluster.status = status(101, Commitment.CONFIRMED)
        assert isinstance(await landed, Landed)
        return [call for call in asked.calls if call not in {"hint", "answer"}]

    assert await land(Commitment.PROCESSED) == ["status", "transaction", "status", "transaction"]
    for _ in range(2):
        assert await land(Commitment.PROCESSED) == ["status", "status", "transaction"]
    assert await land(Commitment.CONFIRMED) == ["status", "transaction"]


async def test_a_transaction_that_was_read_in_another_slot_than_the_status_is_asked_for_again(
    landing: Landing, cluster: ScriptedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fork came in between."""
    cluster.status = status(101, Commitment.CONFIRMED)
    answers = [landed_at(99), None, landed_at(101)]

    async def transaction(signature: Signature) -> LandedTransaction | None:
        return answers.pop(0)

    monkeypatch.setattr(cluster, "transaction", transaction)
    Asked(cluster, monkeypatch)
    assert await landing.land(ATTEMPT) == Landed(landed_at(101), finalized=False)
    assert not answers


async def test_the_wait_begins_with_the_sending(
    landing: Landing, cluster: ScriptedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hint that comes before the answer to the sending is not missed."""
    hint = asyncio.Event()

    async def send(transaction: bytes) -> None:
        await hint.wait()

    async def wait_landing(signature: Signature, timeout_s: float) -> None:
        cluster.status, cluster.landed = status(101, Commitment.CONFIRMED), landed_at(101)
        hint.set()

    monkeypatch.setattr(cluster, "send", send)
    monkeypatch.setattr(cluster, "wait_landing", wait_landing)
    async with asyncio.timeout(5.0):
        assert isinstance(await landing.land(ATTEMPT), Landed)


async def test_a_failure_on_chain_counts_once_it_is_finalized(
    landing: Landing, cluster: ScriptedCluster, clock: VirtualClock
) -> None:
    error = TransactionError("InstructionError", 4, 6005)
    cluster.status = status(101, Commitment.CONFIRMED, error)

    def later(waits: int) -> None:
        if waits == 4:
            cluster.status = status(101, Commitment.FINALIZED, error)

    cluster.on_wait = later
    assert await landing.land(ATTEMPT) == FailedOnChain(101, error)
    assert clock.monotonic_s() >= 2.0


def expire(cluster: ScriptedCluster) -> None:
    cluster.slot, cluster.confirmed_height = 320, LAST_VALID + 20
    cluster.finalized = Height(LAST_VALID + 1, 300)


async def test_dead_by_proof(landing: Landing, cluster: ScriptedCluster) -> None:
    expire(cluster)
    assert await landing.land(ATTEMPT) == Dead(LAST_VALID + 1, 320)


async def still_unknown_after(landing: Landing, clock: VirtualClock, seconds: float) -> bool:
    """Whether, after that much virtual time, the attempt has no outcome."""
    task = asyncio.create_task(landing.land(ATTEMPT))
    while clock.monotonic_s() < seconds and not task.done():
        await asyncio.sleep(0)
    unknown = not task.done()
    task.cancel()
    return unknown


async def test_expired_at_confirmed_only_is_no_proof(
    landing: Landing, cluster: ScriptedCluster, clock: VirtualClock
) -> None:
    expire(cluster)
    cluster.finalized = Height(LAST_VALID, 299)
    assert await still_unknown_after(landing, clock, 60)


async def test_a_node_behind_the_finalized_block_is_no_witness(
    landing: Landing, cluster: ScriptedCluster, clock: VirtualClock
) -> None:
    expire(cluster)
    cluster.slot = 299
    assert await still_unknown_after(landing, clock, 60)


async def test_a_silent_cluster_proves_nothing(landing: Landing, cluster: ScriptedCluster, clock: VirtualClock) -> None:
    expire(cluster)
    cluster.down = True
    assert await still_unknown_after(landing, clock, 600)


async def test_history_is_searched_before_death(landing: Landing, cluster: ScriptedCluster) -> None:
    expire(cluster)
    cluster.forgetful = True
    cluster.status, cluster.landed = status(120, Commitment.FINALIZED), landed_at(120)
    assert await landing.land(ATTEMPT) == Landed(landed_at(120), finalized=True)


async def test_a_node_whose_history_begins_after_the_attempt_is_no_witness(
    landing: Landing, cluster: ScriptedCluster, clock: VirtualClock
) -> None:
    """The transaction has landed, and the node has deleted that: to call it dead would fill the order twice."""
    expire(cluster)
    cluster.status, cluster.landed = status(120, Commitment.FINALIZED), landed_at(120)
    cluster.oldest = Height(LAST_VALID - 149, 130)
    assert await still_unknown_after(landing, clock, 60)
    assert len(cluster.sent) == 1
    cluster.oldest = Height(LAST_VALID - 150, 110)
    assert await landing.land(ATTEMPT) == Landed(landed_at(120), finalized=True)


async def test_a_history_that_begins_just_in_time_is_enough(landing: Landing, cluster: ScriptedCluster) -> None:
    expire(cluster)
    cluster.oldest = Height(LAST_VALID - 150, 110)
    assert await landing.land(ATTEMPT) == Dead(LAST_VALID + 1, 320)


async def test_an_expired_attempt_is_not_sent_again(
    landing: Landing, cluster: ScriptedCluster, clock: VirtualClock
) -> None:
    expire(cluster)
    cluster.slot = 299
    assert await still_unknown_after(landing, clock, 60)
    assert len(cluster.sent) == 1


async def test_after_a_fork_the_same_bytes_are_sent_again(landing: Landing, cluster: ScriptedCluster) -> None:
    cluster.status = status(101, Commitment.PROCESSED)

    def later(waits: int) -> None:
        if waits == 3:
            cluster.status = None
        if waits == 12:
            cluster.status, cluster.landed = status(115, Commitment.CONFIRMED), landed_at(115)

    cluster.on_wait = later
    assert isinstance(await landing.land(ATTEMPT), Landed)
    assert len(cluster.sent) > 1
