"""Accounts by address: as the last block left them, and writes on top that may be thrown away.

Account bytes are the truth. Decoded pools are kept beside them and used only while the very account objects that they
were decoded from are still in place.
"""

from collections.abc import Callable
from typing import Protocol, TypeAlias

import msgspec
from solders.pubkey import Pubkey

from bestex.types import Account
from bestex.venues.pool import Pool

_UNKNOWN = Account(Pubkey.default(), 0, b"")


class CachedPool(msgspec.Struct, frozen=True, gc=False):
    """A decoded pool and the accounts that it stands for."""

    pool: Pool
    accounts: tuple[tuple[Pubkey, Account], ...]
    """The pool's own account first."""
    required: tuple[Pubkey, ...]
    """Those of them that every swap instruction must name, whichever tick or bin arrays it needs besides."""
    swaps: int
    """Applied since the pool was decoded."""


Lookup: TypeAlias = Callable[[Pubkey, Account], Account | None]
"""`dict.get` of one layer of accounts, with a default that says that the layer knows nothing."""


class View(Protocol):
    """Accounts that can be read: layers of writes on top of each other."""

    @property
    def lookups(self) -> tuple[Lookup, ...]:
        """The layers, uppermost first."""
        ...

    def get(self, address: Pubkey) -> Account | None: ...

    def cached_pool(self, address: Pubkey) -> CachedPool | None:
        """The pool as last decoded here or below; whether it is still true is for `fresh_pool` to say."""
        ...

    def remember(self, cached: CachedPool) -> None:
        """Keep a pool that was decoded from this view, in the lowest layer that holds the same accounts."""
        ...


class State:
    """The accounts as the last visible commit left them."""

    __slots__ = ("accounts", "lookups", "pools")

    def __init__(self, accounts: dict[Pubkey, Account]) -> None:
        self.accounts = accounts
        self.lookups: tuple[Lookup, ...] = (accounts.get,)
        self.pools: dict[Pubkey, CachedPool] = {}

    def get(self, address: Pubkey) -> Account | None:
        return self.accounts.get(address)

    def cached_pool(self, address: Pubkey) -> CachedPool | None:
        return self.pools.get(address)

    def remember(self, cached: CachedPool) -> None:
        self.pools[cached.pool.address] = cached

    def absorb(self, overlay: "Overlay") -> dict[Pubkey, Account | None]:
        """Take over an overlay's writes; returns what stood there before, for `restore`."""
        accounts = self.accounts
        before = {address: accounts.get(address) for address in overlay.writes}
        self.restore(overlay.writes)
        self.pools.update(overlay.pools)
        return before

    def restore(self, accounts: dict[Pubkey, Account | None]) -> None:
        """Put accounts in place; None removes one."""
        for address, account in accounts.items():
            if account is None:
                self.accounts.pop(address, None)
            else:
                self.accounts[address] = account


class Overlay:
    """Writes on top of a view; the view stays as it is until it absorbs them."""

    __slots__ = ("_below", "lookups", "pools", "writes")

    def __init__(self, below: View) -> None:
        self._below = below
        self.writes: dict[Pubkey, Account | None] = {}
        self.lookups: tuple[Lookup, ...] = (self.writes.get, *below.lookups)
        self.pools: dict[Pubkey, CachedPool] = {}

    def get(self, address: Pubkey) -> Account | None:
        for lookup in self.lookups:
            found = lookup(address, _UNKNOWN)
            if found is not _UNKNOWN:
                return found
        return None

    def cached_pool(self, address: Pubkey) -> CachedPool | None:
        return self.pools.get(address) or self._below.cached_pool(address)

    def remember(self, cached: CachedPool) -> None:
        if self.writes.keys().isdisjoint(name for name, _ in cached.accounts):
            self._below.remember(cached)
        else:
            self.pools[cached.pool.address] = cached

    def put(self, address: Pubkey, account: Account | None) -> None:
        self.writes[address] = account

    def absorb(self, overlay: "Overlay") -> None:
        """Take over the writes of an overlay that lies on this one."""
        self.writes.update(overlay.writes)
        self.pools.update(overlay.pools)


def fresh_pool(view: View, address: Pubkey) -> CachedPool | None:
    """The cached pool, if every account that it was decoded from is still the one that the view holds."""
    cached = view.cached_pool(address)
    if cached is None:
        return None
    lookups = view.lookups
    for name, account in cached.accounts:
        for lookup in lookups:
            found = lookup(name, _UNKNOWN)
            if found is not _UNKNOWN:
                break
        if found is not account:
            return None
    return cached
