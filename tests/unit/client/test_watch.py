"""A stream of events is whole whatever happens to its connections."""

from contextlib import aclosing

import pytest

from bestex.client import ApiError, AsyncClient, Client, ConnectionFailed
from bestex.client.follow import Follow
from bestex.orders.events import Event

from .conftest import AT_ONCE, Caller
from .engine_double import Answer, Close, Cut, EngineDouble
from .samples import ORDER_ID, encode, failed, life, payloads


def path(from_seq: int) -> str:
    return f"/api/orders/{ORDER_ID}/ws?fromSeq={from_seq}"


def test_events_come_in_order_and_end_with_the_last_one(caller: Caller, engine: EngineDouble) -> None:
    engine.streams.append([*payloads(), Close(1000)])

    assert caller.watch(ORDER_ID) == life()
    assert engine.targets == [path(1)]


def test_a_stream_ends_with_a_terminal_event_even_if_the_server_does_not_close(
    caller: Caller, engine: EngineDouble
) -> None:
    engine.streams.append(payloads())

    assert caller.watch(ORDER_ID) == life()


def test_a_failed_order_ends_the_stream(caller: Caller, engine: EngineDouble) -> None:
    engine.streams.append([payloads()[0], encode(failed())])

    assert caller.watch(ORDER_ID) == [life()[0], failed()]


def test_a_stream_may_start_at_a_later_event(caller: Caller, engine: EngineDouble) -> None:
    engine.streams.append([*payloads()[3:], Close(1000)])

    assert caller.watch(ORDER_ID, from_seq=4) == life()[3:]
    assert engine.targets == [path(4)]


def test_nothing_follows_a_regular_close(caller: Caller, engine: EngineDouble) -> None:
    engine.streams.append([Close(1000)])

    assert caller.watch(ORDER_ID, from_seq=7) == []


@pytest.mark.parametrize("ending", [Close(1012), Close(1013), Close(1001), Close(1011), Cut()], ids=repr)
@pytest.mark.parametrize("seen", range(6))
def test_a_broken_stream_resumes_by_sequence_number(
    caller: Caller, engine: EngineDouble, ending: Close | Cut, seen: int
) -> None:
    engine.streams.extend([[*payloads()[:seen], ending], [*payloads()[seen:], Close(1000)]])

    assert caller.watch(ORDER_ID) == life()
    assert engine.targets == [path(1), path(seen + 1)] if seen < 6 else [path(1)]


def test_a_connection_that_breaks_after_every_event_still_gives_every_event(
    caller: Caller, engine: EngineDouble
) -> None:
    engine.streams.extend([payload, Cut()] for payload in payloads())

    assert caller.watch(ORDER_ID) == life()
    assert engine.targets == [path(seq) for seq in range(1, 7)]


def test_events_that_were_seen_before_are_not_given_again(caller: Caller, engine: EngineDouble) -> None:
    engine.streams.extend([[*payloads()[:3], Cut()], payloads()])

    assert caller.watch(ORDER_ID) == life()


def test_a_gap_is_closed_by_asking_again(caller: Caller, engine: EngineDouble) -> None:
    engine.streams.extend([[payloads()[0], payloads()[2]], payloads()[1:]])

    assert caller.watch(ORDER_ID) == life()
    assert engine.targets == [path(1), path(2)]


def test_failures_before_the_handshake_are_survived(caller: Caller, engine: EngineDouble) -> None:
    engine.streams.extend([Cut(), Answer(503, b""), payloads()])

    assert caller.watch(ORDER_ID) == life()


def test_giving_up_says_where_to_go_on(caller: Caller, engine: EngineDouble) -> None:
    engine.streams.extend([[*payloads()[:2], Cut()], Cut(), [Close(1012)]])
    got: list[Event] = []

    with pytest.raises(ConnectionFailed, match=r"after 3 tries in a row .* from event 3"):
        caller.watch(ORDER_ID, into=got)
    assert got == life()[:2]


def test_an_unknown_order_is_an_error(caller: Caller, engine: EngineDouble) -> None:
    engine.streams.append([Close(4404, "no order has the id nope")])

    with pytest.raises(ApiError, match="no order has the id nope") as caught:
        caller.watch("nope")
    assert (caught.value.status, caught.value.code, caught.value.money_moved) == (404, "ORDER_NOT_FOUND", "no")


def test_a_bad_request_is_an_error(caller: Caller, engine: EngineDouble) -> None:
    engine.streams.append([Close(4400, "fromSeq is no number")])

    with pytest.raises(ApiError, match="fromSeq is no number") as caught:
        caller.watch(ORDER_ID)
    assert caught.value.status == 400


@pytest.mark.parametrize(("status", "code"), [(404, "ORDER_NOT_FOUND"), (403, "STREAM_REFUSED_403")])
def test_a_refused_handshake_is_an_error(caller: Caller, engine: EngineDouble, status: int, code: str) -> None:
    engine.streams.append(Answer(status))

    with pytest.raises(ApiError) as caught:
        caller.watch(ORDER_ID)
    assert (caught.value.status, caught.value.code) == (status, code)


def test_an_event_of_a_newer_server_is_an_error_that_says_so(caller: Caller, engine: EngineDouble) -> None:
    engine.streams.append([b'{"event": "teleported", "seq": 1}'])

    with pytest.raises(ApiError, match="this version of bestex does not know"):
        caller.watch(ORDER_ID)


def test_a_server_that_is_not_there_is_an_error(caller: Caller, engine: EngineDouble) -> None:
    engine.streams.extend([Cut(), Cut(), Cut()])

    with pytest.raises(ConnectionFailed):
        caller.watch(ORDER_ID)
    assert engine.targets == [path(1)] * 3


def test_an_id_is_escaped(caller: Caller, engine: EngineDouble) -> None:
    engine.streams.append([Close(4404)])

    with pytest.raises(ApiError):
        caller.watch("a/b?c")
    assert engine.targets == ["/api/orders/a%2Fb%3Fc/ws?fromSeq=1"]


def test_sequence_numbers_count_from_one(caller: Caller) -> None:
    with pytest.raises(ValueError, match="from 1"):
        caller.watch(ORDER_ID, from_seq=0)


def test_a_secure_server_gets_a_secure_stream() -> None:
    assert Follow("https://bestex.example", "x", 1, AT_ONCE).url == "wss://bestex.example/api/orders/x/ws?fromSeq=1"


def test_a_connection_that_held_long_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [0.0]
    monkeypatch.setattr("bestex.client.follow.now_s", lambda: now_s[0])
    follow = Follow("http://x", ORDER_ID, 1, AT_ONCE)

    for _ in range(10):
        follow.opened()
        now_s[0] += 60.0
        follow.broken(ConnectionError("idle"))
    follow.broken(ConnectionError("idle"))
    with pytest.raises(ConnectionFailed):
        follow.broken(ConnectionError("idle"))


def test_leaving_early_closes_the_socket(engine: EngineDouble) -> None:
    engine.streams.append(payloads()[:2])

    with Client(engine.url, retry=AT_ONCE) as client:
        events = client.watch(ORDER_ID)
        assert next(events) == life()[0]
        events.close()


async def test_leaving_early_closes_the_socket_of_an_async_client(engine: EngineDouble) -> None:
    engine.streams.append(payloads()[:2])

    async with AsyncClient(engine.url, retry=AT_ONCE) as client, aclosing(client.watch(ORDER_ID)) as events:
        assert await anext(events) == life()[0]
