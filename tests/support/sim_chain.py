"""A simulated chain whose weather a test makes, on a loop of virtual time."""

import random
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

from bestex.sim.chain import SimChain
from bestex.sim.chance import Chance
from bestex.sim.faults import Fault, Weather
from bestex.sim.loop import SimLoop
from bestex.sim.machine import MachineClock
from bestex.sim.trace import Trace
from bestex.types import Commitment, Signature
from tests.support.paper import STRANGER, WALLET, signed, transfer_sol

T = TypeVar("T")


def simulated(main: Callable[[], Awaitable[T]], seed: int = 1) -> T:
    """Run on a loop of virtual time, in which nothing may go wrong unseen."""
    loop = SimLoop(random.Random(seed))  # type: ignore[abstract]  # no sockets, no processes

    async def run() -> T:
        return await main()

    answer = loop.run(run())
    assert not loop.faults
    return answer


class Given(NamedTuple):
    """A chain and what it is made of."""

    chain: SimChain
    weather: Weather
    trace: Trace
    clock: MachineClock
    chance: Chance

    async def slots(self, count: int) -> None:
        for _ in range(count):
            await self.chain.pass_slot()

    async def transfer(self, lamports: int = 1_000_000) -> tuple[Signature, bytes]:
        """A signed transfer that is not sent yet."""
        blockhash = await self.chain.node(0).latest_blockhash(Commitment.CONFIRMED)
        return signed(blockhash.blockhash, [transfer_sol(WALLET.pubkey(), STRANGER.pubkey(), lamports)])

    async def sent(self, lamports: int = 1_000_000) -> Signature:
        signature, raw = await self.transfer(lamports)
        await self.chain.send(raw)
        return signature

    async def on_chain(self) -> list[Signature]:
        return [landed.signature for landed in await self.chain.history()]


async def given(*faults: Fault, seed: int = 1, weight: float = 1.0) -> Given:
    """A chain on which these faults happen; one pair is traded."""
    weather, clock, chance = Weather(dict.fromkeys(faults, weight)), MachineClock(), Chance(seed)
    trace = Trace(clock.monotonic_s, keep_all=True)
    pairs = frozenset({("SOL", "USDC")})
    chain = await SimChain.open(chance, weather, trace, clock, wallet=WALLET.pubkey(), pairs=pairs)
    return Given(chain, weather, trace, clock, chance)
