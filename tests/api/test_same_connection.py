"""The TCP connection that carried the POST becomes the WebSocket: HTTP and RFC 6455 spoken by hand."""

import json

from tests.api.conftest import BODY, Served
from tests.api.raw import RawConnection
from tests.support.orders import Life, attempt

EXECUTE = "/api/orders/execute"


async def test_post_then_upgrade_then_every_event_from_the_first(served: Served) -> None:
    world = served.world
    async with await RawConnection.open(served.port) as connection:
        local = connection.writer.get_extra_info("sockname")
        status, headers, content = await connection.request("POST", EXECUTE, json.dumps(BODY).encode())
        order_id = json.loads(content)["orderId"]
        assert status == 201
        assert headers["location"] == f"/api/orders/{order_id}"
        assert headers.get("connection", "keep-alive") != "close"

        life = Life(await world.store.order(order_id))
        await world.record(life, life.routed())
        await connection.upgrade(f"{EXECUTE}?orderId={order_id}")
        await world.record(life, life.built())
        submitted = life.submitted()
        await world.record(life, submitted, attempt=attempt(life.order))
        await world.record(life, life.confirmed(), life.finalized())

        events = [await connection.event() for _ in range(6)]
        assert [event["seq"] for event in events] == [1, 2, 3, 4, 5, 6]
        statuses = ["pending", "routing", "building", "submitted", "confirmed", "confirmed"]
        assert [event["status"] for event in events] == statuses
        assert events[0]["event"] == "accepted"
        assert (events[-1]["event"], events[-1]["finality"]) == ("finalized", "finalized")
        assert await connection.closed() == (1000, "order confirmed")
        assert connection.writer.get_extra_info("sockname") == local, "still the same connection"


async def test_many_requests_then_upgrade(served: Served) -> None:
    """Refusals, look-ups and other orders on the same connection do not stand in the way."""
    async with await RawConnection.open(served.port) as connection:
        assert (await connection.request("POST", EXECUTE, b"{}"))[0] == 422
        assert (await connection.request("POST", EXECUTE, b" " * 100_000))[0] == 413
        assert (await connection.request("GET", "/nothing"))[0] == 404
        orders = []
        for number in range(3):
            body = json.dumps(BODY | {"clientOrderId": str(number)}).encode()
            _, _, content = await connection.request("POST", EXECUTE, body)
            orders.append(json.loads(content)["orderId"])
        assert (await connection.request("GET", f"/api/orders/{orders[0]}"))[0] == 200
        assert (await connection.request("GET", EXECUTE))[0] == 426

        await connection.upgrade(f"{EXECUTE}?orderId={orders[1]}&fromSeq=1")
        assert (await connection.event())["orderId"] == orders[1]


async def test_the_address_in_the_answer_is_the_stream(served: Served) -> None:
    async with await RawConnection.open(served.port) as connection:
        _, _, content = await connection.request("POST", EXECUTE, json.dumps(BODY).encode())
        order = json.loads(content)
        await connection.upgrade(order["links"]["events"])
        assert (await connection.event())["orderId"] == order["orderId"]
