"""What a landed swap moved: read from its own token balances, never from the request."""

from solders.pubkey import Pubkey

from bestex.errors import OutcomeUnknown
from bestex.ports import LandedTransaction
from bestex.types import Mint
from bestex.venues.token import NATIVE_MINT


def amounts_moved(transaction: LandedTransaction, wallet: Pubkey, in_mint: Mint, out_mint: Mint) -> tuple[int, int]:
    """Base units that the wallet paid and received. Raises OutcomeUnknown when the balances show no such swap."""
    paid = -_wallet_change(transaction, wallet, in_mint)
    received = _wallet_change(transaction, wallet, out_mint)
    if paid <= 0 or received <= 0:
        raise OutcomeUnknown(
            f"transaction {transaction.signature} succeeded, but its balances show no swap of these tokens"
        )
    return paid, received


def _wallet_change(transaction: LandedTransaction, wallet: Pubkey, mint: Mint) -> int:
    changes = [change for change in transaction.token_changes if change.mint == mint]
    if mint == NATIVE_MINT:
        # The wallet's side is a temporary account that is gone; what the pools' vaults did is its mirror image.
        return -sum(change.after - change.before for change in changes if change.owner != wallet)
    return sum(change.after - change.before for change in changes if change.owner == wallet)
