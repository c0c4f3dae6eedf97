"""The server under measurement: `bestex serve` in this process, its CPU time sampled by part of the program.

Prints a JSON line with its URL when ready, and one with the samples when it ends. Not a benchmark of its own.
"""

import argparse
import collections
import json
import resource
import signal
import sys
from pathlib import Path
from types import FrameType

import bestex
from bestex import runtime
from bestex.config import load

_PACKAGE = str(Path(bestex.__file__).parent) + "/"
_INTERVAL_S = 0.002


class Sampler:
    """Every 2 ms of CPU time: which part of Bestex is at work, or which library under it."""

    def __init__(self) -> None:
        self.samples: collections.Counter[str] = collections.Counter()

    def start(self) -> None:
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, _INTERVAL_S, _INTERVAL_S)

    def stop(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)

    def _sample(self, _: int, frame: FrameType | None) -> None:
        self.samples[_part(frame)] += 1


def _part(frame: FrameType | None) -> str:
    """The innermost frame of ours names the part; none at all: the event loop and the HTTP server."""
    outer = frame
    while outer is not None:
        name = outer.f_code.co_filename
        if name.startswith(_PACKAGE):
            return name.removeprefix(_PACKAGE).removesuffix(".py")
        outer = outer.f_back
    if frame is None:
        return "?"
    library = frame.f_code.co_filename.split("site-packages/")[-1].split("/")[0]
    return f"[{library}]" if "site-packages" in frame.f_code.co_filename else "[event loop]"


def main() -> int:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--sample", action="store_true")
    parser.add_argument("settings", nargs="*", help="name=value")
    options = parser.parse_args()
    chosen = dict(setting.split("=", 1) for setting in options.settings)
    settings = load({}, overrides={"data_dir": options.data_dir, "port": 0, "log_level": "error"} | chosen)
    sampler = Sampler()

    def ready(url: str) -> None:
        print(json.dumps({"url": url}), flush=True)
        if options.sample:
            sampler.start()

    runtime.serve(settings, ready)
    sampler.stop()
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"cpu_s": used.ru_utime + used.ru_stime, "samples": sampler.samples}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
