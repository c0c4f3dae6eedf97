"""The cluster at the other end of faulty wires: what one process of the engine gets to hear of it.

A request that is on its way belongs to the world: it arrives whatever becomes of the process that made it.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import TypeVar

from solders.pubkey import Pubkey

from bestex.errors import ClusterUnavailable, RateLimited
from bestex.ports import AccountsAt, Blockhash, Clock, Height, LandedTransaction, Simulation, StatusesAt
from bestex.sim.chain import MOST_SLOTS_BEHIND, SimChain
from bestex.sim.cuts import Cuts
from bestex.sim.faults import Fault, Weather
from bestex.sim.lagging import Node
from bestex.sim.loop import outside
from bestex.sim.trace import Trace
from bestex.types import Commitment, Signature

T = TypeVar("T")

_ONE_WAY_S = (0.0025, 0.03)
_TIMEOUT_S = (2.0, 6.0)
_LATE_S = (1.0, 8.0)
_BEHIND_FOR_S = (1.0, 15.0)
_CHANCE_OF_STAYING = 0.5
"""That further calls go to the same lagging node for a while."""
_BEHIND = ((1, 3), (4, 16), (17, MOST_SLOTS_BEHIND))
"""Slots: hardly, beyond finality, beyond the life of a blockhash."""

_WIRE = (Fault.LOST_REQUEST, Fault.LOST_ANSWER, Fault.RATE_LIMITED, Fault.RPC_ERROR, Fault.LATE_ANSWER)
"""A call meets one of them at most."""


class SimCluster:
    """The `Cluster` port of one incarnation."""

    def __init__(  # noqa: PLR0917 - what a run has, in its usual order
        self, chain: SimChain, cuts: Cuts, weather: Weather, draw: random.Random, trace: Trace, clock: Clock
    ) -> None:
        self._chain = chain
        self._cuts = cuts
        self._weather = weather
        self._draw = draw
        self._trace = trace
        self._clock = clock
        self._behind: dict[str, tuple[int, float]] = {}
        """By method, as gateways send methods to nodes of their own: how many slots behind, and until when."""
        self._numbers = count()
        self._under_way: dict[int, asyncio.Task[None]] = {}

    @property
    def simulated(self) -> bool:
        return True

    async def latest_blockhash(self, commitment: Commitment) -> Blockhash:
        return await self._read("latest_blockhash", lambda node: node.latest_blockhash(commitment))

    async def height(self, commitment: Commitment) -> Height:
        return await self._read("height", lambda node: node.height(commitment))

    async def oldest_block(self) -> Height:
        return await self._read("oldest_block", lambda node: node.oldest_block())

    async def accounts(self, addresses: Sequence[Pubkey], commitment: Commitment) -> AccountsAt:
        return await self._read("accounts", lambda node: node.accounts(addresses, commitment))

    async def priority_fees(self, writable: Sequence[Pubkey]) -> list[int]:
        return await self._read("priority_fees", lambda node: node.priority_fees(writable))

    async def simulate(self, transaction: bytes) -> Simulation:
        return await self._read("simulate", lambda node: node.simulate(transaction))

    async def statuses(self, signatures: Sequence[Signature], *, search_history: bool) -> StatusesAt:
        return await self._read("statuses", lambda node: node.statuses(signatures, search_history=search_history))

    async def transaction(self, signature: Signature) -> LandedTransaction | None:
        return await self._read("transaction", lambda node: node.transaction(signature))

    async def send(self, transaction: bytes) -> None:
        """Whichever node takes it hands it on to the leader, who is never behind."""
        await self._call("send", lambda: self._exchange("send", lambda: self._chain.send(transaction)))

    async def wait_landing(self, signature: Signature, timeout_s: float) -> None:
        """Returns after the timeout at the latest; before, it may be true."""
        await self._call("wait_landing", lambda: self._hint(signature, timeout_s))

    async def _read(self, name: str, ask: Callable[[Node], Awaitable[T]]) -> T:
        return await self._call(name, lambda: self._exchange(name, lambda: ask(self._node(name))))

    async def _call(self, name: str, exchange: Callable[[], Awaitable[T]]) -> T:
        return await self._cuts.call(f"cluster.{name}", lambda: self._in_the_world(exchange))

    async def _in_the_world(self, exchange: Callable[[], Awaitable[T]]) -> T:
        """Let the world do it, and wait for what comes of it as long as we live."""
        outcome: asyncio.Future[tuple[T | None, Exception | None]] = asyncio.get_running_loop().create_future()
        number = next(self._numbers)

        async def carry() -> None:
            value, failure = None, None
            try:
                value = await exchange()
            except Exception as error:  # noqa: BLE001 - whoever asked gets it
                failure = error
            del self._under_way[number]
            if not outcome.done():
                # As a result, because an exception that nobody is left to hear would be taken for an accident.
                outcome.set_result((value, failure))

        self._under_way[number] = asyncio.get_running_loop().create_task(carry(), context=outside())
        value, failure = await outcome
        if failure is not None:
            raise failure
        return value  # type: ignore[return-value]  # None only where T is

    async def _exchange(self, name: str, effect: Callable[[], Awaitable[T]]) -> T:
        """A request to a node, what it does there, and the answer."""
        there_s, back_s = self._draw.uniform(*_ONE_WAY_S), self._draw.uniform(*_ONE_WAY_S)
        fault = self._trouble(name)
        if fault is Fault.LATE_ANSWER:
            late_s = self._draw.uniform(*_LATE_S)
            on_the_way_there = self._draw.random() < 0.5
            there_s, back_s = (there_s + late_s, back_s) if on_the_way_there else (there_s, back_s + late_s)
        await self._clock.sleep(there_s)
        if fault is Fault.LOST_REQUEST:
            await self._time_out()
        if fault is Fault.RATE_LIMITED:
            await self._clock.sleep(back_s)
            raise RateLimited("too many requests (simulated)")
        if fault is Fault.RPC_ERROR:
            await self._clock.sleep(back_s)
            raise ClusterUnavailable("the node has an internal error (simulated)")
        answer = await effect()
        if fault is Fault.LOST_ANSWER:
            await self._time_out()
        await self._clock.sleep(back_s)
        return answer

    async def _time_out(self) -> None:
        await self._clock.sleep(self._draw.uniform(*_TIMEOUT_S))
        raise ClusterUnavailable("no answer in time (simulated)")

    async def _hint(self, signature: Signature, timeout_s: float) -> None:
        """A notification that may be false, late or lost."""
        deadline_s = self._clock.monotonic_s() + timeout_s
        fault = self._trouble("wait_landing")
        if fault is Fault.RATE_LIMITED:
            raise RateLimited("too many subscriptions (simulated)")
        if fault is Fault.RPC_ERROR:
            await self._clock.sleep(self._draw.uniform(0.0, timeout_s))
            return
        if fault in {Fault.LOST_REQUEST, Fault.LOST_ANSWER}:
            await self._clock.sleep(timeout_s)
            return
        await self._chain.cluster.wait_landing(signature, timeout_s)
        delay_s = self._draw.uniform(*(_LATE_S if fault is Fault.LATE_ANSWER else _ONE_WAY_S))
        await self._clock.sleep(max(0.0, min(delay_s, deadline_s - self._clock.monotonic_s())))

    def _trouble(self, name: str) -> Fault | None:
        """What befalls a call on the wire."""
        for fault in _WIRE:
            if self._weather.happens(fault, self._draw):
                self._trace.fault(fault, name)
                return fault
        return None

    def _node(self, name: str) -> Node:
        """The node that answers: the one from before for a while if it is behind, else any."""
        if self._weather.weight(Fault.LAGGING_NODE) == 0.0:
            return self._chain.node(0)
        now_s = self._clock.monotonic_s()
        slots_behind, until_s = self._behind.get(name, (0, 0.0))
        if now_s >= until_s:
            slots_behind = 0
            if self._weather.happens(Fault.LAGGING_NODE, self._draw):
                slots_behind = self._draw.randint(*self._draw.choice(_BEHIND))
                if self._draw.random() < _CHANCE_OF_STAYING:
                    until_s = now_s + self._draw.uniform(*_BEHIND_FOR_S)
            self._behind[name] = slots_behind, until_s
        if slots_behind:
            self._trace.fault(Fault.LAGGING_NODE, f"{name}, {slots_behind} slots behind")
        return self._chain.node(slots_behind)
