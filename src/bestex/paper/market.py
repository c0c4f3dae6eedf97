"""The accounts that a paper chain begins with: tokens, pools of all venues, the traders' and the engine's wallets.

Everything is drawn from one seed.
"""

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256

import msgspec
from solders.pubkey import Pubkey

from bestex.paper import latent
from bestex.paper.assets import ASSETS, Asset
from bestex.paper.kinds import KINDS, LONG_TAIL_KINDS, STABLE_KINDS, Draft, Kind
from bestex.solana.instructions import SYSTEM_PROGRAM
from bestex.types import LAMPORTS_PER_SOL, Account, Token
from bestex.venues.pool import Venue
from bestex.venues.token import (
    ACCOUNT_SIZE,
    NATIVE_MINT,
    TOKEN_PROGRAM,
    associated_token_address,
    decode_token_account,
    mint_account,
    token_account,
)

WALLET_USD = 1e9
"""What the engine's wallet holds of each token."""
WALLET_LAMPORTS = 10_000_000 * LAMPORTS_PER_SOL
ABSENT = "JUP"
"""The one token that the engine's wallet has no account of, so that its creation is seen."""

_TRADER_USD = 1e9
_PAIRS_USD = {
    ("SOL", "USDC"): 50e6,
    ("SOL", "USDT"): 12e6,
    ("USDC", "USDT"): 20e6,
    ("ETH", "USDC"): 30e6,
    ("BTC", "USDC"): 35e6,
    ("ETH", "SOL"): 12e6,
    ("BTC", "SOL"): 12e6,
    ("JUP", "USDC"): 12e6,
    ("JUP", "SOL"): 10e6,
    ("BONK", "SOL"): 10e6,
    ("BONK", "USDC"): 8e6,
    ("RAY", "USDC"): 10e6,
    ("RAY", "SOL"): 12e6,
}
"""Liquidity of each pair over all of its pools, both sides together."""
_STABLES = frozenset({"USDC", "USDT"})
_LONG_TAIL = frozenset({"JUP", "BONK", "RAY"})
_CHANCE_OF_MORE = 0.5
"""For each kind of pool that not every pair has."""


class Listed(msgspec.Struct, frozen=True):
    """A pool, and what traders know of it."""

    address: str
    symbols: tuple[str, str]
    liquidity_usd: int
    """Both sides together, to begin with."""
    depth_usd: int
    """What it takes to move the price by its own size, about: dollars per unit of log price."""


class Listing(msgspec.Struct, frozen=True):
    """What the market consists of; kept in the ledger."""

    seed: int
    symbols: list[str]
    listed: list[Listed]

    @property
    def tokens(self) -> list[Token]:
        return [ASSETS[symbol].token for symbol in self.symbols]

    @property
    def pools(self) -> list[Pubkey]:
        return [Pubkey.from_string(listed.address) for listed in self.listed]


class Genesis(msgspec.Struct, frozen=True):
    """A market and its accounts."""

    listing: Listing
    accounts: dict[Pubkey, Account]


@lru_cache(maxsize=4)
def genesis(seed: int, wallet: Pubkey, pairs: frozenset[tuple[str, str]] | None = None) -> Genesis:
    """The market of a seed, with a funded wallet; with `pairs`, of these alone. Nobody may change what it returns."""
    draw = random.Random(f"market {seed}")  # noqa: S311 - a market, not a secret
    mints = {asset.token.mint: mint_account(asset.token.decimals, 0) for asset in ASSETS.values()}
    accounts: dict[Pubkey, Account] = dict(mints)
    listed: list[Listed] = []
    for (base, quote), usd in _PAIRS_USD.items():
        if pairs is not None and (base, quote) not in pairs:
            continue
        pair = (ASSETS[base], ASSETS[quote])
        size = usd * draw.uniform(0.85, 1.15)
        for kinds in _kinds(base, quote).values():
            listed += [_add_pool(draw, accounts, pair, kind, size) for kind in _chosen(draw, kinds)]
    for trader in TRADERS:
        accounts |= token_accounts((asset.token for asset in ASSETS.values()), trader, _TRADER_USD)
    accounts[latent.ADDRESS] = latent.quiet(len(ASSETS)).account()
    accounts |= wallet_accounts((asset.token for asset in ASSETS.values()), wallet)
    _set_supplies(accounts)
    return Genesis(Listing(seed, list(ASSETS), listed), accounts)


def wallet_accounts(tokens: Iterable[Token], wallet: Pubkey) -> dict[Pubkey, Account]:
    """SOL, and an account of every token but one, for the engine's wallet."""
    held = [token for token in tokens if token.symbol != ABSENT and token.mint != NATIVE_MINT]
    return {wallet: Account(SYSTEM_PROGRAM, WALLET_LAMPORTS, b"")} | token_accounts(held, wallet, WALLET_USD)


def token_accounts(tokens: Iterable[Token], owner: Pubkey, usd: float) -> dict[Pubkey, Account]:
    """Associated token accounts, each worth so much."""
    return {
        associated_token_address(owner, token.mint, token.program): token_account(
            token.mint, owner, ASSETS[token.symbol].raw(usd), token.program
        )
        for token in tokens
    }


def pack_listing(listing: Listing) -> bytes:
    """The listing as the ledger keeps it."""
    return msgspec.json.encode(listing)


def unpack_listing(data: bytes) -> Listing:
    """The listing that `pack_listing` wrote."""
    return msgspec.json.decode(data, type=Listing)


def _trader(name: str) -> Pubkey:
    """An address that has no key: the cluster itself moves its tokens."""
    return Pubkey(sha256(f"bestex paper trader {name}".encode()).digest())


NOISE_TRADER = _trader("noise")
ARBITRAGEUR = _trader("arbitrage")
TRADERS = (NOISE_TRADER, ARBITRAGEUR)


def _kinds(base: str, quote: str) -> Mapping[Venue, Sequence[Kind]]:
    if base in _STABLES and quote in _STABLES:
        return STABLE_KINDS
    return LONG_TAIL_KINDS if base in _LONG_TAIL else KINDS


def _chosen(draw: random.Random, kinds: Sequence[Kind]) -> list[Kind]:
    """The first kind, and each of the others or not."""
    return [kind for index, kind in enumerate(kinds) if index == 0 or draw.random() < _CHANCE_OF_MORE]


def _off_price(draw: random.Random, pair: tuple[Asset, Asset], fee: float) -> float:
    """Base units of the quote token per base unit of the base token, off by less than the pool's fee."""
    base, quote = pair
    price = base.usd / quote.usd * 10.0 ** (quote.token.decimals - base.token.decimals)
    return price * math.exp(draw.uniform(-0.7, 0.7) * fee)


def _add_pool(
    draw: random.Random, accounts: dict[Pubkey, Account], pair: tuple[Asset, Asset], kind: Kind, pair_usd: float
) -> Listed:
    base, quote = pair
    usd = pair_usd * kind.share * draw.uniform(0.7, 1.3)
    mints = {asset.token.mint: accounts[asset.token.mint] for asset in pair}
    made = kind.make(Draft(base, quote, mints, _off_price(draw, pair, kind.fee), usd), draw)
    accounts |= made.accounts
    address = next(iter(made.accounts))
    return Listed(str(address), (base.token.symbol, quote.token.symbol), round(usd), round(made.depth_usd))


def _set_supplies(accounts: dict[Pubkey, Account]) -> None:
    """Each mint's supply is what all accounts hold of it; wrapped SOL has none of its own."""
    supplies = dict.fromkeys((asset.token.mint for asset in ASSETS.values()), 0)
    for account in accounts.values():
        if account.owner == TOKEN_PROGRAM and len(account.data) == ACCOUNT_SIZE:
            balance = decode_token_account(account)
            supplies[balance.mint] += balance.amount
    supplies[NATIVE_MINT] = 0
    for asset in ASSETS.values():
        accounts[asset.token.mint] = mint_account(asset.token.decimals, supplies[asset.token.mint])
