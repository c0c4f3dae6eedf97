"""The life of an order. Read `engine.py` first."""
