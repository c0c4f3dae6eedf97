"""The engine's picture of the chain: tokens by symbol and mint, pools by pair, freshness."""
