"""A machine with an engine on it, a chain, clients, and everything that befalls them.

First the faults rage, and whatever happens must be safe. Then the world heals, and everything must end.
"""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import msgspec
from solders.keypair import Keypair

from bestex.config import Settings
from bestex.errors import BestexError
from bestex.sim.asgi import Server
from bestex.sim.chain import SimChain
from bestex.sim.chance import Chance
from bestex.sim.client_wishes import OVER_ANOTHER
from bestex.sim.clients import Clients
from bestex.sim.cuts import Cut, Cuts, Plan, no_cuts
from bestex.sim.disk import Disk, PowerLost
from bestex.sim.evidence import Balances, Evidence, Limits, Seen, collect, secret_forms
from bestex.sim.faults import Fault, Weather
from bestex.sim.loop import Group, outside
from bestex.sim.machine import LogCapture, MachineClock
from bestex.sim.node import Node, Site
from bestex.sim.observed import Begun, InWork
from bestex.sim.record import ClientRecord
from bestex.sim.rpc import SimCluster
from bestex.sim.trace import Trace
from bestex.solana.signer import KeypairSigner

PAIRS = frozenset({("SOL", "USDC"), ("JUP", "SOL")})
TRADED = [*sorted(PAIRS), OVER_ANOTHER]
WALLET = Keypair.from_seed(bytes(range(32)))
END_WITHIN_S = 400.0
"""Virtual seconds in which everything must have ended once the world has healed."""
LENGTHS_S = (60.0, 60.0, 60.0, 300.0, 300.0, 3_000.0)
"""Short runs are dense: much happens to each order. In long ones things wait, expire and are forgotten."""
_RESTART_S = (0.2, 8.0)
_POLL_S = 0.5


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is made of, beside its seed."""

    orders: int = 6
    faults: frozenset[Fault] | None = None
    """None: whatever the seed draws."""
    rage_s: float | None = None
    """Virtual seconds until the world heals; None: the seed draws one of `LENGTHS_S`."""
    workers: int = 2
    concurrency: int = 3
    rate_per_minute: int = 30
    shuffle: float = 1.0
    intense: bool = False
    """Every allowed fault is there and strong, where a seed has some of them otherwise."""
    without: str | None = None
    """The safeguard that is taken out, see `ablations`."""
    plan: Plan = no_cuts


class World:
    """One run."""

    def __init__(self, chance: Chance, weather: Weather, trace: Trace, folder: Path, options: Options) -> None:
        self.chance = chance
        self.weather = weather
        self.trace = trace
        self.options = options
        self.rage_s = options.rage_s or chance.stream("length").choice(LENGTHS_S)
        self.clock = MachineClock()
        self.disk = Disk(folder, f"bestex-sim-{chance.seed}")
        self.record = ClientRecord()
        self.begun: list[Begun] = []
        self.in_work: list[InWork] = []
        self.settings = Settings(
            data_dir=str(folder),
            concurrency=options.concurrency,
            rate_per_minute=options.rate_per_minute,
            lease_s=10.0,
            poll_s=5.0,
            reconcile_s=4.0,
            shutdown_s=5.0,
        )
        self.database = folder / "bestex.db"
        self.node: Node | None = None
        self.crashes = 0
        self.defects: list[str] = []
        self.healed_at_s: float | None = None
        self._incarnations = 0
        self.calls = 0
        self._crash_in: int | None = None
        self._cut_power = False
        self._writes_left = 0
        self._down = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.chain: SimChain
        self.clients: Clients
        self.begin: Balances

    # --- the course of a run ------------------------------------------------------------------------------------------

    async def run(self) -> bool:
        """Everything, from genesis to the end; whether all had ended in time."""
        self.chain = await SimChain.open(
            self.chance, self.weather, self.trace, self.clock, wallet=WALLET.pubkey(), pairs=PAIRS
        )
        self.begin = Balances.of(self.chain.cluster.validator.chain.state.accounts)
        self.clients = Clients(self, self.record, self.weather, self.chance, self.trace, TRADED)
        self._tasks = [asyncio.create_task(self.chain.run()), asyncio.create_task(self._supervise())]
        self._tasks += [asyncio.create_task(self._strike(fault, act)) for fault, act in self._nemeses().items()]
        trading = asyncio.create_task(self.clients.run(self.options.orders, self.rage_s * 0.6))
        await self.clock.sleep(self.rage_s)
        self._heal()
        ended = await self._wait_for_the_end(trading)
        if not ended:
            trading.cancel()
        return ended

    async def close(self, ended: bool, logs: LogCapture) -> Evidence:
        """Stop the engine as SIGTERM would, and everything else; what is left behind."""
        ended_at_s = self.clock.monotonic_s()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        queue = None
        if self.node is not None and self.node.server is not None and not self.node.group.dead:
            queue = await self.node.stop()
        seen = Seen(
            wallet=WALLET.pubkey(),
            limits=Limits.of(self.settings, round(END_WITHIN_S * 1000)),
            record=self.record,
            begun=self.begun,
            in_work=self.in_work,
            logs=logs.lines,
            secrets=secret_forms(WALLET),
            queue=queue,
            healed_at_ms=round((self.healed_at_s or 0.0) * 1000),
            ended_at_ms=round(ended_at_s * 1000),
            set_back_ms=self.clock.set_back_ms,
            streams_had_time=ended,
        )
        return await collect(self.database, self.disk.vfs, self.chain.cluster, self.begin, seen)

    def server(self) -> Server | None:
        """Where clients connect; None while nothing listens."""
        return None if self.node is None else self.node.server

    def _heal(self) -> None:
        self.weather.healed = True
        self.healed_at_s = self.clock.monotonic_s()
        self.trace.note("world", "heals")
        self.disk.full = False
        self._crash_in = None
        self._spare_disk()
        if self.node is not None:
            for group in self.node.worker_groups:
                group.thaw()

    async def _wait_for_the_end(self, trading: "asyncio.Task[None]") -> bool:
        deadline_s = self.clock.monotonic_s() + END_WITHIN_S
        while self.clock.monotonic_s() < deadline_s:
            if trading.done() and await self._all_ended():
                return True
            await self.clock.sleep(_POLL_S)
        return False

    async def _all_ended(self) -> bool:
        node = self.node
        return node is not None and node.server is not None and not node.group.dead and await node.idle()

    # --- the engine's process -----------------------------------------------------------------------------------------

    async def _supervise(self) -> None:
        """Start the engine, and start it again whenever it has stopped."""
        draw = self.chance.stream("supervisor")
        while True:
            await self._start()
            await self._down.wait()
            self.node = None
            await self.clock.sleep(draw.uniform(*_RESTART_S))

    async def _start(self) -> None:
        self._incarnations += 1
        name = f"node{self._incarnations}"
        self._down.clear()
        self.disk.revive()
        node = self.node = Node(self._site(), name, self._cuts_of)
        self.trace.note("world", f"{name} starts")
        booting = node.group.start(node.boot())
        down = asyncio.create_task(self._down.wait())
        await asyncio.wait((booting, down), return_when=asyncio.FIRST_COMPLETED)
        down.cancel()
        if booting.done() and booting.exception() is not None:
            error = booting.exception()
            if not isinstance(error, BestexError):
                self.defects.append(f"{name} does not start: {type(error).__name__}: {error}")
            self.trace.note("world", f"{name} does not start: {error}")
            self.crash("cannot start")

    def crash(self, why: str) -> None:
        """Stop the engine's process where it stands."""
        node = self.node
        if node is None or node.group.dead:
            return
        self.crashes += 1
        self.trace.note("world", f"{node.name} stops: {why}")
        node.group.kill()
        power, self._cut_power = self._cut_power, False
        # What runs now may be inside SQLite: the rest of the end comes after it.
        asyncio.get_running_loop().call_soon(self._bury, node, power, context=outside())

    def _bury(self, node: Node, power: bool) -> None:
        self._spare_disk()
        node.crash()
        if power:
            self.disk.power_cut(self.chance.stream(f"power {node.name}"))
        self._down.set()

    def _site(self) -> Site:
        return Site(
            settings=self.settings,
            database=self.database,
            vfs=self.disk.vfs,
            clock=self.clock,
            signer=KeypairSigner(WALLET),
            tokens=self.chain.tokens,
            pools=self.chain.pools,
            workers=self.options.workers,
            chance=self.chance,
            weather=self.weather,
            trace=self.trace,
            begun=self.begun,
            in_work=self.in_work,
            cluster_of=lambda cuts, name: SimCluster(
                self.chain, cuts, self.weather, self.chance.stream(f"wire {name}"), self.trace, self.clock
            ),
        )

    def _cuts_of(self, group: Group) -> Cuts:
        return Cuts(group, self.trace, self._plan, self._count, self.crash)

    def _count(self) -> int:
        self.calls += 1
        return self.calls

    def _plan(self, number: int, call: str) -> Cut:
        """What the options plan for a call, or the crash that the weather has announced."""
        if self._crash_in is not None:
            self._crash_in -= 1
            if self._crash_in <= 0:
                self._crash_in = None
                return self.chance.stream(f"cut {number}").choice((Cut.CRASH_BEFORE, Cut.CRASH_AFTER))
        return self.options.plan(number, call)

    # --- what befalls it ----------------------------------------------------------------------------------------------

    def _nemeses(self) -> dict[Fault, Callable[[random.Random], None]]:
        return {
            Fault.KILL: self._kill,
            Fault.POWER_CUT: self._lose_power,
            Fault.DISK_FULL: self._fill_disk,
            Fault.FROZEN_WORKER: self._freeze,
            Fault.CLOCK_BACK: self._set_clock_back,
        }

    async def _strike(self, fault: Fault, act: Callable[[random.Random], None]) -> None:
        """Again and again, as often as the weather says, until the world heals."""
        draw = self.chance.stream(fault.value)
        while (in_a_run := self.weather.weight(fault)) > 0.0:
            await self.clock.sleep(draw.expovariate(in_a_run / self.rage_s))
            if not self.weather.healed and self.node is not None and not self.node.group.dead:
                self.trace.fault(fault)
                act(draw)

    def _kill(self, draw: random.Random) -> None:
        """At this very moment, at one of the next calls, or in the middle of one of the next writes."""
        match draw.randrange(3):
            case 0:
                self.crash("killed")
            case 1:
                self._crash_in = draw.randrange(1, 60)
            case _:
                self._writes_left = draw.randrange(1, 120)
                self.disk.on_write = self.disk.on_sync = self._on_write

    def _lose_power(self, draw: random.Random) -> None:
        self._cut_power = True
        self._kill(draw)

    def _on_write(self, moment: str, file: str) -> None:
        self._writes_left -= 1
        if self._writes_left <= 0:
            self._spare_disk()
            self.crash(f"{moment} a write to {Path(file).name}")
            raise PowerLost("stopped in the middle of a write")

    def _spare_disk(self) -> None:
        self.disk.on_write = self.disk.on_sync = None

    def _fill_disk(self, draw: random.Random) -> None:
        self.disk.full = True
        asyncio.get_running_loop().call_later(draw.uniform(1.0, 10.0), self._empty_disk, context=outside())

    def _empty_disk(self) -> None:
        self.disk.full = False

    def _freeze(self, draw: random.Random) -> None:
        assert self.node is not None
        if self.node.worker_groups:
            group = draw.choice(self.node.worker_groups)
            group.freeze()
            asyncio.get_running_loop().call_later(draw.uniform(5.0, 40.0), group.thaw, context=outside())

    def _set_clock_back(self, draw: random.Random) -> None:
        self.clock.set_back(draw.randrange(100, 60_000))
