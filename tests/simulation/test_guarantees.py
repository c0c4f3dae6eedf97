"""docs/guarantees.md is true in its names: every check and every ablation is there, and nothing else is."""

import re
from pathlib import Path

from bestex.sim.ablations import ABLATIONS
from bestex.sim.checks import CHECKS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
SIMULATE = ROOT / "src" / "bestex" / "sim" / "simulate.py"
CHECK_NAMES = {check.__name__ for check in CHECKS}
_LINE = r"^- {}: (`\w+`(?:, `\w+`)*)$"


def names(what: str, text: str = PAGE) -> set[str]:
    """What is listed as this."""
    lists = re.findall(_LINE.format(what), text, flags=re.MULTILINE)
    return {name for listed in lists for name in re.findall(r"\w+", listed)}


def promises() -> dict[str, str]:
    """The page's sections by their headings."""
    parts = re.split(r"^## (.+)$", PAGE, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_check_stands_behind_a_promise() -> None:
    assert names("Checks") == CHECK_NAMES


def test_checks_have_names_and_words() -> None:
    assert len(CHECK_NAMES) == len(CHECKS)
    assert all(check.__doc__ for check in CHECKS)


def test_every_promise_has_checks_and_limits() -> None:
    for promise, text in list(promises().items())[:-1]:
        assert names("Checks", text), promise
        assert "- Not promised: " in text, promise


def test_every_ablation_is_on_the_page() -> None:
    assert names("Ablations") == set(ABLATIONS)


def test_an_ablation_stands_where_the_checks_stand_that_it_breaks() -> None:
    of_runs = names("Of the run itself")
    for name, ablation in ABLATIONS.items():
        assert ablation.breaks <= CHECK_NAMES | of_runs, name
        for promise, text in promises().items():
            if name in names("Ablations", text):
                assert ablation.breaks & names("Checks", text), f"{name} under {promise}"


def test_what_runs_are_blamed_for_is_on_the_page() -> None:
    blamed = set(re.findall(r'Violation\("(\w+)"', SIMULATE.read_text(encoding="utf-8")))
    assert names("Of the run itself") == blamed
