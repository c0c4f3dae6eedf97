"""The accounts that a paper chain begins with: tokens, pools of both venues, the traders' and the engine's wallets.

Everything is drawn from one seed. Prices and sizes are drawn as floats and become integers here, once.
"""

import math
import random
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import TypeVar

import msgspec
from solders.pubkey import Pubkey

from bestex.paper import latent
from bestex.paper.assets import ASSETS, Asset
from bestex.solana.instructions import SYSTEM_PROGRAM
from bestex.types import BPS, LAMPORTS_PER_SOL, Account, Mint, Token
from bestex.venues import cpmm_layout, dlmm_synthesis
from bestex.venues.token import (
    ACCOUNT_SIZE,
    NATIVE_MINT,
    TOKEN_PROGRAM,
    associated_token_address,
    decode_token_account,
    mint_account,
    token_account,
)

T = TypeVar("T")

WALLET_USD = 1e9
"""What the engine's wallet holds of each token."""
WALLET_LAMPORTS = 10_000_000 * LAMPORTS_PER_SOL
ABSENT = "JUP"
"""The one token that the engine's wallet has no account of, so that its creation is seen."""
BINS_PER_SIDE = 60

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


class _ConstantProduct(msgspec.Struct, frozen=True):
    """A fee tier of Raydium CPMM."""

    config_index: int
    rate: int
    """Hundredths of a basis point."""
    share: float
    """Of the pair's liquidity."""

    @property
    def fee(self) -> float:
        return self.rate / 1_000_000


class _Bins(msgspec.Struct, frozen=True):
    """A kind of Meteora DLMM pair."""

    bin_step: int
    base_factor: int
    share: float

    @property
    def fee(self) -> float:
        return self.base_factor * self.bin_step / 10_000 / BPS


_CONSTANT_PRODUCTS = (
    _ConstantProduct(3, 400, 0.5),
    _ConstantProduct(1, 2_500, 0.12),
    _ConstantProduct(2, 10_000, 0.06),
)
_STABLE_CONSTANT_PRODUCTS = (
    _ConstantProduct(0, 100, 0.25),
    _ConstantProduct(3, 400, 0.1),
    _ConstantProduct(1, 2_500, 0.04),
)
_DLMMS = (_Bins(10, 8_000, 0.2), _Bins(20, 10_000, 0.12), _Bins(15, 10_000, 0.1))
_STABLE_DLMMS = (_Bins(1, 10_000, 0.35), _Bins(2, 10_000, 0.2), _Bins(4, 10_000, 0.1))
_ALWAYS = 2
"""Pools of each venue that every pair has; the third exists for every other one."""


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


def genesis(seed: int, wallet: Pubkey) -> Genesis:
    """The market of a seed, with a funded wallet."""
    draw = random.Random(f"market {seed}")  # noqa: S311 - a market, not a secret
    mints = {asset.token.mint: mint_account(asset.token.decimals, 0) for asset in ASSETS.values()}
    accounts: dict[Pubkey, Account] = dict(mints)
    listed: list[Listed] = []
    for (base, quote), usd in _PAIRS_USD.items():
        stable = base in _STABLES and quote in _STABLES
        pair = (ASSETS[base], ASSETS[quote])
        size = usd * draw.uniform(0.85, 1.15)
        tiers = _chosen(draw, _STABLE_CONSTANT_PRODUCTS if stable else _CONSTANT_PRODUCTS)
        kinds = _chosen(draw, _STABLE_DLMMS if stable else _DLMMS)
        listed += [_add_constant_product(draw, accounts, pair, tier, size) for tier in tiers]
        listed += [_add_bins(draw, accounts, pair, kind, size) for kind in kinds]
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


def _chosen(draw: random.Random, kinds: Sequence[T]) -> list[T]:
    return [kind for index, kind in enumerate(kinds) if index < _ALWAYS or draw.random() < 0.5]


def _off_price(draw: random.Random, pair: tuple[Asset, Asset], fee: float) -> float:
    """Base units of the quote token per base unit of the base token, off by less than the pool's fee."""
    base, quote = pair
    price = base.usd / quote.usd * 10.0 ** (quote.token.decimals - base.token.decimals)
    return price * math.exp(draw.uniform(-0.7, 0.7) * fee)


def _add_constant_product(
    draw: random.Random,
    accounts: dict[Pubkey, Account],
    pair: tuple[Asset, Asset],
    tier: _ConstantProduct,
    pair_usd: float,
) -> Listed:
    base, quote = pair
    usd = pair_usd * tier.share * draw.uniform(0.7, 1.3)
    base_raw = base.raw(usd / 2)
    reserves = {base.token.mint: base_raw, quote.token.mint: int(base_raw * _off_price(draw, pair, tier.fee))}
    made = cpmm_layout.synthesize(
        _mints(accounts, pair), reserves, rates=cpmm_layout.Rates(trade=tier.rate), config_index=tier.config_index
    )
    accounts |= made
    return _listed(next(iter(made)), pair, usd, usd / 4)


def _add_bins(
    draw: random.Random, accounts: dict[Pubkey, Account], pair: tuple[Asset, Asset], kind: _Bins, pair_usd: float
) -> Listed:
    base, quote = pair
    usd = pair_usd * kind.share * draw.uniform(0.7, 1.3)
    step = math.log1p(kind.bin_step / BPS)
    active_id = round(math.log(_off_price(draw, pair, kind.fee)) / step)
    weights = _shape(bell=draw.random() < 0.5)
    bins: dict[int, tuple[int, int]] = {}
    for distance, weight in enumerate(weights):
        base_raw, quote_raw = base.raw(usd / 2 * weight), quote.raw(usd / 2 * weight)
        if distance == 0:
            bins[active_id] = (base_raw, quote_raw)
        else:
            bins[active_id + distance] = (int(base_raw * math.exp(-distance * step / 2)), 0)
            bins[active_id - distance] = (0, int(quote_raw * math.exp(-distance * step / 2)))
    made = dlmm_synthesis.synthesize(
        _mints(accounts, pair),
        base.token.mint,
        quote.token.mint,
        bins,
        active_id=active_id,
        bin_step=kind.bin_step,
        base_factor=kind.base_factor,
    )
    accounts |= made
    return _listed(next(iter(made)), pair, usd, usd / 2 * weights[1] / step)


def _shape(*, bell: bool) -> list[float]:
    """Parts of one side's liquidity by distance from the active bin."""
    distances = range(BINS_PER_SIDE + 1)
    raw = [math.exp(-((distance / 30) ** 2)) + 0.1 if bell else 1.0 for distance in distances]
    return [weight / sum(raw) for weight in raw]


def _mints(accounts: dict[Pubkey, Account], pair: tuple[Asset, Asset]) -> dict[Mint, Account]:
    return {asset.token.mint: accounts[asset.token.mint] for asset in pair}


def _listed(address: Pubkey, pair: tuple[Asset, Asset], usd: float, depth: float) -> Listed:
    base, quote = pair
    return Listed(str(address), (base.token.symbol, quote.token.symbol), round(usd), round(depth))


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
