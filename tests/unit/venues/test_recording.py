"""Reading recordings: plain or gzipped, and clear errors for anything else."""

import gzip
import json
from typing import Any

import pytest

from bestex.venues.pool import Venue
from bestex.venues.recording import Mode, read_recording
from tests.support.venues import golden, golden_path

RAW = gzip.decompress(golden_path(Venue.RAYDIUM_AMM_V4).read_bytes())


def changed(path: list[str | int], value: Any) -> bytes:
    document = json.loads(RAW)
    at = document
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return json.dumps(document).encode()


def test_plain_and_gzipped_files_are_read_alike() -> None:
    assert read_recording(RAW) == golden(Venue.RAYDIUM_AMM_V4)


def test_partial_fills_are_exact_in() -> None:
    assert [mode.swap_mode.value for mode in Mode] == ["exact_in", "exact_out", "exact_in"]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "truncated"),
        (b"[]", "Expected `object`"),
        (b"{}", "program_id"),
        (b"\x1f\x8bnonsense", "not a recording"),
        (gzip.compress(RAW)[:-100], "not a recording"),
        (changed(["program_id"], "not a key"), "not a recording"),
        (changed(["pools", 0, "accounts"], {}), "has no accounts"),
        (changed(["pools", 0, "accounts", "amm", "data"], "a"), "not a recording"),
        (changed(["swaps", 0, "pool"], "nowhere"), "'nowhere'"),
        (changed(["swaps", 0, "amount"], "many"), "not a recording"),
        (changed(["swaps", 0, "mode"], "market"), "not a recording"),
        (changed(["swaps", 0, "ok"], True), "neither accepted nor refused"),
        (changed(["swaps", 0, "input_mint"], "x"), "not a recording"),
    ],
)
def test_anything_else_is_refused_with_a_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_recording(raw)


def test_a_pool_that_is_not_there() -> None:
    with pytest.raises(KeyError):
        golden(Venue.RAYDIUM_AMM_V4).pool("nowhere")
