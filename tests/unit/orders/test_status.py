"""The table of DESIGN: what may follow what, and nothing else."""

import pytest

from bestex.errors import IllegalTransition
from bestex.orders.status import CLAIMABLE, TERMINAL, TRANSITIONS, Status, check_transition

ALLOWED = {
    (None, "pending"),
    ("pending", "routing"),
    ("pending", "canceled"),
    ("pending", "expired"),
    ("pending", "failed"),
    ("routing", "building"),
    ("routing", "pending"),
    ("routing", "failed"),
    ("routing", "canceled"),
    ("routing", "expired"),
    ("building", "submitted"),
    ("building", "pending"),
    ("building", "failed"),
    ("building", "canceled"),
    ("submitted", "confirmed"),
    ("submitted", "pending"),
    ("submitted", "failed"),
    ("submitted", "canceled"),
    ("confirmed", "submitted"),
}


@pytest.mark.parametrize("after", list(Status))
@pytest.mark.parametrize("before", [None, *Status])
def test_only_the_edges_of_the_table_are_allowed(before: Status | None, after: Status) -> None:
    if (before, after) in ALLOWED:
        check_transition(before, after)
    else:
        with pytest.raises(IllegalTransition):
            check_transition(before, after)


def test_every_status_has_a_row() -> None:
    assert set(TRANSITIONS) == {None, *Status}


def test_terminal_statuses_have_no_way_out() -> None:
    assert {status for status in Status if not TRANSITIONS[status]} == TERMINAL
    assert not TERMINAL & CLAIMABLE
