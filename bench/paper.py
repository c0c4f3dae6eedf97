"""Microseconds per swap transaction on the paper cluster, and how many land in a second: `python -m bench paper`.

The parts are timed alone, on one thread: the fastest of several rounds. The whole is timed as the engine meets it: the
`instant` network with its ledger on disk (WAL, synchronous FULL), transactions sent as fast as they are taken.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from solders.keypair import Keypair
from solders.pubkey import Pubkey

from bestex.paper import bank
from bestex.paper.assets import BY_MINT
from bestex.paper.cluster import PaperCluster
from bestex.paper.envelope import Envelope, open_envelope
from bestex.paper.network import INSTANT
from bestex.paper.records import pack_record, pack_writes
from bestex.paper.state import Overlay
from bestex.paper.traders import Traders
from bestex.solana.instructions import compute_unit_limit, compute_unit_price, create_token_account_idempotent, memo
from bestex.solana.signer import KeypairSigner
from bestex.solana.transaction import draft
from bestex.types import Commitment, Signature, SwapMode
from bestex.venues import PROGRAMS
from bestex.venues.pool import Pool, SwapAccounts, Venue, gather
from bestex.venues.token import NATIVE_MINT, TOKEN_PROGRAM, associated_token_address

TRADE_USD = 100.0
WALLET = KeypairSigner(Keypair.from_seed(b"bench" + bytes(27)))


class WallClock:
    """The machine's time."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Chance:
    """The same chance in every run."""

    def __init__(self) -> None:
        self._random = random.Random(1)

    def bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)


async def main_async(transactions: int, rounds: int) -> int:
    with tempfile.TemporaryDirectory() as directory:
        cluster = await PaperCluster.open(
            profile=INSTANT,
            clock=WallClock(),
            entropy=Chance(),
            path=Path(directory) / "paper.db",
            seed=1,
            wallet=WALLET.pubkey,
            traders=False,
        )
        try:
            for venue in Venue:
                await _parts(cluster, venue, rounds)
            await _traders(cluster)
            await _whole(cluster, transactions)
        finally:
            await cluster.close()
    return 0


async def _parts(cluster: PaperCluster, venue: Venue, rounds: int) -> None:
    chain = cluster.validator.chain
    raw = [signed for _, signed in await _swaps(cluster, [venue], 200)]
    envelopes = [open_envelope(each) for each in raw]
    block = Overlay(chain.state)
    records = [bank.execute(envelope, block, chain.head.clock) for envelope in envelopes]
    assert all(record.error is None for record in records), records[0].error

    def execute() -> None:
        for envelope in envelopes:
            bank.execute(envelope, block, chain.head.clock)

    def simulate() -> None:
        for envelope in envelopes:
            cluster.validator.simulate(envelope)

    def record() -> None:
        for each in records:
            pack_record(each)
        pack_writes(block.writes, chain.state.accounts)

    parts: dict[str, Callable[[], object]] = {
        "read": lambda: [open_envelope(each) for each in raw],
        "verify": lambda: [Envelope.is_signed(envelope) for envelope in envelopes],
        "execute": execute,
        "record": record,
    }
    costs = {name: _best_us(part, rounds) / len(raw) for name, part in parts.items()}
    shown = "  ".join(f"{name} {cost:6.1f}" for name, cost in costs.items())
    print(f"{venue.label:14} us a transaction: {shown}  sum {sum(costs.values()):6.1f}")
    print(f"{'':14} simulate {_best_us(simulate, rounds) / len(raw):.1f} us")


async def _traders(cluster: PaperCluster) -> None:
    chain = cluster.validator.chain
    traders = Traders(cluster.listing, chain.state, slot_s=0.4)
    block = Overlay(chain.state)
    costs = []
    for height in range(2, 500):
        started = time.perf_counter()
        traders.act(block, chain.head.clock, height)
        costs.append((time.perf_counter() - started) * 1000)
    costs.sort()
    print(f"traders        ms a block: median {costs[len(costs) // 2]:.2f}  p95 {costs[len(costs) * 95 // 100]:.2f}")


async def _whole(cluster: PaperCluster, count: int) -> None:
    running = asyncio.create_task(cluster.run())
    transactions = await _swaps(cluster, list(Venue), count)
    head = cluster.validator.chain.head
    started = time.perf_counter()
    for _, raw in transactions:
        await cluster.send(raw)
        await asyncio.sleep(0)
    await asyncio.gather(*(cluster.wait_landing(signature, 60.0) for signature, _ in transactions))
    elapsed = time.perf_counter() - started
    commits = cluster.validator.chain.head.seq - head.seq
    print(f"landed         {count / elapsed:.0f} transactions/s in {commits / elapsed:.0f} commits/s, on disk")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def _swaps(cluster: PaperCluster, venues: list[Venue], count: int) -> list[tuple[Signature, bytes]]:
    """Signed swaps of the kind that the engine sends, on random pools in random directions."""
    chance = random.Random(2)
    pools = [pool for pool in _pools(cluster) if pool.venue in venues]
    blockhash = (await cluster.latest_blockhash(Commitment.CONFIRMED)).blockhash
    made = []
    for number in range(count):
        pool = chance.choice(pools)
        in_mint, out_mint = pool.mints if chance.random() < 0.5 else pool.mints[::-1]
        source, destination = (
            associated_token_address(WALLET.pubkey, mint, TOKEN_PROGRAM) for mint in (in_mint, out_mint)
        )
        user = SwapAccounts(WALLET.pubkey, source, destination)
        instructions = [
            compute_unit_limit(200_000),
            compute_unit_price(1_000),
            memo(f"bestex:bench:{number}"),
            create_token_account_idempotent(WALLET.pubkey, destination, out_mint, TOKEN_PROGRAM),
            pool.swap_instruction(user, in_mint, BY_MINT[in_mint].raw(TRADE_USD), 1, SwapMode.EXACT_IN),
        ]
        made.append(draft(WALLET.pubkey, instructions, blockhash).sign(WALLET.sign))
    return made


def _pools(cluster: PaperCluster) -> list[Pool]:
    """Pools whose tokens the wallet holds."""
    get = cluster.validator.chain.state.get

    def held(mint: Pubkey) -> bool:
        return mint != NATIVE_MINT and get(associated_token_address(WALLET.pubkey, mint, TOKEN_PROGRAM)) is not None

    pools = []
    for address in cluster.pools:
        account = get(address)
        assert account is not None
        venue = PROGRAMS[account.owner]
        pools.append(venue.decode(address, gather(venue, address, get)))
    return [pool for pool in pools if all(held(mint) for mint in pool.mints)]


def _best_us(part: Callable[[], object], rounds: int) -> float:
    best = float("inf")
    for _ in range(rounds):
        started = time.perf_counter()
        part()
        best = min(best, time.perf_counter() - started)
    return best * 1e6


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench paper", description=__doc__)
    parser.add_argument("--transactions", type=int, default=5_000, help="to land on disk")
    parser.add_argument("--rounds", type=int, default=20, help="of each part; the fastest counts")
    options = parser.parse_args(argv)
    sys.setswitchinterval(0.0005)  # as the runtime does
    return asyncio.run(main_async(options.transactions, options.rounds))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
