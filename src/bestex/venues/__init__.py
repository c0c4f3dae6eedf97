"""The DEX programs that we trade on, one file each, all of the shape in `pool`: exact, pure, in integers.

`raydium_cpmm` and `meteora_dlmm` are the venues; `PROGRAMS` finds the one that an account belongs to.
"""

from collections.abc import Mapping

from solders.pubkey import Pubkey

from bestex.types import Account
from bestex.venues import meteora_dlmm, raydium_cpmm
from bestex.venues.pool import VenueProgram

PROGRAMS: Mapping[Pubkey, VenueProgram] = {
    raydium_cpmm.PROGRAM_ID: raydium_cpmm,
    meteora_dlmm.PROGRAM_ID: meteora_dlmm,
}
"""Every supported venue by the address of its program."""


def program_of(account: Account) -> VenueProgram | None:
    """The venue whose program owns the account; None if we do not know it. The account need not be a pool."""
    return PROGRAMS.get(account.owner)
