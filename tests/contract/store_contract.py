"""What every Store must do, whatever it is made of. `test_sqlite_store.py` holds one against it."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Protocol

import msgspec
import pytest

from bestex.errors import Conflict, IdempotencyMismatch, OrderNotFound, StaleVersion, StoreUnavailable
from bestex.orders.attempt import Attempt, AttemptState
from bestex.orders.events import decode_event
from bestex.orders.order import Order
from bestex.orders.status import Status
from bestex.ports import Change, Claims, Committed, RateLimit, Store
from bestex.types import U64_MAX, OrderId
from tests.support.orders import NOW_MS, Life, attempt, keys, pending

LEASE_MS = 30_000
LATER_MS = NOW_MS + 1_000
"""All orders that are made with small numbers are due by then."""
replace = msgspec.structs.replace


class Harness(Protocol):
    """A store under test, opened."""

    @property
    def store(self) -> Store: ...

    async def reopen(self) -> None:
        """Close the store and open it again, as another process would."""
        ...


async def place(store: Store, number: int, **how: object) -> Order:
    """Accept the order with this number, without keys."""
    order, event = pending(number, **how)  # type: ignore[arg-type]
    assert (await store.accept(order, event, keys())).created
    return order


async def claim(
    store: Store,
    *,
    now_ms: int = LATER_MS,
    worker: str = "w",
    limit: int = 10,
    lease_ms: int = LEASE_MS,
    rate: RateLimit | None = None,
) -> Claims:
    return await store.claim(worker, limit=limit, now_ms=now_ms, lease_ms=lease_ms, rate=rate)


async def claim_one(store: Store, *, now_ms: int = LATER_MS, worker: str = "w") -> Life:
    """The order that is claimed next."""
    claims = (await claim(store, now_ms=now_ms, worker=worker, limit=1)).claims
    assert len(claims) == 1
    return Life(claims[0].order)


async def submit(store: Store, life: Life, **of_attempt: object) -> Attempt:
    """Take a pending order to its submission; the attempt that may land now."""
    first = life.change(life.routed(), life.built())
    made = attempt(life.order, life.order.attempts + 1, **of_attempt)
    await store.record(first)
    await store.record(life.change(life.submitted(), attempt=made))
    return made


def ids(claims: Claims) -> list[OrderId]:
    return [claim.order.id for claim in claims.claims]


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.batches: list[list[Committed]] = []

    def __call__(self, events: Sequence[Committed]) -> None:
        self.batches.append(list(events))

    @property
    def events(self) -> list[Committed]:
        return [event for batch in self.batches for event in batch]


@pytest.fixture
def store(harness: Harness) -> Store:
    return harness.store


class Accepting:
    async def test_a_new_order_is_stored_with_its_event(self, store: Store) -> None:
        order, event = pending(1, client_order_id="mine")
        acceptance = await store.accept(order, event, keys(client_order_id="mine"))
        assert acceptance.created
        assert acceptance.order == order
        assert await store.order(order.id) == order
        (committed,) = await store.events(order.id)
        assert (committed.order_id, committed.seq, committed.status, committed.final) == (order.id, 1, "pending", False)
        assert decode_event(committed.payload) == event

    async def test_amounts_of_64_bits_come_back_exactly(self, store: Store) -> None:
        order = await place(store, 1, in_amount=U64_MAX)
        assert (await store.order(order.id)).terms.in_amount == U64_MAX

    async def test_texts_come_back_exactly(self, store: Store) -> None:
        awkward = 'a"b\\c\n\u2028é\U0001f600'
        order, event = pending(1, user_id=awkward, client_order_id=awkward)
        await store.accept(order, event, keys(account=awkward, client_order_id=awkward))
        assert await store.order(order.id) == order
        again = await store.accept(*pending(2), keys(account=awkward, client_order_id=awkward))
        assert again.order == order

    @pytest.mark.parametrize("kind", ["client_order_id", "header_key"])
    async def test_the_same_key_finds_the_same_order(self, store: Store, kind: str) -> None:
        first = await store.accept(*pending(1), keys(**{kind: "k"}))
        second = await store.accept(*pending(2), keys(**{kind: "k"}))
        assert not second.created
        assert second.order == first.order
        with pytest.raises(OrderNotFound):
            await store.order(pending(2)[0].id)

    @pytest.mark.parametrize("kind", ["client_order_id", "header_key"])
    async def test_the_same_key_for_another_request_is_refused(self, store: Store, kind: str) -> None:
        await store.accept(*pending(1), keys(**{kind: "k"}))
        with pytest.raises(IdempotencyMismatch) as caught:
            await store.accept(*pending(2), keys(request_hash="other", **{kind: "k"}))
        assert caught.value.context["key"] == kind
        with pytest.raises(OrderNotFound):
            await store.order(pending(2)[0].id)

    async def test_both_keys_are_checked(self, store: Store) -> None:
        await store.accept(*pending(1), keys(client_order_id="c", header_key="h"))
        with pytest.raises(IdempotencyMismatch) as caught:
            await store.accept(*pending(2), keys(request_hash="other", client_order_id="new", header_key="h"))
        assert caught.value.context["key"] == "header_key"
        # Nothing of the refused request was kept, its new key neither.
        third = await store.accept(*pending(3), keys(request_hash="third", client_order_id="new"))
        assert third.created

    async def test_a_new_key_that_comes_with_a_known_one_is_kept(self, store: Store) -> None:
        first = await store.accept(*pending(1), keys(client_order_id="c"))
        second = await store.accept(*pending(2), keys(client_order_id="c", header_key="h"))
        third = await store.accept(*pending(3), keys(header_key="h"))
        assert second.order == third.order == first.order
        with pytest.raises(IdempotencyMismatch):
            await store.accept(*pending(4), keys(request_hash="other", header_key="h"))

    async def test_a_key_of_one_kind_is_none_of_the_other(self, store: Store) -> None:
        await store.accept(*pending(1), keys(client_order_id="k"))
        assert (await store.accept(*pending(2), keys(header_key="k"))).created

    async def test_keys_belong_to_accounts(self, store: Store) -> None:
        await store.accept(*pending(1), keys(account="alice", client_order_id="k"))
        assert (await store.accept(*pending(2), keys(account="bob", client_order_id="k"))).created

    async def test_without_keys_every_request_is_a_new_order(self, store: Store) -> None:
        await place(store, 1)
        await place(store, 2)
        assert len(await store.active(10)) == 2

    async def test_identical_requests_at_once_make_one_order(self, store: Store) -> None:
        both = keys(client_order_id="c", header_key="h")
        answers = await asyncio.gather(*(store.accept(*pending(number), both) for number in range(5)))
        assert [answer.created for answer in answers] == [True, False, False, False, False]
        assert len({answer.order.id for answer in answers}) == 1
        assert len(await store.active(10)) == 1

    async def test_a_refused_request_does_not_harm_those_beside_it(self, store: Store) -> None:
        await store.accept(*pending(1), keys(client_order_id="k"))
        answers = await asyncio.gather(
            store.accept(*pending(2), keys()),
            store.accept(*pending(3), keys(request_hash="other", client_order_id="k")),
            store.accept(*pending(4), keys()),
            return_exceptions=True,
        )
        assert isinstance(answers[1], IdempotencyMismatch)
        assert [order.id for order in await store.active(9)] == [pending(number)[0].id for number in (1, 2, 4)]

    async def test_a_repeated_request_is_answered_with_the_present_state(self, store: Store) -> None:
        await store.accept(*pending(1), keys(client_order_id="k"))
        life = await claim_one(store)
        await store.record(life.change(life.routed()))
        assert (await store.accept(*pending(2), keys(client_order_id="k"))).order == life.order
        await store.record(life.change(life.failed()))
        again = await store.accept(*pending(3), keys(client_order_id="k"))
        assert not again.created
        assert again.order.status is Status.FAILED

    async def test_an_id_that_is_taken_is_a_conflict(self, store: Store) -> None:
        order, event = pending(1)
        await store.accept(order, event, keys())
        answers = await asyncio.gather(
            store.accept(order, event, keys()), store.accept(*pending(2), keys()), return_exceptions=True
        )
        assert isinstance(answers[0], Conflict)
        assert (await store.order(pending(2)[0].id)).status is Status.PENDING


class Recording:
    async def test_a_step_is_stored(self, store: Store) -> None:
        await place(store, 1)
        life = await claim_one(store)
        event = life.routed()
        await store.record(life.change(event))
        assert await store.order(life.order.id) == life.order
        assert [decode_event(each.payload) for each in await store.events(life.order.id)][1:] == [event]

    async def test_a_whole_life_is_stored(self, store: Store) -> None:
        order = await place(store, 1)
        life = await claim_one(store)
        made = await submit(store, life)
        landed = replace(made, state=AttemptState.LANDED, slot=7)
        await store.record(life.change(life.confirmed(), life.finalized(), attempt=landed))
        stored = await store.order(order.id)
        assert stored == replace(life.order, lease_owner=None, lease_until_ms=0)
        assert stored.fill is not None
        events = await store.events(order.id)
        assert [event.seq for event in events] == [1, 2, 3, 4, 5, 6]
        assert [event.status for event in events][-3:] == ["submitted", "confirmed", "confirmed"]
        assert [event.final for event in events] == [False] * 5 + [True]
        assert await store.attempts(order.id) == [landed]

    async def test_steps_are_written_in_the_order_of_the_calls(self, store: Store) -> None:
        await place(store, 1)
        life = await claim_one(store)
        store.record(life.change(life.routed()))
        store.record(life.change(life.built()))
        made = attempt(life.order)
        await store.record(life.change(life.submitted(), attempt=made))
        assert [event.seq for event in await store.events(life.order.id)] == [1, 2, 3, 4]
        assert (await store.order(life.order.id)).status is Status.SUBMITTED

    async def test_a_step_may_hold_no_event(self, store: Store) -> None:
        await place(store, 1)
        life = await claim_one(store)
        made = await submit(store, life)
        sent = replace(made, state=AttemptState.SENT)
        await store.record(life.change(attempt=sent))
        assert await store.attempts(life.order.id) == [sent]
        assert (await store.order(life.order.id)).seq == life.order.seq

    async def test_an_older_epoch_is_fenced_off(self, store: Store) -> None:
        await place(store, 1)
        old = await claim_one(store, worker="slow")
        new = await claim_one(store, worker="quick", now_ms=LATER_MS + LEASE_MS)
        with pytest.raises(StaleVersion):
            await store.record(old.change(old.routed()))
        await store.record(new.change(new.routed()))
        assert await store.order(new.order.id) == new.order

    async def test_a_step_from_another_state_is_refused(self, store: Store) -> None:
        await place(store, 1)
        life = await claim_one(store)
        twin = Life(life.order)
        await store.record(life.change(life.routed()))
        with pytest.raises(StaleVersion):
            await store.record(twin.change(twin.canceled()))
        assert await store.order(life.order.id) == life.order
        assert len(await store.events(life.order.id)) == 2

    async def test_of_a_refused_step_nothing_is_written(self, store: Store) -> None:
        await place(store, 1)
        life = await claim_one(store)
        await store.record(life.change(life.routed()))
        stale = Life(replace(life.order, lease_epoch=life.order.lease_epoch + 1))
        with pytest.raises(StaleVersion):
            await store.record(stale.change(stale.built(), attempt=attempt(stale.order)))
        assert await store.order(life.order.id) == life.order
        assert await store.attempts(life.order.id) == []
        assert len(await store.events(life.order.id)) == 2

    async def test_what_follows_a_refused_step_is_refused_too(self, store: Store) -> None:
        await place(store, 1)
        life = await claim_one(store)
        stale = Life(replace(life.order, lease_epoch=life.order.lease_epoch - 1))
        answers = await asyncio.gather(
            store.record(stale.change(stale.routed())),
            store.record(stale.change(stale.built())),
            return_exceptions=True,
        )
        assert [type(answer) for answer in answers] == [StaleVersion, StaleVersion]

    async def test_a_refused_step_does_not_harm_those_beside_it(self, store: Store) -> None:
        for number in range(3):
            await place(store, number)
        lives = [Life(each.order) for each in (await claim(store)).claims]
        lives[1] = Life(replace(lives[1].order, seq=5))
        answers = await asyncio.gather(
            *(store.record(life.change(life.routed())) for life in lives), return_exceptions=True
        )
        assert [type(answer) for answer in answers] == [type(None), StaleVersion, type(None)]
        statuses = [(await store.order(life.order.id)).status for life in lives]
        assert statuses == [Status.ROUTING, Status.PENDING, Status.ROUTING]

    async def test_a_terminal_order_does_not_change(self, store: Store) -> None:
        await place(store, 1)
        life = await claim_one(store)
        await store.record(life.change(life.failed()))
        zombie = Life(replace(life.order, status=Status.PENDING))
        with pytest.raises(StaleVersion):
            await store.record(zombie.change(zombie.routed()))
        with pytest.raises(StaleVersion):
            await store.record(Change(order=life.order, events=()))

    async def test_nothing_follows_the_end_in_the_same_breath(self, store: Store) -> None:
        await place(store, 1)
        life = await claim_one(store)
        end = life.change(life.failed())
        zombie = Life(replace(life.order, status=Status.PENDING))
        answers = await asyncio.gather(
            store.record(end), store.record(zombie.change(zombie.routed())), return_exceptions=True
        )
        assert [type(answer) for answer in answers] == [type(None), StaleVersion]

    async def test_an_order_that_is_not_there_cannot_change(self, store: Store) -> None:
        life = Life(pending(1)[0])
        with pytest.raises(StaleVersion):
            await store.record(life.change(life.routed()))

    async def test_a_client_may_cancel_without_a_lease(self, store: Store) -> None:
        order = await place(store, 1)
        life = Life(await store.order(order.id))
        await store.record(life.change(life.canceled()))
        assert (await store.order(order.id)).status is Status.CANCELED
        assert ids(await claim(store)) == []

    async def test_errors_and_fills_come_back_exactly(self, store: Store) -> None:
        await place(store, 1, in_amount=U64_MAX)
        life = await claim_one(store)
        await submit(store, life)
        await store.record(life.change(life.confirmed()))
        fill = (await store.order(life.order.id)).fill
        assert fill == life.order.fill
        assert fill is not None
        assert fill.in_amount == U64_MAX
        await place(store, 2)
        failed = await claim_one(store)
        await store.record(failed.change(failed.failed()))
        assert (await store.order(failed.order.id)).error == failed.order.error


class Attempting:
    async def test_an_attempt_comes_back_exactly(self, store: Store) -> None:
        await place(store, 1)
        life = await claim_one(store)
        made = await submit(store, life, in_amount=U64_MAX, transaction=bytes(range(256)), min_out_amount=U64_MAX)
        assert await store.attempts(life.order.id) == [made]

    async def test_a_second_one_that_may_land_is_refused(self, store: Store) -> None:
        await place(store, 1)
        life = await claim_one(store)
        made = await submit(store, life)
        for state in (AttemptState.PREPARED, AttemptState.SENT):
            with pytest.raises(Conflict):
                await store.record(life.change(attempt=attempt(life.order, 2, state=state)))
        assert await store.attempts(life.order.id) == [made]

    async def test_after_the_death_of_the_first_there_may_be_a_second(self, store: Store) -> None:
        await place(store, 1)
        life = await claim_one(store)
        first = await submit(store, life)
        dead = replace(first, state=AttemptState.DEAD, error="expired")
        await store.record(life.change(life.retrying(LATER_MS), attempt=dead))
        second = await submit(store, life)
        assert second.number == 2
        assert await store.attempts(life.order.id) == [dead, second]

    async def test_the_death_and_the_second_may_be_written_together(self, store: Store) -> None:
        await place(store, 1)
        life = await claim_one(store)
        first = await submit(store, life)
        dead = replace(first, state=AttemptState.DEAD)
        store.record(life.change(life.retrying(LATER_MS), attempt=dead))
        store.record(life.change(life.routed(), life.built()))
        second = attempt(life.order, 2)
        await store.record(life.change(life.submitted(), attempt=second))
        assert await store.attempts(life.order.id) == [dead, second]

    async def test_a_number_stands_for_one_transaction(self, store: Store) -> None:
        await place(store, 1)
        life = await claim_one(store)
        made = await submit(store, life)
        with pytest.raises(Conflict):
            await store.record(life.change(attempt=replace(made, signature="another")))
        assert await store.attempts(life.order.id) == [made]

    @pytest.mark.parametrize("ended", [False, True])
    async def test_a_transaction_belongs_to_one_order(self, store: Store, ended: bool) -> None:
        for number in (1, 2, 3):
            await place(store, number)
        first, second, third = (Life(each.order) for each in (await claim(store)).claims)
        made = await submit(store, first)
        if ended:
            landed = replace(made, state=AttemptState.LANDED)
            await store.record(first.change(first.confirmed(), first.finalized(), attempt=landed))
        stolen = replace(attempt(second.order), signature=made.signature)
        answers = await asyncio.gather(
            store.record(second.change(attempt=stolen)),
            store.record(third.change(third.routed())),
            return_exceptions=True,
        )
        assert isinstance(answers[0], Conflict)
        assert answers[1] is None
        assert await store.attempts(second.order.id) == []
        assert (await store.order(third.order.id)).status is Status.ROUTING

    async def test_a_fork_may_undo_a_landing(self, store: Store) -> None:
        await place(store, 1)
        life = await claim_one(store)
        made = await submit(store, life)
        await store.record(life.change(life.confirmed(), attempt=replace(made, state=AttemptState.LANDED, slot=9)))
        sent = replace(made, state=AttemptState.SENT)
        await store.record(life.change(life.rolled_back(), attempt=sent))
        assert await store.attempts(life.order.id) == [sent]
        stored = await store.order(life.order.id)
        assert (stored.status, stored.fill, stored.finality) == (Status.SUBMITTED, None, None)

    async def test_an_order_without_attempts_has_none(self, store: Store) -> None:
        order = await place(store, 1)
        assert await store.attempts(order.id) == []
        assert await store.attempts(pending(2)[0].id) == []


class Claiming:
    async def test_an_order_is_leased(self, store: Store) -> None:
        order = await place(store, 1)
        claims = (await claim(store, worker="w")).claims
        (claimed,) = claims
        assert claimed.attempt is None
        leased = replace(order, lease_owner="w", lease_until_ms=LATER_MS + LEASE_MS, lease_epoch=1)
        assert claimed.order == leased
        assert await store.order(order.id) == leased

    async def test_a_lease_keeps_others_away_until_it_ends(self, store: Store) -> None:
        await place(store, 1)
        await claim(store, worker="a")
        assert ids(await claim(store, worker="b", now_ms=LATER_MS + LEASE_MS - 1)) == []
        (again,) = (await claim(store, worker="b", now_ms=LATER_MS + LEASE_MS)).claims
        assert (again.order.lease_owner, again.order.lease_epoch) == ("b", 2)

    async def test_priority_goes_before_age(self, store: Store) -> None:
        priorities = [0, 5, 0, 9, 5]
        orders = [await place(store, number, priority=priority) for number, priority in enumerate(priorities)]
        expected = [orders[index].id for index in (3, 1, 4, 0, 2)]
        assert ids(await claim(store, limit=2)) + ids(await claim(store, limit=10)) == expected

    async def test_what_was_begun_goes_before_priority(self, store: Store) -> None:
        begun = await place(store, 1)
        life = await claim_one(store)
        await store.record(life.change(life.routed()))
        urgent = await place(store, 2, priority=9)
        assert ids(await claim(store, now_ms=LATER_MS + LEASE_MS)) == [begun.id, urgent.id]

    async def test_begun_orders_go_by_priority_and_age(self, store: Store) -> None:
        orders = [await place(store, number, priority=priority) for number, priority in enumerate([1, 3, 1])]
        for each in (await claim(store)).claims:
            life = Life(each.order)
            await store.record(life.change(life.routed()))
        expected = [orders[index].id for index in (1, 0, 2)]
        assert ids(await claim(store, now_ms=LATER_MS + LEASE_MS)) == expected

    async def test_not_before_it_is_due(self, store: Store) -> None:
        order = await place(store, 1, due_at_ms=LATER_MS + 10)
        early = await claim(store, now_ms=LATER_MS + 9)
        assert (ids(early), early.next_due_ms) == ([], LATER_MS + 10)
        assert ids(await claim(store, now_ms=LATER_MS + 10)) == [order.id]

    async def test_a_begun_order_comes_with_its_latest_attempt(self, store: Store) -> None:
        await place(store, 1)
        life = await claim_one(store)
        first = await submit(store, life)
        dead = replace(first, state=AttemptState.DEAD)
        await store.record(life.change(life.retrying(LATER_MS), attempt=dead))
        second = await submit(store, life)
        (again,) = (await claim(store, now_ms=LATER_MS + LEASE_MS)).claims
        assert again.attempt == second
        assert again.order == replace(
            life.order, lease_epoch=2, lease_until_ms=LATER_MS + 2 * LEASE_MS, lease_owner="w"
        )

    async def test_no_more_than_asked_for(self, store: Store) -> None:
        for number in range(5):
            await place(store, number)
        first = await claim(store, limit=3)
        assert (len(first.claims), first.next_due_ms) == (3, LATER_MS)
        rest = await claim(store, limit=3)
        assert (len(rest.claims), rest.next_due_ms) == (2, LATER_MS + LEASE_MS)
        assert ids(await claim(store, limit=0)) == []

    async def test_two_workers_never_get_the_same_order(self, store: Store) -> None:
        orders = [await place(store, number) for number in range(20)]
        answers = await asyncio.gather(*(claim(store, worker=f"w{number}", limit=3) for number in range(8)))
        claimed = [order_id for answer in answers for order_id in ids(answer)]
        assert sorted(claimed) == sorted(order.id for order in orders)

    async def test_terminal_orders_are_never_claimed(self, store: Store) -> None:
        for number in (1, 2, 3):
            await place(store, number)
        failed, canceled, done = (Life(each.order) for each in (await claim(store)).claims)
        await store.record(failed.change(failed.failed()))
        await store.record(canceled.change(canceled.canceled()))
        made = await submit(store, done)
        landed = replace(made, state=AttemptState.LANDED)
        await store.record(done.change(done.confirmed(), done.finalized(), attempt=landed))
        answer = await claim(store, now_ms=LATER_MS + 10 * LEASE_MS)
        assert (ids(answer), answer.next_due_ms) == ([], None)
        assert ids(await store.claim_unfinal("w", limit=9, now_ms=LATER_MS + 10 * LEASE_MS, lease_ms=1)) == []

    async def test_an_empty_store_knows_of_nothing(self, store: Store) -> None:
        answer = await claim(store)
        assert (answer.claims, answer.next_due_ms) == ([], None)

    async def test_release_gives_the_order_back_at_once(self, store: Store) -> None:
        await place(store, 1)
        life = await claim_one(store, worker="a")
        await store.record(life.change(life.routed(), release=True))
        stored = await store.order(life.order.id)
        assert (stored.lease_owner, stored.lease_until_ms, stored.lease_epoch) == (None, 0, 1)
        (again,) = (await claim(store, worker="b")).claims
        assert again.order.lease_epoch == 2

    async def test_released_for_later_it_is_claimable_when_due(self, store: Store) -> None:
        await place(store, 1)
        life = await claim_one(store)
        await store.record(life.change(life.routed()))
        await store.record(life.change(life.retrying(LATER_MS + 500), release=True))
        early = await claim(store)
        assert (ids(early), early.next_due_ms) == ([], LATER_MS + 500)
        assert ids(await claim(store, now_ms=LATER_MS + 500)) == [life.order.id]

    async def test_a_step_without_release_keeps_the_lease(self, store: Store) -> None:
        await place(store, 1)
        life = await claim_one(store)
        await store.record(life.change(life.routed()))
        stored = await store.order(life.order.id)
        assert (stored.lease_owner, stored.lease_until_ms) == ("w", LATER_MS + LEASE_MS)

    async def test_released_in_the_same_breath_as_other_steps(self, store: Store) -> None:
        await place(store, 1)
        life = await claim_one(store)
        store.record(life.change(life.routed()))
        store.record(life.change(life.retrying(LATER_MS), release=True))
        (again,) = (await claim(store)).claims
        assert (again.order.seq, again.order.lease_epoch) == (3, 2)

    async def test_renewal_prolongs_the_leases_that_are_named(self, store: Store) -> None:
        for number in range(3):
            await place(store, number)
        first = ids(await claim(store, worker="a", limit=2))
        (other,) = ids(await claim(store, worker="b"))
        unknown = pending(9)[0].id
        await store.renew("a", [*first, other, unknown], lease_until_ms=LATER_MS + 2 * LEASE_MS)
        ended = await claim(store, worker="c", now_ms=LATER_MS + LEASE_MS)
        assert ids(ended) == [other]
        assert ended.next_due_ms == LATER_MS + 2 * LEASE_MS
        assert (await store.order(first[0])).lease_until_ms == LATER_MS + 2 * LEASE_MS
        assert ids(await claim(store, worker="c", now_ms=LATER_MS + 2 * LEASE_MS, limit=2)) == first

    async def test_what_is_not_named_is_not_renewed(self, store: Store) -> None:
        for number in range(2):
            await place(store, number)
        kept, left = ids(await claim(store))
        await store.renew("w", [kept], lease_until_ms=LATER_MS + 2 * LEASE_MS)
        assert ids(await claim(store, worker="b", now_ms=LATER_MS + LEASE_MS)) == [left]

    async def test_renewal_does_not_fence_the_worker_off(self, store: Store) -> None:
        await place(store, 1)
        life = await claim_one(store)
        await store.renew("w", [life.order.id], lease_until_ms=LATER_MS + 2 * LEASE_MS)
        await store.record(life.change(life.routed()))
        assert (await store.order(life.order.id)).lease_until_ms == LATER_MS + 2 * LEASE_MS

    async def test_renewal_leaves_released_orders_alone(self, store: Store) -> None:
        await place(store, 1)
        life = await claim_one(store)
        await store.record(life.change(life.routed(), release=True))
        await store.renew("w", [life.order.id], lease_until_ms=LATER_MS + 2 * LEASE_MS)
        assert ids(await claim(store, worker="b")) == [life.order.id]

    async def test_a_lease_is_not_made_shorter(self, store: Store) -> None:
        order = await place(store, 1)
        await claim(store)
        await store.renew("w", [order.id], lease_until_ms=LATER_MS + 1)
        assert ids(await claim(store, worker="b", now_ms=LATER_MS + 1)) == []

    async def test_a_clock_that_steps_back_claims_nothing_early(self, store: Store) -> None:
        order = await place(store, 1, due_at_ms=LATER_MS)
        assert ids(await claim(store, now_ms=LATER_MS, limit=0)) == []
        assert ids(await claim(store, now_ms=LATER_MS - 1)) == []
        assert ids(await claim(store, now_ms=LATER_MS)) == [order.id]


class Limiting:
    rate = RateLimit(count=3, window_ms=1_000)

    async def test_no_more_are_begun_in_a_window(self, store: Store) -> None:
        for number in range(5):
            await place(store, number)
        first = await claim(store, rate=self.rate)
        assert (len(first.claims), first.next_due_ms) == (3, LATER_MS + 1_000)
        assert ids(await claim(store, rate=self.rate, now_ms=LATER_MS + 999)) == []
        rest = await claim(store, rate=self.rate, now_ms=LATER_MS + 1_000)
        assert len(rest.claims) == 2

    async def test_the_window_slides(self, store: Store) -> None:
        for number in range(9):
            await place(store, number)
        counts = []
        for after_ms in (0, 400, 800, 1_000, 1_399, 1_400, 2_000):
            answer = await claim(store, rate=self.rate, now_ms=LATER_MS + after_ms, limit=1)
            counts.append(len(answer.claims))
        assert counts == [1, 1, 1, 1, 0, 1, 1]

    async def test_when_the_window_opens_again(self, store: Store) -> None:
        for number in range(9):
            await place(store, number)
        await claim(store, rate=self.rate, limit=1)
        answer = await claim(store, rate=self.rate, limit=5, now_ms=LATER_MS + 300)
        assert (len(answer.claims), answer.next_due_ms) == (2, LATER_MS + 1_000)
        answer = await claim(store, rate=self.rate, limit=5, now_ms=LATER_MS + 1_000)
        assert (len(answer.claims), answer.next_due_ms) == (1, LATER_MS + 1_300)

    async def test_a_lowered_limit_waits_for_enough_to_leave(self, store: Store) -> None:
        for number in range(9):
            await place(store, number)
        await claim(store, rate=self.rate, limit=2)
        await claim(store, rate=self.rate, limit=1, now_ms=LATER_MS + 500)
        lower = RateLimit(count=1, window_ms=1_000)
        answer = await claim(store, rate=lower, now_ms=LATER_MS + 600)
        assert (ids(answer), answer.next_due_ms) == ([], LATER_MS + 1_500)

    async def test_begun_orders_do_not_count(self, store: Store) -> None:
        for number in range(3):
            await place(store, number)
        for each in (await claim(store, rate=self.rate)).claims:
            life = Life(each.order)
            await store.record(life.change(life.routed(), release=True))
        assert len((await claim(store, rate=self.rate)).claims) == 3
        await place(store, 9)
        assert ids(await claim(store, rate=self.rate)) == []

    async def test_a_retry_counts(self, store: Store) -> None:
        await place(store, 1)
        one = RateLimit(count=1, window_ms=1_000)
        (first,) = (await claim(store, rate=one)).claims
        life = Life(first.order)
        await store.record(life.change(life.routed()))
        await store.record(life.change(life.retrying(LATER_MS), release=True))
        answer = await claim(store, rate=one)
        assert (ids(answer), answer.next_due_ms) == ([], LATER_MS + 1_000)

    async def test_the_window_outlives_a_restart(self, harness: Harness) -> None:
        for number in range(5):
            await place(harness.store, number)
        for each in (await claim(harness.store, rate=self.rate)).claims:
            life = Life(each.order)
            await harness.store.record(life.change(life.routed()))
        await harness.reopen()
        # Those begun may be taken up again; none of the pending ones may be begun.
        assert len((await claim(harness.store, rate=self.rate, now_ms=LATER_MS + 999)).claims) == 3
        assert len((await claim(harness.store, rate=self.rate, now_ms=LATER_MS + 1_000)).claims) == 2


class Finalizing:
    async def _confirmed(self, store: Store, number: int, *, due_at_ms: int = LATER_MS) -> Life:
        await place(store, number)
        life = await claim_one(store)
        made = await submit(store, life)
        landed = replace(made, state=AttemptState.LANDED)
        event = life.confirmed()
        life.order = replace(life.order, due_at_ms=due_at_ms)
        await store.record(life.change(event, attempt=landed, release=True))
        return life

    async def test_a_confirmed_order_is_claimable_only_to_be_finalized(self, store: Store) -> None:
        life = await self._confirmed(store, 1, due_at_ms=LATER_MS + 5)
        assert ids(await claim(store, now_ms=LATER_MS + 9 * LEASE_MS)) == []
        early = await store.claim_unfinal("f", limit=9, now_ms=LATER_MS + 4, lease_ms=100)
        assert (ids(early), early.next_due_ms) == ([], LATER_MS + 5)
        answer = await store.claim_unfinal("f", limit=9, now_ms=LATER_MS + 5, lease_ms=100)
        (claimed,) = answer.claims
        assert claimed.order.id == life.order.id
        assert claimed.order.lease_epoch == 2
        assert claimed.attempt is not None
        assert claimed.attempt.state is AttemptState.LANDED
        assert answer.next_due_ms == LATER_MS + 105

    async def test_its_lease_ends_too(self, store: Store) -> None:
        life = await self._confirmed(store, 1)
        await store.claim_unfinal("f", limit=9, now_ms=LATER_MS, lease_ms=100)
        assert ids(await store.claim_unfinal("g", limit=9, now_ms=LATER_MS + 99, lease_ms=100)) == []
        assert ids(await store.claim_unfinal("g", limit=9, now_ms=LATER_MS + 100, lease_ms=100)) == [life.order.id]

    async def test_no_more_than_asked_for(self, store: Store) -> None:
        for number in range(3):
            await self._confirmed(store, number)
        first = await store.claim_unfinal("f", limit=2, now_ms=LATER_MS, lease_ms=100)
        assert (len(first.claims), first.next_due_ms) == (2, LATER_MS)
        assert len((await store.claim_unfinal("f", limit=2, now_ms=LATER_MS, lease_ms=100)).claims) == 1

    async def test_once_final_it_is_over(self, store: Store) -> None:
        await self._confirmed(store, 1)
        (claimed,) = (await store.claim_unfinal("f", limit=9, now_ms=LATER_MS, lease_ms=100)).claims
        life = Life(claimed.order)
        await store.record(life.change(life.finalized(), release=True))
        answer = await store.claim_unfinal("f", limit=9, now_ms=LATER_MS + 9_999, lease_ms=100)
        assert (ids(answer), answer.next_due_ms) == ([], None)
        assert (await store.events(life.order.id))[-1].final
        assert await store.active(9) == []

    async def test_rolled_back_it_is_claimable_for_work_again(self, store: Store) -> None:
        await self._confirmed(store, 1)
        (claimed,) = (await store.claim_unfinal("f", limit=9, now_ms=LATER_MS, lease_ms=100)).claims
        life = Life(claimed.order)
        assert claimed.attempt is not None
        sent = replace(claimed.attempt, state=AttemptState.SENT)
        await store.record(life.change(life.rolled_back(), attempt=sent, release=True))
        (again,) = (await claim(store)).claims
        assert again.attempt == sent
        assert ids(await store.claim_unfinal("f", limit=9, now_ms=LATER_MS, lease_ms=100)) == []


class Reading:
    async def test_an_unknown_order(self, store: Store) -> None:
        with pytest.raises(OrderNotFound):
            await store.order(pending(1)[0].id)
        assert await store.events(pending(1)[0].id) == []

    async def test_events_from_a_sequence_number_on(self, store: Store) -> None:
        await place(store, 1)
        life = await claim_one(store)
        await store.record(life.change(life.routed(), life.built()))
        assert [event.seq for event in await store.events(life.order.id, 2)] == [2, 3]
        assert await store.events(life.order.id, 4) == []

    async def test_how_far_open_orders_have_come(self, store: Store) -> None:
        unknown = pending(1)[0].id
        assert await store.open_seqs([unknown]) == {}
        new = await place(store, 1)
        order = await place(store, 2, priority=1)
        life = await claim_one(store)
        assert life.order.id == order.id
        await store.record(life.change(life.routed(), life.built()))
        asked = [new.id, unknown, OrderId("no id"), order.id]
        assert await store.open_seqs(asked) == {new.id: 1, order.id: 3}
        await store.record(life.change(life.failed()))
        assert await store.open_seqs(asked) == {new.id: 1}, "one that has ended is not among them"
        assert await store.open_seqs([]) == {}

    async def test_many_readers_at_once_get_their_own(self, store: Store) -> None:
        orders = [await place(store, number) for number in range(20)]
        answers = await asyncio.gather(*(store.events(order.id) for order in orders))
        assert [[event.order_id for event in events] for events in answers] == [[order.id] for order in orders]
        ended = []
        for each in (await claim(store, limit=20)).claims:
            life = Life(each.order)
            await store.record(life.change(life.failed()))
            ended.append(life.order.id)
        found = await asyncio.gather(*(store.order(order_id) for order_id in ended))
        assert [order.id for order in found] == ended

    async def test_a_reader_sees_what_was_answered(self, store: Store) -> None:
        for number in range(20):
            order = await place(store, number)
            assert len(await store.events(order.id)) == 1

    async def test_pages_newest_first(self, store: Store) -> None:
        orders = [await place(store, number) for number in range(7)]
        seen: list[OrderId] = []
        cursor: str | None = None
        sizes = []
        while True:
            page = await store.orders(user_id=None, status=None, cursor=cursor, limit=3)
            seen += [order.id for order in page.orders]
            sizes.append(len(page.orders))
            cursor = page.next_cursor
            if cursor is None:
                break
        assert seen == [order.id for order in reversed(orders)]
        assert sizes == [3, 3, 1]

    async def test_the_last_page_says_so(self, store: Store) -> None:
        for number in range(3):
            await place(store, number)
        page = await store.orders(user_id=None, status=None, cursor=None, limit=3)
        assert (len(page.orders), page.next_cursor) == (3, None)
        empty = await store.orders(user_id="nobody", status=None, cursor=None, limit=3)
        assert (empty.orders, empty.next_cursor) == ([], None)

    async def test_pages_do_not_move_when_orders_come_in(self, store: Store) -> None:
        orders = [await place(store, number) for number in range(4)]
        page = await store.orders(user_id=None, status=None, cursor=None, limit=2)
        await place(store, 9)
        rest = await store.orders(user_id=None, status=None, cursor=page.next_cursor, limit=2)
        assert [order.id for order in rest.orders] == [orders[1].id, orders[0].id]

    @pytest.mark.parametrize("user_id", [None, "alice", "bob"])
    @pytest.mark.parametrize("status", [None, *Status])
    async def test_pages_of_a_user_and_a_status(self, store: Store, user_id: str | None, status: Status | None) -> None:
        everything = await self._of_every_kind(store)
        expected = [
            order.id
            for order in reversed(everything)
            if user_id in (None, order.terms.user_id) and status in (None, order.status)
        ]
        seen: list[OrderId] = []
        cursor: str | None = None
        while True:
            page = await store.orders(user_id=user_id, status=status, cursor=cursor, limit=2)
            for order in page.orders:
                assert order == await store.order(order.id)
            seen += [order.id for order in page.orders]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert seen == expected

    @pytest.mark.parametrize(
        "cursor", ["", "x", "é", "AAAA", "MA", "LTE", "=", "MTIz=", "MTIz\n", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5"]
    )
    async def test_a_cursor_that_is_not_ours(self, store: Store, cursor: str) -> None:
        with pytest.raises(ValueError, match="cursor"):
            await store.orders(user_id=None, status=None, cursor=cursor, limit=2)

    async def test_active_orders_oldest_first(self, store: Store) -> None:
        everything = await self._of_every_kind(store)
        active = [order for order in everything if not order.is_terminal]
        assert [order.id for order in await store.active(100)] == [order.id for order in active]
        assert [order.id for order in await store.active(2)] == [order.id for order in active[:2]]

    async def test_stats(self, store: Store) -> None:
        everything = await self._of_every_kind(store)
        await place(store, 80, due_at_ms=LATER_MS + 99)
        oldest = await place(store, 90)
        await place(store, 91)
        stats = await store.stats(LATER_MS, 60_000)
        assert (stats.waiting, stats.delayed) == (2, 1)
        assert stats.oldest_waiting_ms == oldest.created_at_ms
        assert stats.in_work == sum(order.lease_owner is not None for order in everything)
        assert stats.started_in_window == len(everything)
        counts = {status: sum(order.status is status for order in everything) for status in Status}
        counts[Status.PENDING] += 3
        assert dict(stats.by_status) == counts
        assert (await store.stats(LATER_MS + 60_000, 60_000)).started_in_window == 0

    async def test_stats_of_nothing(self, store: Store) -> None:
        stats = await store.stats(LATER_MS, 60_000)
        assert (stats.waiting, stats.delayed, stats.in_work, stats.oldest_waiting_ms) == (0, 0, 0, None)
        assert set(stats.by_status.values()) == {0}

    async def test_a_ping_is_answered(self, store: Store) -> None:
        await store.ping()

    async def _of_every_kind(self, store: Store) -> list[Order]:
        """Two orders of two users in each state that an order can be in, oldest first."""
        for number in range(20):
            await place(store, number, user_id=("alice", "bob")[number % 2])
        lives = [Life(each.order) for each in (await claim(store, limit=20)).claims]
        for number, life in enumerate(lives):
            kind = number // 2
            if kind == 1:
                await store.record(life.change(life.routed()))
            elif kind == 2:
                await store.record(life.change(life.routed(), life.built()))
            elif kind >= 7:
                made = await submit(store, life)
                landed = replace(made, state=AttemptState.LANDED)
                if kind == 8:
                    await store.record(life.change(life.confirmed(), attempt=landed))
                elif kind == 9:
                    await store.record(life.change(life.confirmed(), life.finalized(), attempt=landed))
            elif kind:
                end = (life.failed, life.canceled, life.expired, life.failed)[kind - 3]
                await store.record(life.change(end()))
        return [await store.order(life.order.id) for life in lives]


class Telling:
    async def test_listeners_hear_what_is_on_disk_in_order(self, store: Store) -> None:
        heard = Heard()
        store.on_commit(heard)
        order = await place(store, 1)
        life = await claim_one(store)
        await submit(store, life)
        assert [(event.order_id, event.seq) for event in heard.events] == [(order.id, seq) for seq in (1, 2, 3, 4)]
        assert [msgspec.structs.replace(event, order=None) for event in heard.events] == await store.events(order.id)

    async def test_the_last_event_of_a_change_carries_the_order(self, store: Store) -> None:
        heard = Heard()
        store.on_commit(heard)
        placed = await place(store, 1)
        life = await claim_one(store)
        await store.record(life.change(life.routed(), life.built()))
        built = life.order
        await store.record(life.change(life.failed()))
        assert [event.order for event in heard.events] == [placed, None, built, life.order]

    async def test_one_call_for_one_commit(self, store: Store) -> None:
        heard = Heard()
        store.on_commit(heard)
        await asyncio.gather(*(store.accept(*pending(number), keys()) for number in range(10)))
        assert sum(len(batch) for batch in heard.batches) == 10
        assert len(heard.batches) <= 2

    async def test_of_refused_writes_nothing_is_heard(self, store: Store) -> None:
        await place(store, 1)
        life = await claim_one(store)
        heard = Heard()
        store.on_commit(heard)
        stale = Life(replace(life.order, seq=7))
        with pytest.raises(StaleVersion):
            await store.record(stale.change(stale.routed()))
        assert heard.events == []

    async def test_a_listener_that_fails_harms_nobody(self, store: Store) -> None:
        def broken(_events: Sequence[Committed]) -> None:
            raise RuntimeError("broken listener")

        heard = Heard()
        store.on_commit(broken)
        store.on_commit(heard)
        await place(store, 1)
        await place(store, 2)
        assert len(heard.events) == 2

    async def test_the_last_event_is_final(self, store: Store) -> None:
        heard = Heard()
        store.on_commit(heard)
        await place(store, 1)
        life = await claim_one(store)
        await store.record(life.change(life.canceled()))
        assert [event.final for event in heard.events] == [False, True]


class Restarting:
    async def test_everything_is_still_there(self, harness: Harness) -> None:
        await place(harness.store, 1)
        life = await claim_one(harness.store)
        made = await submit(harness.store, life)
        before = await harness.store.events(life.order.id)
        await harness.reopen()
        assert await harness.store.order(life.order.id) == replace(life.order, lease_owner=None, lease_until_ms=0)
        assert await harness.store.events(life.order.id) == before
        assert await harness.store.attempts(life.order.id) == [made]

    async def test_leases_end_with_the_process(self, harness: Harness) -> None:
        await place(harness.store, 1)
        life = await claim_one(harness.store)
        await submit(harness.store, life)
        await harness.reopen()
        (again,) = (await claim(harness.store, worker="next")).claims
        assert again.order.id == life.order.id
        assert again.order.lease_epoch > 1
        assert again.attempt is not None

    async def test_a_step_from_before_is_fenced_off(self, harness: Harness) -> None:
        await place(harness.store, 1)
        life = await claim_one(harness.store)
        await harness.store.record(life.change(life.routed()))
        await harness.reopen()
        await claim(harness.store, worker="next")
        with pytest.raises(StaleVersion):
            await harness.store.record(life.change(life.built()))

    async def test_keys_are_still_known(self, harness: Harness) -> None:
        first = await harness.store.accept(*pending(1), keys(client_order_id="k"))
        await harness.reopen()
        again = await harness.store.accept(*pending(2), keys(client_order_id="k"))
        assert (again.created, again.order) == (False, first.order)

    async def test_the_queue_is_as_it_was(self, harness: Harness) -> None:
        late = await place(harness.store, 1, due_at_ms=LATER_MS + 50)
        low = await place(harness.store, 2)
        high = await place(harness.store, 3, priority=3)
        before = await harness.store.stats(LATER_MS, 60_000)
        await harness.reopen()
        assert await harness.store.stats(LATER_MS, 60_000) == before
        answer = await claim(harness.store, lease_ms=LEASE_MS)
        assert (ids(answer), answer.next_due_ms) == ([high.id, low.id], LATER_MS + 50)
        assert ids(await claim(harness.store, now_ms=LATER_MS + 50)) == [late.id]

    async def test_a_closed_store_is_unavailable(self, harness: Harness) -> None:
        store = harness.store
        order = await place(store, 1)
        life = Life(order)
        await store.close()
        asked: list[Awaitable[object]] = [
            store.order(order.id),
            store.events(order.id),
            store.attempts(order.id),
            store.active(1),
            store.stats(0, 1),
            store.ping(),
            store.orders(user_id=None, status=None, cursor=None, limit=1),
            store.accept(*pending(2), keys()),
            claim(store),
            store.renew("w", [order.id], lease_until_ms=1),
            store.record(life.change(life.routed())),
        ]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(answer) for answer in answers} == {StoreUnavailable}
        await store.close()

    async def test_closing_finishes_what_was_asked_for(self, harness: Harness) -> None:
        life = Life(await place(harness.store, 1))
        waiting = harness.store.record(life.change(life.routed()))
        await harness.store.close()
        await waiting
        await harness.reopen()
        assert (await harness.store.order(life.order.id)).status is Status.ROUTING


class StoreContract(Accepting, Recording, Attempting, Claiming, Limiting, Finalizing, Reading, Telling, Restarting):
    """All of it. A subclass named Test... gives a fixture `harness`."""
