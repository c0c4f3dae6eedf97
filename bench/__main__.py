"""`python -m bench [NAME] [OPTIONS]`: one benchmark, or all of them."""

import importlib
import sys

BENCHMARKS = {
    "quotes": "microseconds a quote, per venue",
    "routing": "time and proven gap of splits and paths",
    "orders": "orders a second from POST to confirmed, and where the time goes",
    "store": "orders a second through the store alone",
    "paper": "microseconds a transaction on the paper cluster",
    "wire": "orders a second with the paper cluster in the same process, and over the wire",
}
ON_DEMAND = {
    "history": "claims, look-ups and pages beside up to ten million orders, on PostgreSQL",
    "sdk": "quotes beside the vendors' packages, which npm installs outside of the project",
    "cluster": "the whole deployment on PostgreSQL and Redis: orders a second, latency, CPU; beside a baseline",
    "websockets": "10,000 open WebSockets on one node: memory, fan-out, reconnect storm",
}
"""Not part of `all`: they need more than the project itself installs."""


def main() -> int:
    """Run what was asked for; exit code 0 if all of it ran."""
    name, *rest = sys.argv[1:] or ["all"]
    if name == "all":
        return max(_run(each, rest) for each in BENCHMARKS)
    if name not in BENCHMARKS | ON_DEMAND:
        print("usage: python -m bench [NAME] [OPTIONS]; NAME is one of")
        for each, what in (BENCHMARKS | ON_DEMAND).items():
            print(f"  {each:8} {what}")
        return 2
    return _run(name, rest)


def _run(name: str, arguments: list[str]) -> int:
    print(f"\n=== bench {name}: {(BENCHMARKS | ON_DEMAND)[name]}", flush=True)
    result = importlib.import_module(f"bench.{name}").main(arguments)
    assert isinstance(result, int)
    return result


sys.exit(main())
