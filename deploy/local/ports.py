"""Ports of loopback: free ones, and whether given ones are free."""

import random
import socket
from collections.abc import Mapping

HOST = "127.0.0.1"
_FROM, _TO = 20_000, 32_000
"""Below those that systems give to outgoing connections: a server that is down for a moment finds its port free."""


class PortTaken(Exception):
    """A port that a member of the deployment needs is in use."""


def free_ports(count: int) -> int:
    """The first of so many ports in a row that nobody uses now."""
    while True:
        first = random.randrange(_FROM, _TO)
        if all(_is_free(first + index) for index in range(count)):
            return first


def check_free(wanted: Mapping[int, str]) -> None:
    """Raises PortTaken, which says for whom. `wanted`: ports, and how they are called."""
    taken = [f"{port} ({name})" for port, name in wanted.items() if not _is_free(port)]
    if taken:
        raise PortTaken(f"in use on {HOST}: port {', '.join(taken)}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
