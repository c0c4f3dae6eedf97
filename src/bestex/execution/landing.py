"""Send, watch, expire: one attempt until its outcome is known. At-least-once sending, at most one fill.

The same signed bytes are sent again and again; the chain processes them at most once. What counts is what the cluster
says of the signature, never how a send ended. An attempt is dead only by proof: a block height past its last valid one
is finalized, and a node whose own slot has reached that block knows nothing of the signature, its history searched;
and that history goes back to where the attempt could first have landed. A silent, lagging or forgetful node proves
nothing, and the order stays submitted.
"""

import asyncio
from typing import TypeAlias

import msgspec
import structlog

from bestex.errors import Unavailable
from bestex.orders.attempt import Attempt
from bestex.ports import Clock, Cluster, LandedTransaction, SignatureStatus, TransactionError
from bestex.types import BlockHeight, Commitment, Signature, Slot

BLOCKHASH_MAX_AGE_BLOCKS = 150
"""A transaction lands within so many blocks after the one that its blockhash is of."""

_SETTLING_S = 0.1
"""Between two looks at a transaction that is in a block and undecided: the hint of its landing comes at once then.
Doubles up to the usual pace."""

_log = structlog.get_logger(__name__)


class Landed(msgspec.Struct, frozen=True):
    """The transaction succeeded, at `confirmed` or better."""

    transaction: LandedTransaction
    finalized: bool


class FailedOnChain(msgspec.Struct, frozen=True):
    """The transaction failed and that is finalized: its fee is spent, nothing else moved."""

    slot: Slot
    error: TransactionError


class Dead(msgspec.Struct, frozen=True):
    """The transaction can never land: the proof."""

    finalized_height: BlockHeight
    witness_slot: Slot
    """The slot of the node that did not know the signature."""


Outcome: TypeAlias = Landed | FailedOnChain | Dead


class Landing:
    """Brings attempts to an outcome. Never gives up, because giving up would be a guess."""

    def __init__(self, cluster: Cluster, clock: Clock, *, resend_s: float, status_poll_s: float) -> None:
        self._cluster = cluster
        self._clock = clock
        self._resend_s = resend_s
        self._status_poll_s = status_poll_s
        self._sure_at_once = True
        """Whether the last transaction was confirmed by the time that its hint came: the next may be as well."""

    async def land(self, attempt: Attempt) -> Outcome:
        """Send the attempt's bytes until the chain has decided."""
        next_send_s = self._clock.monotonic_s()
        expired = False
        pause_s = _SETTLING_S
        while True:
            now_s = self._clock.monotonic_s()
            sends = not expired and now_s >= next_send_s
            if sends:
                next_send_s = now_s + self._resend_s
            try:
                if sends:
                    next_send_s, hinted = await asyncio.gather(self._send(attempt), self._wait(attempt.signature))
                else:
                    hinted = await self._wait(attempt.signature)
                outcome, expired = await self._look(attempt, hinted=hinted and not expired)
            except Unavailable as error:
                _log.warning("cluster unavailable, outcome unknown", order_id=attempt.order_id, error=error.message)
                await self._clock.sleep(self._status_poll_s)
                continue
            if outcome is not None:
                return outcome
            if expired:
                await self._clock.sleep(pause_s)
            pause_s = min(2 * pause_s, self._status_poll_s) if expired else _SETTLING_S

    async def _send(self, attempt: Attempt) -> float:
        """When to send again."""
        try:
            await self._cluster.send(attempt.transaction)
        except Unavailable as error:
            # It may have arrived all the same: only the status tells.
            _log.info("send failed, will look and send again", order_id=attempt.order_id, error=error.message)
        return self._clock.monotonic_s() + self._resend_s

    async def _wait(self, signature: Signature) -> bool:
        """Until there may be news; whether a hint of a landing came. It begins with the sending, to miss none."""
        ends_s = self._clock.monotonic_s() + self._status_poll_s
        await self._cluster.wait_landing(signature, self._status_poll_s)
        return self._clock.monotonic_s() < ends_s

    async def _look(self, attempt: Attempt, *, hinted: bool) -> tuple[Outcome | None, bool]:
        """The outcome if there is one, and whether the attempt is in a block or too old: not to be sent again."""
        status, transaction = await self._status(attempt.signature, hinted=hinted)
        if status is not None:
            if hinted:
                self._sure_at_once = status.commitment is not Commitment.PROCESSED
            return await self._outcome(attempt.signature, status, transaction), True
        height = await self._cluster.height(Commitment.CONFIRMED)
        if height.block_height <= attempt.last_valid_block_height:
            return None, False
        return await self._prove_dead(attempt), True

    async def _status(
        self, signature: Signature, *, hinted: bool
    ) -> tuple[SignatureStatus | None, LandedTransaction | None]:
        """The status; with the transaction, in the same moment, where both are likely to be wanted."""
        asked = self._cluster.statuses([signature], search_history=False)
        if not hinted or not self._sure_at_once:
            return (await asked).statuses[0], None
        answer, transaction = await asyncio.gather(asked, self._cluster.transaction(signature))
        return answer.statuses[0], transaction

    async def _outcome(
        self, signature: Signature, status: SignatureStatus, transaction: LandedTransaction | None = None
    ) -> Outcome | None:
        """What a status decides. `transaction`: as read together with it, if it was."""
        if status.error is not None:
            # Before it is finalized a fork could still let the same bytes succeed.
            return FailedOnChain(status.slot, status.error) if status.commitment is Commitment.FINALIZED else None
        if status.commitment is Commitment.PROCESSED:
            return None
        if transaction is None or transaction.slot != status.slot:
            transaction = await self._cluster.transaction(signature)
        if transaction is None or transaction.slot != status.slot:
            return None
        return Landed(transaction, finalized=status.commitment is Commitment.FINALIZED)

    async def _prove_dead(self, attempt: Attempt) -> Outcome | None:
        height = await self._cluster.height(Commitment.FINALIZED)
        if height.block_height <= attempt.last_valid_block_height:
            return None
        answer = await self._cluster.statuses([attempt.signature], search_history=True)
        status = answer.statuses[0]
        if status is not None:
            return await self._outcome(attempt.signature, status)
        if answer.slot < height.slot or not await self._history_reaches(attempt):
            return None
        return Dead(height.block_height, answer.slot)

    async def _history_reaches(self, attempt: Attempt) -> bool:
        """Whether the node would know of a landing. Asked after the search, as history is lost from its start on."""
        oldest = await self._cluster.oldest_block()
        first = max(0, attempt.last_valid_block_height - BLOCKHASH_MAX_AGE_BLOCKS)
        if oldest.block_height <= first:
            return True
        _log.warning(
            "the node's history is too short to prove an attempt dead; a node with a longer one can",
            order_id=attempt.order_id,
            history_from_height=oldest.block_height,
            needed_from_height=first,
        )
        return False
