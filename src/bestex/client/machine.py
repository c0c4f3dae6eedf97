"""The user's machine: its clock and its chance. The one file of the client that may reach for them."""

import asyncio
import random
import secrets  # noqa: TID251
import time


def now_s() -> float:
    """Seconds since some moment; never steps back."""
    return time.monotonic()  # noqa: TID251 - the client runs in the user's program, not in the engine


def wait(seconds: float) -> None:
    """Block the thread."""
    time.sleep(seconds)  # noqa: TID251


async def wait_async(seconds: float) -> None:
    """Let other tasks run."""
    await asyncio.sleep(seconds)  # noqa: TID251


def spread(seconds: float) -> float:
    """Between half of the time and all of it, so that many clients do not come back at once."""
    return seconds * random.uniform(0.5, 1.0)  # noqa: S311, TID251 - protects nothing


def fresh_key() -> str:
    """A key that nobody else has."""
    return secrets.token_hex(16)
