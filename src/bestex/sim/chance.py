"""Chance, in streams: each concern draws from its own, so that one more draw here changes nothing there."""

import random


class Chance:
    """All chance of one run, from one seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def stream(self, concern: str) -> random.Random:
        """A stream of its own for a concern; the same name begins the same stream again."""
        return random.Random(f"bestex sim {self.seed} {concern}")  # noqa: S311 - a simulation, not a secret


class StreamEntropy:
    """The engine's Entropy port on a stream."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw

    def bytes(self, count: int) -> bytes:
        return self._draw.randbytes(count)

    def uniform(self, low: float, high: float) -> float:
        return self._draw.uniform(low, high)
