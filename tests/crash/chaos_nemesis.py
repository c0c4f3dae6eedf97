"""What befalls a deployment: a plan drawn from a seed, and who carries it out."""

import asyncio
import random
from collections.abc import Sequence
from typing import NamedTuple

from deploy.local.cluster import LocalCluster
from deploy.local.process import NotStarted

LEASE_S = 3.0
"""Of the workers under chaos."""
_EVERY_S = 1.6
_REVIVE_S = 60.0
_PROCESSES = {
    # Kind of process: how often, and how long it may stand still.
    "api": (3, (0.5, 5.0)),
    "worker": (5, (LEASE_S + 0.5, LEASE_S + 4.0)),  # wakes up when others have its orders
    "paper": (1, (0.5, 4.0)),
    "postgres": (2, (0.3, 4.0)),
    "redis": (1, (0.3, 3.0)),
}
_WIRES = ("postgres", "redis", "paper")
_DOWN_S = (0.0, 3.0)
_CUT_S = (0.2, 3.0)


class Blow(NamedTuple):
    """One thing that befalls one member, or the network in front of it."""

    at_s: float
    what: str
    """kill, freeze, restart; of the network: reset, stall, refuse."""
    whom: str
    lasts_s: float
    """From the blow to its end; of a restart: nothing."""


def draw_plan(seed: int, seconds: float, members: Sequence[str]) -> list[Blow]:
    """The same for the same seed."""
    draw = random.Random(f"bestex chaos {seed}")
    kinds = [name.partition("-")[0] for name in members]
    weights = [_PROCESSES[kind][0] / kinds.count(kind) for kind in kinds]
    plan = []
    at_s = draw.uniform(0.5, 2.0)
    while at_s < seconds:
        if draw.random() < 0.3:
            blow = Blow(at_s, draw.choice(("reset", "stall", "refuse")), draw.choice(_WIRES), draw.uniform(*_CUT_S))
        else:
            whom = draw.choices(members, weights)[0]
            frozen_s = draw.uniform(*_PROCESSES[whom.partition("-")[0]][1])
            what, lasts_s = draw.choice((("kill", draw.uniform(*_DOWN_S)), ("freeze", frozen_s), ("restart", 0.0)))
            blow = Blow(at_s, what, whom, lasts_s)
        plan.append(blow)
        at_s += draw.expovariate(1 / _EVERY_S)
    return plan


class Nemesis:
    """Strikes a running cluster, and leaves it as it was."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._cluster = cluster
        self._began_s = asyncio.get_running_loop().time()
        self._busy: set[str] = set()
        self.timeline: list[str] = []
        self.struck: set[tuple[str, str]] = set()
        """What has befallen which kind of member."""
        self.fallen: list[str] = []
        """Members that ended by themselves."""

    async def carry_out(self, plan: Sequence[Blow]) -> None:
        """The whole plan; when this returns, everything runs and every wire is whole."""
        async with asyncio.TaskGroup() as group:
            for blow in plan:
                await asyncio.sleep(max(0.0, self._began_s + blow.at_s - asyncio.get_running_loop().time()))
                group.create_task(self.strike(blow))

    async def strike(self, blow: Blow) -> None:
        """One blow, to its end. One at a time for each victim: who is down already is left alone."""
        wire = blow.what in {"reset", "stall", "refuse"}
        victim = f"wire to {blow.whom}" if wire else blow.whom
        if victim in self._busy:
            self._note(f"{blow.what} {victim}: not now")
            return
        self._busy.add(victim)
        self.struck.add((blow.what, blow.whom.partition("-")[0]))
        self._note(f"{blow.what} {victim} for {blow.lasts_s:.1f} s")
        try:
            await (self._cut(blow) if wire else self._fell(blow))
        finally:
            self._busy.discard(victim)
        self._note(f"{victim} is well")

    async def _cut(self, blow: Blow) -> None:
        proxies = [proxy for name, proxy in self._cluster.proxies.items() if name.startswith(blow.whom)]
        for proxy in proxies:
            {"reset": proxy.reset, "stall": proxy.stall, "refuse": proxy.refuse}[blow.what]()
        await asyncio.sleep(blow.lasts_s)
        for proxy in proxies:
            proxy.heal()

    async def _fell(self, blow: Blow) -> None:
        member = self._cluster.members[blow.whom]
        if member.pid is None:
            self.fallen.append(f"{blow.whom} had ended by itself: {member.log}")
        if blow.what == "freeze":
            member.freeze()
            await asyncio.sleep(blow.lasts_s)
            member.thaw()
        elif blow.what == "kill":
            await member.kill()
            await asyncio.sleep(blow.lasts_s)
            await self._revive(blow.whom)
        else:
            try:
                code = await member.terminate()
            except TimeoutError as error:
                self.fallen.append(str(error))
            else:
                if code != 0:
                    self.fallen.append(f"{blow.whom} ended with {code} after SIGTERM: {member.log}")
            await self._revive(blow.whom)

    async def _revive(self, name: str) -> None:
        """As an orchestrator does: what it needs may be down itself."""
        until_s = asyncio.get_running_loop().time() + _REVIVE_S
        while True:
            try:
                await self._cluster.members[name].start()
            except NotStarted as error:
                self._note(f"{name} does not start: {str(error)[-300:]}")
                if asyncio.get_running_loop().time() > until_s:
                    self.fallen.append(f"{name} does not start again: {error}")
                    return
                await asyncio.sleep(0.5)
            else:
                return

    def _note(self, text: str) -> None:
        self.timeline.append(f"{asyncio.get_running_loop().time() - self._began_s:8.2f} s  {text}")
