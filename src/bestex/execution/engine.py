"""The life of an order: claim -> route -> build -> submit -> confirm. Read this file first.

`work` takes one claimed order as far as it goes now. It ends with the order confirmed, failed, canceled, or pending
again with a time for the next try. Every step is an event, durable before anything that depends on it leaves the
process; above all the signed attempt is on disk before its first send.

Whatever happens here, at any moment: the store knows the order, and an attempt that may land is in the store.
"""

import msgspec
import structlog

from bestex.errors import AttemptDead, BestexError, OutcomeUnknown, StaleVersion, StoreUnavailable
from bestex.execution import narrate
from bestex.execution.conditions import Conditions
from bestex.execution.fill import amounts_moved
from bestex.execution.journal import EventMaker, Journal
from bestex.execution.landing import Dead, FailedOnChain, Landed, Landing
from bestex.execution.quoting import Quoting
from bestex.execution.retry import (
    SLIPPAGE_EXCEEDED,
    backoff_ms,
    failed_transaction,
    may_retry,
    next_routing,
    order_error,
)
from bestex.execution.signing import Signing
from bestex.market.tokens import Tokens
from bestex.orders.attempt import LIVE, Attempt, AttemptState
from bestex.orders.order import Order
from bestex.orders.status import Status
from bestex.ports import Claim, Clock, Cluster, Entropy, Signer, Store
from bestex.routing.quote import Route
from bestex.types import Mint, Routing, Token

_log = structlog.get_logger(__name__)


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the engine trades. Durations in seconds."""

    retry_base_s: float
    retry_max_s: float
    finality_check_s: float = 1.0
    """After a confirmation, when to look first whether it is finalized."""


class Engine:
    """Works claimed orders, any number at once."""

    def __init__(
        self,
        *,
        store: Store,
        cluster: Cluster,
        clock: Clock,
        entropy: Entropy,
        signer: Signer,
        tokens: Tokens,
        quoting: Quoting,
        conditions: Conditions,
        landing: Landing,
        settings: EngineSettings,
    ) -> None:
        self._store = store
        self._cluster = cluster
        self._clock = clock
        self._entropy = entropy
        self._signer = signer
        self._tokens = tokens
        self._quoting = quoting
        self._conditions = conditions
        self._landing = landing
        self._settings = settings
        self._signing = Signing(cluster=cluster, clock=clock, signer=signer, tokens=tokens, conditions=conditions)

    async def work(self, claim: Claim) -> None:
        """Take the order as far as it goes now. Never raises for what can go wrong with an order."""
        journal = Journal(claim.order, self._store, self._clock)
        try:
            if claim.order.status is Status.PENDING:
                await self._try(journal)
            else:
                await self._take_over(journal, claim.attempt)
        except (StaleVersion, StoreUnavailable, OutcomeUnknown) as error:
            # Somebody else has the order, or the disk does not answer: the lease ends, and the store knows the rest.
            _log.warning("order let go", order_id=claim.order.id, code=error.code, reason=error.message)
        except Exception:
            _log.exception("order let go: a defect in the engine", order_id=claim.order.id)
            raise

    async def _try(self, journal: Journal) -> None:
        """One try of a pending order, from the quotes on; another at once where only a path could not be taken."""
        route: Route | None = None
        try:
            route = await self._route(journal)
            attempt = await self._submit(journal, route)
        except (StaleVersion, StoreUnavailable):
            raise
        except BestexError as error:
            if route is None or not self._has_another_way(journal.order, route, error):
                await self._give_back(journal, error)
                return
            journal.note(narrate.retrying(journal.order, order_error(error), self._clock.now_ms()))
            await self._try(journal)
        else:
            await self._land(journal, attempt)

    async def _take_over(self, journal: Journal, attempt: Attempt | None) -> None:
        """Go on where another worker, or this one before a crash, has stopped."""
        if journal.order.status is Status.SUBMITTED:
            if attempt is None or attempt.state not in LIVE:
                raise OutcomeUnknown(f"order {journal.order.id} is submitted without a live attempt")
            await self._land(journal, attempt)
        else:
            # No attempt was stored, so nothing was sent.
            await journal.write(narrate.resumed(), release=True, due_at_ms=self._clock.now_ms())

    # --- route --------------------------------------------------------------------------------------------------------

    async def _route(self, journal: Journal) -> Route:
        """Compare all pools of the pair, and choose. Event: routed."""
        terms = journal.order.terms
        token_in, token_out = self._pair(journal.order)
        route = await self._quoting.quote(
            token_in,
            token_out,
            terms.out_amount or terms.in_amount,
            terms.slippage_bps,
            swap_mode=terms.swap_mode,
            routing=next_routing(journal.order, direct=self._has_own_pools(journal.order)),
            max_in_amount=terms.max_in_amount,
        )
        journal.note(narrate.routed(journal.order, route))
        return route

    def _has_another_way(self, order: Order, route: Route, error: BestexError) -> bool:
        """Whether a path has failed before anything was sent, and the next try takes none."""
        told = order_error(error)
        return (
            route.kind == "path"
            and told.code == SLIPPAGE_EXCEEDED
            and may_retry(order, told)
            and self._has_own_pools(order)
        )

    def _has_own_pools(self, order: Order) -> bool:
        """Whether pools trade the order's two tokens against each other."""
        return self._quoting.has_pools(*self._pair(order), routing=Routing.SPLIT)

    # --- build and submit ---------------------------------------------------------------------------------------------

    async def _submit(self, journal: Journal, route: Route) -> Attempt:
        """Make the attempt, and commit it. Events: built, submitted. Nothing is sent here."""
        attempt, unit_limit = await self._signing.sign(journal, route)
        await journal.write(narrate.submitted(attempt, unit_limit), attempt=attempt)
        return attempt

    # --- land and confirm ---------------------------------------------------------------------------------------------

    async def _land(self, journal: Journal, attempt: Attempt) -> None:
        """Send and watch the attempt until the chain has decided, and write down what it decided."""
        outcome = await self._landing.land(attempt)
        match outcome:
            case Landed():
                await self._confirm(journal, attempt, outcome)
            case FailedOnChain():
                failed = msgspec.structs.replace(
                    attempt, state=AttemptState.FAILED_ON_CHAIN, slot=outcome.slot, error=outcome.error.name
                )
                await self._give_back(journal, failed_transaction(outcome.error, landed=True), failed)
            case Dead():
                dead = msgspec.structs.replace(attempt, state=AttemptState.DEAD)
                proof = (
                    f"the transaction can no longer land: height {outcome.finalized_height} is finalized, "
                    f"it was valid to {attempt.last_valid_block_height}, and a node at slot {outcome.witness_slot} "
                    "does not know it"
                )
                await self._give_back(journal, AttemptDead(proof), dead)

    async def _confirm(self, journal: Journal, attempt: Attempt, landed: Landed) -> None:
        """Events: confirmed, and finalized where it is final at once."""
        terms, transaction = journal.order.terms, landed.transaction
        in_mint, out_mint = Mint.from_string(terms.in_mint), Mint.from_string(terms.out_mint)
        paid, received = amounts_moved(transaction, self._signer.pubkey, in_mint, out_mint)
        done = msgspec.structs.replace(attempt, state=AttemptState.LANDED, slot=transaction.slot)
        makers = [narrate.confirmed(terms, done, transaction, paid, received, simulated=self._cluster.simulated)]
        if landed.finalized:
            makers.append(narrate.finalized(attempt.signature, transaction.slot))
        due_at_ms = self._clock.now_ms() + round(self._settings.finality_check_s * 1000)
        await journal.settle(lambda _: makers, attempt=done, due_at_ms=due_at_ms)

    # --- retry or fail ------------------------------------------------------------------------------------------------

    async def _give_back(self, journal: Journal, error: BestexError, attempt: Attempt | None = None) -> None:
        """The try is over without a fill: canceled as asked, pending again after a wait, or failed."""
        told = order_error(error)

        def decide(order: Order) -> list[EventMaker]:
            if order.cancel_requested and attempt is not None:
                return [narrate.canceled(told)]
            if may_retry(order, told):
                settings = self._settings
                wait_ms = backoff_ms(order.retries, settings.retry_base_s, settings.retry_max_s, self._entropy)
                return [narrate.retrying(order, told, self._clock.now_ms() + wait_ms)]
            return [narrate.failed(told, attempt)]

        await journal.settle(decide, attempt=attempt)
        _log.info(
            "try ended", order_id=journal.order.id, status=journal.order.status, code=told.code, reason=told.message
        )

    def _pair(self, order: Order) -> tuple[Token, Token]:
        terms = order.terms
        return self._tokens.find(terms.in_mint), self._tokens.find(terms.out_mint)
