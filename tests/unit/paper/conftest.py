"""The market of a seed is made once."""

from functools import cache

import pytest

from bestex.paper import market

_genesis = cache(market.genesis)


@pytest.fixture(autouse=True)
def market_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bestex.paper.cluster.market.genesis", _genesis)
