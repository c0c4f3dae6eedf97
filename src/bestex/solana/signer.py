"""Keys that sign."""

from nacl.bindings import crypto_sign
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from bestex.errors import ConfigError

_SIGNATURE_BYTES = 64


class KeypairSigner:
    """Signs with a key held in this process's memory."""

    def __init__(self, keypair: Keypair) -> None:
        self._secret = bytes(keypair)
        self._pubkey = keypair.pubkey()

    @classmethod
    def from_base58(cls, secret: str) -> "KeypairSigner":
        """A signer from a base58 secret key of 64 bytes. Raises ConfigError, without repeating the secret."""
        try:
            return cls(Keypair.from_base58_string(secret))
        except ValueError:
            raise ConfigError("wallet_secret is not a base58 secret key of 64 bytes") from None

    @property
    def pubkey(self) -> Pubkey:
        return self._pubkey

    def sign(self, message: bytes) -> bytes:
        """The 64-byte ed25519 signature of `message`."""
        return crypto_sign(message, self._secret)[:_SIGNATURE_BYTES]

    def __repr__(self) -> str:
        return f"KeypairSigner({self._pubkey})"
