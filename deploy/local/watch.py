"""Starts a member again that has ended by itself, as an orchestrator does."""

import asyncio
import time
from collections.abc import Callable

from deploy.local.cluster import Member
from deploy.local.process import NotStarted

_FIRST_S = 1.0
_MOST_S = 30.0
_WELL_S = 60.0
"""Whoever has run for so long is well again: the next wait is the first one."""


async def keep_running(member: Member, say: Callable[[str], None]) -> None:
    """Until canceled. Each start after another waits twice as long as the one before. `say` is told in words."""
    wait_s = _FIRST_S
    while True:
        began_s = time.monotonic()
        code = await member.wait()
        if time.monotonic() - began_s >= _WELL_S:
            wait_s = _FIRST_S
        how = "" if code is None else f" with exit code {code}"
        say(f"{member.name} has ended{how}; starting it again in {wait_s:.0f} s; its log: {member.log}")
        while True:
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _MOST_S)
            try:
                await member.start()
            except NotStarted as error:
                say(f"{error}\ntrying again in {wait_s:.0f} s")
            else:
                say(f"{member.name} runs again, process {member.pid}")
                break
