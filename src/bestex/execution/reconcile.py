"""For ever, and so at start-up too: what the chain says against what we wrote.

Orders that were in work when a process stopped come back through their leases (`worker.py`). This is the other half:
confirmed fills that a fork may still undo. Each is watched until it is finalized; one that a fork dropped goes back to
`submitted`, and its same bytes are sent again.
"""

from collections.abc import Sequence

import msgspec
import structlog

from bestex.errors import StaleVersion, Unavailable
from bestex.execution import narrate
from bestex.execution.journal import Journal
from bestex.orders.attempt import Attempt, AttemptState
from bestex.orders.order import Fill
from bestex.ports import Bus, Claim, Clock, Cluster, SignatureStatus, StatusesAt, Store
from bestex.types import Commitment

_log = structlog.get_logger(__name__)

_SIGNATURES_PER_CALL = 256


class Reconciler:
    """Follows confirmed orders until they are final."""

    def __init__(self, name: str, *, store: Store, cluster: Cluster, bus: Bus, clock: Clock, interval_s: float) -> None:
        self._name = name
        self._store = store
        self._cluster = cluster
        self._bus = bus
        self._clock = clock
        self._interval_s = interval_s

    async def run(self) -> None:
        """Look at every confirmed order that is not final, again and again."""
        while True:
            try:
                looked_at = await self.turn()
            except Unavailable as error:
                _log.warning("cannot reconcile now", reason=error.message)
                looked_at = 0
            if looked_at < _SIGNATURES_PER_CALL:
                await self._clock.sleep(self._interval_s)

    async def turn(self) -> int:
        """Look once at up to 256 orders; how many were due."""
        # The lease is the timer: an order that is not final yet comes back when it ends.
        lease_ms = round(self._interval_s * 1000)
        answer = await self._store.claim_unfinal(
            self._name, limit=_SIGNATURES_PER_CALL, now_ms=self._clock.now_ms(), lease_ms=lease_ms
        )
        watched = [(claim, claim.attempt) for claim in answer.claims if claim.attempt is not None]
        if watched:
            await self._compare(watched)
        return len(answer.claims)

    async def _compare(self, watched: Sequence[tuple[Claim, Attempt]]) -> None:
        seen = await self._cluster.statuses([attempt.signature for _, attempt in watched], search_history=True)
        for (claim, attempt), status in zip(watched, seen.statuses, strict=True):
            assert claim.order.fill is not None
            try:
                await self._decide(
                    Journal(claim.order, self._store, self._clock), attempt, claim.order.fill, status, seen
                )
            except StaleVersion as error:
                _log.info("order let go", order_id=claim.order.id, reason=error.message)

    async def _decide(
        self, journal: Journal, attempt: Attempt, fill: Fill, status: SignatureStatus | None, seen: StatusesAt
    ) -> None:
        if status is not None and status.slot == fill.slot and status.error is None:
            if status.commitment is Commitment.FINALIZED:
                await journal.settle(lambda _: [narrate.finalized(attempt.signature, fill.slot)])
        elif status is not None:
            await self._roll_back(
                journal, attempt, f"a fork moved the transaction from slot {fill.slot} to {status.slot}"
            )
        elif seen.slot >= fill.slot:
            # A node that is behind the fill's own slot could not know of it.
            await self._roll_back(journal, attempt, f"a fork dropped the block of slot {fill.slot}")

    async def _roll_back(self, journal: Journal, attempt: Attempt, explanation: str) -> None:
        again = msgspec.structs.replace(attempt, state=AttemptState.SENT, slot=None)
        await journal.settle(
            lambda _: [narrate.rolled_back(attempt.signature, explanation)],
            attempt=again,
            due_at_ms=self._clock.now_ms(),
        )
        _log.warning("fill undone", order_id=journal.order.id, reason=explanation)
        self._bus.wake()
