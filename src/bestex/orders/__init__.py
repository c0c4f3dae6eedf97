"""What an order is and how it may change. Pure: no I/O, no async."""
