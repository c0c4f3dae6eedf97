"""A Solana cluster in miniature: it executes the very transactions that the engine signs. All it says is simulated.

cluster.py      the port: what an RPC node answers, and how long it takes
validator.py    slots: takes transactions in, makes blocks, forks
envelope.py     a signed transaction, taken apart
bank.py         one transaction against the accounts: checks, fee, instructions, balances
programs/       the programs that instructions call
state.py        accounts, and writes on top of them that may be thrown away
chain.py        the blocks and accounts that views read, at every commitment
ledger.py       the same on disk: durable before it is visible; records.py its bytes, sql/ its statements
market.py       the accounts that the chain begins with, of the tokens in assets.py
traders.py      who moves the pools meanwhile; latent.py what they think that tokens are worth
network.py      how fast, how lossy
"""
