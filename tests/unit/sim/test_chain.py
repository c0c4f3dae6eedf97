"""The simulated chain: its weather, and nodes that are behind."""

import asyncio
from collections.abc import Sequence

import pytest
from solders.pubkey import Pubkey

from bestex.sim.chain import MOST_SLOTS_BEHIND, PROFILE
from bestex.sim.faults import Fault
from bestex.types import Commitment, Signature
from tests.support.paper import STRANGER, WALLET
from tests.support.sim_chain import Given, given, simulated

ME, THEM = WALLET.pubkey(), STRANGER.pubkey()


async def everything(world: Given, behind: int, signatures: Sequence[Signature], raw: bytes) -> dict[str, object]:
    """All that a node says, but for statuses without a search: how long these are known is a node's own affair."""
    node = world.chain.node(behind)
    said: dict[str, object] = {
        "fees": await node.priority_fees([ME, THEM]),
        "simulation": await node.simulate(raw),
        "transactions": [await node.transaction(signature) for signature in signatures],
        "statuses": await node.statuses(signatures, search_history=True),
    }
    for commitment in Commitment:
        said[f"height {commitment}"] = await node.height(commitment)
        said[f"blockhash {commitment}"] = await node.latest_blockhash(commitment)
        said[f"accounts {commitment}"] = await node.accounts([ME, THEM, *world.chain.pools], commitment)
    return said


def test_a_slot_is_a_block_where_the_weather_is_fine() -> None:
    async def main() -> None:
        world = await given()
        signature = await world.sent()
        await world.slots(10)
        height = await world.chain.node(0).height(Commitment.PROCESSED)
        assert (height.block_height, height.slot) == (11, 11)
        assert await world.on_chain() == [signature]
        await world.chain.close()

    simulated(main)


def test_slots_pass_by_the_clock() -> None:
    async def main() -> None:
        world = await given()
        running = asyncio.create_task(world.chain.run())
        await world.clock.sleep(10 * PROFILE.slot_s + 0.1)
        assert (await world.chain.node(0).height(Commitment.PROCESSED)).slot == 11
        running.cancel()

    simulated(main)


def test_leaders_skip_until_the_world_heals() -> None:
    async def main() -> None:
        world = await given(Fault.SKIPPED_SLOT, weight=0.5)
        await world.slots(200)
        height = await world.chain.node(0).height(Commitment.PROCESSED)
        assert 60 < height.block_height < 140
        assert height.slot > 190
        assert world.trace.survived[Fault.SKIPPED_SLOT] == 201 - height.block_height
        world.weather.healed = True
        await world.slots(100)
        assert (await world.chain.node(0).height(Commitment.PROCESSED)).block_height == height.block_height + 100

    simulated(main)


def test_a_dropped_transaction_never_lands() -> None:
    async def main() -> None:
        world = await given(Fault.DROPPED_TRANSACTION)
        signature, raw = await world.transfer()
        await world.chain.send(raw)
        await world.slots(5)
        assert not await world.on_chain()
        world.weather.healed = True
        await world.chain.send(raw)
        await world.slots(1)
        assert await world.on_chain() == [signature]

    simulated(main)


@pytest.mark.parametrize("seed", range(6))
def test_a_fork_never_undoes_what_is_final(seed: int) -> None:
    async def main() -> int:
        world = await given(Fault.FORK, seed=seed, weight=0.3)
        final: set[Signature] = set()
        undone = 0
        for number in range(150):
            before = await world.on_chain()
            mine = await world.sent(1_000_000 + number)
            await world.chain.pass_slot()
            now = await world.on_chain()
            assert final <= set(now)
            undone += len(set(before) - set(now))
            statuses = await world.chain.node(0).statuses([*now, mine], search_history=True)
            for signature, status in zip([*now, mine], statuses.statuses, strict=True):
                assert (status is not None) == (signature in now)
                if status is not None and status.commitment is Commitment.FINALIZED:
                    final.add(signature)
        return undone

    assert simulated(main) > 0


def test_a_forks_transactions_wait_for_another_block_or_are_lost() -> None:
    async def main(seed: int) -> str:
        world = await given(Fault.FORK, seed=seed)
        world.weather.healed = True
        signature, raw = await world.transfer()
        await world.chain.send(raw)
        await world.slots(3)
        world.weather.healed = False
        (before,) = await world.chain.history()
        while await world.chain.history() == [before]:
            await world.chain.pass_slot()
        world.weather.healed = True
        outcome = "waits" if await world.on_chain() else "lost"
        assert any("transactions " + {"waits": "wait", "lost": "lost"}[outcome] in note for note in world.trace.notes)
        await world.chain.send(raw)
        await world.slots(2)
        assert await world.on_chain() == [signature]
        return outcome

    outcomes = []
    for seed in range(12):

        async def run(seed: int = seed) -> str:
            return await main(seed)

        outcomes.append(simulated(run))
    assert set(outcomes) == {"waits", "lost"}


def test_traders_move_the_pools_until_the_world_heals() -> None:
    async def main() -> None:
        world = await given(Fault.MOVING_POOLS)

        async def pools() -> object:
            return (await world.chain.node(0).accounts(world.chain.pools, Commitment.PROCESSED)).accounts

        async def trade() -> None:
            for number in range(5):
                await world.sent(1_000_000 + number)
                await world.slots(4)

        before = await pools()
        await trade()
        moved = await pools()
        assert moved != before
        assert world.trace.survived[Fault.MOVING_POOLS] == 5
        world.weather.healed = True
        await trade()
        assert await pools() == moved

    simulated(main)


@pytest.mark.parametrize("seed", range(4))
def test_a_node_behind_says_now_what_the_chain_said_then(seed: int) -> None:
    """Whatever has happened since: blocks, forks, finality, traders."""

    async def main() -> None:
        world = await given(Fault.FORK, Fault.SKIPPED_SLOT, Fault.MOVING_POOLS, seed=seed, weight=0.25)
        _, raw = await world.transfer()
        signatures: list[Signature] = []
        said: list[tuple[int, dict[str, object]]] = []
        for number in range(2 * MOST_SLOTS_BEHIND):
            if number % 3 == 0:
                signatures.append(await world.sent(1_000_000 + number))
            await world.chain.pass_slot()
            said.append((len(signatures), await everything(world, 0, signatures, raw)))
            for behind in (1, 2, 7, 20, 50):
                if behind < len(said):
                    known, then = said[-1 - behind]
                    assert await everything(world, behind, signatures[:known], raw) == then
                    newer = await world.chain.node(behind).statuses(signatures[known:], search_history=False)
                    assert not any(newer.statuses)

        assert world.trace.survived[Fault.FORK] > 5

    simulated(main)


def test_a_node_behind_does_not_know_what_has_landed_since() -> None:
    async def main() -> None:
        world = await given()
        await world.slots(30)
        signature = await world.sent()
        await world.slots(25)
        node = world.chain.node
        for search in (False, True):
            fresh = await node(0).statuses([signature], search_history=search)
            assert fresh.statuses[0] is not None
            assert fresh.statuses[0].commitment is Commitment.FINALIZED
            just = await node(24).statuses([signature], search_history=search)
            assert just.statuses[0] is not None
            assert (just.slot, just.statuses[0].commitment) == (fresh.slot - 24, Commitment.PROCESSED)
            behind = await node(25).statuses([signature], search_history=search)
            assert (behind.slot, behind.statuses) == (fresh.slot - 25, [None])
        assert await node(25).transaction(signature) is None
        assert await node(24).transaction(signature) is None
        assert await node(23).transaction(signature) == await node(0).transaction(signature) is not None

    simulated(main)


def test_no_node_is_behind_the_genesis() -> None:
    async def main() -> None:
        world = await given()
        await world.slots(3)
        assert (await world.chain.node(MOST_SLOTS_BEHIND).height(Commitment.PROCESSED)).slot == 1

    simulated(main)


def test_the_same_seed_makes_the_same_chain() -> None:
    async def main() -> tuple[str, object]:
        faults = (Fault.FORK, Fault.SKIPPED_SLOT, Fault.MOVING_POOLS, Fault.DROPPED_TRANSACTION)
        world = await given(*faults, seed=7, weight=0.3)
        for number in range(80):
            await world.sent(1_000_000 + number)
            await world.chain.pass_slot()
        return world.trace.hash, await world.chain.node(0).latest_blockhash(Commitment.CONFIRMED)

    assert simulated(main, 1) == simulated(main, 2)


def test_the_chain_does_not_care_for_the_machines_clock() -> None:
    async def main() -> None:
        world = await given()

        async def time_s() -> int:
            return (await world.chain.node(0).accounts([Pubkey.default()], Commitment.PROCESSED)).clock.unix_timestamp

        began_s = await time_s()
        world.clock.set_back(3_600_000)
        await world.clock.sleep(100.0)
        await world.chain.pass_slot()
        assert await time_s() == began_s + 100

    simulated(main)
