"""Every check passes on what a sound run leaves, and fails alone on what it is there to find."""

import asyncio
from collections.abc import Callable
from copy import deepcopy
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from solders.keypair import Keypair

from bestex.orders import events as made
from bestex.orders.attempt import AttemptState
from bestex.orders.events import Event, encode_event
from bestex.orders.order import Order
from bestex.orders.status import Status
from bestex.ports import LandedTransaction, QueueStats
from bestex.sim.checks import CHECKS
from bestex.sim.evidence import (
    Balances,
    Evidence,
    Holding,
    Limits,
    Seen,
    StoredEvent,
    collect,
    read_database,
    secret_forms,
)
from bestex.sim.observed import Begun, InWork
from bestex.sim.record import ClientRecord, Polled, Posted, Subscriber
from bestex.types import OrderId, Signature, SwapMode
from bestex.venues.token import NATIVE_MINT
from tests.support.paper import USDC, WALLET, ata, paper
from tests.support.world import Incarnation, World, request, world

LIMITS = Limits(
    concurrency=10, rate_per_minute=100, max_attempts=3, retry_base_s=0.5, retry_max_s=30.0, end_within_ms=400_000
)
ME = WALLET.pubkey()
PLACED: dict[str, dict[str, Any]] = {
    "plain": {"token_in": "SOL", "token_out": "USDC", "amount": "5"},
    "new account": {"token_out": "JUP"},
    "retried": {"amount": "200000", "token_out": "ETH", "slippage_bps": 0},
    "first": {"amount": "200000", "token_out": "ETH", "slippage_bps": 0},
    "fatal": {"token_in": "JUP", "token_out": "USDC"},
    "bought": {"amount": None, "amount_out": "3", "token_out": "ETH", "swap_mode": SwapMode.EXACT_OUT},
}


# --- a sound run ------------------------------------------------------------------------------------------------------


class Run:
    """Orders by what becomes of them, on a real engine, store and chain; at the end the engine's process is killed."""

    def __init__(self, chain: World, engine: Incarnation) -> None:
        self.chain = chain
        self.engine = engine
        self.record = ClientRecord()

    async def place(self, key: str, **more: Any) -> OrderId:
        acceptance = await self.engine.intake.place(request(client_order_id=key, **more))
        self.record.posted.append(Posted(key, "u", [acceptance.order.id]))
        return acceptance.order.id

    async def live(self) -> None:
        ids = [await self.place(key, **more) for key, more in PLACED.items()]
        again = await self.engine.intake.place(request(client_order_id="plain", **PLACED["plain"]))
        self.record.posted[0].order_ids.append(again.order.id)
        ids.append(await self.cancel(await self.place("canceled")))
        for order_id in ids:
            await self.chain.until_terminal(self.engine, order_id)
        self.chain.cluster.drop_sends = True
        dead = await self.place("dead")
        await self.chain.until_event(self.engine, dead, made.Submitted)
        await self.chain.until_terminal(self.engine, await self.cancel(dead))
        for order_id in (*ids, dead):
            await self.subscribe(order_id)
            order = await self.engine.store.order(order_id)
            self.record.polled.append(Polled(order_id, order.status, order.finality, list(range(1, order.seq + 1))))

    async def cancel(self, order_id: OrderId) -> OrderId:
        await self.engine.intake.cancel(order_id)
        self.record.posted[-1].cancel_accepted = True
        return order_id

    async def subscribe(self, order_id: OrderId) -> None:
        events = await self.engine.store.events(order_id)
        seqs, payloads = [event.seq for event in events], [event.payload for event in events]
        self.record.subscribers.append(Subscriber(order_id, seqs, payloads, closed_as_ended=True))

    async def evidence(self, begin: Balances) -> Evidence:
        database, now_ms = self.chain.path / "bestex.db", self.chain.clock.now_ms()
        seen = Seen(
            wallet=ME,
            limits=LIMITS,
            record=self.record,
            begun=[Begun(now_ms + index, 1.0, "order", "one") for index in range(100)],
            in_work=[InWork(1.0, "one", 10)],
            logs=["info: nothing of interest"],
            secrets=secret_forms(WALLET),
            healed_at_ms=0,
            ended_at_ms=60_000,
            streams_had_time=True,
        )
        return await collect(database, None, self.chain.paper, begin, seen)


async def sound_run(path: Path) -> Evidence:
    async with world(path) as chain:
        begin = Balances.of(chain.paper.validator.chain.state.accounts)
        run = Run(chain, await chain.incarnation().start())
        await run.live()
        await run.engine.crash()
        return await run.evidence(begin)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return asyncio.run(sound_run(tmp_path_factory.mktemp("sound")))


def broken(evidence: Evidence) -> dict[str, list[str]]:
    """The checks that find something, and what."""
    found = {check.__name__: list(check(evidence)) for check in CHECKS}
    return {name: sentences for name, sentences in found.items() if sentences}


def test_a_sound_run_passes_every_check(sound: Evidence) -> None:
    assert broken(sound) == {}


def test_the_sound_run_has_something_for_every_check(sound: Evidence) -> None:
    outcomes = {order.terms.client_order_id: order.status for order in sound.stored.orders.values()}
    filled = dict.fromkeys(("plain", "new account", "first", "retried", "bought"), Status.CONFIRMED)
    given_up = {"fatal": Status.FAILED, "canceled": Status.CANCELED, "dead": Status.CANCELED}
    assert outcomes == filled | given_up
    states = {state for attempts in sound.stored.attempts.values() for state in (each.state for each in attempts)}
    assert states == {AttemptState.LANDED, AttemptState.FAILED_ON_CHAIN, AttemptState.DEAD}


def test_reading_leaves_the_database_as_it_is(tmp_path: Path) -> None:
    async def killed() -> None:
        async with world(tmp_path) as chain:
            engine = await chain.incarnation().open()
            await engine.intake.place(request())
            await engine.crash()

    asyncio.run(killed())
    files = [tmp_path / "bestex.db", tmp_path / "bestex.db-wal"]
    before = [file.read_bytes() for file in files]
    assert len(read_database(files[0]).orders) == 1
    assert [file.read_bytes() for file in files] == before


async def test_traders_neither_make_nor_burn_money() -> None:
    cluster = await paper(traders=True)
    begin = Balances.of(cluster.validator.chain.state.accounts)
    for _ in range(100):
        await cluster.validator.tick()
    end = Balances.of(cluster.validator.chain.state.accounts)
    assert begin.holdings != end.holdings
    assert begin.of_all() == end.of_all()
    assert sum(begin.lamports.values()) == sum(end.lamports.values())
    await cluster.close()


# --- lies -------------------------------------------------------------------------------------------------------------

Lie = Callable[[Evidence], Evidence | None]
"""Falsifies a copy of the evidence, in place or by returning another."""

LIES: list[tuple[str, Lie]] = []


def breaks(check: str) -> Callable[[Lie], Lie]:
    """The lie is found by this check and by no other."""

    def register(lie: Lie) -> Lie:
        LIES.append((check, lie))
        return lie

    return register


@pytest.mark.parametrize(("check", "lie"), LIES, ids=lambda given: given if isinstance(given, str) else given.__name__)
def test_a_lie_is_found_by_its_check_alone(sound: Evidence, check: str, lie: Lie) -> None:
    evidence = deepcopy(sound)
    found = broken(lie(evidence) or evidence)
    assert list(found) == [check], found
    assert all(sentence and "\n" not in sentence for sentence in found[check])
    assert broken(sound) == {}


def test_there_is_a_lie_for_every_check() -> None:
    assert {check for check, _ in LIES} == {check.__name__ for check in CHECKS}


def the(evidence: Evidence, key: str) -> OrderId:
    """The order that was placed under a key."""
    return next(id_ for id_, order in evidence.stored.orders.items() if order.terms.client_order_id == key)


def posted(evidence: Evidence, key: str) -> Posted:
    return next(each for each in evidence.seen.record.posted if each.client_order_id == key)


def subscriber(evidence: Evidence, key: str) -> Subscriber:
    return next(each for each in evidence.seen.record.subscribers if each.order_id == the(evidence, key))


def alter(evidence: Evidence, key: str, **changes: Any) -> Order:
    """Another state of an order."""
    order_id = the(evidence, key)
    order = msgspec.structs.replace(evidence.stored.orders[order_id], **changes)
    evidence.stored.orders[order_id] = order
    return order


def write(evidence: Evidence, key: str, events: list[Event]) -> None:
    """Other events, numbered anew, as stored and as seen."""
    numbered = [msgspec.structs.replace(event, seq=seq) for seq, event in enumerate(events, 1)]
    stored = [StoredEvent(event.seq, encode_event(event), event) for event in numbered]
    evidence.stored.events[the(evidence, key)] = stored
    reader = subscriber(evidence, key)
    reader.seqs, reader.payloads = [each.seq for each in stored], [each.payload for each in stored]
    order = alter(evidence, key, seq=len(stored))
    evidence.stored.rows[order.id] = (order.status, order.seq, order.is_terminal)


def told(evidence: Evidence, key: str) -> list[Event]:
    return [stored.event for stored in evidence.stored.events[the(evidence, key)]]


def retell(evidence: Evidence, key: str, kind: type[Any], **changes: Any) -> None:
    """Another content of the order's first event of a kind."""
    events = told(evidence, key)
    at = next(index for index, event in enumerate(events) if isinstance(event, kind))
    events[at] = msgspec.structs.replace(events[at], **changes)
    write(evidence, key, events)


def first(evidence: Evidence, key: str, kind: type[Any]) -> Any:
    return next(event for event in told(evidence, key) if isinstance(event, kind))


def retry(evidence: Evidence, key: str, number: int, **changes: Any) -> None:
    """Another attempt in the place of one."""
    attempts = evidence.stored.attempts[the(evidence, key)]
    attempts[number - 1] = msgspec.structs.replace(attempts[number - 1], **changes)


def forget(evidence: Evidence, key: str) -> None:
    evidence.seen.record.subscribers.remove(subscriber(evidence, key))


@breaks("accepted_orders_present")
def an_order_is_lost(evidence: Evidence) -> None:
    order_id = the(evidence, "fatal")
    forget(evidence, "fatal")
    evidence.seen.record.polled.clear()
    stored = evidence.stored
    for table in (stored.orders, stored.events, stored.attempts, stored.rows):
        del table[order_id]
    stored.counts["failed"] -= 1


@breaks("accepted_orders_present")
def a_key_is_answered_with_two_orders(evidence: Evidence) -> None:
    posted(evidence, "fatal").order_ids.append(the(evidence, "plain"))


@breaks("accepted_orders_present")
def a_key_makes_two_orders(evidence: Evidence) -> None:
    order = evidence.stored.orders[the(evidence, "fatal")]
    alter(evidence, "fatal", terms=msgspec.structs.replace(order.terms, client_order_id="plain"))


@breaks("accepted_orders_present")
def a_key_is_forgotten(evidence: Evidence) -> None:
    del evidence.stored.keys["u", "client_order_id", "plain"]


@breaks("unsound_requests_are_refused")
def an_unsound_request_is_accepted(evidence: Evidence) -> None:
    posted(evidence, "fatal").sound = False


@breaks("answers_are_true")
def an_answer_is_none_that_anything_excuses(evidence: Evidence) -> None:
    evidence.seen.record.unexpected.append("500 to GET /api/orders")


@breaks("answers_are_true")
def more_events_are_shown_than_there_are(evidence: Evidence) -> None:
    evidence.seen.record.polled.append(Polled(the(evidence, "fatal"), "failed", None, list(range(1, 9))))


@breaks("answers_are_true")
def a_status_is_shown_that_never_was(evidence: Evidence) -> None:
    evidence.seen.record.polled.append(Polled(the(evidence, "fatal"), "confirmed", None, [1, 2]))


@breaks("answers_are_true")
def a_fill_is_shown_as_final_that_never_was(evidence: Evidence) -> None:
    evidence.seen.record.polled.append(Polled(the(evidence, "fatal"), "failed", "finalized", [1, 2]))


@breaks("legal_edges")
def a_step_is_left_out(evidence: Evidence) -> None:
    events = told(evidence, "plain")
    events[2] = events[1]
    write(evidence, "plain", events)


@breaks("legal_edges")
def life_goes_on_after_the_end(evidence: Evidence) -> None:
    events = told(evidence, "fatal")
    write(evidence, "fatal", [*events, events[-1]])


@breaks("legal_edges")
def an_event_says_another_status(evidence: Evidence) -> None:
    retell(evidence, "plain", made.Built, status=Status.SUBMITTED)


@breaks("events_are_gap_free")
def an_event_is_missing(evidence: Evidence) -> None:
    events = evidence.stored.events[the(evidence, "dead")]
    events[:] = [stored for stored in events if not isinstance(stored.event, made.CancelRequested)]
    evidence.seen.record.polled.clear()
    forget(evidence, "dead")


@breaks("events_are_gap_free")
def an_event_is_older_than_the_one_before(evidence: Evidence) -> None:
    built = first(evidence, "plain", made.Built)
    retell(evidence, "plain", made.Built, at=built.at - timedelta(minutes=1))


def test_times_may_lie_as_far_back_as_the_clock_was_set(sound: Evidence) -> None:
    evidence = deepcopy(sound)
    an_event_is_older_than_the_one_before(evidence)
    seen = msgspec.structs.replace(evidence.seen, set_back_ms=60_000)
    assert broken(msgspec.structs.replace(evidence, seen=seen)) == {}


@breaks("events_are_gap_free")
def an_event_is_another_orders(evidence: Evidence) -> None:
    retell(evidence, "plain", made.Built, order_id=the(evidence, "first"))


@breaks("orders_are_the_sum_of_their_events")
def an_order_is_not_what_its_events_say(evidence: Evidence) -> None:
    alter(evidence, "plain", retries=1)


@breaks("orders_are_the_sum_of_their_events")
def a_row_is_not_what_its_order_says(evidence: Evidence) -> None:
    order = evidence.stored.orders[the(evidence, "plain")]
    evidence.stored.rows[order.id] = (order.status, order.seq, False)


@breaks("accepted_cancels_hold")
def a_cancel_is_forgotten(evidence: Evidence) -> None:
    posted(evidence, "plain").cancel_accepted = True


@breaks("accepted_cancels_hold")
def an_order_is_tried_again_after_its_cancel(evidence: Evidence) -> None:
    events = told(evidence, "retried")
    at = next(index for index, event in enumerate(events) if isinstance(event, made.Submitted)) + 1
    asked = first(evidence, "dead", made.CancelRequested)
    asked = msgspec.structs.replace(asked, order_id=events[0].order_id, at=events[at - 1].at)
    alter(evidence, "retried", cancel_requested=True)
    write(evidence, "retried", [*events[:at], asked, *events[at:]])


@breaks("retries_are_few_and_spaced")
def a_wait_is_too_short(evidence: Evidence) -> None:
    retrying = first(evidence, "retried", made.Retrying)
    retell(evidence, "retried", made.Retrying, retry_at=retrying.at + timedelta(milliseconds=100))


@breaks("retries_are_few_and_spaced")
def a_try_begins_before_its_time(evidence: Evidence) -> None:
    events = told(evidence, "retried")
    at = next(index for index, event in enumerate(events) if isinstance(event, made.Retrying)) + 1
    events[at] = msgspec.structs.replace(events[at], at=events[at - 1].at + timedelta(milliseconds=1))
    write(evidence, "retried", events)


@breaks("retries_are_few_and_spaced")
def there_are_too_many_tries(evidence: Evidence) -> None:
    order = evidence.stored.orders[the(evidence, "retried")]
    alter(evidence, "retried", terms=msgspec.structs.replace(order.terms, max_retries=0))


@breaks("fatal_errors_end_the_order")
def a_fatal_error_is_retried(evidence: Evidence) -> None:
    error = first(evidence, "fatal", made.Failed).error
    retell(evidence, "retried", made.Retrying, error=error)


@breaks("fatal_errors_end_the_order")
def an_order_is_given_up_early(evidence: Evidence) -> None:
    error = msgspec.structs.replace(first(evidence, "fatal", made.Failed).error, retryable=True)
    retell(evidence, "fatal", made.Failed, error=error)
    alter(evidence, "fatal", error=error)


@breaks("at_most_one_fill_per_order")
def an_order_is_filled_twice(evidence: Evidence) -> None:
    failed = evidence.stored.attempts[the(evidence, "retried")][0]
    history = evidence.chain.history
    at = next(index for index, landed in enumerate(history) if landed.signature == failed.signature)
    history[at] = msgspec.structs.replace(history[at], error=None)
    retry(evidence, "retried", 1, state=AttemptState.LANDED)


def tell_fill(evidence: Evidence, **changes: Any) -> None:
    """Another fill of the plain order, as stored and as told."""
    fill = evidence.stored.orders[the(evidence, "plain")].fill
    assert fill is not None
    fill = msgspec.structs.replace(fill, **{name: getattr(fill, name) + more for name, more in changes.items()})
    alter(evidence, "plain", fill=fill)
    retell(
        evidence, "plain", made.Confirmed, slot=fill.slot, fee_lamports=fill.fee_lamports,
        in_amount=str(fill.in_amount), out_amount=str(fill.out_amount),
    )  # fmt: skip


@breaks("stored_fill_is_chain_truth")
def a_fill_is_told_greater(evidence: Evidence) -> None:
    tell_fill(evidence, out_amount=1)


@breaks("stored_fill_is_chain_truth")
def a_fill_is_told_of_another_slot(evidence: Evidence) -> None:
    tell_fill(evidence, slot=1)


@breaks("stored_fill_is_chain_truth")
def a_fee_is_told_smaller(evidence: Evidence) -> None:
    tell_fill(evidence, fee_lamports=-1)


@breaks("stored_fill_is_chain_truth")
def a_fill_is_final_before_its_slot(evidence: Evidence) -> Evidence:
    return msgspec.structs.replace(evidence, chain=msgspec.structs.replace(evidence.chain, finalized_slot=1))


@breaks("fills_keep_their_terms")
def a_fill_pays_less_than_its_minimum(evidence: Evidence) -> None:
    retry(evidence, "plain", 1, min_out_amount=10**18)


@breaks("fills_keep_their_terms")
def a_minimum_is_below_the_slippage(evidence: Evidence) -> None:
    retry(evidence, "plain", 1, min_out_amount=1)


@breaks("fills_keep_their_terms")
def an_attempt_can_spend_more_than_the_order(evidence: Evidence) -> None:
    retry(evidence, "plain", 1, max_in_amount=5 * 10**9 + 1)


@breaks("fills_keep_their_terms")
def an_exact_output_is_missed(evidence: Evidence) -> None:
    order = evidence.stored.orders[the(evidence, "bought")]
    assert order.terms.out_amount is not None
    wanted = order.terms.out_amount + 1
    alter(evidence, "bought", terms=msgspec.structs.replace(order.terms, out_amount=wanted))
    retry(evidence, "bought", 1, quoted_out_amount=wanted, min_out_amount=wanted)


@breaks("fills_keep_their_terms")
def an_attempt_can_spend_more_than_the_client_allows(evidence: Evidence) -> None:
    order = evidence.stored.orders[the(evidence, "bought")]
    alter(evidence, "bought", terms=msgspec.structs.replace(order.terms, max_in_amount=1))


@breaks("attempts_are_stored_before_sent")
def a_transaction_is_unknown(evidence: Evidence) -> None:
    landed = LandedTransaction(
        signature=Signature("1" * 64), slot=9, error=None, fee_lamports=5_000, units_consumed=0, token_changes=[],
        lamport_changes={ME: -5_000}, logs=[],
    )  # fmt: skip
    evidence.chain.history.append(landed)
    evidence.chain.end.lamports[ME] -= 5_000  # type: ignore[index]  # tampering: a read-only Mapping to the checks


@breaks("attempts_are_stored_before_sent")
def the_stored_bytes_are_others(evidence: Evidence) -> None:
    signed = evidence.stored.attempts[the(evidence, "plain")][0].transaction
    retry(evidence, "plain", 1, transaction=signed[:-1] + bytes([signed[-1] ^ 1]))


@breaks("attempts_are_stored_before_sent")
def another_transaction_is_told(evidence: Evidence) -> None:
    retell(evidence, "plain", made.Submitted, tx_hash="1" * 64)


@breaks("attempts_are_chain_truth")
def a_landed_attempt_is_declared_dead(evidence: Evidence) -> None:
    retry(evidence, "retried", 1, state=AttemptState.DEAD, slot=None)


@breaks("attempts_are_chain_truth")
def an_attempt_outlives_its_order(evidence: Evidence) -> None:
    retry(evidence, "dead", 1, state=AttemptState.PREPARED)


@breaks("balances_are_conserved")
def a_lamport_appears(evidence: Evidence) -> None:
    evidence.chain.end.lamports[ME] += 1  # type: ignore[index]  # tampering: a read-only Mapping to the checks


@breaks("balances_are_conserved")
def the_wallet_loses_a_token(evidence: Evidence) -> None:
    holdings: Any = evidence.chain.end.holdings
    held: Holding = holdings[ata(USDC)]
    holdings[ata(USDC)] = msgspec.structs.replace(held, amount=held.amount - 1)


@breaks("balances_are_conserved")
def somebody_elses_token_vanishes(evidence: Evidence) -> None:
    holdings: Any = evidence.chain.end.holdings
    address, held = next((each, held) for each, held in holdings.items() if held.mint == USDC and held.owner != ME)
    holdings[address] = msgspec.structs.replace(held, amount=held.amount - 1)


@breaks("balances_are_conserved")
def some_lamports_stay_wrapped(evidence: Evidence) -> None:
    lamports: Any = evidence.chain.end.lamports
    holdings: Any = evidence.chain.end.holdings
    address = Keypair.from_seed(bytes(32)).pubkey()
    lamports[ME] -= 7
    lamports[address] = 7
    holdings[address] = Holding(NATIVE_MINT, ME, 7, 7)


@breaks("subscribers_saw_everything_once")
def an_event_is_seen_twice(evidence: Evidence) -> None:
    reader = subscriber(evidence, "plain")
    reader.seqs.insert(1, 1)
    reader.payloads.insert(1, reader.payloads[0])


@breaks("subscribers_saw_everything_once")
def an_event_is_never_seen(evidence: Evidence) -> None:
    reader = subscriber(evidence, "plain")
    del reader.seqs[2], reader.payloads[2]


@breaks("subscribers_saw_everything_once")
def something_else_is_seen(evidence: Evidence) -> None:
    subscriber(evidence, "plain").payloads[2] += b" "


@breaks("subscribers_saw_everything_once")
def the_last_event_is_not_seen(evidence: Evidence) -> None:
    reader = subscriber(evidence, "plain")
    reader.seqs.pop()
    reader.payloads.pop()


@breaks("limits_never_exceeded")
def too_many_are_in_work(evidence: Evidence) -> None:
    evidence.seen.in_work.append(InWork(2.0, "one", 11))


@breaks("limits_never_exceeded")
def too_many_are_begun(evidence: Evidence) -> None:
    begun = evidence.seen.begun
    begun.append(msgspec.structs.replace(begun[0], time_ms=begun[0].time_ms + 59_999))


def test_the_window_is_sixty_seconds_long(sound: Evidence) -> None:
    evidence = deepcopy(sound)
    begun = evidence.seen.begun
    begun.append(msgspec.structs.replace(begun[0], time_ms=begun[0].time_ms + 60_000))
    assert broken(evidence) == {}


@breaks("nothing_stays_claimed")
def an_order_never_ends(evidence: Evidence) -> None:
    evidence.seen.record.polled.clear()
    *events, last = told(evidence, "fatal")
    at_ms = round(events[-1].at.timestamp() * 1000)
    alter(evidence, "fatal", status=events[-1].status, error=None, updated_at_ms=at_ms)
    write(evidence, "fatal", events)
    evidence.stored.counts[last.status] -= 1
    counts = evidence.stored.counts
    counts[events[-1].status] = counts.get(events[-1].status, 0) + 1


@breaks("nothing_stays_claimed")
def the_end_takes_too_long(evidence: Evidence) -> Evidence:
    return msgspec.structs.replace(evidence, seen=msgspec.structs.replace(evidence.seen, ended_at_ms=500_000))


@breaks("nothing_stays_claimed")
def a_lease_is_left(evidence: Evidence) -> Evidence:
    queue = QueueStats({}, waiting=0, delayed=0, in_work=1, oldest_waiting_ms=None, started_in_window=0)
    return msgspec.structs.replace(evidence, seen=msgspec.structs.replace(evidence.seen, queue=queue))


@breaks("no_secret_is_told")
def the_key_is_logged(evidence: Evidence) -> None:
    evidence.seen.logs.append(f"error: cannot sign with {list(bytes(WALLET))}")


@breaks("no_secret_is_told")
def the_key_is_in_an_event(evidence: Evidence) -> None:
    retell(evidence, "canceled", made.Canceled, explanation=f"the wallet is {WALLET}")


@breaks("database_is_sound")
def the_file_is_damaged(evidence: Evidence) -> None:
    evidence.stored.damage.append("row 1 missing from index orders_open")


@breaks("database_is_sound")
def a_count_is_wrong(evidence: Evidence) -> None:
    evidence.stored.counts["failed"] += 1


@pytest.mark.parametrize("form", secret_forms(WALLET))
def test_no_form_of_a_secret_is_short(form: str) -> None:
    assert len(form) >= 32
