"""The port: what a node answers, as of when, and how long it takes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from solders.keypair import Keypair

from bestex.errors import ConfigError
from bestex.paper.cluster import PaperCluster
from bestex.paper.envelope import MalformedTransaction
from bestex.paper.network import FAST, INSTANT, PROFILES, REALISTIC
from bestex.paper.running import InPlace, OneThread
from bestex.ports import Cluster
from bestex.types import Commitment, Signature
from tests.support import paper
from tests.support.clock import VirtualClock
from tests.support.entropy import SeededEntropy
from tests.support.paper import (
    FINAL_AFTER_8,
    JUP,
    QUIET,
    SOL,
    STRANGER,
    USDC,
    WALLET,
    Client,
    ata,
    head,
    lamports,
    pools_of,
    signed,
)

ME, THEM = WALLET.pubkey(), STRANGER.pubkey()
BLOCKHASH = "EkSnNWid2cvwEVnVx9aBqawnmiCNiDgp3gUdkDPTKN1N"


@asynccontextmanager
async def driven(clock: VirtualClock) -> AsyncIterator[None]:
    """Time passes whenever everybody waits."""
    driving = asyncio.create_task(clock.drive())
    yield
    driving.cancel()
    await asyncio.gather(driving, return_exceptions=True)


def test_is_a_cluster_and_says_that_it_is_simulated() -> None:
    cluster: Cluster = asyncio.run(paper.paper())
    assert cluster.simulated


# --- views ------------------------------------------------------------------------------------------------------------


async def test_accounts_in_order_and_none_where_there_is_none() -> None:
    cluster = await paper.paper()
    answer = await cluster.accounts([THEM, USDC, ata(USDC)], Commitment.CONFIRMED)
    assert answer.accounts == [None, head(cluster, USDC), head(cluster, ata(USDC))]
    assert answer.slot == 1
    assert answer.clock.slot == 1


async def test_accounts_are_of_the_commitment() -> None:
    cluster = await paper.paper(FINAL_AFTER_8)
    await Client(cluster).send(paper.transfer_sol(ME, THEM, 1_000_000))
    await cluster.validator.tick()
    for commitment, slot, there in (
        (Commitment.PROCESSED, 2, True),
        (Commitment.CONFIRMED, 1, False),
        (Commitment.FINALIZED, 1, False),
    ):
        answer = await cluster.accounts([THEM], commitment)
        assert (answer.slot, answer.clock.slot, answer.accounts[0] is not None) == (slot, slot, there)
    await cluster.validator.tick()
    assert (await cluster.accounts([THEM], Commitment.CONFIRMED)).accounts[0] is not None


async def test_unchanged_accounts_are_the_same_objects() -> None:
    """Readers compare what they read with what they hold."""
    cluster = await paper.paper(traders=True)
    first = (await cluster.accounts([USDC], Commitment.CONFIRMED)).accounts[0]
    await cluster.validator.tick()
    assert (await cluster.accounts([USDC], Commitment.CONFIRMED)).accounts[0] is first


async def test_recent_priority_fees() -> None:
    cluster = await paper.paper()
    pool, other = pools_of(cluster, USDC, paper.ETH)[:2]
    client = Client(cluster)
    for price in (7_000, 9_000):
        await client.send(paper.unit_price(price), paper.swap(pool, USDC, 10**9))
    await cluster.validator.tick()
    await client.send(paper.unit_price(5_000), paper.swap(pool, USDC, 10**9))
    await cluster.validator.tick()
    await client.send(paper.unit_price(3_000), paper.swap(other, USDC, 10**9))
    await cluster.validator.tick()
    assert await cluster.priority_fees([pool.address]) == [7_000, 5_000, 0]
    assert await cluster.priority_fees([pool.address, other.address]) == [7_000, 5_000, 3_000]
    assert await cluster.priority_fees([]) == [0, 0, 0]
    for _ in range(40):
        await client.send(paper.unit_price(1), paper.swap(pool, USDC, 10**6))
        await cluster.validator.tick()
    assert await cluster.priority_fees([pool.address]) == [1] * 30


async def test_traders_pay_priority_fees() -> None:
    cluster = await paper.paper(traders=True)
    for _ in range(30):
        await cluster.validator.tick()
    fees = [fee for pool in cluster.pools for fee in await cluster.priority_fees([pool])]
    assert any(1_000 < fee < 200_001 for fee in fees)


# --- transactions -----------------------------------------------------------------------------------------------------


async def test_statuses_in_order() -> None:
    cluster = await paper.paper()
    client = Client(cluster)
    good = await client.send(paper.memo(b"good"))
    bad = await client.send(paper.transfer_sol(ME, THEM, 10**18))
    await cluster.validator.tick()
    answer = await cluster.statuses([bad, Signature("unknown"), good], search_history=False)
    assert answer.slot == 2
    first, unknown, last = answer.statuses
    assert first is not None
    assert last is not None
    assert unknown is None
    assert first.error is not None
    assert last.error is None
    assert first.slot == last.slot == 2


async def test_at_most_256_statuses_at_once() -> None:
    cluster = await paper.paper()
    assert len((await cluster.statuses([Signature("x")] * 256, search_history=True)).statuses) == 256
    with pytest.raises(ValueError, match="256"):
        await cluster.statuses([Signature("x")] * 257, search_history=False)


async def test_old_statuses_need_a_search() -> None:
    cluster = await paper.paper()
    signature = await Client(cluster).send(paper.memo(b"x"))
    await cluster.validator.tick()
    for _ in range(300):
        await cluster.validator.tick()
    recent = await cluster.statuses([signature], search_history=False)
    assert recent.statuses[0] is not None
    await cluster.validator.tick()
    assert (await cluster.statuses([signature], search_history=False)).statuses == [None]
    answer = await cluster.statuses([signature, Signature("unknown")], search_history=True)
    assert answer.statuses[0] is not None
    assert (answer.statuses[0].slot, answer.statuses[0].commitment) == (2, Commitment.FINALIZED)
    assert answer.statuses[1] is None
    transaction = await cluster.transaction(signature)
    assert transaction is not None
    assert transaction.slot == 2


async def test_a_transaction_shows_when_it_is_confirmed() -> None:
    cluster = await paper.paper(FINAL_AFTER_8)
    signature = await Client(cluster).send(paper.memo(b"x"))
    assert await cluster.transaction(signature) is None
    await cluster.validator.tick()
    assert await cluster.transaction(signature) is None
    await cluster.validator.tick()
    assert await cluster.transaction(signature) is not None


async def test_nonsense_is_refused_at_once() -> None:
    cluster = await paper.paper()
    for call in (cluster.send, cluster.simulate):
        with pytest.raises(MalformedTransaction):
            await call(b"nonsense")


# --- waiting ----------------------------------------------------------------------------------------------------------


async def test_waiting_ends_with_the_landing() -> None:
    clock = VirtualClock()
    cluster = await paper.paper(clock=clock)
    signature = await Client(cluster).send(paper.memo(b"x"))
    waiting = [asyncio.create_task(cluster.wait_landing(signature, 30.0)) for _ in range(3)]
    await asyncio.sleep(0)
    await cluster.validator.tick()
    await asyncio.gather(*waiting)
    await cluster.wait_landing(signature, 30.0)
    assert clock.monotonic_s() == 0
    assert len(cluster._waiting) == 0


async def test_waiting_ends_with_the_timeout() -> None:
    clock = VirtualClock()
    cluster = await paper.paper(clock=clock)
    async with driven(clock):
        await cluster.wait_landing(Signature("never"), 30.0)
    assert clock.monotonic_s() == 30.0
    assert len(cluster._waiting) == 0


async def test_whoever_stops_waiting_is_forgotten() -> None:
    clock = VirtualClock()
    cluster = await paper.paper(clock=clock)
    waiting = asyncio.create_task(cluster.wait_landing(Signature("never"), 30.0))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert len(cluster._waiting) == 0
    clock.advance(60.0)
    await asyncio.sleep(0)


# --- latency ----------------------------------------------------------------------------------------------------------


def calls(cluster: PaperCluster) -> dict[str, Callable[[], Awaitable[object]]]:
    raw = signed(BLOCKHASH, [paper.memo(b"x")])[1]
    return {
        "latest_blockhash_s": lambda: cluster.latest_blockhash(Commitment.CONFIRMED),
        "height_s": lambda: cluster.height(Commitment.CONFIRMED),
        "accounts_s": lambda: cluster.accounts([ME], Commitment.CONFIRMED),
        "priority_fees_s": lambda: cluster.priority_fees([ME]),
        "simulate_s": lambda: cluster.simulate(raw),
        "send_s": lambda: cluster.send(raw),
        "statuses_s": lambda: cluster.statuses([Signature("x")], search_history=True),
        "transaction_s": lambda: cluster.transaction(Signature("x")),
    }


@pytest.mark.parametrize("profile", [FAST, REALISTIC])
async def test_answers_take_as_long_as_the_profile_says(profile: object) -> None:
    clock = VirtualClock()
    cluster = await paper.paper(profile, clock=clock)  # type: ignore[arg-type]
    async with driven(clock):
        for name, call in calls(cluster).items():
            low, high = getattr(profile, name)
            for _ in range(5):
                started_s = clock.monotonic_s()
                await call()
                assert low <= clock.monotonic_s() - started_s <= high, name


async def test_without_latency_no_time_passes() -> None:
    cluster = await paper.paper(INSTANT)
    for call in calls(cluster).values():
        await call()


async def test_answers_are_as_old_as_their_way_back() -> None:
    """A node reads when the request reaches it; by the time the answer is here, blocks have passed."""
    clock = VirtualClock()
    cluster = await paper.paper(msgspec.structs.replace(QUIET, height_s=(2.0, 2.0)), clock=clock)
    asked = asyncio.create_task(cluster.height(Commitment.CONFIRMED))
    await asyncio.sleep(0)
    await cluster.validator.tick()
    clock.advance(1.0)
    await asyncio.sleep(0)
    await cluster.validator.tick()
    clock.advance(1.0)
    assert (await asked).block_height == 2
    assert (await cluster.validator.history()) == []


def test_profiles_by_the_name_of_the_setting() -> None:
    assert PROFILES == {"instant": INSTANT, "fast": FAST, "realistic": REALISTIC}


# --- restart ----------------------------------------------------------------------------------------------------------


async def test_everything_goes_on_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "paper.db"
    cluster = await paper.paper(FINAL_AFTER_8, path=path, traders=True)
    client = Client(cluster)
    signatures = []
    for number in range(20):
        pool = pools_of(cluster, USDC, paper.ETH)[number % 2]
        signatures.append(await client.send(paper.swap(pool, USDC, 10**9 + number)))
        await cluster.validator.tick()
    pending_blockhash = await cluster.latest_blockhash(Commitment.PROCESSED)

    async def seen(cluster: PaperCluster) -> list[object]:
        views: list[object] = [cluster.tokens, cluster.pools, cluster.validator.chain.state.accounts]
        for level in Commitment:
            views += [await cluster.height(level), await cluster.latest_blockhash(level)]
            views.append(await cluster.accounts(cluster.pools, level))
        views.append(await cluster.statuses(signatures, search_history=False))
        views += [await cluster.transaction(signature) for signature in signatures]
        return views

    before = await seen(cluster)
    await cluster.close()
    cluster = await paper.paper(FINAL_AFTER_8, path=path, traders=True)
    assert await seen(cluster) == before
    signature, raw = signed(pending_blockhash.blockhash, [paper.memo(b"signed before the restart")])
    await cluster.send(raw)
    await cluster.validator.tick()
    assert (await cluster.statuses([signature], search_history=False)).statuses[0] is not None
    await cluster.close()


async def test_restarts_change_nothing_about_the_market(tmp_path: Path) -> None:
    """Traders after a restart do exactly what they would have done without."""
    steady = await paper.paper(FINAL_AFTER_8, traders=True)
    for _ in range(40):
        await steady.validator.tick()
    path = tmp_path / "paper.db"
    for _ in range(8):
        restarted = await paper.paper(FINAL_AFTER_8, path=path, traders=True)
        for _ in range(5):
            await restarted.validator.tick()
        accounts = restarted.validator.chain.state.accounts
        await restarted.close()
    assert accounts == steady.validator.chain.state.accounts


async def test_snapshots_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bestex.paper.ledger._SNAPSHOT_COMMITS", 7)
    path = tmp_path / "paper.db"
    cluster = await paper.paper(FINAL_AFTER_8, path=path, traders=True)
    for number in range(60):
        if number % 13 == 12:
            await cluster.validator.fork(3)
        if number % 10 == 9:
            accounts = cluster.validator.chain.state.accounts
            await cluster.close()
            cluster = await paper.paper(FINAL_AFTER_8, path=path, traders=True)
            assert cluster.validator.chain.state.accounts == accounts
        await cluster.validator.tick()
    await cluster.close()


async def test_a_new_wallet_is_funded(tmp_path: Path) -> None:
    path = tmp_path / "paper.db"
    cluster = await paper.paper(path=path)
    await cluster.close()
    other = Keypair()
    for _ in range(2):
        cluster = await PaperCluster.open(
            profile=QUIET,
            clock=VirtualClock(),
            entropy=SeededEntropy(),
            path=path,
            seed=1,
            wallet=other.pubkey(),
            runner=InPlace(),
        )
        assert lamports(cluster, other.pubkey()) == lamports(cluster, ME) > 0
        assert head(cluster, ata(USDC, other.pubkey())) is not None
        assert (await cluster.height(Commitment.FINALIZED)).block_height == 2
        await cluster.close()


async def test_another_seed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "paper.db"
    cluster = await paper.paper(path=path)
    await cluster.close()
    with pytest.raises(ConfigError, match="paper_seed 1, not 2"):
        await paper.paper(path=path, seed=2)
    cluster = await paper.paper(path=path)
    await cluster.close()


async def test_the_ledger_works_on_its_own_thread(tmp_path: Path) -> None:
    cluster = await PaperCluster.open(
        profile=INSTANT,
        clock=VirtualClock(),
        entropy=SeededEntropy(),
        path=tmp_path / "paper.db",
        seed=1,
        wallet=ME,
        runner=OneThread("test"),
    )
    running = asyncio.create_task(cluster.run())
    signature = await Client(cluster).send(paper.memo(b"x"))
    await asyncio.wait_for(cluster.wait_landing(signature, 1e9), 10)
    assert await cluster.transaction(signature) is not None
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await cluster.close()


async def test_the_wallet_is_rich_but_for_one_token() -> None:
    cluster = await paper.paper()
    assert lamports(cluster, ME) >= 10**15
    for token in cluster.tokens:
        if token.mint not in (JUP, SOL):
            assert head(cluster, ata(token.mint)) is not None
    assert head(cluster, ata(JUP)) is None
