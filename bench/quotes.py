"""Microseconds per quote, decode and apply of each venue: `python -m bench quotes`.

Pools are synthetic. A figure is the fastest and the median of several rounds on one thread; compare figures of one
machine with each other, not with those of another one.
"""

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable

from solders.pubkey import Pubkey

from bestex.types import Account, ChainClock, SwapMode
from bestex.venues import meteora_dlmm, raydium_cpmm, token
from bestex.venues.pool import Pool

CLOCK = ChainClock(slot=1_000, unix_timestamp=1_000_000, epoch=10)
BIN_AMOUNT = 1_000_000_000
TOKEN_A, TOKEN_B = (Pubkey(bytes([byte]) * 32) for byte in (1, 2))
MINTS: dict[Pubkey, Account] = {mint: token.mint_account(6, 10**15) for mint in (TOKEN_A, TOKEN_B)}


def cpmm_accounts() -> dict[Pubkey, Account]:
    """A pool without transfer fees; the pool itself first."""
    return raydium_cpmm.synthesize(MINTS, {TOKEN_A: 3_096_483_274_481, TOKEN_B: 496_204_323_811}) | MINTS


def dlmm_accounts() -> dict[Pubkey, Account]:
    """A pair with four full bin arrays and the price in the middle; the pair itself first."""
    bins = {bin_id: (0, BIN_AMOUNT) if bin_id < 0 else (BIN_AMOUNT, 0) for bin_id in range(-140, 140)}
    return meteora_dlmm.synthesize(MINTS, TOKEN_A, TOKEN_B, bins, active_id=0, bin_step=10) | MINTS


def cases() -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    cpmm_all, dlmm_all = cpmm_accounts(), dlmm_accounts()
    cpmm_address, dlmm_address = next(iter(cpmm_all)), next(iter(dlmm_all))
    cpmm = raydium_cpmm.decode(cpmm_address, cpmm_all)
    dlmm = meteora_dlmm.decode(dlmm_address, dlmm_all)
    mode_in, mode_out = SwapMode.EXACT_IN, SwapMode.EXACT_OUT
    one, many = BIN_AMOUNT // 2, BIN_AMOUNT * 33 // 2
    for amount, steps in ((one, 1), (many, 17)):
        assert dlmm.quote(TOKEN_B, amount, mode_in, CLOCK).steps == steps

    def first_quote() -> object:
        pool: Pool = meteora_dlmm.decode(dlmm_address, dlmm_all)
        return pool.quote(TOKEN_B, many, mode_in, CLOCK)

    return {
        "CPMM quote, exact in": lambda: cpmm.quote(TOKEN_A, 10**9, mode_in, CLOCK),
        "CPMM quote, exact out": lambda: cpmm.quote(TOKEN_A, 10**9, mode_out, CLOCK),
        "CPMM apply": lambda: cpmm.apply(TOKEN_A, 10**9, mode_in, CLOCK),
        "CPMM decode": lambda: raydium_cpmm.decode(cpmm_address, cpmm_all),
        "CPMM encode": cpmm.encode,
        "DLMM quote, 1 bin, exact in": lambda: dlmm.quote(TOKEN_B, one, mode_in, CLOCK),
        "DLMM quote, 1 bin, exact out": lambda: dlmm.quote(TOKEN_B, one, mode_out, CLOCK),
        "DLMM quote, 17 bins, exact in": lambda: dlmm.quote(TOKEN_B, many, mode_in, CLOCK),
        "DLMM quote, 17 bins, exact out": lambda: dlmm.quote(TOKEN_B, many, mode_out, CLOCK),
        "DLMM decode, 4 bin arrays": lambda: meteora_dlmm.decode(dlmm_address, dlmm_all),
        "DLMM decode and first quote, 17 bins": first_quote,
        "DLMM apply, 1 bin": lambda: dlmm.apply(TOKEN_B, one, mode_in, CLOCK),
        "DLMM apply, 17 bins": lambda: dlmm.apply(TOKEN_B, many, mode_in, CLOCK),
        "DLMM encode": dlmm.encode,
    }


def microseconds(run: Callable[[], object], repetitions: int, rounds: int) -> list[float]:
    """Time of one call in each round, less the least that an empty call has taken: noise can only add to a figure."""

    def idle() -> None:
        return None

    overhead = min(_time(idle, repetitions) for _ in range(rounds))
    return [(_time(run, repetitions) - overhead) / repetitions / 1_000 for _ in range(rounds)]


def _time(run: Callable[[], object], repetitions: int) -> int:
    start = time.perf_counter_ns()
    for _ in range(repetitions):
        run()
    return time.perf_counter_ns() - start


def main(argv: list[str]) -> int:
    """Print the table; exit status 0."""
    parser = argparse.ArgumentParser(prog="bench quotes", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5_000, help="calls per round")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(argv)
    machine = f"{platform.machine()}, {platform.processor() or platform.system()}"
    print(f"Python {platform.python_version()} on {machine}; {options.rounds} rounds of {options.repetitions} calls")
    print(f"{'microseconds a call':40}{'min':>9}{'median':>9}")
    for name, run in cases().items():
        times = microseconds(run, options.repetitions, options.rounds)
        print(f"{name:40}{min(times):9.2f}{statistics.median(times):9.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
