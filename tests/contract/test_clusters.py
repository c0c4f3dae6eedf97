"""The contract of all clusters: the paper cluster in this process, and over the wire."""

from collections.abc import AsyncIterator

import msgspec
import pytest

from bestex.paper.cluster import PaperCluster
from bestex.paper.network import NetworkProfile
from bestex.ports import Cluster
from tests.contract.cluster_contract import ClusterContract
from tests.support.rpc import connected, opened, served_paper


class Pair(msgspec.Struct):
    """The cluster under test, and the truth behind it."""

    cluster: Cluster
    paper: PaperCluster


class TestPaperCluster(ClusterContract):
    """An object in this process."""

    @pytest.fixture
    async def harness(self, profile: NetworkProfile) -> AsyncIterator[Pair]:
        async with opened(profile) as paper:
            yield Pair(paper, paper)


class TestRpcCluster(ClusterContract):
    """JSON-RPC over HTTP and WebSocket, on loopback."""

    @pytest.fixture
    async def harness(self, profile: NetworkProfile) -> AsyncIterator[Pair]:
        async with opened(profile) as paper, served_paper(paper) as address, connected(address) as cluster:
            yield Pair(cluster, paper)


class TestRpcClusterWithoutWebSocket(ClusterContract):
    """JSON-RPC over HTTP alone: landings are found by asking."""

    @pytest.fixture
    async def harness(self, profile: NetworkProfile) -> AsyncIterator[Pair]:
        async with (
            opened(profile) as paper,
            served_paper(paper) as address,
            connected(address, ws_url="") as cluster,
        ):
            yield Pair(cluster, paper)
