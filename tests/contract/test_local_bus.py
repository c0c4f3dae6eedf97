"""The bus inside one process against the contract of all buses."""

import pytest

from bestex.bus.local import LocalBus
from tests.contract.bus_contract import BusContract


class TestLocalBus(BusContract):
    @pytest.fixture
    def bus(self) -> LocalBus:
        return LocalBus(buffer_events=4)
