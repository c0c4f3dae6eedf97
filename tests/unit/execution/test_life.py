"""The life of an order on virtual time, through everything that can go wrong between us and the chain.

The chain's own ledger is asked how often an order was filled; the engine's opinion does not count.
"""

import asyncio
from pathlib import Path

import pytest

from bestex.errors import ClusterUnavailable, IllegalTransition
from bestex.orders.attempt import AttemptState
from bestex.orders.events import (
    Built,
    Canceled,
    Confirmed,
    Finalized,
    Resumed,
    Retrying,
    RolledBack,
    Routed,
    Submitted,
)
from bestex.orders.order import Finality
from bestex.orders.status import Status
from bestex.ports import Claims
from bestex.types import Commitment, Mint, OrderId
from tests.support.paper import USDC, Client, pool_at, swap
from tests.support.world import LEASE_S, Halt, Incarnation, World, go_on, request, world


async def place(engine: Incarnation, **more: str) -> OrderId:
    return (await engine.intake.place(request(**more))).order.id


async def test_all_goes_well(tmp_path: Path) -> None:
    async with world(tmp_path) as chain:
        engine = await chain.incarnation().start()
        order, events = await chain.until_terminal(engine, await place(engine))
        assert [type(event).__name__ for event in events] == [
            "Accepted", "Routed", "Built", "Submitted", "Confirmed", "Finalized",
        ]  # fmt: skip
        assert order.finality is Finality.FINALIZED
        assert order.fill is not None
        confirmed = next(event for event in events if isinstance(event, Confirmed))
        assert confirmed.slippage_bps_realized == "0.00"
        assert await chain.fills(order.id) == 1


async def test_lost_sends_are_repeated_with_the_same_bytes(tmp_path: Path) -> None:
    async with world(tmp_path) as chain:
        engine = await chain.incarnation().start()
        chain.cluster.drop_sends = True

        async def give_in() -> None:
            chain.cluster.drop_sends = len(chain.cluster.sent) < 3

        chain.cluster.before_send = give_in
        order, _ = await chain.until_terminal(engine, await place(engine))
        assert order.attempts == 1
        assert len(set(chain.cluster.sent)) == 1
        assert len(chain.cluster.sent) >= 3
        assert await chain.fills(order.id) == 1


async def test_a_lost_answer_is_no_failure(tmp_path: Path) -> None:
    async with world(tmp_path) as chain:
        engine = await chain.incarnation().start()

        async def lose() -> None:
            raise ClusterUnavailable("the answer was lost")

        chain.cluster.after_send = lose
        order, _ = await chain.until_terminal(engine, await place(engine))
        assert (order.status, order.attempts) == (Status.CONFIRMED, 1)
        assert await chain.fills(order.id) == 1


async def test_a_new_attempt_follows_only_on_the_proof_that_the_old_one_is_dead(tmp_path: Path) -> None:
    async with world(tmp_path) as chain:
        engine = await chain.incarnation().start()
        chain.cluster.drop_sends = True
        order_id = await place(engine)
        await chain.until_event(engine, order_id, Retrying)
        (dead,) = await engine.store.attempts(order_id)
        assert dead.state is AttemptState.DEAD
        height = await chain.paper.height(Commitment.FINALIZED)
        assert height.block_height > dead.last_valid_block_height
        chain.cluster.drop_sends = False
        order, _ = await chain.until_terminal(engine, order_id)
        assert (order.status, order.attempts) == (Status.CONFIRMED, 2)
        assert await chain.fills(order_id) == 1


async def test_a_crash_between_commit_and_first_send_sends_the_stored_bytes(tmp_path: Path) -> None:
    async with world(tmp_path) as chain:
        engine = await chain.incarnation().start()
        chain.cluster.before_send = halt = Halt()
        order_id = await place(engine)
        await halt.reached.wait()
        stored = (await engine.store.attempts(order_id))[0]
        await engine.crash()
        assert chain.cluster.sent == []

        chain.cluster.before_send = go_on
        again = await chain.incarnation("two").start()
        order, _ = await chain.until_terminal(again, order_id)
        assert set(chain.cluster.sent) == {stored.transaction}
        assert order.attempts == 1
        assert await chain.fills(order_id) == 1


async def test_a_crash_after_the_send_finds_the_fill(tmp_path: Path) -> None:
    async with world(tmp_path) as chain:
        engine = await chain.incarnation().start()
        chain.cluster.after_send = halt = Halt()
        order_id = await place(engine)
        await halt.reached.wait()
        await engine.crash()
        chain.cluster.after_send = go_on

        async def landed() -> bool:
            return await chain.fills(order_id) == 1

        await chain.until(landed)
        again = await chain.incarnation("two").start()
        order, _ = await chain.until_terminal(again, order_id)
        assert (order.status, order.attempts) == (Status.CONFIRMED, 1)
        assert await chain.fills(order_id) == 1


async def test_a_crash_before_anything_was_signed_starts_again_and_costs_no_try(tmp_path: Path) -> None:
    async with world(tmp_path) as chain:
        engine = await chain.incarnation().start()
        chain.cluster.before_simulate = halt = Halt()
        order_id = await place(engine)
        await halt.reached.wait()
        await chain.until_event(engine, order_id, Built)
        await engine.crash()
        chain.cluster.before_simulate = go_on
        again = await chain.incarnation("two").start()
        order, events = await chain.until_terminal(again, order_id)
        assert any(isinstance(event, Resumed) for event in events)
        assert (order.status, order.retries, order.attempts) == (Status.CONFIRMED, 0, 1)
        assert await chain.fills(order_id) == 1


async def test_a_worker_frozen_past_its_lease_cannot_send(tmp_path: Path) -> None:
    async with world(tmp_path) as chain:
        frozen = await chain.incarnation().open()
        order_id = await place(frozen)
        chain.cluster.before_simulate = halt = Halt()
        (claim,) = (await claims(chain, frozen, "frozen")).claims
        sleeping = asyncio.create_task(frozen.engine.work(claim))
        await halt.reached.wait()
        chain.cluster.before_simulate = go_on
        await chain.clock.sleep(LEASE_S + 1)
        for _ in range(2):  # once to take it over, once to try it
            (taken,) = (await claims(chain, frozen, "awake")).claims
            await frozen.engine.work(taken)
        sent = set(chain.cluster.sent)
        halt.go_on.set()
        await sleeping
        assert set(chain.cluster.sent) == sent, "the frozen worker's transaction never left the process"
        order = await frozen.store.order(order_id)
        assert (order.status, order.attempts) == (Status.CONFIRMED, 1)
        assert await chain.fills(order_id) == 1
        await frozen.store.close()


async def test_an_order_whose_work_has_died_comes_back_when_its_lease_ends(tmp_path: Path) -> None:
    async with world(tmp_path) as chain:
        engine = await chain.incarnation().start()
        died = asyncio.Event()

        async def die() -> None:
            chain.cluster.before_simulate = go_on
            died.set()
            raise ZeroDivisionError("a defect")

        chain.cluster.before_simulate = die
        order_id = await place(engine)
        await died.wait()
        other = await place(engine, amount="5")  # keeps the worker busy, and its leases renewed
        order, _ = await chain.until_terminal(engine, order_id)
        assert order.status is Status.CONFIRMED
        assert (await chain.until_terminal(engine, other))[0].status is Status.CONFIRMED


async def test_a_fork_takes_the_fill_back_and_the_same_bytes_bring_it_again(tmp_path: Path) -> None:
    async with world(tmp_path) as chain:
        engine = await chain.incarnation().start()
        order_id = await place(engine)
        await chain.until_event(engine, order_id, Confirmed)
        assert await chain.paper.validator.fork(8) > 0
        order, events = await chain.until_terminal(engine, order_id)
        assert any(isinstance(event, RolledBack) for event in events)
        assert isinstance(events[-1], Finalized)
        assert (order.status, order.attempts) == (Status.CONFIRMED, 1)
        assert order.fill is not None
        landed = await chain.paper.transaction(order.fill.signature)
        assert landed is not None
        assert landed.slot == order.fill.slot
        assert await chain.fills(order_id) == 1


async def test_a_pool_that_moved_too_far_is_quoted_again(tmp_path: Path) -> None:
    async with world(tmp_path) as chain:
        engine = await chain.incarnation().start()

        async def move_the_pool() -> None:
            chain.cluster.before_send = go_on
            routed = (await chain.events(engine, order_id))[1]
            assert isinstance(routed, Routed)
            pool = pool_at(chain.paper, Mint.from_string(routed.pool))
            in_reserve = pool.reserves[pool.mints.index(USDC)]
            await Client(chain.paper).send(swap(pool, USDC, in_reserve // 5))
            await chain.clock.sleep(2)

        order_id = await place(engine, token_out="ETH")
        chain.cluster.before_send = move_the_pool
        order, events = await chain.until_terminal(engine, order_id)
        retry = next(event for event in events if isinstance(event, Retrying))
        assert retry.error.code == "SLIPPAGE_EXCEEDED"
        assert (order.status, order.attempts) == (Status.CONFIRMED, 2)
        states = [attempt.state for attempt in await engine.store.attempts(order_id)]
        assert states == [AttemptState.FAILED_ON_CHAIN, AttemptState.LANDED]
        assert await chain.fills(order_id) == 1


async def submitted(chain: World, engine: Incarnation) -> OrderId:
    order_id = await place(engine)
    await chain.until_event(engine, order_id, Submitted)
    return order_id


async def test_a_cancel_of_a_submitted_order_waits_for_the_proof(tmp_path: Path) -> None:
    async with world(tmp_path) as chain:
        engine = await chain.incarnation().start()
        chain.cluster.drop_sends = True
        order_id = await submitted(chain, engine)
        asked = await engine.intake.cancel(order_id)
        assert (asked.status, asked.cancel_requested) == (Status.SUBMITTED, True)
        assert (await engine.intake.cancel(order_id)).seq == asked.seq, "asked once is enough"
        order, events = await chain.until_terminal(engine, order_id)
        assert isinstance(events[-1], Canceled)
        assert order.attempts == 1
        assert await chain.fills(order_id) == 0


async def test_a_landed_swap_wins_over_a_cancel(tmp_path: Path) -> None:
    async with world(tmp_path) as chain:
        engine = await chain.incarnation().start()
        order_id = await submitted(chain, engine)
        await engine.intake.cancel(order_id)
        order, _ = await chain.until_terminal(engine, order_id)
        assert order.status is Status.CONFIRMED
        assert await chain.fills(order_id) == 1
        with pytest.raises(IllegalTransition):
            await engine.intake.cancel(order_id)


async def test_a_cancel_while_quotes_are_fetched_stops_the_order(tmp_path: Path) -> None:
    async with world(tmp_path) as chain:
        engine = await chain.incarnation().start()
        chain.cluster.before_simulate = halt = Halt()
        order_id = await place(engine)
        await halt.reached.wait()
        canceled = await engine.intake.cancel(order_id)
        assert canceled.status is Status.CANCELED
        halt.go_on.set()
        await chain.clock.sleep(5)
        assert chain.cluster.sent == []
        assert await chain.fills(order_id) == 0


async def claims(chain: World, engine: Incarnation, worker: str) -> Claims:
    return await engine.store.claim(
        worker, limit=1, now_ms=chain.clock.now_ms(), lease_ms=round(LEASE_S * 1000), rate=None
    )
