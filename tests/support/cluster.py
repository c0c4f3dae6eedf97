"""A cluster that says what a test tells it to say, and remembers what it was told."""

from collections.abc import Callable, Sequence

from solders.pubkey import Pubkey

from bestex.errors import ClusterUnavailable
from bestex.ports import (
    AccountsAt,
    Blockhash,
    Clock,
    Height,
    LandedTransaction,
    SignatureStatus,
    Simulation,
    StatusesAt,
)
from bestex.types import Commitment, Signature


class ScriptedCluster:
    """A node whose view the test sets. Time only passes in `wait_landing`."""

    simulated = True

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.sent: list[bytes] = []
        self.slot = 100
        self.confirmed_height = 100
        self.finalized = Height(block_height=90, slot=90)
        self.oldest = Height(block_height=0, slot=0)
        """Where its history begins: what landed before, it does not know."""
        self.status: SignatureStatus | None = None
        self.forgetful = False
        """Knows the status only when its history is searched."""
        self.landed: LandedTransaction | None = None
        self.down = False
        self.lose_answers = False
        """`send` takes effect, and then raises."""
        self.on_wait: Callable[[int], None] = lambda _: None
        """Called with the number of waits so far: what changes meanwhile."""
        self._waits = 0

    async def send(self, transaction: bytes) -> None:
        self._check()
        self.sent.append(transaction)
        if self.lose_answers:
            raise ClusterUnavailable("the answer was lost")

    async def wait_landing(self, signature: Signature, timeout_s: float) -> None:
        await self._clock.sleep(timeout_s)
        self._waits += 1
        self.on_wait(self._waits)

    async def statuses(self, signatures: Sequence[Signature], *, search_history: bool) -> StatusesAt:
        self._check()
        known = self.status if search_history or not self.forgetful else None
        if known is not None and known.slot < self.oldest.slot:
            known = None
        return StatusesAt(self.slot, [known for _ in signatures])

    async def height(self, commitment: Commitment) -> Height:
        self._check()
        if commitment is Commitment.FINALIZED:
            return self.finalized
        return Height(self.confirmed_height, self.slot)

    async def oldest_block(self) -> Height:
        self._check()
        return self.oldest

    async def transaction(self, signature: Signature) -> LandedTransaction | None:
        self._check()
        return self.landed

    async def latest_blockhash(self, commitment: Commitment) -> Blockhash:
        raise NotImplementedError

    async def accounts(self, addresses: Sequence[Pubkey], commitment: Commitment) -> AccountsAt:
        raise NotImplementedError

    async def priority_fees(self, writable: Sequence[Pubkey]) -> list[int]:
        raise NotImplementedError

    async def simulate(self, transaction: bytes) -> Simulation:
        raise NotImplementedError

    def _check(self) -> None:
        if self.down:
            raise ClusterUnavailable("no node answers")
