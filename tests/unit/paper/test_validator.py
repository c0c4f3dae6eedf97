"""Slots, losses, expiry and forks: what becomes of a transaction after it was sent."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import apsw
import msgspec
import pytest

from bestex.errors import ClusterUnavailable
from bestex.paper.cluster import PaperCluster
from bestex.paper.network import FAST, INSTANT, NetworkProfile
from bestex.types import Commitment, Signature
from tests.support import paper
from tests.support.clock import VirtualClock
from tests.support.entropy import SeededEntropy
from tests.support.paper import (
    FINAL_AFTER_8,
    QUIET,
    STRANGER,
    USDC,
    WALLET,
    Client,
    lamports,
    pools_of,
    signed,
)

ME, THEM = WALLET.pubkey(), STRANGER.pubkey()
T = TypeVar("T")


def profile(base: NetworkProfile = QUIET, **changes: object) -> NetworkProfile:
    return msgspec.structs.replace(base, **changes)


async def ticks(cluster: PaperCluster, count: int) -> None:
    for _ in range(count):
        await cluster.validator.tick()


async def status(cluster: PaperCluster, signature: Signature) -> Commitment | None:
    answer = await cluster.statuses([signature], search_history=True)
    return answer.statuses[0].commitment if answer.statuses[0] else None


async def transfer(cluster: PaperCluster, amount: int = 1_000_000) -> tuple[Signature, bytes]:
    """A signed transfer that is not sent yet."""
    blockhash = await cluster.latest_blockhash(Commitment.CONFIRMED)
    return signed(blockhash.blockhash, [paper.transfer_sol(ME, THEM, amount)])


async def test_a_slot_makes_a_block() -> None:
    cluster = await paper.paper()
    for number in range(2, 6):
        await cluster.validator.tick()
        height = await cluster.height(Commitment.FINALIZED)
        assert (height.block_height, height.slot) == (number, number)


async def test_block_hashes_are_chained() -> None:
    hashes = set()
    for _ in range(2):
        cluster = await paper.paper()
        hashes.add((await cluster.latest_blockhash(Commitment.FINALIZED)).blockhash)
        await cluster.validator.tick()
        hashes.add((await cluster.latest_blockhash(Commitment.FINALIZED)).blockhash)
    assert len(hashes) == 2
    other = await paper.paper(seed=2)
    assert (await other.latest_blockhash(Commitment.FINALIZED)).blockhash not in hashes


async def test_skipped_slots_have_no_block() -> None:
    cluster = await paper.paper(profile(skip_probability=0.5))
    await ticks(cluster, 100)
    height = await cluster.height(Commitment.PROCESSED)
    assert 25 < height.block_height < 75
    assert height.slot > 90


async def test_the_same_bytes_land_once() -> None:
    cluster = await paper.paper()
    _, raw = await transfer(cluster)
    for _ in range(5):
        await cluster.send(raw)
        await cluster.send(raw)
        await cluster.validator.tick()
    assert lamports(cluster, THEM) == 1_000_000
    assert len(await cluster.history()) == 1


async def test_the_same_bytes_land_once_across_a_restart(tmp_path: Path) -> None:
    cluster = await paper.paper(path=tmp_path / "paper.db")
    _, raw = await transfer(cluster)
    await cluster.send(raw)
    await cluster.validator.tick()
    await cluster.close()
    cluster = await paper.paper(path=tmp_path / "paper.db")
    await cluster.send(raw)
    await cluster.validator.tick()
    assert lamports(cluster, THEM) == 1_000_000
    await cluster.close()


@pytest.mark.parametrize(("waited", "lands"), [(149, True), (150, False), (151, False)])
async def test_a_transaction_lands_until_its_blockhash_is_150_blocks_old(waited: int, lands: bool) -> None:
    cluster = await paper.paper()
    signature, raw = await transfer(cluster)
    last_valid = (await cluster.latest_blockhash(Commitment.CONFIRMED)).last_valid_block_height
    await ticks(cluster, waited)
    await cluster.send(raw)
    await cluster.validator.tick()
    assert (await cluster.height(Commitment.PROCESSED)).block_height == 1 + waited + 1
    assert (await status(cluster, signature) is not None) == lands
    assert (waited + 2 <= last_valid) == lands
    await ticks(cluster, 5)
    assert (await status(cluster, signature) is not None) == lands


async def test_what_waits_too_long_is_forgotten() -> None:
    cluster = await paper.paper(profile(inclusion_probability=0.0))
    signature, raw = await transfer(cluster)
    await cluster.send(raw)
    await ticks(cluster, 200)
    assert await status(cluster, signature) is None


async def test_an_unknown_blockhash_never_lands() -> None:
    cluster = await paper.paper()
    signature, raw = signed("EkSnNWid2cvwEVnVx9aBqawnmiCNiDgp3gUdkDPTKN1N", [paper.memo(b"x")])
    await cluster.send(raw)
    await ticks(cluster, 3)
    assert await status(cluster, signature) is None


async def test_a_false_signature_never_lands() -> None:
    cluster = await paper.paper()
    signature, raw = await transfer(cluster)
    await cluster.send(raw[:100] + bytes([raw[100] ^ 1]) + raw[101:])
    await ticks(cluster, 3)
    assert await status(cluster, signature) is None
    assert await cluster.history() == []


async def test_who_cannot_pay_the_fee_never_lands() -> None:
    cluster = await paper.paper()
    signature = await Client(cluster).send(paper.memo(b"x"), payer=STRANGER)
    await ticks(cluster, 3)
    assert await status(cluster, signature) is None


async def test_a_failing_transaction_lands_with_its_error() -> None:
    cluster = await paper.paper()
    before = lamports(cluster, ME)
    signature = await Client(cluster).send(paper.transfer_sol(ME, THEM, 10**18))
    await cluster.validator.tick()
    answer = await cluster.statuses([signature], search_history=False)
    assert answer.statuses[0] is not None
    assert answer.statuses[0].error is not None
    assert answer.statuses[0].error.custom_code == 1
    assert lamports(cluster, ME) == before - 5_000


async def test_sends_are_lost_now_and_then() -> None:
    cluster = await paper.paper(profile(drop_probability=0.3))
    client = Client(cluster)
    for number in range(200):
        await client.send(paper.memo(f"{number}".encode()))
    await ticks(cluster, 1)
    assert 110 < len(await cluster.history()) < 170


async def test_a_lost_transaction_lands_when_it_is_sent_again() -> None:
    cluster = await paper.paper(profile(drop_probability=0.9))
    signature, raw = await transfer(cluster)
    sends = 0
    while await status(cluster, signature) is None:
        await cluster.send(raw)
        await cluster.validator.tick()
        sends += 1
    assert 1 <= sends < 100
    assert len(await cluster.history()) == 1


async def test_leaders_leave_some_for_the_next_block() -> None:
    cluster = await paper.paper(profile(inclusion_probability=0.5))
    client = Client(cluster)
    for number in range(200):
        await client.send(paper.memo(f"{number}".encode()))
    await ticks(cluster, 1)
    assert 70 < len(await cluster.history()) < 130
    await ticks(cluster, 20)
    assert len(await cluster.history()) == 200


async def test_a_full_block_takes_the_best_paid() -> None:
    cluster = await paper.paper(profile(max_transactions=3))
    client = Client(cluster)
    prices = [5, 9, 1, 7, 3]
    sent = [await client.send(paper.unit_price(price * 1_000_000), paper.memo(b"x")) for price in prices]
    await ticks(cluster, 1)
    landed = [transaction.signature for transaction in await cluster.history()]
    assert landed == [sent[1], sent[3], sent[0]]
    await ticks(cluster, 1)
    assert len(await cluster.history()) == 5


async def test_confirmed_after_one_slot_and_final_after_eight() -> None:
    cluster = await paper.paper(FINAL_AFTER_8)
    signature = await Client(cluster).send(paper.memo(b"x"))
    seen = []
    for _ in range(10):
        await cluster.validator.tick()
        seen.append(await status(cluster, signature))
    assert seen == [Commitment.PROCESSED] + [Commitment.CONFIRMED] * 7 + [Commitment.FINALIZED] * 2


# --- forks ------------------------------------------------------------------------------------------------------------


async def test_a_fork_undoes_swaps(tmp_path: Path) -> None:
    cluster = await paper.paper(FINAL_AFTER_8, path=tmp_path / "paper.db")
    pool = pools_of(cluster, USDC, paper.ETH)[0]
    await ticks(cluster, 3)
    before = dict(cluster.validator.chain.state.accounts)
    client = Client(cluster)
    signatures = [await client.send(paper.swap(pool, USDC, 10**9))]
    await ticks(cluster, 1)
    signatures.append(await client.send(paper.swap(pool, USDC, 10**9)))
    await ticks(cluster, 1)
    assert cluster.validator.chain.state.accounts != before

    assert await cluster.validator.fork(2) == 2

    assert cluster.validator.chain.state.accounts == before
    assert [await status(cluster, signature) for signature in signatures] == [None, None]
    assert [await cluster.transaction(signature) for signature in signatures] == [None, None]
    assert await cluster.history() == []
    await cluster.close()
    cluster = await paper.paper(FINAL_AFTER_8, path=tmp_path / "paper.db")
    assert cluster.validator.chain.state.accounts == before
    await cluster.close()


async def test_after_a_fork_the_same_bytes_may_land_again() -> None:
    cluster = await paper.paper(FINAL_AFTER_8)
    signature, raw = await transfer(cluster)
    await cluster.send(raw)
    await ticks(cluster, 1)
    await cluster.validator.fork(1)
    await cluster.send(raw)
    await ticks(cluster, 9)
    assert await status(cluster, signature) is Commitment.FINALIZED
    assert lamports(cluster, THEM) == 1_000_000
    assert len(await cluster.history()) == 1


async def test_a_fork_may_keep_its_transactions_waiting() -> None:
    cluster = await paper.paper(FINAL_AFTER_8)
    signature, raw = await transfer(cluster)
    await cluster.send(raw)
    await ticks(cluster, 2)
    assert await cluster.validator.fork(5, keep_pending=True) == 2
    assert await status(cluster, signature) is None
    await ticks(cluster, 1)
    assert await status(cluster, signature) is Commitment.PROCESSED
    assert lamports(cluster, THEM) == 1_000_000


async def test_the_blockhash_of_a_dropped_block_is_worthless() -> None:
    cluster = await paper.paper(FINAL_AFTER_8)
    await ticks(cluster, 1)
    blockhash = await cluster.latest_blockhash(Commitment.PROCESSED)
    await cluster.validator.fork(1)
    signature, raw = signed(blockhash.blockhash, [paper.memo(b"x")])
    await cluster.send(raw)
    await ticks(cluster, 5)
    assert await status(cluster, signature) is None


async def test_slots_go_on_after_a_fork_and_heights_go_back() -> None:
    cluster = await paper.paper(FINAL_AFTER_8)
    await ticks(cluster, 5)
    await cluster.validator.fork(3)
    assert (await cluster.height(Commitment.PROCESSED)).block_height == 3
    await ticks(cluster, 1)
    height = await cluster.height(Commitment.PROCESSED)
    assert (height.block_height, height.slot) == (4, 7)


async def test_final_blocks_are_never_dropped(tmp_path: Path) -> None:
    cluster = await paper.paper(FINAL_AFTER_8, path=tmp_path / "paper.db")
    signature = await Client(cluster).send(paper.memo(b"x"))
    await ticks(cluster, 9)
    assert await cluster.validator.fork(100) == 8
    assert await status(cluster, signature) is Commitment.FINALIZED
    await cluster.close()
    cluster = await paper.paper(FINAL_AFTER_8, path=tmp_path / "paper.db")
    assert await status(cluster, signature) is Commitment.FINALIZED
    assert await cluster.validator.fork(100) == 0
    await cluster.close()


async def test_forks_may_come_by_themselves() -> None:
    cluster = await paper.paper(profile(FINAL_AFTER_8, fork_probability=0.3, fork_depth_blocks=3))
    client = Client(cluster)
    heights = []
    for number in range(60):
        await client.send(paper.transfer_sol(ME, THEM, 1_000_000 + number))
        await cluster.validator.tick()
        heights.append((await cluster.height(Commitment.PROCESSED)).block_height)
    assert any(later <= earlier for earlier, later in pairwise(heights))
    await ticks(cluster, 40)
    # Dropped transactions wait for another block, and none of them lands twice.
    assert lamports(cluster, THEM) == sum(1_000_000 + number for number in range(60))
    assert len({transaction.signature for transaction in await cluster.history()}) == 60


# --- time -------------------------------------------------------------------------------------------------------------


async def test_time_makes_blocks() -> None:
    clock = VirtualClock()
    cluster = await paper.paper(FAST, clock=clock)
    running, driving = asyncio.create_task(cluster.run()), asyncio.create_task(clock.drive())
    started = cluster.validator.chain.head
    await clock.sleep(10.05)
    head = cluster.validator.chain.head
    assert head.height - started.height == round(10 / FAST.slot_s)
    assert head.time_ms - started.time_ms == 10_000
    running.cancel()
    driving.cancel()
    await asyncio.gather(running, driving, return_exceptions=True)
    assert running.cancelled()


async def test_instant_transactions_do_not_wait_for_the_slot() -> None:
    clock = VirtualClock()
    cluster = await paper.paper(INSTANT, clock=clock)
    running = asyncio.create_task(cluster.run())
    client = Client(cluster)
    for number in range(3):
        signatures = [await client.send(paper.memo(f"{number}/{each}".encode())) for each in range(5)]
        await cluster.wait_landing(signatures[-1], 60.0)
        assert {await status(cluster, signature) for signature in signatures} == {Commitment.FINALIZED}
    assert clock.monotonic_s() == 0
    # All in the one block that is still open: blockhashes do not age by traffic.
    assert (await cluster.height(Commitment.FINALIZED)).block_height == 2
    assert (await cluster.latest_blockhash(Commitment.FINALIZED)).last_valid_block_height == 151
    clock.advance(0.4)
    for _ in range(50):
        await asyncio.sleep(0)
    assert (await cluster.latest_blockhash(Commitment.FINALIZED)).last_valid_block_height == 152
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_an_open_block_is_closed_after_a_restart(tmp_path: Path) -> None:
    cluster = await paper.paper(INSTANT, path=tmp_path / "paper.db")
    running = asyncio.create_task(cluster.run())
    signature = await Client(cluster).send(paper.memo(b"x"))
    await cluster.wait_landing(signature, 60.0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    head = cluster.validator.chain.head
    assert (head.height, head.closes) == (2, False)
    await cluster.close()
    cluster = await paper.paper(INSTANT, path=tmp_path / "paper.db")
    assert cluster.validator.chain.head == head
    await cluster.validator.tick()
    assert (cluster.validator.chain.head.height, cluster.validator.chain.head.slot) == (2, head.slot)
    assert cluster.validator.chain.head.closes
    await cluster.close()


async def test_chain_time_never_runs_backwards() -> None:
    class Wavering(VirtualClock):
        def now_ms(self) -> int:
            return super().now_ms() - 5_000 * (round(self.monotonic_s()) % 2)

    clock = Wavering()
    cluster = await paper.paper(clock=clock)
    times = []
    for _ in range(6):
        clock.advance(1.0)
        await cluster.validator.tick()
        times.append(cluster.validator.chain.head.time_ms)
    assert times == sorted(times)


async def test_a_canceled_run_leaves_disk_and_memory_as_one(tmp_path: Path) -> None:
    """Cancellation while the ledger writes: the commit is finished first."""

    class Slow:
        in_place = False

        def __init__(self) -> None:
            self.reached, self.go = asyncio.Event(), asyncio.Event()
            self.held = False

        async def run(self, call: Callable[[], T]) -> T:
            if self.held:
                self.reached.set()
                await self.go.wait()
            return call()

        def close(self) -> None:
            return

    runner = Slow()
    cluster = await PaperCluster.open(
        profile=INSTANT,
        clock=VirtualClock(),
        entropy=SeededEntropy(),
        path=tmp_path / "paper.db",
        seed=1,
        wallet=ME,
        traders=False,
        runner=runner,
    )
    running = asyncio.create_task(cluster.run())
    signature, raw = await transfer(cluster)
    runner.held = True
    await cluster.send(raw)
    await runner.reached.wait()
    running.cancel()
    await asyncio.sleep(0)
    runner.held = False
    runner.go.set()
    await asyncio.gather(running, return_exceptions=True)
    assert await status(cluster, signature) is Commitment.FINALIZED
    await cluster.validator.tick()
    await cluster.close()


async def test_a_failing_ledger_stops_everything(tmp_path: Path) -> None:
    class Broken:
        in_place = True
        fails = False

        async def run(self, call: Callable[[], T]) -> T:
            if self.fails:
                raise apsw.FullError("disk full")
            return call()

        def close(self) -> None:
            return

    runner, clock = Broken(), VirtualClock()
    cluster = await PaperCluster.open(
        profile=FAST, clock=clock, entropy=SeededEntropy(), path=None, seed=1, wallet=ME, runner=runner
    )
    driving = asyncio.create_task(clock.drive())
    runner.fails = True
    with pytest.raises(ClusterUnavailable, match="disk full"):
        await cluster.run()
    for call in (
        cluster.height(Commitment.CONFIRMED),
        cluster.accounts([ME], Commitment.CONFIRMED),
        cluster.send((await transfer_of_nothing())[1]),
        cluster.statuses([], search_history=False),
        cluster.transaction(Signature("x")),
    ):
        with pytest.raises(ClusterUnavailable, match="disk full"):
            await call
    driving.cancel()


async def transfer_of_nothing() -> tuple[Signature, bytes]:
    return signed("EkSnNWid2cvwEVnVx9aBqawnmiCNiDgp3gUdkDPTKN1N", [paper.transfer_sol(ME, THEM, 0)])


async def test_simulations_leave_nothing() -> None:
    cluster = await paper.paper()
    before = dict(cluster.validator.chain.state.accounts)
    pool = pools_of(cluster, USDC, paper.ETH)[0]
    blockhash = "EkSnNWid2cvwEVnVx9aBqawnmiCNiDgp3gUdkDPTKN1N"
    raw = signed(blockhash, [paper.swap(pool, USDC, 10**9)])[1]
    unsigned = raw[:1] + bytes(64) + raw[65:]
    simulation = await cluster.simulate(unsigned)
    assert simulation.error is None
    assert simulation.units_consumed >= 30_000
    assert simulation.logs[-1].endswith("success")
    await cluster.validator.tick()
    assert cluster.validator.chain.state.accounts == before


async def test_simulations_say_why_nobody_would_take_it() -> None:
    cluster = await paper.paper()
    raw = signed("EkSnNWid2cvwEVnVx9aBqawnmiCNiDgp3gUdkDPTKN1N", [paper.memo(b"x")], payer=STRANGER)[1]
    simulation = await cluster.simulate(raw)
    assert simulation.error is not None
    assert (simulation.error.name, simulation.units_consumed) == ("AccountNotFound", 0)
