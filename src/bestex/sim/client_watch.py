"""A client that follows its order over WebSockets from the first event to the end, however often they break."""

import asyncio
from collections.abc import Callable

import msgspec

from bestex.sim.asgi import Closed, HandshakeRefused, NoConnection
from bestex.sim.client_line import PATIENCE_S, Line, Stream
from bestex.sim.faults import Fault
from bestex.sim.record import Subscriber

_ENDED = 1000
_RESUME = frozenset({1006, 1012, 1013})
_FAULT_OF_THE_SERVER = 1011
_AWAY_S = (0.0, 10.0)
_CHANCE_OF_LEAVING_LATER = 0.3
_SLOW_READER = 0.15
_READS_AFTER_S = (0.0, 25.0)


class _Event(msgspec.Struct):
    seq: int


class Watch:
    """One subscriber. `follow` until the server says that the order has ended."""

    def __init__(self, line: Line, subscriber: Subscriber, on_event: Callable[[int], None]) -> None:
        self._line = line
        self._subscriber = subscriber
        self._on_event = on_event
        can_be_slow = line.scene.weather.weight(Fault.CLIENT_DISCONNECT) > 0
        self._is_slow = can_be_slow and line.draw.random() < _SLOW_READER

    async def follow(self) -> None:
        """Connect and read, from where it was, until the end; or until the server does not know the order."""
        tries = 0
        while True:
            before = len(self._subscriber.seqs)
            code = await self._connection()
            if code == _ENDED:
                self._subscriber.closed_as_ended = True
                return
            if code not in _RESUME:
                self._line.wonder(f"the stream of {self._subscriber.order_id} ended with {code}")
                if code != _FAULT_OF_THE_SERVER:
                    return
            tries = 0 if len(self._subscriber.seqs) > before else tries + 1
            await self._line.pause(self._line.backoff_s(tries))

    async def _connection(self) -> int:
        """One connection, and the code that it ended with."""
        path = self._path()
        try:
            async with asyncio.timeout(PATIENCE_S):
                socket = await self._line.server().connect(path)
        except (NoConnection, TimeoutError) as error:
            self._line.say(f"WS {path} {type(error).__name__}")
            return 1006
        except HandshakeRefused as error:
            return error.status
        self._line.say(f"WS {path} open")
        try:
            closed = await self._read(socket)
        finally:
            socket.close()
        if closed is None:
            await self._line.pause(self._line.draw.uniform(*_AWAY_S))
            return 1006
        self._line.say(f"WS closed {closed.code} {closed.reason}")
        return closed.code

    async def _read(self, socket: Stream) -> Closed | None:
        """Until the server closes; None: the client goes away by itself."""
        while True:
            received = await socket.receive()
            if isinstance(received, Closed):
                return received
            seq = msgspec.json.decode(received, type=_Event).seq
            self._subscriber.seqs.append(seq)
            self._subscriber.payloads.append(received)
            self._line.say(f"event {seq}")
            self._on_event(seq)
            if self._line.happens(Fault.CLIENT_DISCONNECT):
                self._line.meet(Fault.CLIENT_DISCONNECT, f"after event {seq}")
                if self._line.draw.random() < _CHANCE_OF_LEAVING_LATER:
                    await self._line.pause(self._line.draw.uniform(0.0, 2.0))
                return None
            if self._is_slow and not self._line.scene.weather.healed:
                await self._line.pause(self._line.draw.uniform(*_READS_AFTER_S))

    def _path(self) -> str:
        """Either of the stream's addresses, from the event after the last one."""
        order_id, seqs = self._subscriber.order_id, self._subscriber.seqs
        start = seqs[-1] + 1 if seqs else 1
        if self._line.draw.random() < 0.5:
            return f"/api/orders/{order_id}/ws?fromSeq={start}"
        return f"/api/orders/execute?orderId={order_id}" + (f"&fromSeq={start}" if start > 1 else "")
