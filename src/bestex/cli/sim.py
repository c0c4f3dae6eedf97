"""`bestex sim`: the whole engine in a world that we control, seed after seed."""

from typing import Annotated

import typer

from bestex.cli.options import examples


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "sim",
        epilog=examples(
            "bestex sim --seeds 0:1000 --jobs 2",
            "bestex sim --seeds 0:200 --without send_before_store",
            "bestex sim --replay 17 --trace",
            "bestex sim --cut-every-call",
        ),
    )(sim)


def sim(
    *,
    seeds: Annotated[str, typer.Option(metavar="FROM:TO", help="Seeds to run, the last one not included.")] = "0:100",
    jobs: Annotated[int, typer.Option(min=1, help="Processes side by side.")] = 2,
    faults: Annotated[
        str | None, typer.Option(help="The only faults that may happen, with commas; 'none' for none.")
    ] = None,
    intense: Annotated[bool, typer.Option("--intense", help="Each seed has all of these faults, not some.")] = False,
    orders: Annotated[int | None, typer.Option(min=1, help="Orders in each world; else a few.")] = None,
    rage: Annotated[
        float | None, typer.Option(min=1.0, help="Virtual seconds until the world heals; else each seed draws its own.")
    ] = None,
    without: Annotated[str | None, typer.Option(help="Take this safeguard out, to see what it is for.")] = None,
    replay: Annotated[int | None, typer.Option(metavar="SEED", help="Run one seed and show how it ended.")] = None,
    trace: Annotated[bool, typer.Option("--trace", help="With --replay: show everything that happened.")] = False,
    every_call: Annotated[
        bool, typer.Option("--cut-every-call", help="One order; crash, time out, repeat at each of its calls in turn.")
    ] = False,
    no_shrink: Annotated[bool, typer.Option("--no-shrink", help="Show failures as they are found.")] = False,
) -> None:
    """Run the engine in simulated worlds: crashes, power cuts, forks, lost answers, lagging nodes, frozen workers.

    Everything is virtual: no network, no real chain, no real time. Each seed is a world of its own, and the same seed
    is always the same world. Exits with 1 if anything that must always hold did not.
    """
    from bestex.cli import simulating  # noqa: PLC0415 - other commands start faster without the engine

    options = simulating.options(faults=faults, intense=intense, orders=orders, rage_s=rage, without=without)
    if replay is not None:
        simulating.replay(replay, options, trace=trace)
    elif every_call:
        simulating.cut_calls(options)
    else:
        simulating.explore_seeds(seeds, options, jobs, shrinking=not no_shrink)
