"""Each safeguard is needed: without it the explorer finds a broken promise, and the right check says so."""

import pytest

from bestex.sim import explore
from bestex.sim.ablations import ABLATIONS
from bestex.sim.simulate import simulate
from bestex.sim.world import Options


@pytest.mark.parametrize("name", ABLATIONS)
def test_without_it_a_promise_breaks_and_with_it_the_same_world_is_sound(name: str) -> None:
    ablation = ABLATIONS[name]
    found = explore.first_break(name)
    assert found is not None, f"{ablation.within_seeds} seeds have not shown what {name} is wrong with"
    broken = {violation.check for violation in found.violations}
    assert broken & ablation.breaks
    whole = {option: value for option, value in ABLATIONS[name].world(name).items() if option != "without"}
    assert simulate(found.seed, Options(**whole)).violations == []


def test_there_are_enough_of_them() -> None:
    assert len(ABLATIONS) >= 12
