"""Those who trade: they place orders, follow them, look at them and take them back, and write down what they are told.

They judge nothing. A client has a random stream of its own and never gives up on a question that it asked.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol

import msgspec

from bestex.sim.asgi import HttpAnswer, NoConnection
from bestex.sim.chance import Chance
from bestex.sim.client_line import PATIENCE_S, Line, Listening, Scene, code_of
from bestex.sim.client_watch import Watch
from bestex.sim.client_wishes import Wish, draw_wish
from bestex.sim.faults import Fault, Weather
from bestex.sim.record import ClientRecord, Polled, Subscriber
from bestex.sim.trace import Trace

_CHANCE_OF_A_RUSH = 0.25
"""That all clients of a run come at once."""
_CHANCE_OF_A_SECOND_WATCH = 0.2
_CHANCE_OF_WATCHING_LATE = 0.2
_POLL_S = (2.0, 20.0)
_IMPATIENT_S = (0.0, 0.0, 0.001, 0.05)
_OK, _CREATED, _ACCEPTED, _CONFLICT = 200, 201, 202, 409


class FrontDoor(Protocol):
    """Where clients connect."""

    def server(self) -> Listening | None:
        """Who listens; None while nobody does."""
        ...


class Clients:
    """The population. `run` ends when every order has ended or was refused, and its client knows it."""

    def __init__(  # noqa: PLR0917 - what a run has, in its usual order
        self,
        front_door: FrontDoor,
        record: ClientRecord,
        weather: Weather,
        chance: Chance,
        trace: Trace,
        pairs: Sequence[tuple[str, str]],
        *,
        pace: float = 1.0,
    ) -> None:
        """`pairs`: symbols of what can be traded, in either direction. `pace`: see `Scene`."""
        self._front_door = front_door
        self._chance = chance
        self._scene = Scene(weather, record, trace, pace)
        self._pairs = pairs

    async def run(self, number_of_orders: int, over_seconds: float) -> None:
        """Let so many clients come, each with one order."""
        draw = self._chance.stream("clients")
        rush = draw.random() < _CHANCE_OF_A_RUSH
        async with asyncio.TaskGroup() as group:
            for number in range(number_of_orders):
                comes_after_s = draw.uniform(0.0, 0.0 if rush else over_seconds)
                group.create_task(self._client(number).live(comes_after_s))

    def _client(self, number: int) -> "_Client":
        draw = self._chance.stream(f"client {number}")
        line = Line(f"client{number}", draw, self._front_door.server, self._scene)
        return _Client(draw_wish(number, self._pairs, draw), line)


class _Client:
    """One order's client."""

    def __init__(self, wish: Wish, line: Line) -> None:
        self._wish = wish
        self._posted = wish.posted
        self._line = line
        self._draw = line.draw
        self._record = line.scene.record
        self._newest = 0
        self._news = asyncio.Event()

    async def live(self, comes_after_s: float) -> None:
        await self._line.pause(comes_after_s)
        self._record.posted.append(self._posted)
        again, twin = self._line.happens(Fault.CLIENT_RETRY), self._draw.random() < 0.4
        order_id = await (self._post_twice() if again and twin else self._post())
        if order_id is None:
            return
        async with asyncio.TaskGroup() as group:
            asides = [group.create_task(self._look_now_and_then(order_id))]
            if self._line.happens(Fault.CLIENT_CANCEL):
                asides.append(group.create_task(self._cancel(order_id)))
            if again and not twin:
                group.create_task(self._post_again())
            watches = 2 if self._draw.random() < _CHANCE_OF_A_SECOND_WATCH else 1
            for watching in [group.create_task(self._watch(order_id)) for _ in range(watches)]:
                await watching
            for aside in asides:
                aside.cancel()
        await self._look(order_id)

    # --- placing ------------------------------------------------------------------------------------------------------

    async def _post(self) -> str | None:
        """Place the order; None: it was refused."""
        wish = self._wish
        answer = await self._line.insist(
            "POST", "/api/orders/execute", headers=wish.headers, body=wish.body, patience_s=self._patience_s
        )
        if answer.status not in {_OK, _CREATED}:
            self._posted.refused.append(code_of(answer))
            self._line.say(f"refused {code_of(answer)}")
            return None
        order_id: str = msgspec.json.decode(answer.body)["orderId"]
        self._posted.order_ids.append(order_id)
        self._line.say(f"has {order_id}")
        return order_id

    async def _post_twice(self) -> str | None:
        """The same request over two connections at once."""
        self._line.meet(Fault.CLIENT_RETRY, "at once")
        async with asyncio.TaskGroup() as group:
            one, other = group.create_task(self._post()), group.create_task(self._post())
        return one.result() or other.result()

    async def _post_again(self) -> None:
        """The same request some time after its answer; maybe after the order's end."""
        await self._line.pause(self._draw.choice((0.0, self._draw.uniform(0.0, 5.0), self._draw.uniform(0.0, 60.0))))
        self._line.meet(Fault.CLIENT_RETRY, "later")
        await self._post()

    def _patience_s(self) -> float:
        """A client may hang up before it has its answer."""
        if not self._line.happens(Fault.CLIENT_DISCONNECT):
            return PATIENCE_S
        self._line.meet(Fault.CLIENT_DISCONNECT, "hangs up on its order")
        return self._draw.choice(_IMPATIENT_S)

    # --- following ----------------------------------------------------------------------------------------------------

    async def _watch(self, order_id: str) -> None:
        if self._draw.random() < _CHANCE_OF_WATCHING_LATE:
            await self._line.pause(self._draw.uniform(0.0, 15.0))
        subscriber = Subscriber(order_id)
        self._record.subscribers.append(subscriber)
        await Watch(self._line, subscriber, self._on_event).follow()

    def _on_event(self, seq: int) -> None:
        self._newest = max(self._newest, seq)
        self._news.set()

    async def _look_now_and_then(self, order_id: str) -> None:
        """Until canceled."""
        others = (
            "/api/orders/active",
            "/api/queue/stats",
            f"/api/orders/user/{self._posted.user_id}",
            f"/api/quote?tokenIn={self._wish.token_in}&tokenOut={self._wish.token_out}&amountIn={self._wish.amount}",
            "/health",
            "/metrics",
        )
        while True:
            await self._line.pause(self._draw.uniform(*_POLL_S))
            try:
                if self._draw.random() < 0.6:
                    self._keep(order_id, await self._line.ask("GET", f"/api/orders/{order_id}"))
                else:
                    await self._line.ask("GET", self._draw.choice(others))
            except NoConnection:
                continue

    async def _look(self, order_id: str) -> None:
        self._keep(order_id, await self._line.insist("GET", f"/api/orders/{order_id}"))

    def _keep(self, order_id: str, answer: HttpAnswer) -> None:
        if answer.status == _OK:
            order = msgspec.json.decode(answer.body)
            seqs = [event["seq"] for event in order["events"]]
            self._record.polled.append(Polled(order["orderId"], order["status"], order["finality"], seqs))
        elif answer.status < 500 and answer.status != 429:
            self._line.wonder(f"GET order {order_id} answered {answer.status} {code_of(answer)}")

    # --- taking back --------------------------------------------------------------------------------------------------

    async def _cancel(self, order_id: str) -> None:
        """At a moment by the clock, or right after some event."""
        if self._draw.random() < 0.5:
            await self._line.pause(self._draw.uniform(0.0, self._draw.choice((0.0, 1.0, 5.0, 30.0))))
        else:
            await self._until_event(self._draw.randrange(1, 8))
        self._line.meet(Fault.CLIENT_CANCEL, "takes its order back")
        for _ in range(self._draw.choice((1, 1, 2))):
            answer = await self._line.insist("DELETE", f"/api/orders/{order_id}")
            if answer.status in {_OK, _ACCEPTED}:
                self._posted.cancel_accepted = True
            elif answer.status != _CONFLICT:
                self._line.wonder(f"DELETE order {order_id} answered {answer.status} {code_of(answer)}")

    async def _until_event(self, seq: int) -> None:
        while self._newest < seq:
            self._news.clear()
            await self._news.wait()
