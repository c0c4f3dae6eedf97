"""Checks of the database against the chain: fills, attempts, money."""

from collections import Counter
from collections.abc import Iterator, Mapping

from bestex.orders import events as made
from bestex.orders.attempt import LIVE, Attempt, AttemptState
from bestex.orders.order import Finality, Terms
from bestex.orders.status import Status
from bestex.sim.evidence import Evidence, is_signed_by, ours, paid_by_pools
from bestex.types import BPS, Mint, OrderId
from bestex.venues.token import NATIVE_MINT


def at_most_one_fill_per_order(evidence: Evidence) -> Iterator[str]:
    """Of all transactions whose memo names an order, at most one has succeeded; nor more for one client key."""
    filled = Counter(mine.order_id for mine in ours(evidence) if mine.succeeded)
    for order_id, count in filled.items():
        if count > 1:
            yield f"order {order_id} was filled {count} times"
    made_for: dict[tuple[str, str, str], set[str]] = {}
    for posted in evidence.seen.record.posted:
        key = (posted.user_id, posted.key_kind, posted.client_order_id)
        made_for.setdefault(key, set()).update(posted.order_ids)
    for order in evidence.stored.orders.values():
        if order.terms.client_order_id is not None:
            made_for.setdefault((order.terms.user_id, "client_order_id", order.terms.client_order_id), set()).add(
                order.id
            )
    for (user_id, _, name), order_ids in made_for.items():
        orders = sorted(order_id for order_id in order_ids if filled[OrderId(order_id)])
        if len(orders) > 1:
            yield f"{len(orders)} orders were filled for key {name} of {user_id}: {orders}"


def stored_fill_is_chain_truth(evidence: Evidence) -> Iterator[str]:
    """A finalized order has its fill on the chain, equal in every number; one that was given up has none.

    An order that is confirmed and not finalized may be behind the chain: a fork can just have taken its fill.
    """
    wallet, landed = evidence.seen.wallet, {mine.landed.signature: mine for mine in ours(evidence) if mine.succeeded}
    for mine in landed.values():
        order = evidence.stored.orders.get(mine.order_id)
        if order is not None and order.status not in (Status.SUBMITTED, Status.CONFIRMED):
            yield f"order {order.id} is {order.status}, and {mine.landed.signature} has filled it"
    for order in evidence.stored.orders.values():
        if order.finality is not Finality.FINALIZED or (fill := order.fill) is None:
            continue
        found = landed.get(fill.signature)
        if found is None or found.order_id != order.id:
            yield f"order {order.id} is final, and its fill {fill.signature} is not on the chain"
            continue
        moved = paid_by_pools(found.landed, wallet)
        in_mint, out_mint = Mint.from_string(order.terms.in_mint), Mint.from_string(order.terms.out_mint)
        paid, received = -moved.get(in_mint, 0), moved.get(out_mint, 0)
        told = (fill.slot, fill.in_amount, fill.out_amount, fill.fee_lamports)
        true = (found.landed.slot, paid, received, found.landed.fee_lamports)
        if told != true:
            yield f"order {order.id}: slot, in, out and fee are told as {told}, the chain says {true}"
        if fill.slot > evidence.chain.finalized_slot:
            yield f"order {order.id} is final in slot {fill.slot}, the chain to {evidence.chain.finalized_slot}"


def fills_keep_their_terms(evidence: Evidence) -> Iterator[str]:
    """A fill moves the order's amount, is within the attempt's limit, and its fee is within what was told."""
    for order_id, order in evidence.stored.orders.items():
        fill, terms = order.fill, order.terms
        for attempt in evidence.stored.attempts[order_id]:
            most, least = attempt.max_in_amount or attempt.in_amount, attempt.min_out_amount
            if not _keeps_terms(terms, attempt):
                swap = f"at most {most} for at least {least}"
                yield f"order {order_id}: attempt {attempt.number} swaps {swap}, against the order's terms"
            if fill is None or fill.signature != attempt.signature:
                continue
            fixed = (
                fill.in_amount == terms.in_amount if terms.out_amount is None else fill.out_amount == terms.out_amount
            )
            if not fixed or fill.in_amount > most or fill.out_amount < least:
                yield f"order {order_id}: {fill.in_amount} paid for {fill.out_amount}, most {most}, least {least}"
            if fill.fee_lamports > attempt.fee_lamports:
                yield f"order {order_id}: a fee of {fill.fee_lamports} lamports, at most {attempt.fee_lamports} told"


def _keeps_terms(terms: Terms, attempt: Attempt) -> bool:
    """Whether the amount that is fixed is the order's, and the other one's limit within its slippage."""
    if terms.out_amount is None:
        slack = attempt.min_out_amount * BPS - attempt.quoted_out_amount * (BPS - terms.slippage_bps)
        return slack >= 0 and attempt.in_amount == attempt.max_in_amount == terms.in_amount
    most = attempt.max_in_amount or 0
    within = most * BPS <= attempt.in_amount * (BPS + terms.slippage_bps)
    allowed = terms.max_in_amount is None or most <= terms.max_in_amount
    return within and allowed and attempt.quoted_out_amount == attempt.min_out_amount == terms.out_amount


def attempts_are_stored_before_sent(evidence: Evidence) -> Iterator[str]:
    """Whatever the wallet has signed and the chain has, is stored, with the same signature and the bytes it is over."""
    stored, wallet = evidence.stored, evidence.seen.wallet
    known = {attempt.signature: attempt for attempts in stored.attempts.values() for attempt in attempts}
    named = {mine.landed.signature: mine for mine in ours(evidence)}
    for landed in evidence.chain.history:
        attempt, mine = known.get(landed.signature), named.get(landed.signature)
        if attempt is None and (mine is not None or wallet in landed.lamport_changes):
            of = f" of order {mine.order_id}, attempt {mine.attempt}," if mine else ""
            yield f"transaction {landed.signature}{of} is on the chain and not in the database"
        elif attempt and mine and (attempt.order_id, attempt.number) != (mine.order_id, mine.attempt):
            yield f"transaction {landed.signature} is stored for {attempt.order_id}, and made for {mine.order_id}"
    for order_id, order in stored.orders.items():
        attempts = stored.attempts[order_id]
        submitted = (each.event for each in stored.events[order_id] if isinstance(each.event, made.Submitted))
        told = [(event.attempt, event.tx_hash) for event in submitted]
        if told != [(attempt.number, attempt.signature) for attempt in attempts] or len(told) != order.attempts:
            yield f"order {order_id}: {order.attempts} attempts, {len(told)} told, {len(attempts)} stored"
        for attempt in attempts:
            if not is_signed_by(attempt, wallet):
                yield f"order {order_id}: the bytes of attempt {attempt.number} are not what its signature is over"


def attempts_are_chain_truth(evidence: Evidence) -> Iterator[str]:
    """A dead attempt is not on the chain, a failed one failed there, a final one landed; none outlives its order."""
    landed = {each.signature: each for each in evidence.chain.history}
    for order_id, order in evidence.stored.orders.items():
        for attempt in evidence.stored.attempts[order_id]:
            found, state = landed.get(attempt.signature), attempt.state
            where = None if found is None else (found.slot, found.error is None)
            if state is AttemptState.DEAD:
                wrong = where is not None
            elif state is AttemptState.FAILED_ON_CHAIN:
                wrong = where != (attempt.slot, False)
            elif state is AttemptState.LANDED:
                wrong = order.finality is Finality.FINALIZED and where != (attempt.slot, True)
            else:
                wrong = order.is_terminal and state in LIVE
            if wrong:
                yield f"order {order_id}: attempt {attempt.number} is {state}, the chain says {where}"


def balances_are_conserved(evidence: Evidence) -> Iterator[str]:
    """The wallet has what it had, less fees, and what the pools paid it, none of it wrapped; no token is made or lost.

    Fees are burnt by the paper cluster: all lamports together lose them and nothing else.
    """
    chain, wallet = evidence.chain, evidence.seen.wallet
    expected, fees = Counter(chain.begin.of_wallet(wallet)), 0
    for landed in chain.history:
        fees += landed.fee_lamports
        if wallet in landed.lamport_changes:
            expected[NATIVE_MINT] -= landed.fee_lamports
            expected.update(paid_by_pools(landed, wallet))
    yield from _differences("the wallet", expected, chain.end.of_wallet(wallet))
    for address, held in chain.end.holdings.items():
        if held.owner == wallet and held.mint == NATIVE_MINT and address not in chain.begin.holdings:
            yield f"{held.lamports} lamports of the wallet stay wrapped in {address}"
    yield from _differences("everybody", chain.begin.of_all(), chain.end.of_all())
    before, after = sum(chain.begin.lamports.values()), sum(chain.end.lamports.values())
    if before - fees != after:
        yield f"there were {before} lamports and {fees} were burnt; {after} are left, {after + fees - before} too many"


def _differences(whose: str, expected: Mapping[Mint, int], found: Mapping[Mint, int]) -> Iterator[str]:
    for mint in sorted({*expected, *found}, key=str):
        if (gain := found.get(mint, 0) - expected.get(mint, 0)) != 0:
            yield f"{whose} has {gain:+} base units of {mint} that nothing explains"
