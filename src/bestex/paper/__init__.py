"""A Solana cluster in miniature: it executes the very transactions that the engine signs. All it says is simulated.

cluster.py      the port: what an RPC node answers, and how long it takes
validator.py    slots: takes transactions in, makes blocks, forks
bank.py         one transaction against the accounts: checks, fee, instructions, balances
programs/       the programs that instructions call
chain.py        the blocks and accounts that views read, at every commitment
ledger.py       the same on disk: durable before it is visible
market.py       the accounts that the chain begins with
traders.py      who moves the pools meanwhile
network.py      how fast, how lossy
"""
