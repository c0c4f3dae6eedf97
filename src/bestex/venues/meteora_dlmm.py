"""Meteora DLMM: liquidity in bins of constant price; a swap walks from the active bin to the next ones.

Where each bin lies and what it pays is in `dlmm_bins`; this file knows the pair: transfer fees, what is owed, how it is
written. Source: the on-chain program (build 942f609d03440911), whose own answers are in tests/golden.

Not modelled: the oracle account, host fees, and addresses that may swap before activation.
"""

import struct
from collections.abc import Mapping
from typing import Self

import msgspec
from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

from bestex.errors import UnsupportedPool
from bestex.types import BPS, U64_MAX, Account, ChainClock, Mint, SwapMode
from bestex.venues import dlmm_layout as layout
from bestex.venues import token
from bestex.venues.curve import Curve
from bestex.venues.dlmm_bins import ERRORS, Bins, FeeCurve, Motion, fee_rate, refused
from bestex.venues.dlmm_layout import BINS_PER_ARRAY, PROGRAM_ID, Bin
from bestex.venues.dlmm_synthesis import VariableFee, synthesize
from bestex.venues.dlmm_walk import Fill, Ladder, price_in, price_out, settle, walk_in, walk_out
from bestex.venues.math import ceil_div
from bestex.venues.pool import (
    ARRAY_LIMIT,
    Accounts,
    ComputeUnits,
    ProgramError,
    Quote,
    Refusal,
    SwapAccounts,
    SwapCall,
    Venue,
    loaded,
)
from bestex.venues.token import TransferFeeConfig

__all__ = [
    "ARRAYS_PER_SIDE",
    "COMPUTE_UNITS",
    "ERRORS",
    "PROGRAM_ID",
    "PROGRAM_SHA256",
    "SLIPPAGE_EXCEEDED",
    "SWAP_ACCOUNTS",
    "VENUE",
    "DlmmPool",
    "VariableFee",
    "accounts_of",
    "decode",
    "is_pool",
    "read_swap",
    "synthesize",
]

VENUE: Venue = Venue.METEORA_DLMM
PROGRAM_SHA256 = "942f609d03440911f15c40e8df1733d808670768fd9042af1de956964fb2f0e6"
COMPUTE_UNITS = ComputeUnits(swap=50_000, per_step=8_000)
SLIPPAGE_EXCEEDED: Mapping[SwapMode, ProgramError] = {
    SwapMode.EXACT_IN: ProgramError(6003, ERRORS[6003]),
    SwapMode.EXACT_OUT: ProgramError(6104, ERRORS[6104]),
}

ARRAYS_PER_SIDE = 8
"""Bin arrays that are loaded on each side of the price, the active one counted on both."""
SWAP_ACCOUNTS = 16
"""Accounts of a swap instruction before its bin arrays."""

_MEMO = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
_EVENT_AUTHORITY = Pubkey.from_string("D1ZN9Wj1fRSUQfCjhvnu1hqDMT7hzjzBBpi12nVniYD6")
_SWAP_2, _SWAP_EXACT_OUT_2 = bytes.fromhex("414b3f4ceb5b5b88"), bytes.fromhex("2bd7f784893cf351")
_SWAP, _SWAP_EXACT_OUT = bytes.fromhex("f8c69e91e17587c8"), bytes.fromhex("fa49652126cf4bb8")
_SWAP_DATA = struct.Struct("<8sQQ")
_NO_SLICES = bytes(4)
"""No hook accounts among the remaining ones."""

_EXACT_IN = SwapMode.EXACT_IN
_ZERO_KEY = bytes(32)
_INSUFFICIENT_FUNDS, _TOKEN_OVERFLOW = 1, 14
_INVALID_INPUT, _MATH_OVERFLOW, _NOTHING_OUT, _DISABLED = 6002, 6018, 6039, 6042


class _Terms(msgspec.Struct, frozen=True):
    """What no swap changes."""

    accounts: dict[Pubkey, Account]
    """As decoded: pair, reserves, mints, bitmap extension, bin arrays."""
    addresses: dict[int, Pubkey]
    """Loaded bin arrays by index."""
    pair: layout.Pair
    address: Pubkey
    mints: tuple[Mint, Mint]
    reserves: tuple[Pubkey, Pubkey]
    programs: tuple[Pubkey, Pubkey]
    oracle: Pubkey
    transfer_fees: tuple[TransferFeeConfig | None, TransferFeeConfig | None]
    base_rate: int
    """Billionths."""
    decoded: tuple["_Holding", "_Holding"]


class _Holding(msgspec.Struct, frozen=True, gc=False):
    """One token of the pair: the reserve's balance, what of it the protocol is owed, fees withheld since decoding."""

    balance: int
    protocol: int
    withheld: int = 0


class _Flow(msgspec.Struct, frozen=True, gc=False):
    """A swap in base units, with what `apply` needs of it."""

    quote: Quote
    arriving: int
    """What the reserve of the input gains."""
    leaving: int
    """What the reserve of the output loses."""
    fees: FeeCurve


class DlmmPool:
    """A Meteora DLMM pair; immutable. It reaches as far as its bin arrays are loaded."""

    __slots__ = ("_bins", "_curves", "_holdings", "_ladders", "_motion", "_terms")

    def __init__(self, terms: _Terms, motion: Motion, holdings: tuple[_Holding, _Holding], bins: Bins) -> None:
        self._terms = terms
        self._motion = motion
        self._holdings = holdings
        self._bins = bins
        self._curves: dict[int, tuple[FeeCurve, Curve]] = {}
        self._ladders = Ladder(bins, motion.active_id, True), Ladder(bins, motion.active_id, False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DlmmPool) and self._present() == other._present()

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
        """X and Y."""
        return self._terms.mints

    @property
    def reserves(self) -> tuple[int, int]:
        """Base units of X and Y in the bins within reach. Reads all of them, the first time."""
        down, up = self._ladders
        return sum(rung[3] for rung in up.all()), sum(rung[3] for rung in down.all())

    @property
    def fee_bps_hundredths(self) -> int:
        """Fee at the volatility that the last swap left, in hundredths of a basis point."""
        pair = self._terms.pair
        movement = self._motion.volatility * pair.bin_step
        return ceil_div(fee_rate(self._terms.base_rate, pair.variable_fee_control, movement), 1_000)

    def quote(self, in_mint: Mint, amount: int, swap_mode: SwapMode, clock: ChainClock) -> Quote:
        """The exact outcome of a swap without a threshold, in base units.

        Raises SwapRefused as the program would, ValueError for a mint that is not of this pair.
        """
        return self._flow(in_mint, amount, swap_mode, clock).quote

    def curve(self, in_mint: Mint, clock: ChainClock) -> Curve:
        """The most that swaps pay, see `Pool.curve`; built anew when the clock changes the fees."""
        side = self._side(in_mint)
        terms = self._terms
        self._check_open(clock)
        fees = self._motion.fee_curve(terms.pair, terms.base_rate, clock.unix_timestamp)
        built = self._curves.get(side)
        if built is None or built[0] != fees:
            fee_on_input = terms.pair.collect_fee_mode == 0 or side == 1
            pieces = self._ladders[side].drained(fees, fee_on_input).pieces()
            transfer_fees = terms.transfer_fees if side == 0 else terms.transfer_fees[::-1]
            built = fees, Curve(pieces, transfer_fees, most=self._holdings[1 - side].balance)
            self._curves[side] = built
        return built[1]

    def spot_price_x64(self, in_mint: Mint) -> int:
        """Price of the active bin before fees, output base units per input base unit, Q64.64, rounded down."""
        price = self._bins.price(self._motion.active_id)
        return price if self._side(in_mint) == 0 else (1 << 128) // price

    def apply(self, in_mint: Mint, amount: int, swap_mode: SwapMode, clock: ChainClock) -> tuple[Self, Quote]:
        """The pair after the swap, and the swap's quote. Raises SwapRefused as the program would."""
        fills: list[Fill] = []
        flow = self._flow(in_mint, amount, swap_mode, clock, fills)
        side = self._side(in_mint)
        source, target = self._holdings[side], self._holdings[1 - side]
        if source.balance + flow.arriving > U64_MAX:
            raise refused(_TOKEN_OVERFLOW, Refusal.OVERFLOW, "The reserve cannot hold so much")
        changed, protocol_fee = self._settle(side, flow, fills)
        withheld = flow.quote.in_amount - flow.arriving
        source = _Holding(source.balance + flow.arriving, source.protocol, source.withheld + withheld)
        target = _Holding(target.balance - flow.leaving, target.protocol, target.withheld)
        holdings = [source, target] if side == 0 else [target, source]
        of_fee = side if flow.quote.fee_on_input else 1 - side
        owed = holdings[of_fee].protocol + protocol_fee
        if owed > U64_MAX:
            raise refused(_MATH_OVERFLOW, Refusal.OVERFLOW, "The protocol is owed more than fits u64")
        holdings[of_fee] = msgspec.structs.replace(holdings[of_fee], protocol=owed)
        motion = self._motion.moved(fills[-1][0], flow.fees, clock.unix_timestamp)
        bins = msgspec.structs.replace(self._bins, changed={**self._bins.changed, **changed})
        return type(self)(self._terms, motion, (holdings[0], holdings[1]), bins), flow.quote

    def swap_instruction(
        self,
        user: SwapAccounts,
        in_mint: Mint,
        amount: int,
        threshold: int,
        swap_mode: SwapMode,
        *,
        array_limit: int = ARRAY_LIMIT,
    ) -> Instruction:
        """`swap2` or `swap_exact_out2` with the next `array_limit` bin arrays.

        `threshold`: base units, least to receive or most to pay.
        """
        terms = self._terms
        arrays = self.arrays_ahead(in_mint, array_limit)
        if swap_mode is _EXACT_IN:
            data = _SWAP_DATA.pack(_SWAP_2, amount, threshold)
        else:
            data = _SWAP_DATA.pack(_SWAP_EXACT_OUT_2, threshold, amount)
        extension = layout.extension_address(terms.address) if self._bins.has_extension else PROGRAM_ID
        metas = [
            AccountMeta(terms.address, False, True),
            AccountMeta(extension, False, self._bins.has_extension),
            *(AccountMeta(reserve, False, True) for reserve in terms.reserves),
            AccountMeta(user.source, False, True),
            AccountMeta(user.destination, False, True),
            *(AccountMeta(mint, False, False) for mint in terms.mints),
            AccountMeta(terms.oracle, False, True),
            AccountMeta(PROGRAM_ID, False, False),
            AccountMeta(user.owner, True, False),
            *(AccountMeta(program, False, False) for program in terms.programs),
            AccountMeta(_MEMO, False, False),
            AccountMeta(_EVENT_AUTHORITY, False, False),
            AccountMeta(PROGRAM_ID, False, False),
        ]
        metas += [AccountMeta(array, False, True) for array in arrays]
        return Instruction(PROGRAM_ID, data + _NO_SLICES, metas)

    def arrays_ahead(self, in_mint: Mint, limit: int) -> tuple[Pubkey, ...]:
        """The next bin arrays that have liquidity, loaded or not."""
        down = self._side(in_mint) == 0
        indexes = self._bins.bitmap.ahead(self._motion.active_id // BINS_PER_ARRAY, down, limit)
        return tuple(layout.array_address(self.address, index) for index in indexes)

    def accounts(self) -> tuple[Pubkey, ...]:
        """Pair, reserves, mints, bitmap extension if there is one, the bin arrays around the present price."""
        terms = self._terms
        extension = (layout.extension_address(terms.address),) if self._bins.has_extension else ()
        arrays = layout.arrays_around(terms.address, self._bins.bitmap, self._motion.active_id, ARRAYS_PER_SIDE)
        return (terms.address, *terms.reserves, *terms.mints, *extension, *(key for _, key in arrays))

    def encode(self) -> dict[Pubkey, Account]:
        """The accounts that the pair was decoded from, with what `apply` has changed."""
        terms, motion = self._terms, self._motion
        accounts = dict(terms.accounts)
        data = bytearray(accounts[terms.address].data)
        volatility = motion.volatility, motion.reference, motion.index
        owed = self._holdings[0].protocol, self._holdings[1].protocol
        layout.write_pair(data, motion.active_id, volatility, motion.updated, owed)
        accounts[terms.address] = _with_data(accounts[terms.address], data)
        for reserve, now, before in zip(terms.reserves, self._holdings, terms.decoded, strict=True):
            accounts[reserve] = token.credit(accounts[reserve], now.balance - before.balance, now.withheld)
        arrays: dict[int, bytearray] = {}
        for bin_id, new in self._bins.changed.items():
            index = bin_id // BINS_PER_ARRAY
            if index not in arrays:
                arrays[index] = bytearray(accounts[terms.addresses[index]].data)
            layout.write_bin(arrays[index], bin_id, new)
        for index, array in arrays.items():
            key = terms.addresses[index]
            accounts[key] = _with_data(accounts[key], array)
        return accounts

    def _present(self) -> dict[Pubkey, Account]:
        """What `encode` gives of `accounts`: arrays that the price has left far behind do not count."""
        encoded = self.encode()
        return {key: encoded[key] for key in self.accounts() if key in encoded}

    def _side(self, in_mint: Mint) -> int:
        mint_x, mint_y = self._terms.mints
        if in_mint == mint_x:
            return 0
        if in_mint == mint_y:
            return 1
        raise ValueError(f"Pair {self.address} does not trade {in_mint}")

    def _flow(
        self, in_mint: Mint, amount: int, swap_mode: SwapMode, clock: ChainClock, fills: list[Fill] | None = None
    ) -> _Flow:
        """The swap; with `fills`, bin by bin, which are added to it."""
        side = self._side(in_mint)
        terms = self._terms
        self._check_open(clock)
        if amount > U64_MAX:
            raise refused(_MATH_OVERFLOW, Refusal.OVERFLOW, "The amount does not fit u64")
        fee_in, fee_out = terms.transfer_fees if side == 0 else terms.transfer_fees[::-1]
        fees = self._motion.fee_curve(terms.pair, terms.base_rate, clock.unix_timestamp)
        fee_on_input = terms.pair.collect_fee_mode == 0 or side == 1
        ladder = self._ladders[side]
        if swap_mode is _EXACT_IN:
            if amount <= 0:
                raise refused(_INVALID_INPUT, Refusal.ZERO_AMOUNT, "Nothing is paid")
            arriving = amount if fee_in is None else amount - fee_in.at(clock.epoch).on(amount)
            if fills is None:
                leaving, charged, steps = price_in(ladder, fees, arriving, fee_on_input)
            else:
                leaving, charged, steps = walk_in(ladder, fees, arriving, fee_on_input, fills)
            paid = amount
            received = leaving if fee_out is None else leaving - fee_out.at(clock.epoch).on(leaving)
        else:
            leaving = amount if fee_out is None else amount + fee_out.at(clock.epoch).to_deliver(amount)
            if fills is None:
                arriving, charged, steps = price_out(ladder, fees, leaving, fee_on_input)
            else:
                arriving, charged, steps = walk_out(ladder, fees, leaving, fee_on_input, fills)
            received = amount
            paid = arriving if fee_in is None else arriving + fee_in.at(clock.epoch).to_deliver(arriving)
        if received <= 0:
            kind = Refusal.ZERO_OUTPUT if amount > 0 else Refusal.ZERO_AMOUNT
            raise refused(_NOTHING_OUT, kind, "The swap pays nothing")
        if paid > U64_MAX:
            raise refused(_MATH_OVERFLOW, Refusal.OVERFLOW, "The price does not fit u64")
        if leaving > self._holdings[1 - side].balance:
            raise refused(_INSUFFICIENT_FUNDS, Refusal.LIQUIDITY, "The reserve holds less than the bins promise")
        quote = Quote(paid, received, charged, fee_on_input, steps, ladder.arrays_at(steps - 1))
        return _Flow(quote, arriving, leaving, fees)

    def _check_open(self, clock: ChainClock) -> None:
        pair = self._terms.pair
        closed = pair.status != 0
        if pair.pair_type in (1, 2):
            now = clock.unix_timestamp if pair.activation_type else clock.slot
            closed = closed or now < pair.activation_point
        if closed:
            raise refused(_DISABLED, Refusal.CLOSED, "The pair is closed")

    def _settle(self, side: int, flow: _Flow, fills: list[Fill]) -> tuple[dict[int, Bin], int]:
        """The bins after a swap, and what the protocol earns of its fee."""
        changed: dict[int, Bin] = {}
        protocol_fee = 0
        share_bps = self._terms.pair.protocol_share_bps
        for entry in fills:
            changed[entry[0]], fee = settle(self._bins, side, entry, flow.quote.fee_on_input, share_bps)
            protocol_fee += fee
        return changed, protocol_fee


def is_pool(account: Account) -> bool:
    """Whether an account is a DLMM pair, by owner, size and discriminator."""
    data = account.data
    return account.owner == PROGRAM_ID and len(data) == layout.PAIR_SIZE and data[:8] == layout.PAIR_TAG


def accounts_of(address: Pubkey, known: Accounts) -> tuple[Pubkey, ...]:
    """Pair, reserves, mints, bitmap extension (which may not exist), and the bin arrays around the price.

    Arrays beyond -512..511 are among them once the extension is known. Raises UnsupportedPool for an account that is
    not a DLMM pair.
    """
    account = loaded(known, [address])[address]
    pair = _read_pair(address, account)
    keys = map(Pubkey, (pair.reserve_x, pair.reserve_y, pair.mint_x, pair.mint_y))
    extension_key = layout.extension_address(address)
    extension = known.get(extension_key)
    extension_data = None if extension is None else layout.extension_bytes(extension, address)
    bitmap = layout.bitmap_of(account.data, extension_data)
    arrays = layout.arrays_around(address, bitmap, pair.active_id, ARRAYS_PER_SIDE)
    return (address, *keys, extension_key, *(key for _, key in arrays))


def decode(address: Pubkey, accounts: Accounts) -> DlmmPool:
    """Build the pair from account bytes; bins are read when a swap touches them.

    Raises UnsupportedPool for accounts that are missing, malformed or contradict each other, for mints whose transfers
    differ from plain ones in more than a fee, and for unknown kinds of pairs. Missing bin arrays are no error: only the
    swaps that need them are refused. Arrays further from the price than ARRAYS_PER_SIDE are not read: decode again when
    swaps have moved the price that far.
    """
    pair = _read_pair(address, loaded(accounts, [address])[address])
    mints = Pubkey(pair.mint_x), Pubkey(pair.mint_y)
    reserves = Pubkey(pair.reserve_x), Pubkey(pair.reserve_y)
    programs = _token_program(pair.x_is_2022), _token_program(pair.y_is_2022)
    used = loaded(accounts, (address, *reserves, *mints))
    sides = [
        token.decode_vault(mint, used[mint], used[reserve], program)
        for mint, reserve, program in zip(mints, reserves, programs, strict=True)
    ]
    bins, addresses = _decode_bins(address, pair, accounts, used)
    holdings = _Holding(sides[0][0], pair.protocol_x), _Holding(sides[1][0], pair.protocol_y)
    terms = _Terms(
        accounts=used,
        addresses=addresses,
        pair=pair,
        address=address,
        mints=mints,
        reserves=reserves,
        programs=programs,
        oracle=Pubkey(pair.oracle),
        transfer_fees=(sides[0][1], sides[1][1]),
        base_rate=pair.base_factor * pair.bin_step * 10 * 10**pair.base_fee_power,
        decoded=holdings,
    )
    motion = Motion(pair.active_id, pair.volatility, pair.reference, pair.index, pair.updated)
    return DlmmPool(terms, motion, holdings, bins)


def _decode_bins(
    address: Pubkey, pair: layout.Pair, accounts: Accounts, used: dict[Pubkey, Account]
) -> tuple[Bins, dict[int, Pubkey]]:
    """The bins, and the addresses of their arrays by index; adds the accounts that it reads to `used`."""
    extension_key = layout.extension_address(address)
    extension = accounts.get(extension_key)
    extension_data = None
    if extension is not None:
        used[extension_key] = extension
        extension_data = layout.extension_bytes(extension, address)
    bitmap = layout.bitmap_of(used[address].data, extension_data)
    unrewarded = pair.reward_0 == _ZERO_KEY and pair.reward_1 == _ZERO_KEY
    has_orders = pair.function_type == 2 or (pair.function_type == 0 and unrewarded)
    arrays: dict[int, bytes] = {}
    addresses: dict[int, Pubkey] = {}
    for index, key in layout.arrays_around(address, bitmap, pair.active_id, ARRAYS_PER_SIDE):
        array = accounts.get(key)
        if array is not None:
            arrays[index] = layout.array_bytes(array, address, index)
            addresses[index] = key
            used[key] = array
    return Bins(arrays, bitmap, pair.bin_step, extension is not None, has_orders, {}), addresses


def read_swap(accounts: tuple[Pubkey, ...], data: bytes) -> SwapCall:
    """The inverse of `swap_instruction`; reads `swap` and `swap_exact_out` too. Raises ValueError for anything else.

    The bin arrays of the instruction are `accounts[SWAP_ACCOUNTS:]` (one fewer for the two old kinds).
    """
    tag, rest = data[:8], data[_SWAP_DATA.size :]
    old = tag in (_SWAP, _SWAP_EXACT_OUT)
    fixed = SWAP_ACCOUNTS - 1 if old else SWAP_ACCOUNTS
    known = old or tag in (_SWAP_2, _SWAP_EXACT_OUT_2)
    if not known or len(data) < _SWAP_DATA.size or rest != (b"" if old else _NO_SLICES):
        raise ValueError("Not a Meteora DLMM swap")
    if len(accounts) < fixed or accounts[fixed - 1] != PROGRAM_ID:
        raise ValueError("Not the accounts of a Meteora DLMM swap")
    _, first, second = _SWAP_DATA.unpack_from(data)
    user = SwapAccounts(accounts[10], accounts[4], accounts[5])
    if tag in (_SWAP, _SWAP_2):
        return SwapCall(accounts[0], user, first, second, SwapMode.EXACT_IN)
    return SwapCall(accounts[0], user, second, first, SwapMode.EXACT_OUT)


def _with_data(account: Account, data: bytearray) -> Account:
    return Account(account.owner, account.lamports, bytes(data))


def _read_pair(address: Pubkey, account: Account) -> layout.Pair:
    if not is_pool(account):
        raise UnsupportedPool("Not a Meteora DLMM pair", address=str(address))
    pair = layout.read_pair(account.data)
    if pair.function_type > 2 or pair.collect_fee_mode > 1 or pair.pair_type > 3:
        kinds = {"function": pair.function_type, "collect_fee": pair.collect_fee_mode, "pair": pair.pair_type}
        raise UnsupportedPool("Unknown kind of pair", address=str(address), **kinds)
    if abs(pair.active_id) > layout.MAX_BIN_ID or pair.bin_step == 0 or pair.protocol_share_bps > BPS:
        raise UnsupportedPool("Pair is malformed", address=str(address))
    return pair


def _token_program(is_2022: int) -> Pubkey:
    return token.TOKEN_2022_PROGRAM if is_2022 else token.TOKEN_PROGRAM
