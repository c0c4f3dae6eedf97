"""The chain, spoken: instructions and transactions in wire format (pure), and keys."""
