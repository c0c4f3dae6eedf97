"""CPU time and memory of processes and of their children, as Linux counts them."""

import os
from collections.abc import Mapping
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def cpu_s(processes: Mapping[str, int]) -> dict[str, float]:
    """CPU seconds, user and system, of each process with all of its children, also of those that have ended."""
    return {name: _tree_s(pid) for name, pid in processes.items()}


def rss_bytes(pid: int) -> int:
    """Memory that the process has in RAM."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE


def _tree_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except (FileNotFoundError, ProcessLookupError):  # ended meanwhile: its parent has its time now
        return 0.0
    own = sum(int(ticks) for ticks in fields[11:15]) / _TICKS
    return own + sum(_tree_s(int(child)) for child in children)
