"""The wires between an engine and the simulated chain."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import pairwise

import pytest

from bestex.errors import BestexError, ClusterUnavailable, RateLimited
from bestex.paper.envelope import MalformedTransaction
from bestex.sim.chain import MOST_SLOTS_BEHIND
from bestex.sim.cuts import Cut, Cuts, Plan, no_cuts
from bestex.sim.faults import Fault
from bestex.sim.loop import Group
from bestex.sim.rpc import SimCluster
from bestex.types import Commitment
from tests.support.paper import STRANGER, WALLET
from tests.support.sim_chain import Given, given, simulated

ROUND_TRIP_S = 0.06


def connected(world: Given, group: Group | None = None, plan: Plan = no_cuts, seed: int = 1) -> SimCluster:
    group = group or Group("node1")
    calls = iter(range(1_000_000))
    cuts = Cuts(group, world.trace, plan, lambda: next(calls), lambda _: group.kill())
    return SimCluster(world.chain, cuts, world.weather, random.Random(seed), world.trace, world.clock)


async def timed(world: Given, call: Awaitable[object]) -> tuple[object, float]:
    """The answer or the error, and after how long."""
    began_s = world.clock.monotonic_s()
    try:
        answer: object = await call
    except BestexError as error:
        answer = error
    return answer, world.clock.monotonic_s() - began_s


async def every_call(world: Given, cluster: SimCluster, raw: bytes) -> dict[str, tuple[object, float]]:
    """One call of each kind but `send` and the hint."""
    signature, _ = await world.transfer()
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "latest_blockhash": lambda: cluster.latest_blockhash(Commitment.CONFIRMED),
        "height": lambda: cluster.height(Commitment.FINALIZED),
        "accounts": lambda: cluster.accounts([WALLET.pubkey()], Commitment.CONFIRMED),
        "priority_fees": lambda: cluster.priority_fees([WALLET.pubkey()]),
        "simulate": lambda: cluster.simulate(raw),
        "statuses": lambda: cluster.statuses([signature], search_history=True),
        "transaction": lambda: cluster.transaction(signature),
    }
    return {name: await timed(world, call()) for name, call in calls.items()}


def test_a_call_takes_some_milliseconds_and_is_true() -> None:
    async def main() -> None:
        world = await given()
        cluster, chain = connected(world), world.chain.node(0)
        signature, raw = await world.transfer()
        answer, seconds = await timed(world, cluster.send(raw))
        assert answer is None
        assert 0.005 <= seconds <= ROUND_TRIP_S
        await world.slots(3)
        said = await every_call(world, cluster, raw)
        assert all(0.005 <= seconds <= ROUND_TRIP_S for _, seconds in said.values())
        assert said["latest_blockhash"][0] == await chain.latest_blockhash(Commitment.CONFIRMED)
        assert said["height"][0] == await chain.height(Commitment.FINALIZED)
        assert said["simulate"][0] == await chain.simulate(raw)
        assert await cluster.transaction(signature) == await chain.transaction(signature) is not None
        assert cluster.simulated
        assert not world.trace.survived

    simulated(main)


@pytest.mark.parametrize(
    ("fault", "error", "least_s", "most_s", "arrives"),
    [
        (Fault.LOST_REQUEST, ClusterUnavailable, 2.0, 6.1, False),
        (Fault.LOST_ANSWER, ClusterUnavailable, 2.0, 6.1, True),
        (Fault.LATE_ANSWER, None, 1.0, 8.1, True),
        (Fault.RATE_LIMITED, RateLimited, 0.0, ROUND_TRIP_S, False),
        (Fault.RPC_ERROR, ClusterUnavailable, 0.0, ROUND_TRIP_S, False),
    ],
)
def test_trouble_on_the_wire(
    fault: Fault, error: type[BestexError] | None, least_s: float, most_s: float, arrives: bool
) -> None:
    async def main() -> None:
        world = await given(fault)
        cluster = connected(world)
        _, raw = await world.transfer()
        said = {"send": await timed(world, cluster.send(raw))} | await every_call(world, cluster, raw)
        for answer, seconds in said.values():
            assert isinstance(answer, error) if error else not isinstance(answer, BestexError)
            assert least_s <= seconds <= most_s
        await world.slots(1)
        assert bool(await world.on_chain()) == arrives
        assert world.trace.survived == Counter({fault: len(said)})
        world.weather.healed = True
        said = await every_call(world, cluster, raw)
        assert all(not isinstance(answer, BestexError) and seconds < 0.1 for answer, seconds in said.values())
        assert world.trace.survived == Counter({fault: 8})

    simulated(main)


def test_a_late_request_may_arrive_late() -> None:
    """Long after it was sent: the answer is not the only thing that can be late."""

    async def main() -> set[int]:
        world = await given(Fault.LATE_ANSWER)
        cluster = connected(world)
        running = asyncio.create_task(world.chain.run())
        slots = set()
        for _ in range(30):
            began = (await world.chain.node(0).height(Commitment.PROCESSED)).slot
            slots.add((await cluster.height(Commitment.PROCESSED)).slot - began)
        running.cancel()
        return slots

    seen = simulated(main)
    assert 0 in seen
    assert max(seen) > 5


def test_the_nodes_own_refusals_come_through() -> None:
    async def main() -> None:
        cluster = connected(await given())
        with pytest.raises(MalformedTransaction):
            await cluster.send(b"no transaction")
        with pytest.raises(ValueError, match="256"):
            await cluster.statuses([(await (await given()).transfer())[0]] * 257, search_history=False)

    simulated(main)


@pytest.mark.parametrize("seed", range(5))
def test_a_lagging_node_never_knows_more_than_its_own_slot(seed: int) -> None:
    async def main() -> None:
        world = await given(Fault.LAGGING_NODE, Fault.FORK, Fault.SKIPPED_SLOT, seed=seed, weight=0.5)
        world.weather.weights[Fault.FORK] = 0.1
        cluster = connected(world, seed=seed)
        running = asyncio.create_task(world.chain.run())
        unknown = known = 0
        for number in range(150):
            signature = await world.sent(1_000_000 + number)
            await world.clock.sleep(2.0)
            landed = {found.signature: found.slot for found in await world.chain.history()}
            answer = await cluster.statuses([signature], search_history=number % 2 == 0)
            status = answer.statuses[0]
            if status is None:
                unknown += signature in landed
            else:
                known += 1
                assert status.slot <= answer.slot
            assert (await cluster.height(Commitment.PROCESSED)).slot <= 2 + world.clock.monotonic_s() / 0.8
        running.cancel()
        assert unknown > 10
        assert known > 10
        assert any(
            f"{MOST_SLOTS_BEHIND - back} slots behind" in note for note in world.trace.notes for back in range(30)
        )

    simulated(main)


def test_a_connection_to_a_lagging_node_lasts_for_a_while_but_not_beyond_the_healing() -> None:
    async def main() -> None:
        world = await given(Fault.LAGGING_NODE)
        await world.slots(MOST_SLOTS_BEHIND)
        cluster = connected(world)
        slots = [(await cluster.height(Commitment.PROCESSED)).slot for _ in range(2_000)]
        head = (await world.chain.node(0).height(Commitment.PROCESSED)).slot
        assert all(slot < head for slot in slots)
        changes = sum(one != other for one, other in pairwise(slots))
        assert 5 < changes < 200
        world.weather.healed = True
        assert {(await cluster.height(Commitment.PROCESSED)).slot for _ in range(20)} == {head}

    simulated(main)


@pytest.mark.parametrize("killed_after_s", [0.0, 0.001, 0.02])
def test_a_request_goes_on_when_its_process_dies(killed_after_s: float) -> None:
    async def main() -> None:
        world = await given()
        group = Group("node1")
        cluster = connected(world, group)
        signature, raw = await world.transfer()
        sending = group.start(cluster.send(raw))
        while not any("cluster.send" in note for note in world.trace.notes):
            await world.clock.sleep(0.0)
        await world.clock.sleep(killed_after_s)
        group.kill()
        await world.clock.sleep(1.0)
        await world.slots(1)
        assert await world.on_chain() == [signature]
        assert not sending.done()

    simulated(main)


@pytest.mark.parametrize("fault", [Fault.LOST_REQUEST, Fault.LOST_ANSWER, Fault.RPC_ERROR])
def test_an_error_that_nobody_is_left_to_hear_is_no_accident(fault: Fault) -> None:
    async def main() -> None:
        world = await given(fault)
        group = Group("node1")
        cluster = connected(world, group)
        calls = [group.start(cluster.height(Commitment.CONFIRMED)) for _ in range(2)]
        await world.clock.sleep(0.001)
        calls[0].cancel()
        await world.clock.sleep(0.001)
        group.kill()
        await world.clock.sleep(10.0)

    simulated(main)


def test_a_frozen_caller_gets_its_answer_when_it_wakes() -> None:
    async def main() -> None:
        world = await given()
        group = Group("worker")
        cluster = connected(world, group)
        signature, raw = await world.transfer()
        sending = group.start(cluster.send(raw))
        await world.clock.sleep(0.001)
        group.freeze()
        await world.clock.sleep(5.0)
        await world.slots(1)
        assert await world.on_chain() == [signature]
        assert not sending.done()
        group.thaw()
        await sending

    simulated(main)


def test_calls_are_cut_points() -> None:
    async def main() -> None:
        world = await given()
        group = Group("node1")
        plans = {0: Cut.TIMEOUT_AFTER, 1: Cut.TWICE, 2: Cut.CRASH_AFTER}
        cluster = connected(world, group, lambda number, _: plans[number])
        one, another, last = [await world.transfer(1_000_000 + number) for number in range(3)]
        with pytest.raises(ClusterUnavailable):
            await cluster.send(one[1])
        await cluster.send(another[1])
        crashing = group.start(cluster.send(last[1]))
        await world.clock.sleep(1.0)
        await world.slots(1)
        assert sorted(await world.on_chain()) == sorted([one[0], another[0], last[0]])
        assert group.dead
        assert not crashing.done()

    simulated(main)


async def _hinted(*faults: Fault, timeout_s: float = 5.0) -> tuple[list[float], float]:
    """How long hints take to come, and when the truth was known."""
    world = await given(*faults)
    cluster = connected(world)
    waits = []
    for number in range(20):
        signature = await world.sent(1_000_000 + number)
        waiting = asyncio.create_task(timed(world, cluster.wait_landing(signature, timeout_s)))
        await world.clock.sleep(1.0)
        await world.slots(1)
        answer, seconds = await waiting
        assert answer is None
        waits.append(seconds)
    return waits, 1.0


def test_a_hint_comes_when_the_transaction_lands() -> None:
    waits, truth_s = simulated(_hinted)
    assert all(truth_s <= seconds < truth_s + 0.1 for seconds in waits)


def test_a_hint_may_be_false_late_or_lost() -> None:
    early, truth_s = simulated(partial(_hinted, Fault.RPC_ERROR))
    assert min(early) < truth_s
    late, truth_s = simulated(partial(_hinted, Fault.LATE_ANSWER))
    assert all(truth_s + 0.9 < seconds <= 5.0 + 1e-9 for seconds in late)
    assert min(late) < 5.0
    for fault in (Fault.LOST_REQUEST, Fault.LOST_ANSWER):
        lost, _ = simulated(partial(_hinted, fault))
        assert lost == [pytest.approx(5.0)] * 20


def test_the_same_seed_makes_the_same_trouble() -> None:
    async def main() -> tuple[str, list[str]]:
        world = await given(*Fault, seed=3, weight=0.2)
        cluster = connected(world)
        running = asyncio.create_task(world.chain.run())
        said = []
        for number in range(60):
            _, raw = await world.transfer(1_000_000 + number)
            for answer, seconds in [
                await timed(world, cluster.send(raw)),
                await timed(world, cluster.accounts([STRANGER.pubkey()], Commitment.CONFIRMED)),
            ]:
                said.append(f"{answer} {seconds}")
        running.cancel()
        return world.trace.hash, said

    assert simulated(main) == simulated(main)
