"""The market for priority fees: what transactions paid of late to lock an account."""

from collections import deque
from collections.abc import Iterable, Sequence

from solders.pubkey import Pubkey

from bestex.types import BlockHeight

HISTORY_BLOCKS = 30
"""How far back `recent` looks; a real node looks back 150 blocks."""


class FeeHistory:
    """Prices in micro-lamports per compute unit, by block and account."""

    def __init__(self) -> None:
        self._blocks: deque[tuple[BlockHeight, dict[Pubkey, int]]] = deque(maxlen=HISTORY_BLOCKS)

    def record(self, height: BlockHeight, price: int, locked: Iterable[Pubkey]) -> None:
        """A transaction in the block at `height` paid `price` and locked these accounts for writing.

        Of several in one block the lowest counts: it was enough.
        """
        if not self._blocks or self._blocks[-1][0] != height:
            self._blocks.append((height, {}))
        lowest = self._blocks[-1][1]
        for address in locked:
            if lowest.get(address, price) >= price:
                lowest[address] = price

    def recent(self, writable: Sequence[Pubkey]) -> list[int]:
        """For each recent block, the least that would have locked all of these accounts."""
        return [max((prices.get(address, 0) for address in writable), default=0) for _, prices in self._blocks]
