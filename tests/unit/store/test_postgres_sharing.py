"""Several stores on one PostgreSQL database: what one does holds for all."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from bestex.errors import Conflict, IdempotencyMismatch, StaleVersion, StoreUnavailable
from bestex.orders.attempt import AttemptState
from bestex.orders.order import Order
from bestex.orders.status import Status
from bestex.ports import Claims, RateLimit
from bestex.runtime import SystemClock
from bestex.store.postgres import PostgresStore
from bestex.types import OrderId, Signature
from tests.support.orders import NOW_MS, Life, attempt, keys, pending

LATER_MS = NOW_MS + 10_000
LEASE_MS = 30_000


@pytest.fixture
async def stores(dsn: str) -> AsyncIterator[list[PostgresStore]]:
    """Opened at once: they migrate an empty database together."""
    opened = [PostgresStore(dsn, clock=SystemClock()) for _ in range(3)]
    await asyncio.gather(*(store.open() for store in opened))
    yield opened
    await asyncio.gather(*(store.close() for store in opened))


async def place(store: PostgresStore, *numbers: int) -> list[Order]:
    answers = await asyncio.gather(*(store.accept(*pending(number), keys()) for number in numbers))
    return [answer.order for answer in answers]


async def claim(
    store: PostgresStore, worker: str, *, limit: int = 7, now_ms: int = LATER_MS, rate: RateLimit | None = None
) -> Claims:
    return await store.claim(worker, limit=limit, now_ms=now_ms, lease_ms=LEASE_MS, rate=rate)


class TestTogether:
    async def test_claims_never_overlap(self, stores: list[PostgresStore]) -> None:
        orders = await place(stores[0], *range(200))
        claimed: list[OrderId] = []

        async def work(store: PostgresStore, worker: str) -> None:
            while answer := (await claim(store, worker)).claims:
                claimed.extend(each.order.id for each in answer)

        await asyncio.gather(*(work(store, f"w{number}") for number, store in enumerate(stores)))
        # A claim passes over what another one is taking at that moment: who comes last may be too early to be the last.
        claimed.extend(each.order.id for each in (await claim(stores[0], "last", limit=200)).claims)
        assert sorted(claimed) == sorted(order.id for order in orders)

    async def test_the_rate_limit_holds_over_all(self, stores: list[PostgresStore]) -> None:
        await place(stores[0], *range(60))
        rate = RateLimit(count=10, window_ms=1_000)
        for now_ms in (LATER_MS, LATER_MS + 999, LATER_MS + 1_000):
            answers = await asyncio.gather(
                *(claim(store, f"w{turn}", limit=3, now_ms=now_ms, rate=rate) for turn in range(4) for store in stores)
            )
            expected = 0 if now_ms == LATER_MS + 999 else 10
            assert sum(len(answer.claims) for answer in answers) == expected
        assert (await stores[1].stats(LATER_MS + 1_000, 1_000)).started_in_window == 10

    async def test_a_clock_that_is_behind_begins_no_more(self, stores: list[PostgresStore]) -> None:
        await place(stores[0], *range(9))
        rate = RateLimit(count=2, window_ms=1_000)
        assert len((await claim(stores[0], "ahead", now_ms=LATER_MS + 700, rate=rate)).claims) == 2
        assert (await claim(stores[1], "behind", now_ms=LATER_MS, rate=rate)).claims == []

    async def test_an_older_epoch_is_fenced_off(self, stores: list[PostgresStore]) -> None:
        await place(stores[0], 1)
        old = Life((await claim(stores[0], "slow")).claims[0].order)
        new = Life((await claim(stores[1], "quick", now_ms=LATER_MS + LEASE_MS)).claims[0].order)
        with pytest.raises(StaleVersion):
            await stores[0].record(old.change(old.routed()))
        await stores[1].record(new.change(new.routed()))
        assert await stores[2].order(new.order.id) == new.order

    async def test_one_step_of_two_at_once_wins(self, stores: list[PostgresStore]) -> None:
        for number in range(20):
            (order,) = await place(stores[0], number)
            lives = [Life(order) for _ in stores]
            answers = await asyncio.gather(
                *(store.record(life.change(life.canceled())) for store, life in zip(stores, lives, strict=True)),
                return_exceptions=True,
            )
            assert sorted(type(answer).__name__ for answer in answers) == ["NoneType", "StaleVersion", "StaleVersion"]
            assert [event.seq for event in await stores[0].events(order.id)] == [1, 2]

    async def test_the_same_key_at_once_makes_one_order(self, stores: list[PostgresStore]) -> None:
        for number in range(20):
            both = keys(client_order_id=f"c{number}", header_key=f"h{number}")
            answers = await asyncio.gather(
                *(store.accept(*pending(3 * number + place), both) for place, store in enumerate(stores))
            )
            assert sorted(answer.created for answer in answers) == [False, False, True]
            assert len({answer.order.id for answer in answers}) == 1

    async def test_the_same_key_at_once_is_no_outage(self, dsn: str) -> None:
        impatient = [PostgresStore(dsn, clock=SystemClock(), retry_for_s=0.0) for _ in range(3)]
        await asyncio.gather(*(store.open() for store in impatient))
        for number in range(20):
            one = keys(client_order_id=f"c{number}")
            answers = await asyncio.gather(
                *(store.accept(*pending(3 * number + place), one) for place, store in enumerate(impatient))
            )
            assert sorted(answer.created for answer in answers) == [False, False, True]
        await asyncio.gather(*(store.close() for store in impatient))

    async def test_the_same_key_at_once_for_other_requests(self, stores: list[PostgresStore]) -> None:
        for number in range(20):
            answers = await asyncio.gather(
                *(
                    store.accept(
                        *pending(3 * number + place), keys(request_hash=str(place), client_order_id=f"c{number}")
                    )
                    for place, store in enumerate(stores)
                ),
                return_exceptions=True,
            )
            assert sum(isinstance(answer, IdempotencyMismatch) for answer in answers) == 2

    async def test_counts_are_of_all(self, stores: list[PostgresStore]) -> None:
        for number, store in enumerate(stores):
            (order,) = await place(store, number)
            life = Life(order)
            await store.record(life.change(life.canceled()))
        assert (await stores[0].stats(LATER_MS, 1)).by_status[Status.CANCELED] == 3

    async def test_what_counted_for_a_writer_that_is_gone_still_counts(
        self, stores: list[PostgresStore], dsn: str
    ) -> None:
        (order,) = await place(stores[0], 1)
        life = Life(order)
        await stores[0].record(life.change(life.failed()))
        connection = await asyncpg.connect(dsn)
        await connection.execute("UPDATE writers SET touched_at = now() - interval '8 days'")
        again = PostgresStore(dsn, clock=SystemClock())
        await again.open()
        assert await connection.fetchval("SELECT count(*) FROM writers") == 1
        await connection.close()
        assert (await again.stats(LATER_MS, 1)).by_status[Status.FAILED] == 1
        await place(stores[0], 2)  # a writer whose row was forgotten writes on
        await again.close()

    async def test_closing_gives_up_its_own_leases_only(self, stores: list[PostgresStore]) -> None:
        await place(stores[0], 1, 2)
        (first,) = (await claim(stores[0], "a", limit=1)).claims
        (second,) = (await claim(stores[1], "b", limit=1)).claims
        await stores[0].close()
        assert (await stores[1].order(first.order.id)).lease_owner is None
        assert (await stores[1].order(second.order.id)).lease_owner == "b"

    async def test_a_killed_store_keeps_its_leases_until_they_end(self, stores: list[PostgresStore]) -> None:
        await place(stores[0], 1)
        await claim(stores[0], "a")
        stores[0].abandon()
        assert (await claim(stores[1], "b", now_ms=LATER_MS + LEASE_MS - 1)).claims == []
        (again,) = (await claim(stores[1], "b", now_ms=LATER_MS + LEASE_MS)).claims
        assert again.order.lease_epoch == 2

    async def test_what_is_free_and_what_has_expired_are_of_one_limit(self, stores: list[PostgresStore]) -> None:
        """Of orders that are confirmed and not final."""
        await place(stores[0], 1, 2, 3)
        for each in (await claim(stores[0], "w")).claims:
            life = Life(each.order)
            made = attempt(life.order)
            events = [life.routed(), life.built(), life.submitted(), life.confirmed()]
            await stores[0].record(life.change(*events, attempt=made, release=True))
        claimed = []
        end_ms = LATER_MS + LEASE_MS + 1
        for now_ms, limit in ((LATER_MS, 1), (LATER_MS + 1, 1), (end_ms, 2), (end_ms, 2)):
            answer = await stores[0].claim_unfinal("f", limit=limit, now_ms=now_ms, lease_ms=LEASE_MS)
            claimed.append(sorted(each.order.lease_epoch for each in answer.claims))
        assert claimed == [[2], [2], [2, 3], [3]]


class TestBadOperations:
    async def test_what_the_server_cannot_store_fails_alone(self, stores: list[PostgresStore]) -> None:
        bad, event = pending(1, user_id="nul\0")
        answers = await asyncio.gather(
            stores[0].accept(*pending(2), keys()),
            stores[0].accept(bad, event, keys()),
            stores[0].accept(*pending(3), keys()),
            return_exceptions=True,
        )
        assert [isinstance(answer, Exception) for answer in answers] == [False, True, False]
        assert not isinstance(answers[1], StoreUnavailable)
        assert len(await stores[0].active(9)) == 2

    async def test_one_id_twice_in_a_breath(self, stores: list[PostgresStore]) -> None:
        order, event = pending(1)
        answers = await asyncio.gather(
            *(stores[0].accept(order, event, keys()) for _ in range(2)), return_exceptions=True
        )
        assert sum(isinstance(answer, Conflict) for answer in answers) == 1

    async def test_an_id_that_is_in_the_history(self, stores: list[PostgresStore]) -> None:
        (order,) = await place(stores[0], 1)
        life = Life(order)
        await stores[0].record(life.change(life.canceled()))
        with pytest.raises(Conflict):
            await stores[1].accept(*pending(1), keys())
        assert (await stores[1].order(order.id)).status is Status.CANCELED

    async def test_another_transaction_in_the_place_of_an_attempt(self, stores: list[PostgresStore]) -> None:
        await place(stores[0], 1)
        life = Life((await claim(stores[0], "w")).claims[0].order)
        first = attempt(life.order)
        await stores[0].record(life.change(life.routed(), life.built(), life.submitted(), attempt=first))
        other = attempt(life.order, signature=Signature("z" * 88), state=AttemptState.SENT)
        with pytest.raises(Conflict, match="another transaction"):
            await stores[0].record(life.change(attempt=other))
        assert await stores[0].attempts(life.order.id) == [first]

    async def test_what_is_refused_does_not_keep_the_others_from_being_written(
        self, stores: list[PostgresStore]
    ) -> None:
        """A batch that is not as it was expected to be is judged operation by operation."""
        await place(stores[0], 1, 2)
        stale, good = [Life(each.order) for each in (await claim(stores[0], "w")).claims]
        canceled = Life(stale.order)
        await stores[1].record(canceled.change(canceled.canceled()))
        answers = await asyncio.gather(
            stores[0].record(good.change(good.routed())),
            stores[0].record(stale.change(stale.routed())),
            stores[0].accept(*pending(3), keys()),
            claim(stores[0], "w"),
            return_exceptions=True,
        )
        assert [type(answer).__name__ for answer in answers] == ["NoneType", "StaleVersion", "Acceptance", "Claims"]
        assert await stores[1].order(good.order.id) == good.order
