"""One WebSocket: `signatureSubscribe` and `signatureUnsubscribe`. Each subscription ends with its one notification."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from bestex.errors import Unavailable
from bestex.paper.rpc_node import Node
from bestex.paper.rpc_params import Context, argument, options, signature
from bestex.paper.rpc_shapes import error_json
from bestex.paper.rpc_wire import INVALID_PARAMS, METHOD_NOT_FOUND, RpcError, answer_one, failure, in_context, parse
from bestex.ports import SignatureStatus
from bestex.types import Commitment, Signature, Slot

_MAX_SUBSCRIPTIONS = 10_000
_WAIT_S = 60.0
_LOOK_AGAIN_S = 0.1
"""For a transaction that has landed and is not sure enough yet."""
_ORDER = list(Commitment)
_encode = msgspec.json.Encoder().encode


class Session:
    """The subscriptions of one connection."""

    def __init__(self, node: Node, send: Callable[[str], Awaitable[None]]) -> None:
        self._node = node
        self._send = send
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._last_id = 0
        self._asked: tuple[int, Signature, Commitment] | None = None
        """A subscription that has not begun."""

    async def take(self, text: str | bytes) -> None:
        """Answer one message."""
        try:
            spoken = parse(text)
        except RpcError as error:
            await self._send(_encode(failure(None, error)).decode())
            return
        answer = await answer_one(spoken, self._call)
        if answer is not None:
            await self._send(_encode(answer).decode())
        # A notification before the answer that names its subscription would be lost on the client.
        if self._asked is not None:
            number, name, commitment = self._asked
            self._asked = None
            self._tasks[number] = asyncio.create_task(self._watch(number, name, commitment))

    async def close(self) -> None:
        """End all subscriptions."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _call(self, method: str, params: list[Any]) -> object:
        if method == "signatureSubscribe":
            name = signature(argument(params, 0, str))
            wanted = options(params, 1, Context)
            if len(self._tasks) >= _MAX_SUBSCRIPTIONS:
                raise RpcError(INVALID_PARAMS, f"at most {_MAX_SUBSCRIPTIONS} subscriptions")
            self._last_id += 1
            self._asked = (self._last_id, name, wanted.commitment)
            return self._last_id
        if method == "signatureUnsubscribe":
            task = self._tasks.pop(argument(params, 0, int), None)
            if task is None:
                raise RpcError(INVALID_PARAMS, "Invalid subscription id.")
            task.cancel()
            return True
        raise RpcError(METHOD_NOT_FOUND, "Method not found")

    async def _watch(self, number: int, name: Signature, commitment: Commitment) -> None:
        slot, status = await self._reached(name, commitment)
        result = in_context(slot, {"err": error_json(status.error)})
        told = {
            "jsonrpc": "2.0",
            "method": "signatureNotification",
            "params": {"result": result, "subscription": number},
        }
        await self._send(_encode(told).decode())
        self._tasks.pop(number, None)

    async def _reached(self, name: Signature, commitment: Commitment) -> tuple[Slot, SignatureStatus]:
        cluster, clock = self._node.cluster, self._node.clock
        while True:
            try:
                await cluster.wait_landing(name, _WAIT_S)
                answer = await cluster.statuses([name], search_history=False)
            except Unavailable:
                await clock.sleep(_WAIT_S)
                continue
            status = answer.statuses[0]
            if status is not None and _ORDER.index(status.commitment) >= _ORDER.index(commitment):
                return answer.slot, status
            if status is not None:
                await clock.sleep(_LOOK_AGAIN_S)
