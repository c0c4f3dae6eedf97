"""Meteora DAMM v2: constant liquidity in one price range, or constant product, with many kinds of fee.

The curves are in `damm_curve`, the fees in `damm_fees`, one swap in `damm_flow`, what it leaves in `damm_state`; this
file knows the pool and how it is written. Source: the on-chain program (build 171e53bbc797459d), whose own answers are
in tests/golden; its source code is not free, and was not used.

How the program updates a dynamic fee's volatility was inferred from its answers, see `damm_state.moved_volatility`.
Not modelled: referrers (they share in the fee, amounts stay), and wallets that may swap before activation.
"""

import math
import struct
from collections.abc import Mapping
from typing import Self

import msgspec
from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

from bestex.errors import SwapRefused, UnsupportedPool
from bestex.types import BPS, U64_MAX, Account, ChainClock, Mint, SwapMode
from bestex.venues import damm_layout as layout
from bestex.venues import token
from bestex.venues.curve import Curve
from bestex.venues.damm_curve import ERRORS, PRICE_RANGE, ProductCurve, RangeCurve, refused
from bestex.venues.damm_fees import RATE, Fees, Limiter, dynamic_fee, read_dynamic, read_fees
from bestex.venues.damm_flow import (
    Flow,
    Side,
    exact_in,
    exact_out,
    most_leaving,
    out_of_bounds,
    partial_fill_of,
    pieces,
)
from bestex.venues.damm_layout import AUTHORITY, PROGRAM_ID
from bestex.venues.damm_state import (
    NO_SHARE,
    Holding,
    State,
    check_prices,
    moved_by,
    moved_volatility,
    read_holdings,
    share_of,
    write_state,
)
from bestex.venues.damm_synthesis import BaseFee, DynamicFee, synthesize
from bestex.venues.math import ceil_div
from bestex.venues.pool import (
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
from bestex.venues.token import TransferFeeConfig

__all__ = [
    "AUTHORITY",
    "COMPUTE_UNITS",
    "ERRORS",
    "PROGRAM_ID",
    "PROGRAM_SHA256",
    "SLIPPAGE_EXCEEDED",
    "VENUE",
    "BaseFee",
    "DammPool",
    "DammSwapCall",
    "DynamicFee",
    "accounts_of",
    "decode",
    "is_pool",
    "read_swap",
    "synthesize",
]

VENUE: Venue = Venue.METEORA_DAMM_V2
PROGRAM_SHA256 = "171e53bbc797459dde7f62d7b57943b0b596087e9364e25f4c3127e9893cb1b1"
COMPUTE_UNITS = ComputeUnits(swap=33_000, per_step=0)
_SLIPPAGE = ProgramError(6002, ERRORS[6002])
SLIPPAGE_EXCEEDED: Mapping[SwapMode, ProgramError] = dict.fromkeys(SwapMode, _SLIPPAGE)

_SYSVAR_INSTRUCTIONS = Pubkey.from_string("Sysvar1nstructions1111111111111111111111111")
_SWAP, _SWAP_2 = bytes.fromhex("f8c69e91e17587c8"), bytes.fromhex("414b3f4ceb5b5b88")
_SWAP_DATA = struct.Struct("<8sQQ")
_SWAP_2_DATA = struct.Struct("<8sQQB")
_IN_KIND, _PARTIAL_KIND, _OUT_KIND = range(3)
_SWAP_ACCOUNTS = 14

_EXACT_IN = SwapMode.EXACT_IN
_NEVER = 1 << 64
_DISABLED = 6003


class _Terms(msgspec.Struct, frozen=True):
    """What no swap changes."""

    accounts: dict[Pubkey, Account]
    """As decoded: pool, vaults, mints."""
    address: Pubkey
    mints: tuple[Mint, Mint]
    vaults: tuple[Pubkey, Pubkey]
    programs: tuple[Pubkey, Pubkey]
    transfer_fees: tuple[TransferFeeConfig | None, TransferFeeConfig | None]
    fees: Fees
    collect_mode: int
    compounding_bps: int
    """Of a compounding pool, otherwise 0."""
    protocol_percent: int
    liquidity: int
    lowest: int
    highest: int
    by_time: bool
    enabled: bool
    decoded: tuple[Holding, Holding]


class DammPool:
    """A Meteora DAMM v2 pool; immutable."""

    __slots__ = ("_by_time", "_curve", "_curves", "_dynamic", "_limiter", "_opens", "_sides", "_state", "_terms")

    def __init__(self, terms: _Terms, state: State) -> None:
        self._terms = terms
        self._state = state
        self._by_time = terms.by_time
        fees = terms.fees
        one, two = state.holdings
        compounding = terms.collect_mode == layout.COMPOUNDING
        curve: RangeCurve | ProductCurve
        if compounding:
            curve = ProductCurve(one.amount, two.amount)
        else:
            curve = RangeCurve(terms.liquidity, state.price, terms.lowest, terms.highest)
        self._curve = curve
        self._curves: dict[Mint, tuple[tuple[int, Limiter | None], Curve]] = {}
        empty = terms.liquidity == 0 or (compounding and not (one.amount and two.amount))
        self._opens = fees.activation if terms.enabled and not empty else _NEVER
        self._dynamic = dynamic = dynamic_fee(state.dynamic) if state.dynamic else 0
        self._limiter = msgspec.structs.replace(fees.limiter, dynamic=dynamic) if fees.limiter else None
        fixed = None if fees.changes else min(fees.final + dynamic, fees.cap)
        fixed_b = None if self._limiter else fixed
        most_a, most_b = one.vault, two.vault
        if state.counts:
            most_a, most_b = min(most_a, one.amount), min(most_b, two.amount)
        fee_a, fee_b = terms.transfer_fees
        b_pays = terms.collect_mode != layout.FEE_ON_OUTPUT
        self._sides: dict[Mint, Side] = {
            terms.mints[0]: (curve.a_in, curve.b_out, curve.lower_end, False, fee_a, fee_b, most_b, fixed),
            terms.mints[1]: (curve.b_in, curve.a_out, curve.upper_end, b_pays, fee_b, fee_a, most_a, fixed_b),
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DammPool) and self.address == other.address and self.encode() == other.encode()

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
        """A and B."""
        return self._terms.mints

    @property
    def reserves(self) -> tuple[int, int]:
        """Base units of A and B that swaps can take out: what lies between the price and the ends of its range."""
        if isinstance(self._curve, RangeCurve):
            amount_a, amount_b = self._curve.amounts() if self._terms.liquidity else (0, 0)
        else:
            amount_a, amount_b = self._state.holdings[0].amount, self._state.holdings[1].amount
        side_a, side_b = (self._sides[mint] for mint in self._terms.mints)
        return min(amount_a, side_b[6]), min(amount_b, side_a[6])

    @property
    def fee_bps_hundredths(self) -> int:
        """The base fee at the end of its schedule and the stored dynamic part, in hundredths of a basis point.

        What a swap pays now depends on the clock (schedules), and on the amount (rate limiter): see `quote`.
        """
        fees = self._terms.fees
        return ceil_div(min(fees.final + self._dynamic, fees.cap) * 100 * BPS, RATE)

    @property
    def state_is_exact(self) -> bool:
        """Whether the pool is surely as the program would have left it.

        False after an `apply` whose effect on a dynamic fee no recorded answer tells (on compounding pools: any effect;
        otherwise see `damm_state.moved_volatility`), until the pool is decoded again. Only the dynamic part of later
        fees is in doubt.
        """
        return self._state.exact

    def quote(
        self, in_mint: Mint, amount: int, swap_mode: SwapMode, clock: ChainClock, *, partial_fill: bool = False
    ) -> Quote:
        """The exact outcome of a swap without a threshold, in base units.

        An output of 0 is no refusal. `partial_fill` (exact_in only): where the price range ends, the swap stops and
        pays for what was filled. Raises SwapRefused as the program would, ValueError for a mint that is not of this
        pool.
        """
        paid, received, _, _, fee, _ = self._flow(in_mint, amount, swap_mode, clock, partial_fill)
        return Quote(paid, received, fee, self._sides[in_mint][3], 1)

    def curve(self, in_mint: Mint, clock: ChainClock) -> Curve:
        """The most that swaps pay, see `Pool.curve`. Not for exact outputs while a rate limiter applies."""
        point = self._point(clock)
        side = self._side(in_mint)
        if point < self._opens:
            raise self._closed(point)
        fees = self._fees_at(side, point)
        built = self._curves.get(in_mint)
        if built is None or built[0] != fees:
            found = pieces(self._curve.hyperbola(in_mint == self._terms.mints[0]), side[3], *fees)
            most = most_leaving(side, fees[0])
            built = fees, Curve(found, (side[4], side[5]), most=most, exact_out=fees[1] is None)
            self._curves[in_mint] = built
        return built[1]

    def spot_price_x64(self, in_mint: Mint) -> int:
        """Marginal price before fees, output base units per input base unit, Q64.64, rounded down; 0 if empty."""
        self._side(in_mint)
        forward = in_mint == self._terms.mints[0]
        if isinstance(self._curve, ProductCurve):
            reserves = self._state.holdings if forward else self._state.holdings[::-1]
            return (reserves[1].amount << 64) // reserves[0].amount if reserves[0].amount else 0
        square = self._state.price * self._state.price
        return square >> 64 if forward else (1 << 192) // square

    def apply(
        self, in_mint: Mint, amount: int, swap_mode: SwapMode, clock: ChainClock, *, partial_fill: bool = False
    ) -> tuple[Self, Quote]:
        """The pool after the swap, and the swap's quote. Raises SwapRefused as the program would.

        On a pool with a dynamic fee see `state_is_exact`.
        """
        paid, received, arriving, leaving, fee, price = self._flow(in_mint, amount, swap_mode, clock, partial_fill)
        terms = self._terms
        on_input = self._sides[in_mint][3]
        share = share_of(fee, terms.protocol_percent, terms.compounding_bps)
        fee_in, fee_out = (share, NO_SHARE) if on_input else (NO_SHARE, share)
        net, gross = (arriving - fee, leaving) if on_input else (arriving, leaving + fee)
        forward = in_mint == terms.mints[0]
        one, two = self._counted()
        source, target = (one, two) if forward else (two, one)
        source = moved_by(source, fee_in, terms.liquidity, vault=arriving, amount=net, withheld=paid - arriving)
        target = moved_by(target, fee_out, terms.liquidity, vault=-leaving, amount=-gross, withheld=0)
        holdings = (source, target) if forward else (target, source)
        if terms.collect_mode == layout.COMPOUNDING:
            price = math.isqrt((holdings[1].amount << 128) // holdings[0].amount)
        state = self._moved(holdings, price, clock.unix_timestamp)
        return type(self)(terms, state), Quote(paid, received, fee, on_input, 1)

    def swap_instruction(
        self,
        user: SwapAccounts,
        in_mint: Mint,
        amount: int,
        threshold: int,
        swap_mode: SwapMode,
        *,
        partial_fill: bool = False,
        clock: ChainClock | None = None,
    ) -> Instruction:
        """`swap2`. `threshold`: base units, least to receive or most to pay.

        While a rate limiter applies, the program wants the sysvar Instructions account behind the others. Without a
        `clock` the account is always there where a limiter may apply; with one it is left out once the limiter is over.
        """
        self._side(in_mint)
        terms = self._terms
        kind = _kind(swap_mode, partial_fill)
        metas = [
            AccountMeta(AUTHORITY, False, False),
            AccountMeta(terms.address, False, True),
            AccountMeta(user.source, False, True),
            AccountMeta(user.destination, False, True),
            AccountMeta(terms.vaults[0], False, True),
            AccountMeta(terms.vaults[1], False, True),
            AccountMeta(terms.mints[0], False, False),
            AccountMeta(terms.mints[1], False, False),
            AccountMeta(user.owner, True, False),
            AccountMeta(terms.programs[0], False, False),
            AccountMeta(terms.programs[1], False, False),
            AccountMeta(PROGRAM_ID, False, False),
            AccountMeta(layout.EVENT_AUTHORITY, False, False),
            AccountMeta(PROGRAM_ID, False, False),
        ]
        if self._is_limited(in_mint, clock):
            metas.append(AccountMeta(_SYSVAR_INSTRUCTIONS, False, False))
        return Instruction(PROGRAM_ID, _SWAP_2_DATA.pack(_SWAP_2, amount, threshold, kind), metas)

    def arrays_ahead(self, in_mint: Mint, limit: int) -> tuple[Pubkey, ...]:  # noqa: ARG002 - there are none
        """Nothing: the pool account holds all liquidity."""
        return ()

    def accounts(self) -> tuple[Pubkey, ...]:
        """Pool, both vaults, both mints."""
        return tuple(self._terms.accounts)

    def encode(self) -> dict[Pubkey, Account]:
        """The accounts that the pool was decoded from, with what `apply` has changed."""
        terms = self._terms
        accounts = dict(terms.accounts)
        old = accounts[terms.address]
        data = bytearray(old.data)
        write_state(data, self._state)
        accounts[terms.address] = Account(old.owner, old.lamports, bytes(data))
        for vault, now, before in zip(terms.vaults, self._state.holdings, terms.decoded, strict=True):
            accounts[vault] = token.credit(accounts[vault], now.vault - before.vault, now.withheld)
        return accounts

    @staticmethod
    def with_volatility_of(account: Account, source: Account) -> Account:
        """The pool account with the dynamic fee's state, and nothing else, of another reading of the pool."""
        data = bytearray(account.data)
        for start, end in layout.VOLATILITY_RANGES:
            data[start:end] = source.data[start:end]
        return Account(account.owner, account.lamports, bytes(data))

    def _side(self, in_mint: Mint) -> Side:
        side = self._sides.get(in_mint)
        if side is None:
            raise ValueError(f"Pool {self.address} does not trade {in_mint}")
        return side

    def _counted(self) -> tuple[Holding, Holding]:
        """The tokens; the first swap on an account that does not count its amounts yet makes it count."""
        one, two = self._state.holdings
        if self._state.counts or isinstance(self._curve, ProductCurve):
            return one, two
        amount_a, amount_b = self._curve.deposits()
        return msgspec.structs.replace(one, amount=amount_a), msgspec.structs.replace(two, amount=amount_b)

    def _moved(self, holdings: tuple[Holding, Holding], price: int, now: int) -> State:
        old = self._state
        dynamic, exact = old.dynamic, old.exact
        if dynamic is not None:
            dynamic, sure = moved_volatility(dynamic, old.price, price, now)
            exact = exact and sure and self._terms.collect_mode != layout.COMPOUNDING
        return State(holdings, price, True, dynamic, exact)

    def _point(self, clock: ChainClock) -> int:
        return clock.unix_timestamp if self._by_time else clock.slot

    def _is_limited(self, in_mint: Mint, clock: ChainClock | None) -> bool:
        limiter = self._limiter
        if limiter is None or in_mint != self._terms.mints[1]:
            return False
        return clock is None or self._point(clock) <= limiter.ends

    def _flow(self, in_mint: Mint, amount: int, swap_mode: SwapMode, clock: ChainClock, partial_fill: bool) -> Flow:
        side = self._sides.get(in_mint) or self._side(in_mint)
        if not 0 < amount <= U64_MAX:
            raise out_of_bounds(amount)
        point = clock.unix_timestamp if self._by_time else clock.slot
        if point < self._opens:
            raise self._closed(point)
        numerator, limiter = self._fees_at(side, point)
        if partial_fill:
            _kind(swap_mode, partial_fill)
            return partial_fill_of(side, amount, clock.epoch, numerator, limiter)
        if swap_mode is _EXACT_IN:
            return exact_in(side, amount, clock.epoch, numerator, limiter)
        return exact_out(side, amount, clock.epoch, numerator, limiter)

    def _fees_at(self, side: Side, point: int) -> tuple[int, Limiter | None]:
        """The fee's numerator, or the rate limiter that finds it."""
        fixed = side[7]
        if fixed is not None:
            return fixed, None
        fees = self._terms.fees
        numerator = min(fees.at(point, self._state.price) + self._dynamic, fees.cap)
        limiter = self._limiter
        return numerator, limiter if limiter is not None and point <= limiter.ends else None

    def _closed(self, point: int) -> SwapRefused:
        if not self._terms.enabled or point < self._terms.fees.activation:
            return refused(_DISABLED, Refusal.CLOSED, "The pool is closed")
        return refused(PRICE_RANGE, Refusal.LIQUIDITY, "The pool is empty")


class DammSwapCall(SwapCall, frozen=True, gc=False):
    """A DAMM v2 swap instruction, read back."""

    partial_fill: bool = False
    """Whether it may stop at the end of the price range."""

    def apply(self, pool: AnyPool, in_mint: Mint, clock: ChainClock) -> tuple[AnyPool, Quote]:
        """Swap on the pool as the instruction says. Raises ValueError for a pool of another venue."""
        if not isinstance(pool, DammPool):
            raise ValueError(f"Pool {pool.address} is not of Meteora DAMM v2")  # noqa: TRY004 - an argument's value
        return pool.apply(in_mint, self.amount, self.swap_mode, clock, partial_fill=self.partial_fill)


def _kind(swap_mode: SwapMode, partial_fill: bool) -> int:
    if not partial_fill:
        return _IN_KIND if swap_mode is _EXACT_IN else _OUT_KIND
    if swap_mode is not _EXACT_IN:
        raise ValueError("Only a swap with an exact input can be filled in part")
    return _PARTIAL_KIND


def is_pool(account: Account) -> bool:
    """Whether an account is a DAMM v2 pool, by owner, size and discriminator."""
    data = account.data
    return account.owner == PROGRAM_ID and len(data) == layout.POOL_SIZE and data[:8] == layout.POOL_TAG


def accounts_of(address: Pubkey, known: Accounts) -> tuple[Pubkey, ...]:
    """Pool, both vaults, both mints. Raises UnsupportedPool for an account that is missing or not a DAMM v2 pool."""
    pool = loaded(known, [address])[address]
    if not is_pool(pool):
        raise UnsupportedPool("Not a Meteora DAMM v2 pool", address=str(address))
    mint_a, mint_b, vault_a, vault_b = layout.KEYS.unpack_from(pool.data, layout.KEYS_AT)
    return (address, *map(Pubkey, (vault_a, vault_b, mint_a, mint_b)))


def decode(address: Pubkey, accounts: Accounts) -> DammPool:
    """Build the pool from account bytes.

    Raises UnsupportedPool for accounts that are missing, malformed or contradict each other, for mints whose transfers
    differ from plain ones in more than a fee, and for unknown kinds of pool or fee.
    """
    needed = accounts_of(address, accounts)
    used = loaded(accounts, needed)
    data = used[address].data
    _, vault_a, vault_b, mint_a, mint_b = needed
    activation, *flags = layout.FLAGS.unpack_from(data, layout.FLAGS_AT)
    by_time, status, token_2022_a, token_2022_b, collect_mode, pool_type, fee_version = flags
    protocol_percent, _, compounding_bps, has_dynamic_fee = layout.SHARES.unpack_from(data, layout.SHARES_AT)
    counts = data[layout.LAYOUT_VERSION_AT]
    if max(by_time, token_2022_a, token_2022_b, pool_type, has_dynamic_fee, counts) > 1:
        raise UnsupportedPool("Pool is of an unknown kind", address=str(address))
    if collect_mode > layout.COMPOUNDING or protocol_percent > 100 or compounding_bps > BPS:
        raise UnsupportedPool("Fees are collected in an unknown way", collect_fee_mode=collect_mode)
    lowest, highest, price = map(layout.from_little, layout.PRICES.unpack_from(data, layout.PRICES_AT))
    check_prices(collect_mode, counts, lowest, highest, price)
    dynamic = read_dynamic(data) if has_dynamic_fee else None
    programs = _program(token_2022_a), _program(token_2022_b)
    balance_a, fee_a = token.decode_vault(mint_a, used[mint_a], used[vault_a], programs[0])
    balance_b, fee_b = token.decode_vault(mint_b, used[mint_b], used[vault_b], programs[1])
    if mint_a == mint_b or vault_a == vault_b:
        raise UnsupportedPool("Both sides of the pool are the same", address=str(address))
    holdings = read_holdings(data, balance_a, balance_b)
    terms = _Terms(
        accounts=used,
        address=address,
        mints=(mint_a, mint_b),
        vaults=(vault_a, vault_b),
        programs=programs,
        transfer_fees=(fee_a, fee_b),
        fees=read_fees(data, activation, collect_mode, fee_version),
        collect_mode=collect_mode,
        compounding_bps=compounding_bps if collect_mode == layout.COMPOUNDING else 0,
        protocol_percent=protocol_percent,
        liquidity=layout.read_u128(data, layout.LIQUIDITY_AT),
        lowest=lowest,
        highest=highest,
        by_time=bool(by_time),
        enabled=status == 0,
        decoded=holdings,
    )
    return DammPool(terms, State(holdings, price, bool(counts), dynamic))


def read_swap(accounts: tuple[Pubkey, ...], data: bytes) -> DammSwapCall:
    """The inverse of `swap_instruction`; reads `swap` too. Raises ValueError for any other instruction."""
    limited = len(accounts) == _SWAP_ACCOUNTS + 1 and accounts[-1] == _SYSVAR_INSTRUCTIONS
    if len(accounts) != _SWAP_ACCOUNTS and not limited:
        raise ValueError("Not a Meteora DAMM v2 swap")
    if len(data) == _SWAP_DATA.size and data[:8] == _SWAP:
        data = _SWAP_2 + data[8:] + bytes([_IN_KIND])
    if len(data) != _SWAP_2_DATA.size or data[:8] != _SWAP_2 or data[-1] > _OUT_KIND:
        raise ValueError("Not a Meteora DAMM v2 swap")
    _, amount, threshold, kind = _SWAP_2_DATA.unpack(data)
    user = SwapAccounts(accounts[8], accounts[2], accounts[3])
    swap_mode = SwapMode.EXACT_OUT if kind == _OUT_KIND else _EXACT_IN
    return DammSwapCall(accounts[1], user, amount, threshold, swap_mode, kind == _PARTIAL_KIND)


def _program(is_token_2022: int) -> Pubkey:
    return token.TOKEN_2022_PROGRAM if is_token_2022 else token.TOKEN_PROGRAM
