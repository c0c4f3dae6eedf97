"""Where blocking calls run: on a thread of their own, or in place where a simulation wants every step in one thread."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

T = TypeVar("T")


class Runner(Protocol):
    """Runs blocking calls one after the other, in the order in which they are asked for."""

    @property
    def in_place(self) -> bool:
        """Whether a call is over before anybody else can run."""
        ...

    async def run(self, call: Callable[[], T]) -> T: ...

    def close(self) -> None: ...


class InPlace:
    """Blocks the caller."""

    in_place = True

    async def run(self, call: Callable[[], T]) -> T:
        return call()

    def close(self) -> None:
        return


class OneThread:
    """One thread beside the event loop."""

    in_place = False

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def run(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    def close(self) -> None:
        """Wait for the calls that are under way."""
        self._executor.shutdown()
