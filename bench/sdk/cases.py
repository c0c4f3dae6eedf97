"""Which recorded pools and swaps are timed, and what the program answered to them."""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bestex.venues.pool import Venue

PROJECT = Path(__file__).resolve().parents[2]
_RECORDED = PROJECT / "tests" / "golden"
DLMM, DAMM, RAYDIUM = "@meteora-ag/dlmm", "@meteora-ag/cp-amm-sdk", "@raydium-io/raydium-sdk-v2"
VERSIONS = {DLMM: "1.9.14", DAMM: "1.5.0", RAYDIUM: "0.2.73-alpha"}
LEAST_AMOUNT = 10_000_000
"""Swaps that are timed have at least this many base units, so that their amounts can be varied by little."""


class Case(NamedTuple):
    """What is measured of a venue."""

    package: str
    pools: tuple[str, ...]
    """Names in the recording: plain pools, open, without transfer fees."""
    walks: bool = False
    """Whether swaps pass through bins or ticks, so that some are longer than others."""


CASES = {
    Venue.RAYDIUM_CPMM: Case(RAYDIUM, ("fee_25bp_accrued", "huge")),
    Venue.RAYDIUM_AMM_V4: Case(RAYDIUM, ("base", "huge")),
    Venue.RAYDIUM_CLMM: Case(RAYDIUM, ("mid_sp10", "dense_sp1"), walks=True),
    Venue.METEORA_DLMM: Case(DLMM, ("step100", "hundred_bins"), walks=True),
    Venue.METEORA_DAMM_V2: Case(DAMM, ("flat_full", "dyn_sched")),
}


class Swap(NamedTuple):
    """An exact-in swap that the program accepted."""

    in_mint: str
    amount: int
    paid: int
    received: int
    compute_units: int
    newer_received: int | None
    """What a newer build of the program would pay, where the recording tells that it differs."""


class RecordedPool(NamedTuple):
    """A pool with its swaps."""

    name: str
    clock: Mapping[str, int]
    accounts: Mapping[str, Any]
    swaps: tuple[Swap, ...]


def recorded_pools(venue: Venue) -> dict[str, RecordedPool]:
    """The pools without transfer fees that accepted a plain exact-in swap."""
    recording = json.loads(gzip.decompress((_RECORDED / f"{venue.value}.json.gz").read_bytes()))
    swaps: dict[str, list[Swap]] = {}
    for each in recording["swaps"]:
        if each["ok"] and each["mode"] == "exact_in" and "sqrt_price_limit" not in each:
            swaps.setdefault(each["pool"], []).append(_swap(each))
    return {
        pool["name"]: RecordedPool(pool["name"], pool["clock"], pool["accounts"], tuple(swaps[pool["name"]]))
        for pool in recording["pools"]
        if pool["name"] in swaps and not _has_transfer_fee(pool)
    }


def _swap(raw: Mapping[str, Any]) -> Swap:
    newer = raw.get("strict_ceil")
    return Swap(
        in_mint=raw["input_mint"],
        amount=int(raw["amount"]),
        paid=int(raw["amount_in"]),
        received=int(raw["amount_out"]),
        compute_units=raw["cu"],
        newer_received=None if newer is None else int(newer),
    )


def _has_transfer_fee(pool: Mapping[str, Any]) -> bool:
    return any("transfer_fee" in value for name, value in pool["params"].items() if name.startswith("mint_"))


def chosen_swaps(pool: RecordedPool, *, walks: bool) -> tuple[int, ...]:
    """Indexes of the swaps to time: the one of middling size, or where swaps walk the ones with least and most steps.

    Recorded compute units stand for the number of steps. Swaps that pay nothing out or are
    smaller than LEAST_AMOUNT do not count.
    """
    swaps = pool.swaps
    paying = [index for index, swap in enumerate(swaps) if swap.received > 0 and swap.amount >= LEAST_AMOUNT]
    if not walks:
        return (sorted(paying, key=lambda index: swaps[index].amount)[len(paying) // 2],)
    by_cost = sorted(paying, key=lambda index: swaps[index].compute_units)
    return by_cost[0], by_cost[-1]


def varied(amount: int, asked: int, count: int) -> list[int]:
    """Amounts for so many calls after those `asked`, within one percent: none is an answer that a side has kept."""
    spread = max(1, min(amount // 100, 2**25))
    return [amount - at % spread for at in range(asked, asked + count)]
