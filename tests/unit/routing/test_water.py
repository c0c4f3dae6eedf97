"""Water-filling in floats, on curves made by hand."""

import pytest

from bestex.routing.water import fill
from bestex.venues.curve import Sketch


def line(*steps: tuple[float, float]) -> Sketch:
    """Bins: (level, how much is moved there)."""
    sketch = Sketch()
    total = 0.0
    for level, width in steps:
        sketch.add_line(level, total, total + width)
        total += width
    return sketch


def slope(start: float, end: float, rate: float) -> Sketch:
    sketch = Sketch()
    sketch.add(start, end, -rate * start, rate, rate * (end - start))
    return sketch


def test_slopes_are_filled_to_one_level() -> None:
    level, moved = fill([slope(1, 100, 2), slope(3, 100, 6), slope(50, 100, 1)], 40.0)
    assert level == pytest.approx(7.5)
    assert moved == pytest.approx([13, 27, 0])


def test_a_line_takes_the_rest_where_the_total_jumps() -> None:
    level, moved = fill([slope(1, 100, 2), line((2, 10), (5, 1_000), (9, 10))], 48.0)
    assert level == 5
    assert moved == pytest.approx([8, 40])


def test_lines_of_the_same_price_share_in_turn() -> None:
    level, moved = fill([line((2, 10)), line((2, 10)), line((2, 10))], 15.0)
    assert level == 2
    assert sorted(moved) == [0, 5, 10]


def test_full_pieces_stay_full() -> None:
    level, moved = fill([slope(1, 2, 4), slope(1, 100, 1)], 20.0)
    assert level == pytest.approx(17)
    assert moved == pytest.approx([4, 16])


def test_all_of_it_is_moved_at_the_end() -> None:
    _, moved = fill([slope(1, 2, 4), line((2, 10), (3, 5))], 19.0)
    assert moved == pytest.approx([4, 15])


def test_many_bins_are_searched_among_their_levels() -> None:
    bins = [line(*((1 + number / 100 + shift / 1_000, 7.0) for number in range(500))) for shift in range(5)]
    total = sum(fill(bins, 9_000.0)[1])
    assert total == pytest.approx(9_000)
    level, moved = fill(bins, 9_000.0)
    for sketch, part in zip(bins, moved, strict=True):
        below = sum(start < level for start in sketch.starts) * 7
        assert below <= part <= below + 7


def test_outputs_are_filled_at_negative_levels() -> None:
    level, moved = fill([slope(-9, -1, 2), slope(-5, -1, 6)], 20.0)
    assert level == pytest.approx(-3.5)
    assert moved == pytest.approx([11, 9])


def test_steeper_lines_behind_flatter_ones_become_one_chord() -> None:
    sketch = line((2.0, 10), (1.0, 10))
    assert len(sketch.starts) == 1
    # 10 at 1/4 and 10 at 1 pay 12.5 for 20.
    assert sketch.starts[0] == pytest.approx((20 / 12.5) ** 0.5)
    assert sketch.filled == [20]
