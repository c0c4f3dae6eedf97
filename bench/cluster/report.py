"""Medians over the rounds, side by side, and what they are in relation to the baseline's."""

import statistics

from bench.cluster.deployment import LAYOUTS
from bench.cluster.measure import Result

_PAPER = "paper"


def print_results(results: dict[str, list[Result]], baseline: str | None) -> None:
    """A table of medians; then the ratios."""
    medians = {name: _medians(runs) for name, runs in results.items()}
    figures = list(dict.fromkeys(figure for each in medians.values() for figure in each))
    print(f"\n{'':45}" + "".join(f"{name:>12}" for name in medians))
    for figure in figures:
        cells = (f"{each[figure]:12.1f}" if figure in each else f"{'':12}" for each in medians.values())
        print(f"{figure:45}" + "".join(cells))
    for name, runs in results.items():
        for note in dict.fromkeys(note for run in runs for note in run.notes):
            print(f"{name}: {note}")
    for name, what in LAYOUTS.items():
        if name in medians:
            print(f"{name}: {what}")
    _print_without_paper(medians)
    if baseline is not None:
        _print_ratios(medians, baseline)


def _medians(runs: list[Result]) -> dict[str, float]:
    return {figure: statistics.median(run.figures[figure] for run in runs) for figure in runs[0].figures}


def _print_without_paper(medians: dict[str, dict[str, float]]) -> None:
    """The simulated chain is no part of an engine: what the same CPU time would do without it (computed, not run)."""
    for name, each in medians.items():
        for mode in ("burst", "ws"):
            paper = each.get(f"{mode}: CPU us an order, {_PAPER}")
            if paper is None:
                continue
            with_client = each[f"{mode}: CPU us an order, servers"] + each[f"{mode}: CPU us an order, client"]
            speed = each[f"{mode}: orders/s"] * with_client / (with_client - paper)
            print(f"{name}, {mode}: {speed:.0f} orders/s if the paper cluster's CPU time were free (computed)")


def _print_ratios(medians: dict[str, dict[str, float]], baseline: str) -> None:
    theirs = medians[baseline]
    print(f"\nin relation to {baseline} (orders/s: more is better; the rest: less is better)")
    for name, each in medians.items():
        if name == baseline:
            continue
        for figure in each:
            if figure in theirs and theirs[figure] and not figure.endswith(("client late p99 ms", "redis", "postgres")):
                print(f"  {name:10} {figure:45} {each[figure] / theirs[figure]:8.2f} x")
