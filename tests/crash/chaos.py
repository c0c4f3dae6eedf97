"""`make chaos`: a deployment of real processes under blows of all kinds, with clients that do not give up.

When the world has healed, every order must end; then the simulator's own checks are held against PostgreSQL, the
paper cluster's ledger, and what the clients wrote down.
"""

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import msgspec
from deploy.local.cluster import LocalCluster
from solders.keypair import Keypair

from bestex.config import load
from bestex.orders.status import Status
from bestex.paper.cluster import PaperCluster
from bestex.paper.network import PROFILES
from bestex.ports import QueueStats
from bestex.sim.chance import Chance
from bestex.sim.checks import CHECKS
from bestex.sim.clients import Clients
from bestex.sim.evidence import Balances, Evidence, Limits, Seen, read_chain, secret_forms
from bestex.sim.faults import Fault, Weather
from bestex.sim.pg_evidence import read_postgres
from bestex.sim.record import ClientRecord
from bestex.sim.trace import Trace
from bestex.store.postgres import PostgresStore
from tests.crash.chaos_nemesis import LEASE_S, Blow, Nemesis, draw_plan
from tests.crash.chaos_network import Nodes
from tests.support.clock import VirtualClock
from tests.support.entropy import SeededEntropy

END_WITHIN_S = 60.0
"""From the world's healing to the end of every order and every client."""
WORKERS = 3
WALLET = Keypair.from_seed(bytes(range(32)))
NETWORK = "fast"
SETTINGS = {
    "wallet_secret": WALLET,
    "network": NETWORK, "rate_per_minute": 0, "concurrency": 20, "lease_s": LEASE_S, "poll_s": 0.5, "shutdown_s": 4.0,
    "database_retry_s": 3.0, "cluster_timeout_s": 3.0, "redis_timeout_s": 0.5, "log_format": "json",
}  # fmt: skip
# Processes are killed here, never the machine: what the system has in memory is safe, and need not wait for a disk.
_POSTGRES = {"fsync": "off"}
_PAIRS = (("JUP", "SOL"), ("SOL", "USDC"), ("USDC", "ETH"), ("USDT", "USDC"))
_WEATHER = {Fault.CLIENT_RETRY: 0.5, Fault.CLIENT_DISCONNECT: 0.15, Fault.CLIENT_CANCEL: 0.25}
_PACE = 0.1
"""The simulator's clients have hours; these have a minute."""


class Chaos:
    """One run on a running cluster: clients from now on, whatever befalls it, and what is left behind."""

    def __init__(self, cluster: LocalCluster, seed: int) -> None:
        self.cluster = cluster
        self.seed = seed
        self.record = ClientRecord()
        self.nemesis = Nemesis(cluster)
        self.weather = Weather(_WEATHER)
        self._loop = asyncio.get_running_loop()
        self._began_s = self._loop.time()
        self._trace = Trace(lambda: self._loop.time() - self._began_s, keep_all=True)
        self.trading: asyncio.Task[None]
        self.violations: list[str] = []
        self.filled = 0
        """Orders that ended as confirmed."""

    @property
    def seen(self) -> int:
        """Events that have reached clients."""
        return sum(len(subscriber.seqs) for subscriber in self.record.subscribers)

    @property
    def accepted(self) -> int:
        return sum(posted.accepted for posted in self.record.posted)

    async def until_seen(self, more: int) -> None:
        """Until so many more events have reached clients."""
        target = self.seen + more
        async with asyncio.timeout(END_WITHIN_S):
            while self.seen < target:
                assert not self.trading.done(), "the clients have nothing left to do"
                await asyncio.sleep(0.01)

    async def run(self, plan: Sequence[Blow], *, orders: int, seconds: float) -> None:
        """Carry out a plan under the load of so many orders, let all end, and judge: `violations` has the result."""
        async with self.load(orders, seconds):
            await self.nemesis.carry_out(plan)

    @asynccontextmanager
    async def load(self, orders: int, seconds: float) -> AsyncIterator[None]:
        """Clients trade in here; at the end the world heals, everything ends, and is judged."""
        draw = random.Random(f"bestex chaos nodes {self.seed}")
        nodes = Nodes(self.cluster.urls, draw)
        chance = Chance(self.seed)
        clients = Clients(nodes, self.record, self.weather, chance, self._trace, _PAIRS, pace=_PACE)
        self.trading = asyncio.create_task(clients.run(orders, seconds / _PACE))
        try:
            yield
            await self._judge()
        finally:
            self.trading.cancel()
            await asyncio.wait((self.trading,))
            (self.cluster.folder / "clients.txt").write_text("\n".join(self._trace.notes))

    async def _judge(self) -> None:
        self.weather.healed = True
        healed_s = self._loop.time()
        ended = await self._ended()
        if not ended:
            self.violations.append(f"everything_ends: not within {END_WITHIN_S:.0f} s after the world has healed")
        ended_s = self._loop.time()
        codes = await self.cluster.terminate(but=("postgres",))
        self.violations += [f"ended_well: {name}: exit code {code}" for name, code in codes.items() if code != 0]
        self.violations += [f"ended_well: {text}" for text in self.nemesis.fallen]
        evidence = await self._evidence(round(healed_s * 1000), round(ended_s * 1000), ended=ended)
        self.filled = evidence.stored.counts.get(Status.CONFIRMED, 0)
        for check in CHECKS:
            self.violations += [f"{check.__name__}: {sentence}" for sentence in check(evidence)]
        self.violations += [f"no_defect_is_logged: {line[:2000]}" for line in evidence.seen.logs if _is_defect(line)]

    async def _ended(self) -> bool:
        try:
            async with asyncio.timeout(END_WITHIN_S):
                await asyncio.shield(self.trading)
                connection = await asyncpg.connect(self.cluster.database.dsn())
                try:
                    while await connection.fetchval("SELECT count(*) FROM open_orders"):
                        await asyncio.sleep(0.1)
                finally:
                    await connection.close()
        except TimeoutError:
            return False
        return True

    async def _evidence(self, healed_ms: int, ended_ms: int, *, ended: bool) -> Evidence:
        settings = load({f"BESTEX_{name.upper()}": str(value) for name, value in SETTINGS.items()})
        dsn = self.cluster.database.dsn()
        seen = Seen(
            wallet=WALLET.pubkey(),
            limits=Limits.of(settings, round(END_WITHIN_S * 1000)),
            record=self.record,
            begun=[],
            in_work=[],
            logs=[line for log in sorted(self.cluster.logs.glob("*.log")) for line in log.read_text().splitlines()],
            secrets=secret_forms(WALLET),
            queue=await _queue(dsn),
            healed_at_ms=healed_ms,
            ended_at_ms=ended_ms,
            streams_had_time=ended,
        )
        ledger = self.cluster.folder / "paper" / "paper.db"
        async with _paper(None) as new, _paper(ledger) as paper:
            begin = Balances.of(new.validator.chain.state.accounts)
            return Evidence(await read_postgres(dsn), await read_chain(paper, begin), seen)


@asynccontextmanager
async def chaos(seed: int, workers: int = WORKERS, **settings: object) -> AsyncIterator[Chaos]:
    """A cluster with chaos to come; `settings` over `SETTINGS`.

    If the run has violations, or raises, its data and logs are kept, and told of.
    """
    folder = _folder()
    timeline: list[str] = []
    good = False
    try:
        async with LocalCluster(
            folder, workers=workers, proxied=True, settings=SETTINGS | settings, postgres=_POSTGRES
        ) as cluster:
            run = Chaos(cluster, seed)
            timeline = run.nemesis.timeline
            yield run
            good = not run.violations
    finally:
        if good:
            shutil.rmtree(folder)
        else:
            print("\n".join(("", *timeline, f"seed {seed}; logs and data: {folder}")))


def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="bestex-chaos-", dir="/tmp"))
    folder.chmod(0o755)  # PostgreSQL runs as nobody where tests run as root
    return folder


@asynccontextmanager
async def _paper(ledger: Path | None) -> AsyncIterator[PaperCluster]:
    """The ledger at rest; None: as every ledger begins."""
    cluster = await PaperCluster.open(
        profile=PROFILES[NETWORK], clock=VirtualClock(), entropy=SeededEntropy(), path=ledger, seed=1,
        wallet=WALLET.pubkey(), traders=False,
    )  # fmt: skip
    yield cluster
    await cluster.close()


async def _queue(dsn: str) -> QueueStats:
    store = PostgresStore(dsn, clock=VirtualClock())
    await store.open()
    try:
        return await store.stats(0, 1)
    finally:
        await store.close()


def _is_defect(line: str) -> bool:
    """What only a fault of ours can say. asyncpg's pool logs every connection that it cannot make with a traceback."""
    if not line.startswith("{"):
        return "Traceback" in line
    told = msgspec.json.decode(line, type=dict[str, object])
    error = str(told.get("exception", "")).rpartition("\n")[2]
    foreseen = told.get("logger") == "asyncpg.pool" or error.startswith("bestex.errors.StoreUnavailable")
    return told.get("level") == "critical" or (error != "" and not foreseen)


async def run_chaos(seed: int, *, seconds: float, orders: int) -> Chaos:
    """From start to end."""
    async with chaos(seed) as run:
        plan = draw_plan(seed, seconds, sorted(run.cluster.members))
        await run.run(plan, orders=orders, seconds=seconds)
    return run


def main(arguments: Sequence[str]) -> int:
    """0: everything held; 1: something did not."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="until the world heals (%(default)s)")
    parser.add_argument("--seed", type=int, help="of the blows and the clients; any, when not given")
    parser.add_argument("--orders", type=int, help="two a second, when not given")
    options = parser.parse_args(arguments)
    seed = random.randrange(10**6) if options.seed is None else options.seed
    print(f"chaos for {options.seconds:.0f} s, seed {seed}", flush=True)
    run = asyncio.run(run_chaos(seed, seconds=options.seconds, orders=options.orders or round(2 * options.seconds)))
    print(
        f"{run.accepted} orders, {run.filled} filled, {run.seen} events seen, {len(run.nemesis.struck)} kinds of blows"
    )
    for sentence in run.violations:
        print(sentence)
    print(f"{len(run.violations)} violations")
    return 1 if run.violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
