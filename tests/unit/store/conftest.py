"""What the tests of the PostgreSQL store begin with."""

from collections.abc import Iterator

import pytest
from deploy.local.postgres import PostgresServer

from tests.support.postgres import empty_database, running_server


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with running_server() as running:
        yield running


@pytest.fixture
async def dsn(server: PostgresServer) -> str:
    return await empty_database(server)
