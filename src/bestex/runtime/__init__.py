"""The composition root: Settings in, a running process out.

compose.py      an engine from its ports
backends.py     who stands behind each port, by the settings
serving.py      a process from its start to its end
background.py   what runs beside the server
patience.py     starting together with others
system.py       the machine's time and chance
"""

from bestex.runtime.backends import open_signer
from bestex.runtime.compose import Engines, Ports, compose
from bestex.runtime.serving import Role, Running, migrate, paper, running, serve
from bestex.runtime.system import SystemClock, SystemEntropy

__all__ = [
    "Engines", "Ports", "Role", "Running", "SystemClock", "SystemEntropy",
    "compose", "migrate", "open_signer", "paper", "running", "serve",
]  # fmt: skip
