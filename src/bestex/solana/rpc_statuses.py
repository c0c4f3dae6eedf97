"""What has become of transactions, asked for many orders in one call."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import chain, islice
from typing import TypeAlias

from bestex.errors import ClusterUnavailable, Unavailable
from bestex.ports import LandedTransaction, SignatureStatus, StatusesAt, TransactionError
from bestex.solana.rpc_answers import InContext, Status
from bestex.solana.rpc_calls import RpcCalls
from bestex.solana.rpc_errors import transaction_error
from bestex.solana.rpc_gather import Gathering
from bestex.types import Commitment, Signature, Slot

MAX_STATUSES = 256
_MAX_EXPLAINED = 1_000

_Answer: TypeAlias = InContext[list[Status | None]]


class Statuses:
    """`getSignatureStatuses`, with the details of failures from `transaction`."""

    def __init__(
        self, calls: RpcCalls, transaction: Callable[[Signature], Awaitable[LandedTransaction | None]]
    ) -> None:
        self._calls = calls
        self._transaction = transaction
        self._explained: dict[tuple[Signature, Slot], TransactionError] = {}
        self._asking = {
            search: Gathering(partial(self._ask, search), most=MAX_STATUSES, size=len) for search in (False, True)
        }

    async def close(self) -> None:
        """End what is being asked."""
        for asking in self._asking.values():
            await asking.close()

    async def of(self, signatures: Sequence[Signature], *, search_history: bool) -> StatusesAt:
        """As `Cluster.statuses`."""
        if len(signatures) > MAX_STATUSES:
            raise ValueError(f"at most {MAX_STATUSES} signatures at once, not {len(signatures)}")
        answer = await self._asking[search_history].answer(signatures)
        statuses = [_status(status) if status else None for status in answer.value]
        if any(status is not None and status.error is not None for status in statuses):
            statuses = await asyncio.gather(*map(self._explain, signatures, statuses))
        return StatusesAt(answer.context.slot, statuses)

    async def seen(self, signature: Signature) -> bool:
        """Whether the transaction is in a block, as far as the node knows without a search."""
        return any((await self._asking[False].answer([signature])).value)

    async def _ask(self, search_history: bool, asked: list[Sequence[Signature]]) -> list[_Answer]:
        signatures = list(chain.from_iterable(asked))
        options = {"searchTransactionHistory": search_history}
        answer = await self._calls.call(InContext[list[Status | None]], "getSignatureStatuses", signatures, options)
        if len(answer.value) != len(signatures):
            raise ClusterUnavailable(
                f"getSignatureStatuses: {len(answer.value)} statuses of {len(signatures)} transactions"
            )
        statuses = iter(answer.value)
        return [InContext(answer.context, list(islice(statuses, len(each)))) for each in asked]

    async def _explain(self, signature: Signature, status: SignatureStatus | None) -> SignatureStatus | None:
        """A status with all that can be known of its error."""
        if status is None or status.error is None or status.commitment is Commitment.PROCESSED:
            return status
        error = self._explained.get((signature, status.slot))
        if error is None:
            try:
                landed = await self._transaction(signature)
            except Unavailable:
                # That it failed counts more than why: a node without details must not hide it.
                return status
            if landed is None or landed.error is None or landed.slot != status.slot:
                return status
            error = self._explained[signature, status.slot] = landed.error
            if len(self._explained) > _MAX_EXPLAINED:
                del self._explained[next(iter(self._explained))]
        return SignatureStatus(status.slot, status.commitment, error)


def _status(status: Status) -> SignatureStatus:
    """A node that is too old to name the commitment tells by the confirmations."""
    name = status.confirmation_status or ("finalized" if status.confirmations is None else "processed")
    try:
        commitment = Commitment(name)
    except ValueError:
        raise ClusterUnavailable(f"getSignatureStatuses: unknown commitment {name}") from None
    return SignatureStatus(status.slot, commitment, transaction_error(status.err))
