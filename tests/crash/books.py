"""The books, compared: what the chain's own ledger says, what the store says, what the clients were told."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from solders.pubkey import Pubkey

from bestex.client.results import OrderDetail
from bestex.orders.events import Confirmed, Event
from bestex.orders.status import Status
from bestex.paper.cluster import PaperCluster
from bestex.paper.network import FAST
from bestex.ports import LandedTransaction
from tests.crash.traffic import ENDINGS, Traffic
from tests.support.clock import VirtualClock
from tests.support.entropy import SeededEntropy

_MEMO = re.compile(r"bestex:([0-9a-f-]{36}):(\d+)")
_TERMINAL = {Status.CONFIRMED, Status.FAILED, Status.CANCELED, Status.EXPIRED}


def check_streams(traffic: Traffic, orders: Mapping[str, OrderDetail]) -> None:
    """Every order that was acknowledged is there and has ended; every stream brought all of its events, once."""
    assert len(set(traffic.accepted.values())) == len(traffic.accepted), "one order a key"
    assert orders.keys() == set(traffic.accepted.values())
    for order_id, order in orders.items():
        assert order.status in _TERMINAL
        assert isinstance(order.events[-1], ENDINGS), (order_id, order.events[-1])
        assert _seqs(order.events) == list(range(1, len(order.events) + 1))
        assert traffic.streams[order_id] == order.events, "the stream told what is stored, without gap or repetition"


async def check_fills(data_dir: Path, orders: Mapping[str, OrderDetail]) -> None:
    """By the ledger alone: an order that is confirmed was filled once, as stored; any other was not filled."""
    fills = await _fills_on_chain(data_dir / "paper.db")
    assert fills.keys() <= orders.keys(), "the chain knows of no fill that we do not"
    for order_id, order in orders.items():
        landed = fills.get(order_id, [])
        assert len(landed) == (order.status is Status.CONFIRMED), (order_id, order.status, len(landed))
        for transaction in landed:
            _check_fill(order, transaction)


def _check_fill(order: OrderDetail, transaction: LandedTransaction) -> None:
    """What was told is what the pool's own vaults took in and gave out."""
    (told,) = [event for event in order.events if isinstance(event, Confirmed)]
    changes = [(str(each.mint), each.after - each.before) for each in transaction.token_changes]
    assert order.tx_hash == told.tx_hash == transaction.signature
    assert order.slot == told.slot == transaction.slot
    assert order.fee_lamports == transaction.fee_lamports
    assert int(told.in_amount) == sum(change for mint, change in changes if mint == order.input_mint and change > 0)
    assert int(told.out_amount) == -sum(change for mint, change in changes if mint == order.output_mint and change < 0)
    assert told.out_amount == order.out_amount


async def _fills_on_chain(ledger: Path) -> dict[str, list[LandedTransaction]]:
    """Transactions that succeeded, by the order in their memo."""
    cluster = await PaperCluster.open(
        profile=FAST, clock=VirtualClock(), entropy=SeededEntropy(), path=ledger, seed=1, wallet=Pubkey.default(),
        traders=False,
    )  # fmt: skip
    fills: dict[str, list[LandedTransaction]] = {}
    for transaction in await cluster.history():
        memo = _MEMO.search("\n".join(transaction.logs))
        if memo is not None and transaction.error is None:
            fills.setdefault(memo[1], []).append(transaction)
    await cluster.close()
    return fills


def _seqs(events: Sequence[Event]) -> list[int]:
    return [event.seq for event in events]
