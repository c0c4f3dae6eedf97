"""A small market of two tokens and SOL on both venues, for tests that need pools but no chain."""

from solders.pubkey import Pubkey

from bestex.types import Account, ChainClock, Mint, Token
from bestex.venues import cpmm_layout, dlmm_synthesis, meteora_dlmm, raydium_cpmm
from bestex.venues.pool import Pool
from bestex.venues.token import NATIVE_MINT, TOKEN_PROGRAM, mint_account

CLOCK = ChainClock(slot=1_000, unix_timestamp=1_790_000_000, epoch=900)

SOL = Token("SOL", NATIVE_MINT, 9, TOKEN_PROGRAM)
USDC = Token("USDC", Pubkey.from_string("EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"), 6, TOKEN_PROGRAM)
JUP = Token("JUP", Pubkey.from_string("JUPyiwrYJFskUPiHa7hkeR8VUtAeFoSYbKedZNsDvCN"), 6, TOKEN_PROGRAM)

MINTS: dict[Mint, Account] = {token.mint: mint_account(token.decimals, 10**18) for token in (SOL, USDC, JUP)}


def cpmm_accounts(
    one: Token, other: Token, reserves: tuple[int, int], *, index: int = 0, fee: int = 2_500
) -> dict[Pubkey, Account]:
    """A constant product pool; `reserves` in base units, `fee` in millionths."""
    mints = {token.mint: MINTS[token.mint] for token in (one, other)}
    return mints | cpmm_layout.synthesize(
        mints,
        {one.mint: reserves[0], other.mint: reserves[1]},
        rates=cpmm_layout.Rates(trade=fee),
        config_index=index,
    )


def cpmm(one: Token, other: Token, reserves: tuple[int, int], *, index: int = 0, fee: int = 2_500) -> Pool:
    accounts = cpmm_accounts(one, other, reserves, index=index, fee=fee)
    address = next(name for name, account in accounts.items() if raydium_cpmm.is_pool(account))
    return raydium_cpmm.decode(address, accounts)


def dlmm_accounts(
    one: Token, other: Token, depth: tuple[int, int], *, active_id: int, bin_step: int = 10
) -> dict[Pubkey, Account]:
    """Twenty bins to either side with `depth` base units each of X above and Y below the active one."""
    mints = {token.mint: MINTS[token.mint] for token in (one, other)}
    bins = {active_id: depth}
    for distance in range(1, 21):
        bins[active_id + distance] = (depth[0], 0)
        bins[active_id - distance] = (0, depth[1])
    return mints | dlmm_synthesis.synthesize(mints, one.mint, other.mint, bins, active_id=active_id, bin_step=bin_step)


def dlmm(one: Token, other: Token, depth: tuple[int, int], *, active_id: int, bin_step: int = 10) -> Pool:
    accounts = dlmm_accounts(one, other, depth, active_id=active_id, bin_step=bin_step)
    address = next(name for name, account in accounts.items() if meteora_dlmm.is_pool(account))
    return meteora_dlmm.decode(address, accounts)
