"""The tokens that the engine knows, by symbol and by mint."""

from collections.abc import Iterable, Iterator

from bestex.errors import UnknownToken
from bestex.types import Mint, Token


class Tokens:
    """A registry of tokens. Symbols are matched without regard to case, mints exactly."""

    def __init__(self, tokens: Iterable[Token]) -> None:
        self._by_name: dict[str, Token] = {}
        self._by_mint: dict[Mint, Token] = {}
        for token in tokens:
            self.add(token)

    def add(self, token: Token) -> None:
        """Make a token known. Raises ValueError when its symbol already means another mint."""
        known = self._by_name.get(token.symbol.upper())
        if known is not None and known.mint != token.mint:
            raise ValueError(f"symbol {known.symbol} already means {known.mint}")
        self._by_name[token.symbol.upper()] = token
        self._by_name[str(token.mint)] = token
        self._by_mint[token.mint] = token

    def find(self, name: str) -> Token:
        """The token of a symbol or a mint address. Raises UnknownToken."""
        token = self._by_name.get(name) or self._by_name.get(name.upper())
        if token is None:
            raise UnknownToken(f"no token {name!r} is known; GET /api/tokens lists them", token=name)
        return token

    def of_mint(self, mint: Mint) -> Token:
        """The token of a mint. Raises UnknownToken."""
        token = self._by_mint.get(mint)
        if token is None:
            raise UnknownToken(f"no token with mint {mint} is known", token=str(mint))
        return token

    def __contains__(self, mint: Mint) -> bool:
        return mint in self._by_mint

    def __iter__(self) -> Iterator[Token]:
        return iter(self._by_mint.values())

    def __len__(self) -> int:
        return len(self._by_mint)
