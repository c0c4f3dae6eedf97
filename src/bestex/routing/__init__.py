"""Which pool, how much through it, and why. Pure: no I/O, no async."""
