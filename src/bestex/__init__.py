"""Bestex: a self-hosted order execution engine for Solana DEXs."""

__version__ = "0.1.0"
