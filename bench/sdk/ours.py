"""A recorded pool on our side."""

import base64
import time
from collections.abc import Callable
from functools import partial

from solders.pubkey import Pubkey

from bench.sdk.cases import RecordedPool, varied
from bestex.errors import SwapRefused, UnsupportedPool
from bestex.types import Account, ChainClock, SwapMode
from bestex.venues import raydium_amm_v4
from bestex.venues.pool import Pool, VenueProgram
from bestex.venues.raydium_amm_v4 import Rounding


class OurPool:
    """A recorded pool on our side."""

    def __init__(self, program: VenueProgram, recorded: RecordedPool) -> None:
        """Raises UnsupportedPool."""
        self._decode: Callable[[Pubkey, dict[Pubkey, Account]], Pool] = program.decode
        if program.PROGRAM_ID == raydium_amm_v4.PROGRAM_ID:
            # The build that was recorded.
            self._decode = partial(raydium_amm_v4.decode, rounding=Rounding.LEGACY)
        self._accounts = {
            Pubkey.from_string(each["pubkey"]): Account(
                Pubkey.from_string(each["owner"]), each["lamports"], base64.b64decode(each["data"])
            )
            for each in recorded.accounts.values()
        }
        self._address = next(iter(self._accounts))
        self._clock = ChainClock(**recorded.clock)
        self._arguments = [
            (Pubkey.from_string(swap.in_mint), swap.amount, SwapMode.EXACT_IN, self._clock) for swap in recorded.swaps
        ]
        self._pool: Pool = self._decode(self._address, self._accounts)

    def steps(self, swap: int) -> int:
        """Bins or ticks of a swap."""
        return self._pool.quote(*self._arguments[swap]).steps

    def amounts(self, swap: int) -> tuple[int, int] | str:
        """What is paid and received, or why we refuse."""
        try:
            quote = self._pool.quote(*self._arguments[swap])
        except SwapRefused as error:
            return error.message
        return quote.in_amount, quote.out_amount

    def timer(self, what: str, swap: int) -> Callable[[int], int]:
        """Nanoseconds of so many calls, see `Package.timer`."""
        decode, address, accounts = self._decode, self._address, self._accounts
        mint, amount, mode, clock = self._arguments[swap]
        asked = 0

        def run(count: int) -> int:
            nonlocal asked
            amounts = varied(amount, asked, count)
            asked += count
            fresh = [decode(address, accounts).quote for _ in amounts] if what == "first quote" else []
            quote = self._pool.quote
            start = time.perf_counter_ns()
            if what == "further quotes":
                for each in amounts:
                    quote(mint, each, mode, clock)
            elif what == "first quote":
                for each, first in zip(amounts, fresh, strict=True):
                    first(mint, each, mode, clock)
            elif what == "decode":
                for _ in amounts:
                    decode(address, accounts)
            else:
                for each in amounts:
                    decode(address, accounts).quote(mint, each, mode, clock)
            return time.perf_counter_ns() - start

        return run


def our_pool(program: VenueProgram | None, recorded: RecordedPool) -> OurPool | None:
    """The pool on our side; None if we do not trade on the venue or refuse the pool."""
    try:
        return OurPool(program, recorded) if program is not None else None
    except UnsupportedPool:
        return None
