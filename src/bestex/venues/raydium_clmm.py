"""Raydium CLMM: liquidity in ranges of ticks; a swap walks from one initialized tick to the next.

What each step pays is in `clmm_walk`; this file knows the pool: transfer fees, vaults, how it is written. Source: the
on-chain program (build e7c743d885e55ef8), whose own answers are in tests/golden.

Not modelled: the observation account, a price history that no swap reads. Refused: fees on the output, dynamic fees and
limit orders, which later builds know.
"""

import struct
from collections.abc import Mapping
from typing import Self, TypeAlias

import msgspec
from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

from bestex.errors import SwapRefused, UnsupportedPool
from bestex.types import U64_MAX, Account, ChainClock, Mint, SwapMode
from bestex.venues import clmm_layout as layout
from bestex.venues import token
from bestex.venues.clmm_layout import PROGRAM_ID, FeeRates
from bestex.venues.clmm_synthesis import synthesize
from bestex.venues.clmm_ticks import MAX_SQRT_PRICE, MAX_TICK, MIN_SQRT_PRICE, MIN_TICK, sqrt_at
from bestex.venues.clmm_walk import (
    ERRORS,
    Flow,
    Ladder,
    Position,
    TickArrays,
    buy,
    refused,
    sell,
    settle,
)
from bestex.venues.curve import Curve
from bestex.venues.math import Q64
from bestex.venues.pool import (
    ARRAY_LIMIT,
    Accounts,
    AnyPool,
    ComputeUnits,
    ProgramError,
    Quote,
    Refusal,
    SwapAccounts,
    SwapCall,
    Venue,
    loaded,
)
from bestex.venues.token import TOKEN_2022_PROGRAM, TOKEN_PROGRAM, TransferFeeConfig

__all__ = [
    "ARRAYS_PER_SIDE",
    "COMPUTE_UNITS",
    "ERRORS",
    "PROGRAM_ID",
    "PROGRAM_SHA256",
    "SLIPPAGE_EXCEEDED",
    "SWAP_ACCOUNTS",
    "VENUE",
    "ClmmPool",
    "ClmmSwapCall",
    "FeeRates",
    "accounts_of",
    "decode",
    "is_pool",
    "read_swap",
    "synthesize",
]

VENUE: Venue = Venue.RAYDIUM_CLMM
PROGRAM_SHA256 = "e7c743d885e55ef880493144974638088b6bc8a33f05c2fa063914c39f7c505f"
COMPUTE_UNITS = ComputeUnits(swap=64_000, per_step=20_000)
SLIPPAGE_EXCEEDED: Mapping[SwapMode, ProgramError] = {
    SwapMode.EXACT_IN: ProgramError(6022, ERRORS[6022]),
    SwapMode.EXACT_OUT: ProgramError(6023, ERRORS[6023]),
}

ARRAYS_PER_SIDE = 8
"""Tick arrays that are loaded on each side of the price, the present one counted on both."""
SWAP_ACCOUNTS = 13
"""Accounts of a swap instruction before the bitmap extension and the tick arrays."""

_MEMO = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
_SWAP_V2, _SWAP = bytes.fromhex("2b04ed0b1ac91e62"), bytes.fromhex("f8c69e91e17587c8")
_SWAP_DATA = struct.Struct("<8sQQ16sB")
_OLD_SWAP_ACCOUNTS = 10

_EXACT_IN = SwapMode.EXACT_IN
_NEVER = 1 << 64
_INSUFFICIENT_FUNDS, _TOKEN_OVERFLOW, _NOT_OPEN = 1, 14, 2505
_DISABLED, _PRICE_LIMIT = 6001, 6013


class ClmmSwapCall(SwapCall, frozen=True, gc=False):
    """A CLMM swap instruction, read back."""

    sqrt_price_limit_x64: int = 0
    """Price at which the swap stops, filled or not; 0 for none."""

    def apply(self, pool: AnyPool, in_mint: Mint, clock: ChainClock) -> tuple[AnyPool, Quote]:
        """Swap as the instruction says, see `ClmmPool.apply`. Raises ValueError for another venue's pool."""
        if not isinstance(pool, ClmmPool):
            raise ValueError(f"Pool {pool.address} is not a Raydium CLMM pool")  # noqa: TRY004 - a wrong value
        limit = self.sqrt_price_limit_x64
        return pool.apply(in_mint, self.amount, self.swap_mode, clock, sqrt_price_limit_x64=limit)


class _Terms(msgspec.Struct, frozen=True):
    """What no swap changes."""

    address: Pubkey
    config: Pubkey
    vaults: tuple[Pubkey, Pubkey]
    mints: tuple[Mint, Mint]
    observation: Pubkey
    transfer_fees: tuple[TransferFeeConfig | None, TransferFeeConfig | None]
    rates: FeeRates
    arrays: TickArrays
    addresses: dict[int, Pubkey]
    """Loaded tick arrays by index."""
    open_time: int
    has_extension: bool


_Swap: TypeAlias = tuple[int, int, int, int, Ladder, Flow]
"""Base units: user pays, user receives, vault gains, vault loses; how the price moves."""


class ClmmPool:
    """A Raydium CLMM pool; immutable. It reaches as far as its loaded tick arrays."""

    __slots__ = ("_accounts", "_balances", "_closed_until", "_curves", "_ladders", "_position", "_terms")

    def __init__(
        self, terms: _Terms, accounts: dict[Pubkey, Account], position: Position, balances: tuple[int, int]
    ) -> None:
        self._terms = terms
        self._accounts = accounts
        self._position = position
        self._balances = balances
        disabled = accounts[terms.address].data[layout.STATUS_AT] & layout.SWAP_DISABLED
        self._closed_until = _NEVER if disabled else terms.open_time
        self._curves: dict[int, Curve] = {}
        rate = terms.rates.trade
        self._ladders = Ladder(terms.arrays, position, rate, True), Ladder(terms.arrays, position, rate, False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClmmPool) and self._present() == other._present()

    def __hash__(self) -> int:
        return hash(self._terms.address)

    @property
    def venue(self) -> Venue:
        return VENUE

    @property
    def address(self) -> Pubkey:
        return self._terms.address

    @property
    def mints(self) -> tuple[Mint, Mint]:
        """Both mints, the lower address first."""
        return self._terms.mints

    @property
    def reserves(self) -> tuple[int, int]:
        """Base units that swaps can take within the loaded tick arrays. Reads all of them, the first time."""
        down, up = self._ladders
        held_0, held_1 = self._balances
        return min(up.offered(), held_0), min(down.offered(), held_1)

    @property
    def fee_bps_hundredths(self) -> int:
        """Trade fee in hundredths of a basis point."""
        return self._terms.rates.trade

    @property
    def sqrt_price_x64(self) -> int:
        """Square root of base units of token 1 per base unit of token 0, Q64.64: what swaps' price limits refer to."""
        return self._position.sqrt_price

    def quote(
        self, in_mint: Mint, amount: int, swap_mode: SwapMode, clock: ChainClock, *, sqrt_price_limit_x64: int = 0
    ) -> Quote:
        """The exact outcome of a swap without a threshold, in base units.

        With a limit (0 for none) the swap ends where the square root price reaches it, filled or not. Raises
        SwapRefused as the program would, ValueError for a mint that is not of this pool.
        """
        paid, received, _, _, ladder, flow = self._swap(in_mint, amount, swap_mode, clock, sqrt_price_limit_x64)
        return Quote(paid, received, flow[2], True, flow[4], ladder.segments[flow[4] - 1][5])

    def curve(self, in_mint: Mint, clock: ChainClock) -> Curve:
        """The most that swaps pay, see `Pool.curve`."""
        side = self._side(in_mint)
        if clock.unix_timestamp <= self._closed_until:
            raise self._closed(clock)
        kept = self._curves.get(side)
        if kept is None:
            fees = self._terms.transfer_fees if side == 0 else self._terms.transfer_fees[::-1]
            self._curves[side] = kept = Curve(self._ladders[side].pieces(), fees, most=self._balances[1 - side])
        return kept

    def spot_price_x64(self, in_mint: Mint) -> int:
        """Marginal price before fees, output base units per input base unit, Q64.64, rounded down."""
        square = self._position.sqrt_price**2
        return square >> 64 if self._side(in_mint) == 0 else (Q64 << 128) // square

    def apply(
        self, in_mint: Mint, amount: int, swap_mode: SwapMode, clock: ChainClock, *, sqrt_price_limit_x64: int = 0
    ) -> tuple[Self, Quote]:
        """The pool after the swap, and the swap's quote, see `quote`. Raises SwapRefused as the program would."""
        paid, received, arriving, leaving, ladder, flow = self._swap(
            in_mint, amount, swap_mode, clock, sqrt_price_limit_x64
        )
        terms = self._terms
        side = self._side(in_mint)
        held_in, held_out = self._balances[side], self._balances[1 - side]
        if held_in + arriving > U64_MAX:
            raise refused(_TOKEN_OVERFLOW, Refusal.OVERFLOW, "The vault cannot hold so much")
        accounts = dict(self._accounts)
        position = self._settle(accounts, ladder, flow, clock, emptied=held_out <= leaving)
        source, target = terms.vaults[side], terms.vaults[1 - side]
        accounts[source] = _credited(accounts[source], arriving, paid - arriving)
        accounts[target] = token.credit(accounts[target], -leaving)
        balances = held_in + arriving, held_out - leaving
        pool = type(self)(terms, accounts, position, balances if side == 0 else balances[::-1])
        return pool, Quote(paid, received, flow[2], True, flow[4], ladder.segments[flow[4] - 1][5])

    def swap_instruction(
        self,
        user: SwapAccounts,
        in_mint: Mint,
        amount: int,
        threshold: int,
        swap_mode: SwapMode,
        *,
        sqrt_price_limit_x64: int = 0,
        array_limit: int = ARRAY_LIMIT,
    ) -> Instruction:
        """`swap_v2` with the next `array_limit` tick arrays, and the bitmap extension if there is one.

        `threshold`: base units, least to receive or most to pay.
        """
        terms = self._terms
        i = self._side(in_mint)
        o = 1 - i
        limit = sqrt_price_limit_x64.to_bytes(16, "little")
        data = _SWAP_DATA.pack(_SWAP_V2, amount, threshold, limit, swap_mode is _EXACT_IN)
        metas = [
            AccountMeta(user.owner, True, False),
            AccountMeta(terms.config, False, False),
            AccountMeta(terms.address, False, True),
            AccountMeta(user.source, False, True),
            AccountMeta(user.destination, False, True),
            AccountMeta(terms.vaults[i], False, True),
            AccountMeta(terms.vaults[o], False, True),
            AccountMeta(terms.observation, False, True),
            AccountMeta(TOKEN_PROGRAM, False, False),
            AccountMeta(TOKEN_2022_PROGRAM, False, False),
            AccountMeta(_MEMO, False, False),
            AccountMeta(terms.mints[i], False, False),
            AccountMeta(terms.mints[o], False, False),
        ]
        if terms.has_extension:
            metas.append(AccountMeta(layout.extension_address(terms.address), False, False))
        arrays = self.arrays_ahead(in_mint, array_limit) or self._lowest_array()
        metas += [AccountMeta(key, False, True) for key in arrays]
        return Instruction(PROGRAM_ID, data, metas)

    def arrays_ahead(self, in_mint: Mint, limit: int) -> tuple[Pubkey, ...]:
        """The first `limit` tick arrays with initialized ticks, in the order in which a swap would enter them.

        The array that holds the present tick is the first one, even if its ticks all lie behind.
        """
        arrays = self._terms.arrays
        indexes = arrays.bitmap.ahead(arrays.index(self._position.tick), self._side(in_mint) == 0, limit)
        return tuple(layout.array_address(self._terms.address, index, arrays.tick_spacing) for index in indexes)

    def _lowest_array(self) -> tuple[Pubkey, ...]:
        """What the recorded instructions list where no array lies ahead, so that the program can refuse the swap."""
        arrays = self._terms.arrays
        lowest = arrays.bitmap.indexes[:1]
        return tuple(layout.array_address(self._terms.address, index, arrays.tick_spacing) for index in lowest)

    def accounts(self) -> tuple[Pubkey, ...]:
        """Pool, config, vaults, mints, bitmap extension if there is one, the tick arrays around the present price."""
        terms = self._terms
        extension = (layout.extension_address(terms.address),) if terms.has_extension else ()
        around = _arrays_around(terms.address, terms.arrays.bitmap, self._position.tick, terms.arrays.tick_spacing)
        return (terms.address, terms.config, *terms.vaults, *terms.mints, *extension, *(array.key for array in around))

    def encode(self) -> dict[Pubkey, Account]:
        """The accounts that the pool was decoded from, with what `apply` has changed."""
        return dict(self._accounts)

    def _present(self) -> dict[Pubkey, Account]:
        """What `encode` gives of `accounts`: arrays that the price has left far behind do not count."""
        return {key: self._accounts[key] for key in self.accounts() if key in self._accounts}

    def _side(self, in_mint: Mint) -> int:
        mint_0, mint_1 = self._terms.mints
        if in_mint == mint_0:
            return 0
        if in_mint == mint_1:
            return 1
        raise ValueError(f"Pool {self.address} does not trade {in_mint}")

    def _swap(self, in_mint: Mint, amount: int, swap_mode: SwapMode, clock: ChainClock, limit: int) -> _Swap:
        terms = self._terms
        side = 0 if in_mint == terms.mints[0] else self._side(in_mint)
        if clock.unix_timestamp <= self._closed_until:
            raise self._closed(clock)
        if amount > U64_MAX:
            raise refused(None, Refusal.OVERFLOW, "The amount does not fit u64")
        if limit:
            self._check_limit(limit, side == 0)
        fees = terms.transfer_fees if side == 0 else terms.transfer_fees[::-1]
        swap = sell if swap_mode is _EXACT_IN else buy
        paid, received, flow = swap(self._ladders[side], amount, limit, fees, clock.epoch)
        arriving, leaving = flow[0], flow[1]
        if paid > U64_MAX:
            raise refused(None, Refusal.OVERFLOW, "The price does not fit u64")
        if leaving > self._balances[1 - side]:
            raise refused(_INSUFFICIENT_FUNDS, Refusal.LIQUIDITY, "The vault holds less than the ticks promise")
        return paid, received, arriving, leaving, self._ladders[side], flow

    def _closed(self, clock: ChainClock) -> SwapRefused:
        if clock.unix_timestamp <= self._terms.open_time:
            return refused(_NOT_OPEN, Refusal.CLOSED, "The pool is not open yet")
        return refused(_DISABLED, Refusal.CLOSED, "Swaps are switched off")

    def _check_limit(self, limit: int, down: bool) -> None:
        price = self._position.sqrt_price
        if not (MIN_SQRT_PRICE < limit < price if down else price < limit < MAX_SQRT_PRICE):
            raise refused(_PRICE_LIMIT, Refusal.PRICE_LIMIT, "The limit is behind the price, or beyond all prices")

    def _settle(
        self, accounts: dict[Pubkey, Account], ladder: Ladder, flow: Flow, clock: ChainClock, *, emptied: bool
    ) -> Position:
        """Put pool and tick arrays after the swap into `accounts`; returns where the price is."""
        terms = self._terms
        steps = flow[4]
        crossed = {terms.arrays.index(segment[3]) for segment in ladder.segments[: steps - 1]}
        if flow[3] == ladder.segments[steps - 1][4]:
            crossed.add(terms.arrays.index(ladder.segments[steps - 1][3]))
        arrays = {index: bytearray(accounts[terms.addresses[index]].data) for index in crossed}
        data = bytearray(accounts[terms.address].data)
        position = settle(data, arrays, ladder, flow, rates=terms.rates, clock=clock)
        if emptied:
            data[layout.STATUS_AT] = layout.VAULT_EMPTIED
        for index, array in arrays.items():
            layout.U64.pack_into(array, layout.ARRAY_EPOCH_AT, clock.epoch)
            accounts[terms.addresses[index]] = _with_data(accounts[terms.addresses[index]], array)
        accounts[terms.address] = _with_data(accounts[terms.address], data)
        return position


def is_pool(account: Account) -> bool:
    """Whether an account is a CLMM pool, by owner, size and discriminator."""
    return account.owner == PROGRAM_ID and len(account.data) == layout.POOL_SIZE and account.data[:8] == layout.POOL_TAG


def accounts_of(address: Pubkey, known: Accounts) -> tuple[Pubkey, ...]:
    """Pool, config, vaults, mints, bitmap extension (which may not exist), and the tick arrays around the price.

    Arrays beyond the pool's own bitmap are named once the extension is among `known`. Raises UnsupportedPool where the
    pool is missing or malformed.
    """
    pool = loaded(known, [address])[address]
    state, position = _read_pool(address, pool)
    keys = map(Pubkey, (state.config, state.vault_0, state.vault_1, state.mint_0, state.mint_1))
    extension_key = layout.extension_address(address)
    extension = known.get(extension_key)
    extension_data = None if extension is None else layout.extension_bytes(extension, address)
    bitmap = layout.bitmap_of(pool.data, state.tick_spacing, extension_data)
    around = _arrays_around(address, bitmap, position.tick, state.tick_spacing)
    return (address, *keys, extension_key, *(array.key for array in around))


def decode(address: Pubkey, accounts: Accounts) -> ClmmPool:
    """Build the pool from account bytes; ticks are read when a swap touches their array.

    Raises UnsupportedPool for accounts that are missing, malformed or contradict each other, for mints whose transfers
    differ from plain ones in more than a fee, for fees on the output, dynamic fees and limit orders, and for fee rates
    of 100 %. Missing tick arrays are no error: only the swaps that need them are refused. Arrays further from the price
    than ARRAYS_PER_SIDE are not read: decode again when swaps have moved the price that far.
    """
    pool = loaded(accounts, [address])[address]
    state, position = _read_pool(address, pool)
    mints = Pubkey(state.mint_0), Pubkey(state.mint_1)
    vaults = Pubkey(state.vault_0), Pubkey(state.vault_1)
    config = Pubkey(state.config)
    used = loaded(accounts, (address, config, *vaults, *mints))
    rates = layout.config_rates(used[config])
    balance_0, fee_0 = _decode_side(used, mints[0], vaults[0])
    balance_1, fee_1 = _decode_side(used, mints[1], vaults[1])
    arrays, addresses, has_extension = _decode_arrays(address, state, accounts, used)
    terms = _Terms(
        address=address,
        config=config,
        vaults=vaults,
        mints=mints,
        observation=Pubkey(state.observation),
        transfer_fees=(fee_0, fee_1),
        rates=rates,
        arrays=arrays,
        addresses=addresses,
        open_time=state.open_time,
        has_extension=has_extension,
    )
    return ClmmPool(terms, used, position, (balance_0, balance_1))


def read_swap(accounts: tuple[Pubkey, ...], data: bytes) -> ClmmSwapCall:
    """The inverse of `swap_instruction`; reads the old `swap` too. Raises ValueError for anything else.

    Bitmap extension and tick arrays are `accounts[SWAP_ACCOUNTS:]`; in the old kind the first array is `accounts[9]`
    and the others follow.
    """
    if len(data) != _SWAP_DATA.size or data[-1] > 1:
        raise ValueError("Not a Raydium CLMM swap")
    tag, amount, threshold, limit, exact_in = _SWAP_DATA.unpack(data)
    if tag == _SWAP_V2:
        sound = len(accounts) >= SWAP_ACCOUNTS and accounts[8:11] == (TOKEN_PROGRAM, TOKEN_2022_PROGRAM, _MEMO)
    elif tag == _SWAP:
        sound = len(accounts) >= _OLD_SWAP_ACCOUNTS and accounts[8] == TOKEN_PROGRAM
    else:
        raise ValueError("Not a Raydium CLMM swap")
    if not sound:
        raise ValueError("Not the accounts of a Raydium CLMM swap")
    user = SwapAccounts(accounts[0], accounts[3], accounts[4])
    mode = SwapMode.EXACT_IN if exact_in else SwapMode.EXACT_OUT
    return ClmmSwapCall(accounts[2], user, amount, threshold, mode, int.from_bytes(limit, "little"))


def _read_pool(address: Pubkey, account: Account) -> tuple[layout.PoolState, Position]:
    """A pool account, and where its price is."""
    if not is_pool(account):
        raise UnsupportedPool("Not a Raydium CLMM pool", address=str(address))
    state = layout.read_pool(account.data)
    if state.fee_on:
        raise UnsupportedPool("Pool takes fees from the output", address=str(address), fee_on=state.fee_on)
    if state.uses_dynamic_fee:
        raise UnsupportedPool("Pool has a dynamic fee", address=str(address))
    price, tick = int.from_bytes(state.sqrt_price, "little"), state.tick
    if state.mint_0 == state.mint_1:
        raise UnsupportedPool("Pool trades one mint with itself", address=str(address))
    if not (MIN_TICK <= tick < MAX_TICK and sqrt_at(tick) <= price <= sqrt_at(tick + 1)) or state.tick_spacing == 0:
        raise UnsupportedPool("Pool is malformed", address=str(address), tick=tick, spacing=state.tick_spacing)
    return state, Position(price, tick, int.from_bytes(state.liquidity, "little"))


def _arrays_around(
    address: Pubkey, bitmap: layout.Bitmap, tick: int, tick_spacing: int
) -> tuple[layout.LoadableArray, ...]:
    index = layout.array_index(tick, tick_spacing)
    return layout.arrays_around(address, bitmap, index, tick_spacing, ARRAYS_PER_SIDE)


def _decode_side(used: Accounts, mint: Mint, vault: Pubkey) -> tuple[int, TransferFeeConfig | None]:
    """Balance and transfer fee of one token: its program is the mint's."""
    return token.decode_vault(mint, used[mint], used[vault], used[mint].owner)


def _decode_arrays(
    address: Pubkey, state: layout.PoolState, accounts: Accounts, used: dict[Pubkey, Account]
) -> tuple[TickArrays, dict[int, Pubkey], bool]:
    """Tick arrays, their addresses by index, whether there is an extension; adds the accounts read to `used`."""
    extension_key = layout.extension_address(address)
    extension = accounts.get(extension_key)
    extension_data = None
    if extension is not None:
        used[extension_key] = extension
        extension_data = layout.extension_bytes(extension, address)
    bitmap = layout.bitmap_of(used[address].data, state.tick_spacing, extension_data)
    data: dict[int, bytes] = {}
    addresses: dict[int, Pubkey] = {}
    for array in _arrays_around(address, bitmap, state.tick, state.tick_spacing):
        account = accounts.get(array.key)
        if account is not None:
            data[array.index] = layout.array_bytes(account, array)
            addresses[array.index] = array.key
            used[array.key] = account
    return TickArrays(data, bitmap, state.tick_spacing), addresses, extension is not None


def _credited(account: Account, amount: int, withheld: int) -> Account:
    """The vault after a deposit. Raises SwapRefused where it cannot count so many withheld fees."""
    try:
        return token.credit(account, amount, withheld)
    except struct.error as error:
        raise refused(None, Refusal.OVERFLOW, "The withheld fees do not fit u64") from error


def _with_data(account: Account, data: bytearray) -> Account:
    return Account(account.owner, account.lamports, bytes(data))
