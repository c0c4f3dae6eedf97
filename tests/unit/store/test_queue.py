"""The rate limit's window and the lanes, each against its plainest form."""

from hypothesis import given
from hypothesis import strategies as st

from bestex.ports import RateLimit
from bestex.store.lanes import Entry, Lane
from bestex.store.starts import KEEP_MS, Starts
from tests.support.orders import NOW_MS, pending

moments = st.integers(0, 50)


@given(
    starts=st.lists(st.tuples(moments, st.integers(1, 3)), max_size=20),
    window_ms=st.integers(1, 20),
    count=st.integers(0, 6),
    later_ms=st.integers(0, 30),
)
def test_a_window_is_what_counting_says(
    starts: list[tuple[int, int]], window_ms: int, count: int, later_ms: int
) -> None:
    rate = RateLimit(count, window_ms)
    kept = Starts()
    plain: list[int] = []
    for at_ms, orders in starts:
        kept.add(at_ms, orders)
        plain += [max([at_ms, *plain])] * orders
    now_ms = max(plain, default=0) + later_ms

    def room_at(moment_ms: int) -> int:
        return max(0, count - sum(at_ms > moment_ms - window_ms for at_ms in plain))

    assert kept.room(rate, now_ms) == room_at(now_ms)
    if room_at(now_ms) == 0:
        reopens_ms = next((at_ms for at_ms in range(now_ms, now_ms + window_ms + 1) if room_at(at_ms)), None)
        assert kept.reopens_ms(rate, now_ms) == reopens_ms


def test_what_is_too_old_is_forgotten_and_nothing_else() -> None:
    starts = Starts()
    rate = RateLimit(10_000, 60_000)
    for index in range(3000):
        starts.add(NOW_MS + index * 1000, 1)
    now_ms = NOW_MS + 2999 * 1000
    before = starts.room(rate, now_ms), starts.since(now_ms - KEEP_MS)
    assert starts.prune() == now_ms - KEEP_MS
    assert starts.prune() is None
    assert (starts.room(rate, now_ms), starts.since(now_ms - KEEP_MS)) == before
    assert before == (10_000 - 60, 600)


def test_a_long_window_is_kept_whole() -> None:
    starts = Starts()
    hour = RateLimit(10_000, 3_600_000)
    starts.room(hour, NOW_MS)
    for index in range(3000):
        starts.add(NOW_MS + index * 1000, 1)
    assert starts.prune() is None
    assert starts.room(hour, NOW_MS + 2999 * 1000) == 7_000


def test_starts_from_disk_are_not_written_again() -> None:
    starts = Starts([(1, 2), (5, 1)])
    assert starts.unsaved == []
    starts.add(7, 1)
    assert starts.unsaved == [(7, 1)]
    assert starts.since(0) == 4


def test_a_lane_does_not_grow_with_what_has_gone() -> None:
    order, _ = pending(1)
    entry = Entry(1, order, {})
    lane = Lane({order.id: entry})
    for _ in range(10_000):
        lane.file(entry)
    assert len(lane._waiting) < 1_100
    assert lane.take(2 * NOW_MS, 9) == [entry]
    assert lane.take(2 * NOW_MS, 9) == []
