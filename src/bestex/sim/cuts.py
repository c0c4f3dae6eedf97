"""Cut points: the moments before and after each effect on the world outside, at which a process may stop for ever."""

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Protocol, TypeVar

from bestex.errors import ClusterUnavailable
from bestex.sim.loop import Group, never
from bestex.sim.trace import Trace

T = TypeVar("T")


class Cut(StrEnum):
    """What happens to a call."""

    NONE = "none"
    CRASH_BEFORE = "crash_before"
    CRASH_AFTER = "crash_after"
    TIMEOUT_AFTER = "timeout_after"
    """The effect happens, and the caller hears that nobody answered."""
    TWICE = "twice"
    """The effect happens twice."""


class Plan(Protocol):
    """Decides at each call."""

    def __call__(self, number: int, call: str, /) -> Cut: ...


def no_cuts(_number: int, _call: str, /) -> Cut:
    """Every call goes well."""
    return Cut.NONE


class Cuts:
    """The calls of one incarnation, counted over the whole run by `counter`, and cut as planned."""

    def __init__(
        self, group: Group, trace: Trace, plan: Plan, counter: Callable[[], int], crash: Callable[[str], None]
    ) -> None:
        """`crash` stops the incarnation where it stands; it is given the reason."""
        self._group = group
        self._trace = trace
        self._plan = plan
        self._counter = counter
        self._crash = crash

    def decide(self, name: str) -> Cut:
        """Count a call, and say what happens to it."""
        number = self._counter()
        cut = self._plan(number, name)
        self._trace.note("call", f"{number} {self._group.name} {name}" + (f" {cut}" if cut is not Cut.NONE else ""))
        return cut

    async def call(self, name: str, effect: Callable[[], Awaitable[T]], *, remote: bool = True) -> T:
        """Make a call, with what is planned for it. Only a `remote` one can time out or be delivered twice."""
        if self._group.dead:
            # Stopped a moment ago, and still on the way to its next `await`.
            await never()
        cut = self.decide(name)
        if cut is Cut.CRASH_BEFORE:
            await self.crash_here(f"before {name}")
        if cut is Cut.TWICE and remote:
            await effect()
        answer = await effect()
        if cut is Cut.CRASH_AFTER:
            await self.crash_here(f"after {name}")
        if cut is Cut.TIMEOUT_AFTER and remote:
            raise ClusterUnavailable("no answer (simulated)")
        return answer

    def crash_now(self, why: str) -> None:
        """Stop the incarnation; what runs now goes on to its next `await`, and its ports do nothing any more."""
        self._crash(why)

    async def crash_here(self, why: str) -> None:
        """Stop the incarnation, and this call with it."""
        self._crash(why)
        await never()
