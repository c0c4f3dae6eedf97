"""Swaps on a venue's pool: the pool's own mathematics, and the tokens that move."""

from collections.abc import Container

from solders.pubkey import Pubkey

from bestex.errors import SwapRefused, UnsupportedPool
from bestex.paper.programs import spl_token
from bestex.paper.programs.frame import Frame, InstructionFailed
from bestex.paper.state import CachedPool, fresh_pool
from bestex.types import Account, SwapMode
from bestex.venues.pool import (
    ARRAY_LIMIT,
    Accounts,
    Pool,
    Quote,
    SwapAccounts,
    SwapCall,
    Venue,
    VenueProgram,
    gather,
)
from bestex.venues.token import ACCOUNT_SIZE, TOKEN_PROGRAM

_LOGGED = {
    (Venue.RAYDIUM_CPMM, SwapMode.EXACT_IN): "SwapBaseInput",
    (Venue.RAYDIUM_CPMM, SwapMode.EXACT_OUT): "SwapBaseOutput",
    (Venue.RAYDIUM_CLMM, SwapMode.EXACT_IN): "SwapV2",
    (Venue.RAYDIUM_CLMM, SwapMode.EXACT_OUT): "SwapV2",
    (Venue.METEORA_DLMM, SwapMode.EXACT_IN): "Swap2",
    (Venue.METEORA_DLMM, SwapMode.EXACT_OUT): "SwapExactOut2",
    (Venue.METEORA_DAMM_V2, SwapMode.EXACT_IN): "Swap2",
    (Venue.METEORA_DAMM_V2, SwapMode.EXACT_OUT): "Swap2",
}
"""What Anchor programs log first."""
_NATIVE = frozenset({Venue.RAYDIUM_AMM_V4})
"""Programs without Anchor: their errors are logged otherwise."""
_SWAPS_PER_DECODING = 16
"""A pool carries what swaps have changed since it was decoded; now and then it is cheaper to decode it again."""

_FALLBACK_NOT_FOUND = 101, "InstructionFallbackNotFound"
_WRONG_MINT = 2014, "ConstraintTokenMint"
_NOT_DESERIALIZED = 3003, "AccountDidNotDeserialize"
_NOT_ENOUGH_KEYS = 3005, "AccountNotEnoughKeys"
_WRONG_PROGRAM = 3007, "AccountOwnedByWrongProgram"
_NOT_INITIALIZED = 3012, "AccountNotInitialized"
_TOKEN_ERROR = "token:"  # noqa: S105 - a prefix of error names


def execute(venue: VenueProgram, frame: Frame, keys: tuple[Pubkey, ...], data: bytes) -> None:
    """Run a venue's swap instruction."""
    try:
        call = venue.read_swap(keys, data)
    except ValueError as error:
        raise anchor_error(_FALLBACK_NOT_FOUND, str(error)) from error
    if venue.VENUE not in _NATIVE:
        frame.log(f"Instruction: {_LOGGED[venue.VENUE, call.swap_mode]}")
    frame.require_signer(call.user.owner)
    settle(frame, venue, pool_at(frame, venue, call.pool), call, frozenset(keys))


def pool_at(frame: Frame, venue: VenueProgram, address: Pubkey) -> CachedPool:
    """The pool at an address, decoded from the accounts as they are now. Raises InstructionFailed."""
    cached = fresh_pool(frame.state, address)
    if cached is not None and cached.swaps < _SWAPS_PER_DECODING:
        return cached
    head = frame.state.get(address)
    if head is None:
        raise anchor_error(_NOT_INITIALIZED, "The program expected this account to be already initialized")
    if head.owner != venue.PROGRAM_ID:
        raise anchor_error(_WRONG_PROGRAM, "The given account is owned by a different program than expected")
    try:
        accounts = gather(venue, address, frame.state.get)
        pool = venue.decode(address, accounts)
    except UnsupportedPool as error:
        raise anchor_error(_NOT_DESERIALIZED, error.message) from error
    in_order = tuple((name, accounts[name]) for name in pool.encode())
    cached = CachedPool(pool, in_order, _required(pool, accounts), 0)
    frame.state.remember(cached)
    return cached


def settle(frame: Frame, venue: VenueProgram, cached: CachedPool, call: SwapCall, supplied: Container[Pubkey]) -> Quote:
    """Swap, check the threshold, move the tokens. `supplied` are the accounts that the instruction names."""
    source = spl_token.holding(frame, call.user.source, token_2022=True)
    target = spl_token.holding(frame, call.user.destination, token_2022=True)
    frame.consume(venue.COMPUTE_UNITS.swap)
    pool = cached.pool
    if (source.mint, target.mint) not in (pool.mints, pool.mints[::-1]):
        raise anchor_error(_WRONG_MINT, "A token mint constraint was violated")
    try:
        after, quote = call.apply(pool, source.mint, frame.clock)
    except SwapRefused as refused:
        raise _refusal(venue, refused) from refused
    frame.consume(venue.COMPUTE_UNITS.per_step * quote.steps)
    for name in (*cached.required, *pool.arrays_ahead(source.mint, quote.arrays)):
        if name not in supplied:
            raise anchor_error(_NOT_ENOUGH_KEYS, f"Not enough account keys given to the instruction: no {name}")
    accounts = _store_pool(frame, cached, after)
    _check_threshold(venue, call, quote)
    spl_token.require_funds(source, call.user.owner, quote.in_amount)
    spl_token.add(frame, source, -quote.in_amount)
    spl_token.add(frame, target, quote.out_amount, _withheld(frame, cached, target, quote))
    frame.state.pools[pool.address] = CachedPool(after, accounts, cached.required, cached.swaps + 1)
    return quote


def anchor_error(error: tuple[int, str], message: str) -> InstructionFailed:
    """An error as Anchor programs log it."""
    code, name = error
    return InstructionFailed.custom(
        code, f"AnchorError occurred. Error Code: {name}. Error Number: {code}. Error Message: {message}."
    )


def _required(pool: Pool, accounts: Accounts) -> tuple[Pubkey, ...]:
    """What every kind of the venue's swaps names of the accounts that the pool is decoded from.

    Arrays depend on the swap, and the older kinds do without the mints.
    """
    in_mint = pool.mints[0]
    user = SwapAccounts(*[Pubkey.default()] * 3)
    named = {meta.pubkey for meta in pool.swap_instruction(user, in_mint, 1, 1, SwapMode.EXACT_IN).accounts}
    named.difference_update(pool.arrays_ahead(in_mint, ARRAY_LIMIT), pool.mints)
    return tuple(name for name in accounts if name in named)


def _refusal(venue: VenueProgram, refused: SwapRefused) -> InstructionFailed:
    code = refused.program_code
    if code is None:
        return InstructionFailed("ProgramFailedToComplete", text=f"panicked: {refused.message}")
    if refused.name.startswith(_TOKEN_ERROR):
        return InstructionFailed.custom(code, f"Error: {refused.message}", TOKEN_PROGRAM)
    return _program_error(venue, code, refused.name, refused.message)


def _program_error(venue: VenueProgram, code: int, name: str, message: str) -> InstructionFailed:
    if venue.VENUE in _NATIVE:
        return InstructionFailed.custom(code, f"Error: {name}")
    return anchor_error((code, name), message)


def _check_threshold(venue: VenueProgram, call: SwapCall, quote: Quote) -> None:
    if call.swap_mode is SwapMode.EXACT_IN:
        missed = quote.out_amount < call.threshold
    else:
        missed = quote.in_amount > call.threshold
    if missed:
        error = venue.SLIPPAGE_EXCEEDED[call.swap_mode]
        raise _program_error(venue, error.code, error.name, "Exceeded slippage tolerance")


def _store_pool(frame: Frame, cached: CachedPool, after: Pool) -> tuple[tuple[Pubkey, Account], ...]:
    """Write what the swap has changed; returns the pool's accounts as they are now."""
    now = []
    for (name, before), encoded in zip(cached.accounts, after.encode().values(), strict=True):
        # A pool that has been swapped on before encodes anew what only earlier swaps have changed.
        if encoded is before or encoded == before:
            now.append((name, before))
        else:
            frame.store(name, encoded)
            now.append((name, encoded))
    return tuple(now)


def _withheld(frame: Frame, cached: CachedPool, target: spl_token.Holding, quote: Quote) -> int:
    """Transfer fee that a Token-2022 mint keeps back in the receiver's account."""
    if len(target.account.data) == ACCOUNT_SIZE:
        return 0
    gone = 0
    for name, before in cached.accounts:
        held = spl_token.amount_of(before, target.mint)
        if held is not None:
            gone += held - (spl_token.amount_of(frame.load(name), target.mint) or 0)
    return gone - quote.out_amount
