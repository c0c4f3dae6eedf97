"""A connection's writes of one turn are one write."""

import asyncio
from typing import Any, cast

from bestex.outgoing import Joined


class Written:
    """A transport that keeps what it is given."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closed = self.aborted = False

    def write(self, data: bytes) -> None:
        assert not self.is_closing()
        self.writes.append(data)

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def get_extra_info(self, name: str) -> Any:
        return name


def joined() -> tuple[Written, Joined]:
    inner = Written()
    return inner, Joined(cast(asyncio.Transport, inner), asyncio.get_running_loop())


async def test_the_writes_of_one_turn_go_out_together_in_their_order() -> None:
    inner, transport = joined()
    for part in (b"head ", b"body ", b"more"):
        transport.write(part)
    await asyncio.sleep(0)
    transport.write(b"next turn")
    assert inner.writes == [b"head body more"]
    await asyncio.sleep(0)
    assert inner.writes == [b"head body more", b"next turn"]


async def test_what_was_written_before_the_close_goes_out() -> None:
    inner, transport = joined()
    transport.write(b"good-bye")
    assert not transport.is_closing()
    transport.close()
    assert (inner.writes, transport.is_closing()) == ([b"good-bye"], True)
    await asyncio.sleep(0)
    assert inner.writes == [b"good-bye"]


async def test_nothing_goes_out_after_the_end_of_the_connection() -> None:
    aborted, transport = joined()
    transport.write(b"too late")
    transport.abort()
    lost, other = joined()
    other.write(b"too late")
    lost.close()
    await asyncio.sleep(0)
    assert aborted.aborted
    assert (aborted.writes, lost.writes) == ([], [])


async def test_much_is_written_at_once_so_that_a_slow_peer_is_noticed() -> None:
    inner, transport = joined()
    transport.write(b"a" * 16_384)
    assert inner.writes == []
    transport.write(b"b")
    assert inner.writes == [b"a" * 16_384 + b"b"]
    await asyncio.sleep(0)
    assert len(inner.writes) == 1


async def test_everything_else_is_the_transports_own() -> None:
    assert joined()[1].get_extra_info("peername") == "peername"
