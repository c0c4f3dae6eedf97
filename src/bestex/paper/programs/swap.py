"""Swaps on a venue's pool: the pool's own mathematics, and the tokens that move."""

import struct
from collections.abc import Container

from solders.pubkey import Pubkey

from bestex.errors import SwapRefused, UnsupportedPool
from bestex.paper.programs import spl_token
from bestex.paper.programs.frame import Frame, InstructionFailed
from bestex.paper.state import CachedPool, fresh_pool
from bestex.types import Account, SwapMode
from bestex.venues import dlmm_layout, meteora_dlmm
from bestex.venues.pool import Accounts, Pool, Quote, SwapCall, Venue, VenueProgram
from bestex.venues.token import ACCOUNT_SIZE, TOKEN_PROGRAM

_UNITS = {Venue.RAYDIUM_CPMM: (30_000, 0), Venue.METEORA_DLMM: (40_000, 8_000)}
"""Compute units of a swap, and of each bin or tick that it uses."""
_NAMES = {
    (Venue.RAYDIUM_CPMM, SwapMode.EXACT_IN): "SwapBaseInput",
    (Venue.RAYDIUM_CPMM, SwapMode.EXACT_OUT): "SwapBaseOutput",
    (Venue.METEORA_DLMM, SwapMode.EXACT_IN): "Swap2",
    (Venue.METEORA_DLMM, SwapMode.EXACT_OUT): "SwapExactOut2",
}
_SWAPS_PER_DECODING = 16
"""A pool carries what swaps have changed since it was decoded; now and then it is cheaper to decode it again."""

_FALLBACK_NOT_FOUND = 101, "InstructionFallbackNotFound"
_WRONG_MINT = 2014, "ConstraintTokenMint"
_NOT_DESERIALIZED = 3003, "AccountDidNotDeserialize"
_NOT_ENOUGH_KEYS = 3005, "AccountNotEnoughKeys"
_WRONG_PROGRAM = 3007, "AccountOwnedByWrongProgram"
_NOT_INITIALIZED = 3012, "AccountNotInitialized"
_TOKEN_ERROR = "token:"  # noqa: S105 - a prefix of error names

_ACTIVE_ID = struct.Struct("<i")
_ACTIVE_ID_AT = 76


def execute(venue: VenueProgram, frame: Frame, keys: tuple[Pubkey, ...], data: bytes) -> None:
    """Run a venue's swap instruction."""
    try:
        call = venue.read_swap(keys, data)
    except ValueError as error:
        raise anchor_error(_FALLBACK_NOT_FOUND, str(error)) from error
    frame.log(f"Instruction: {_NAMES[venue.VENUE, call.swap_mode]}")
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
        accounts = _loaded(frame, venue.accounts_of(address, head))
        pool = _decode(venue, address, accounts)
        if any(name not in accounts for name in pool.accounts()):
            # Only the decoded pool knows what a bitmap extension points to.
            accounts |= _loaded(frame, pool.accounts())
            pool = _decode(venue, address, accounts)
    except UnsupportedPool as error:
        raise anchor_error(_NOT_DESERIALIZED, error.message) from error
    in_order = tuple((name, accounts[name]) for name in pool.encode())
    cached = CachedPool(pool, in_order, 0)
    frame.state.remember(cached)
    return cached


def settle(frame: Frame, venue: VenueProgram, cached: CachedPool, call: SwapCall, supplied: Container[Pubkey]) -> Quote:
    """Swap, check the threshold, move the tokens. `supplied` are the accounts that the instruction names."""
    source = spl_token.holding(frame, call.user.source, token_2022=True)
    target = spl_token.holding(frame, call.user.destination, token_2022=True)
    base_units, units_per_step = _UNITS[venue.VENUE]
    frame.consume(base_units)
    pool = cached.pool
    if (source.mint, target.mint) not in (pool.mints, pool.mints[::-1]):
        raise anchor_error(_WRONG_MINT, "A token mint constraint was violated")
    try:
        after, quote = pool.apply(source.mint, call.amount, call.swap_mode, frame.clock)
    except SwapRefused as refused:
        raise _refusal(refused) from refused
    frame.consume(units_per_step * quote.steps)
    encoded = after.encode()
    _store_pool(frame, cached, encoded, supplied)
    _check_threshold(venue, call, quote)
    spl_token.require_funds(source, call.user.owner, quote.in_amount)
    spl_token.add(frame, source, -quote.in_amount)
    spl_token.add(frame, target, quote.out_amount, _withheld(frame, cached, target, quote))
    frame.state.pools[pool.address] = CachedPool(after, tuple(encoded.items()), cached.swaps + 1)
    return quote


def anchor_error(error: tuple[int, str], message: str) -> InstructionFailed:
    """An error as Anchor programs log it."""
    code, name = error
    return InstructionFailed.custom(
        code, f"AnchorError occurred. Error Code: {name}. Error Number: {code}. Error Message: {message}."
    )


def _loaded(frame: Frame, names: tuple[Pubkey, ...]) -> dict[Pubkey, Account]:
    return {name: account for name in names if (account := frame.state.get(name)) is not None}


def _decode(venue: VenueProgram, address: Pubkey, accounts: Accounts) -> Pool:
    if venue.VENUE is Venue.METEORA_DLMM:
        # How many arrays a swap may walk through is up to the instruction that names them.
        return meteora_dlmm.decode(address, accounts, array_limit=meteora_dlmm.ARRAYS_PER_SIDE)
    return venue.decode(address, accounts)


def _refusal(refused: SwapRefused) -> InstructionFailed:
    code = refused.program_code
    if code is None:
        return InstructionFailed("ProgramFailedToComplete", text=f"panicked: {refused.message}")
    if refused.name.startswith(_TOKEN_ERROR):
        return InstructionFailed.custom(code, f"Error: {refused.message}", TOKEN_PROGRAM)
    return anchor_error((code, refused.name), refused.message)


def _check_threshold(venue: VenueProgram, call: SwapCall, quote: Quote) -> None:
    if call.swap_mode is SwapMode.EXACT_IN:
        missed = quote.out_amount < call.threshold
    else:
        missed = quote.in_amount > call.threshold
    if missed:
        error = venue.SLIPPAGE_EXCEEDED[call.swap_mode]
        raise anchor_error((error.code, error.name), "Exceeded slippage tolerance")


def _store_pool(frame: Frame, cached: CachedPool, encoded: dict[Pubkey, Account], supplied: Container[Pubkey]) -> None:
    """Write what the swap has changed. Raises InstructionFailed for an account that the instruction does not name."""
    entered = _arrays_entered(cached, encoded[cached.pool.address])
    for (name, before), after in zip(cached.accounts, encoded.values(), strict=True):
        if name not in supplied:
            if after is before and name not in entered and _is_bin_array(before):
                continue
            raise anchor_error(_NOT_ENOUGH_KEYS, f"Not enough account keys given to the instruction: no {name}")
        if after is not before:
            frame.store(name, after)


def _arrays_entered(cached: CachedPool, after: Account) -> Container[Pubkey]:
    """The bin arrays that a DLMM swap has walked through, changed or not: the program needs them all."""
    pool = cached.pool
    if pool.venue is not Venue.METEORA_DLMM:
        return ()
    before = cached.accounts[0][1]
    first = _ACTIVE_ID.unpack_from(before.data, _ACTIVE_ID_AT)[0] // dlmm_layout.BINS_PER_ARRAY
    last = _ACTIVE_ID.unpack_from(after.data, _ACTIVE_ID_AT)[0] // dlmm_layout.BINS_PER_ARRAY
    if first == last:
        # The one array has changed, as the last bin of a swap always does.
        return ()
    indexes = range(min(first, last), max(first, last) + 1)
    return [dlmm_layout.array_address(pool.address, index) for index in indexes]


def _is_bin_array(account: Account) -> bool:
    return account.owner == dlmm_layout.PROGRAM_ID and len(account.data) == dlmm_layout.ARRAY_SIZE


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
