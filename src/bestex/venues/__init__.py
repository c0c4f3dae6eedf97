"""The DEX programs that we trade on, one file each, all of the shape in `pool`: exact, pure, in integers.

`PROGRAMS` finds the venue that an account belongs to. `recording` reads what the real programs answered, and
`verification` holds the venues against it.
"""

from collections.abc import Mapping

from solders.pubkey import Pubkey

from bestex.types import Account
from bestex.venues import meteora_damm_v2, meteora_dlmm, raydium_amm_v4, raydium_clmm, raydium_cpmm
from bestex.venues.pool import VenueProgram

PROGRAMS: Mapping[Pubkey, VenueProgram] = {
    raydium_amm_v4.PROGRAM_ID: raydium_amm_v4,
    raydium_cpmm.PROGRAM_ID: raydium_cpmm,
    raydium_clmm.PROGRAM_ID: raydium_clmm,
    meteora_dlmm.PROGRAM_ID: meteora_dlmm,
    meteora_damm_v2.PROGRAM_ID: meteora_damm_v2,
}
"""Every supported venue by the address of its program."""


def program_of(account: Account) -> VenueProgram | None:
    """The venue whose program owns the account; None if we do not know it. The account need not be a pool."""
    return PROGRAMS.get(account.owner)
