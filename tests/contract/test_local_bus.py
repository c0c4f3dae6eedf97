"""The bus inside one process against the contract of all buses."""

import pytest

from bestex.bus.local import LocalBus
from tests.contract.bus_contract import BusContract, Ends, at_once


class TestLocalBus(BusContract):
    @pytest.fixture
    def ends(self) -> Ends:
        bus = LocalBus(buffer_events=4)
        return Ends(bus, bus, at_once)
