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
from functools import partial

from solders.pubkey import Pubkey

from bestex.types import Account, ChainClock, SwapMode
from bestex.venues import PROGRAMS, meteora_damm_v2, meteora_dlmm, raydium_amm_v4, raydium_clmm, raydium_cpmm, token
from bestex.venues.pool import Pool, VenueProgram

CLOCK = ChainClock(slot=1_000, unix_timestamp=1_000_000, epoch=10)
IN, OUT = SwapMode.EXACT_IN, SwapMode.EXACT_OUT
AMOUNT = 1_000_000_000
MANY = 17
"""Bins or ticks that a long swap walks through."""
TOKEN_A, TOKEN_B = (Pubkey(bytes([byte]) * 32) for byte in (1, 2))
MINTS: dict[Pubkey, Account] = {mint: token.mint_account(6, 10**15) for mint in (TOKEN_A, TOKEN_B)}
RESERVES = {TOKEN_A: 3_096_483_274_481, TOKEN_B: 496_204_323_811}


def pools() -> dict[str, dict[Pubkey, Account]]:
    """A pool of each venue without transfer fees, by a short name; its own account first."""
    bins = {bin_id: (0, AMOUNT) if bin_id < 0 else (AMOUNT, 0) for bin_id in range(-140, 140)}
    ranges = [(-10 * width, 10 * width, 10**12) for width in range(1, 121)]
    made = {
        "AMM v4": raydium_amm_v4.synthesize(MINTS, TOKEN_A, TOKEN_B, RESERVES),
        "CPMM": raydium_cpmm.synthesize(MINTS, RESERVES),
        "CLMM": raydium_clmm.synthesize(MINTS, ranges, tick=0, tick_spacing=10),
        "DLMM": meteora_dlmm.synthesize(MINTS, TOKEN_A, TOKEN_B, bins, active_id=0, bin_step=10),
        "DAMM v2": meteora_damm_v2.synthesize(MINTS, TOKEN_A, TOKEN_B, liquidity=10**12 << 64, sqrt_price=1 << 64),
    }
    return {name: accounts | MINTS for name, accounts in made.items()}


def cases() -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    timed: dict[str, Callable[[], object]] = {}
    for name, accounts in pools().items():
        address = next(iter(accounts))
        program = PROGRAMS[accounts[address].owner]
        pool = program.decode(address, accounts)
        timed |= _quotes(name, pool)
        timed[f"{name} apply"] = partial(pool.apply, TOKEN_B, AMOUNT // 2, IN, CLOCK)
        timed[f"{name} decode{_arrays(pool)}"] = partial(program.decode, address, accounts)
        timed[f"{name} decode and first quote"] = partial(_first_quote, program, address, accounts, AMOUNT // 2)
        timed[f"{name} encode"] = pool.encode
    return timed


def _quotes(name: str, pool: Pool) -> dict[str, Callable[[], object]]:
    timed: dict[str, Callable[[], object]] = {}
    for mode in (IN, OUT):
        title = f"{name} quote, {mode.value.replace('_', ' ')}"
        timed[title] = partial(pool.quote, TOKEN_B, AMOUNT // 2, mode, CLOCK)
        assert pool.quote(TOKEN_B, AMOUNT // 2, mode, CLOCK).steps == 1
        if pool.arrays_ahead(TOKEN_B, 1):
            amount = _amount_of(pool, mode)
            timed[f"{title}, {MANY} steps"] = partial(pool.quote, TOKEN_B, amount, mode, CLOCK)
    return timed


def _amount_of(pool: Pool, mode: SwapMode) -> int:
    """A size whose swap takes so many steps."""
    amount = AMOUNT
    while pool.quote(TOKEN_B, amount, mode, CLOCK).steps < MANY:
        amount += AMOUNT // 4
    return amount


def _arrays(pool: Pool) -> str:
    arrays = {*pool.arrays_ahead(TOKEN_A, 8), *pool.arrays_ahead(TOKEN_B, 8)}
    return f", {len(arrays)} arrays" if arrays else ""


def _first_quote(program: VenueProgram, address: Pubkey, accounts: dict[Pubkey, Account], amount: int) -> object:
    return program.decode(address, accounts).quote(TOKEN_B, amount, IN, CLOCK)


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
