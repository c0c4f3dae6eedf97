"""Raydium AMM v4: constant product on two vaults, for pools that only swap and have left the order book.

The fee comes off the input and stays in the pool. Source: the on-chain program (build d3f6906a8e284786), whose own
answers are in tests/golden; later builds round fees of less than one base unit otherwise, see `Rounding`.

Not modelled: pools that place orders in a market (status 1 and 5), which are refused.
"""

import struct
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Self, TypeAlias

import msgspec
from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

from bestex.errors import SwapRefused, UnsupportedPool
from bestex.types import U64_MAX, Account, ChainClock, Mint, SwapMode
from bestex.venues import amm_layout as layout
from bestex.venues import token
from bestex.venues.amm_layout import AUTHORITY, PROGRAM_ID, synthesize
from bestex.venues.curve import Curve, Piece, beyond
from bestex.venues.math import ceil_div
from bestex.venues.pool import (
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

__all__ = [
    "AUTHORITY",
    "COMPUTE_UNITS",
    "ERRORS",
    "LEGACY_SHA256",
    "PROGRAM_ID",
    "PROGRAM_SHA256",
    "SLIPPAGE_EXCEEDED",
    "VENUE",
    "AmmPool",
    "Rounding",
    "accounts_of",
    "decode",
    "is_pool",
    "read_swap",
    "synthesize",
]

VENUE: Venue = Venue.RAYDIUM_AMM_V4
PROGRAM_SHA256 = "d3f6906a8e2847865f95b0c156b06d05db07778dd1d6c24044bae0b9ac1bb93c"
LEGACY_SHA256 = frozenset(
    {
        PROGRAM_SHA256,
        "b0dda274ad5733a8745abb210bf0700adbe0bed8e984b851b527e4388ce6d9c3",
        "558ca25ce55515eef237f7fd86de19d20bb8db32b7dfdc4e5a4bfe3c120d7f0d",
    }
)
"""Builds that are known to round the legacy way; all three gave the recorded answers."""
COMPUTE_UNITS = ComputeUnits(swap=24_085, per_step=0)
ERRORS: Mapping[int, str] = {
    14: "token:Overflow",
    22: "InvalidStatus",
    29: "InvalidInput",
    30: "ExceededSlippage",
    40: "InsufficientFunds",
}
_SLIPPAGE = ProgramError(30, ERRORS[30])
SLIPPAGE_EXCEEDED: Mapping[SwapMode, ProgramError] = dict.fromkeys(SwapMode, _SLIPPAGE)

_SWAP_DATA = struct.Struct("<BQQ")
_SWAP_BASE_IN, _SWAP_BASE_OUT = 9, 11
_SWAP_BASE_IN_V2, _SWAP_BASE_OUT_V2 = 16, 17
_MARKET_SLOTS = 8
_USER_AT = {17: 14, 18: 15}
"""By number of accounts, where source, destination and owner begin; the longer form names the target orders too."""
_USER_AT_V2 = {8: 5}

_EXACT_IN = SwapMode.EXACT_IN
_ALWAYS, _NEVER = -1 << 64, 1 << 64
_TOTALS_LIMIT = 1 << 127
_TOKEN_OVERFLOW, _INVALID_STATUS, _INVALID_INPUT, _INSUFFICIENT_FUNDS = 14, 22, 29, 40


class Rounding(StrEnum):
    """How the program rounds up a quotient between zero and one half.

    It matters for the fee of an exact input (at 25/10000, of fewer than 200 base units) and for an exact output that is
    worth less than half a base unit of the input; all other quotients are rounded up by every build.
    """

    LEGACY = "legacy"
    """To zero: builds before 26 August 2025 (raydium-amm commit 78c6a81). Dust pays no fee."""
    STRICT = "strict"
    """To one: builds since then, most likely the one on mainnet."""


class _Terms(msgspec.Struct, frozen=True):
    """What no swap changes."""

    accounts: dict[Pubkey, Account]
    """As decoded: pool, vaults, mints."""
    address: Pubkey
    vaults: tuple[Pubkey, Pubkey]
    mints: tuple[Mint, Mint]
    owed: tuple[int, int]
    """Base units in the vaults that do not trade."""
    fee_numerator: int
    fee_denominator: int
    open_time: int
    rounding: Rounding
    balances: tuple[int, int]
    """The vaults' base units as decoded."""


class _Totals(msgspec.Struct, frozen=True, gc=False):
    """What all swaps of one direction have paid, received and paid as fee, in base units."""

    paid: int
    received: int
    fees: int


class _State(msgspec.Struct, frozen=True, gc=False):
    """What swaps change."""

    status: int
    balances: tuple[int, int]
    totals: tuple[_Totals, _Totals]
    """Of swaps from coin to pc, and from pc to coin."""
    epoch: int


_Side: TypeAlias = tuple[int, int, int]
"""Reserve in and out; the most that a swap may pay in."""


class AmmPool:
    """A Raydium AMM v4 pool; immutable."""

    __slots__ = ("_curves", "_legacy", "_opens", "_rate", "_sides", "_state", "_terms")

    def __init__(self, terms: _Terms, state: _State) -> None:
        self._terms = terms
        self._state = state
        coin_mint, pc_mint = terms.mints
        coin, pc = self.reserves
        self._sides: dict[Mint, _Side] = {
            coin_mint: (coin, pc, self._room(0)),
            pc_mint: (pc, coin, self._room(1)),
        }
        self._rate = terms.fee_numerator, terms.fee_denominator
        self._legacy = terms.rounding is Rounding.LEGACY
        opens = {layout.SWAP_ONLY: _ALWAYS, layout.WAITING_TRADE: terms.open_time}
        self._opens = opens.get(state.status, _NEVER)
        self._curves: dict[Mint, Curve] = {}

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, AmmPool)
            and self.address == other.address
            and self.rounding is other.rounding
            and self.encode() == other.encode()
        )

    def __hash__(self) -> int:
        return hash(self._terms.address)

    @property
    def venue(self) -> Venue:
        return VENUE

    @property
    def address(self) -> Pubkey:
        return self._terms.address

    @property
    def rounding(self) -> Rounding:
        """The build of the program that the pool is quoted for."""
        return self._terms.rounding

    @property
    def mints(self) -> tuple[Mint, Mint]:
        """Coin and pc."""
        return self._terms.mints

    @property
    def reserves(self) -> tuple[int, int]:
        """Base units that trade: the vaults' balances less the profit owed out of them."""
        coin, pc = self._state.balances
        coin_owed, pc_owed = self._terms.owed
        return coin - coin_owed, pc - pc_owed

    @property
    def fee_bps_hundredths(self) -> int:
        """The swap fee in hundredths of a basis point, rounded up."""
        return ceil_div(self._terms.fee_numerator * 1_000_000, self._terms.fee_denominator)

    def quote(self, in_mint: Mint, amount: int, swap_mode: SwapMode, clock: ChainClock) -> Quote:
        """The exact outcome of a swap without a threshold, in base units.

        Raises SwapRefused as the program would, ValueError for a mint that is not of this pool.
        """
        side = self._sides.get(in_mint) or self._side(in_mint)
        if clock.unix_timestamp < self._opens:
            raise _refused(_INVALID_STATUS, Refusal.CLOSED, "The pool is closed")
        reserve_in, reserve_out, room = side
        numerator, denominator = self._rate
        if swap_mode is _EXACT_IN:
            if not 0 < amount <= room:
                raise self._not_payable(side, amount)
            fee = _fee(amount, numerator, denominator, self._legacy)
            net = amount - fee
            received = reserve_out * net // (reserve_in + net)
            if received == 0:
                raise _refused(_INVALID_INPUT, Refusal.ZERO_OUTPUT, "The swap pays nothing")
            return Quote(amount, received, fee, True, 1)
        if not 0 < amount < reserve_out:
            raise _not_receivable(reserve_out, amount)
        rest = reserve_out - amount
        net = -(-reserve_in * amount // rest)
        if net <= 1 and (net == 0 or (self._legacy and 2 * reserve_in * amount < rest)):
            raise _refused(_INVALID_INPUT, Refusal.ZERO_OUTPUT, "Nothing is to be paid")
        paid = -(-net * denominator // (denominator - numerator))
        if paid > room:
            raise _too_dear(paid)
        return Quote(paid, amount, paid - net, True, 1)

    def curve(self, in_mint: Mint, clock: ChainClock) -> Curve:
        """The most that swaps pay, see `Pool.curve`."""
        if clock.unix_timestamp < self._opens:
            raise _refused(_INVALID_STATUS, Refusal.CLOSED, "The pool is closed")
        kept = self._curves.get(in_mint)
        if kept is None:
            self._curves[in_mint] = kept = Curve(_pieces(self._side(in_mint), self._rate, self._legacy))
        return kept

    def spot_price_x64(self, in_mint: Mint) -> int:
        """Marginal price before fees, output base units per input base unit, Q64.64, rounded down; 0 if empty."""
        reserve_in, reserve_out, _ = self._side(in_mint)
        return (reserve_out << 64) // reserve_in if reserve_in else 0

    def apply(self, in_mint: Mint, amount: int, swap_mode: SwapMode, clock: ChainClock) -> tuple[Self, Quote]:
        """The pool after the swap, and the swap's quote. Raises SwapRefused as the program would."""
        quoted = self.quote(in_mint, amount, swap_mode, clock)
        state = self._state
        coin, pc = state.balances
        forward, backward = state.totals
        if in_mint == self._terms.mints[0]:
            balances = coin + quoted.in_amount, pc - quoted.out_amount
            forward = _counted(forward, quoted)
        else:
            balances = coin - quoted.out_amount, pc + quoted.in_amount
            backward = _counted(backward, quoted)
        after = _State(layout.SWAP_ONLY, balances, (forward, backward), clock.epoch)
        return type(self)(self._terms, after), quoted

    def swap_instruction(
        self, user: SwapAccounts, in_mint: Mint, amount: int, threshold: int, swap_mode: SwapMode
    ) -> Instruction:
        """`swap_base_in` or `swap_base_out`. `threshold`: base units, least to receive or most to pay.

        The pool stands in for its open orders and for all accounts of its market, which the program does not read.
        """
        self._side(in_mint)
        terms = self._terms
        if swap_mode is _EXACT_IN:
            data = _SWAP_DATA.pack(_SWAP_BASE_IN, amount, threshold)
        else:
            data = _SWAP_DATA.pack(_SWAP_BASE_OUT, threshold, amount)
        pool = AccountMeta(terms.address, False, True)
        metas = [
            AccountMeta(token.TOKEN_PROGRAM, False, False),
            pool,
            AccountMeta(AUTHORITY, False, False),
            pool,
            AccountMeta(terms.vaults[0], False, True),
            AccountMeta(terms.vaults[1], False, True),
            *[pool] * _MARKET_SLOTS,
            AccountMeta(user.source, False, True),
            AccountMeta(user.destination, False, True),
            AccountMeta(user.owner, True, False),
        ]
        return Instruction(PROGRAM_ID, data, metas)

    def arrays_ahead(self, in_mint: Mint, limit: int) -> tuple[Pubkey, ...]:  # noqa: ARG002 - other venues have arrays
        """None: the venue has no arrays."""
        return ()

    def accounts(self) -> tuple[Pubkey, ...]:
        """Pool, coin vault, pc vault, coin mint, pc mint."""
        return tuple(self._terms.accounts)

    def encode(self) -> dict[Pubkey, Account]:
        """The accounts that the pool was decoded from, with what `apply` has changed."""
        terms, state = self._terms, self._state
        accounts = dict(terms.accounts)
        old = accounts[terms.address]
        data = bytearray(old.data)
        layout.U64.pack_into(data, 0, state.status)
        layout.U64.pack_into(data, layout.EPOCH_AT, state.epoch)
        for totals, places in zip(state.totals, _TOTALS_AT, strict=True):
            paid_at, received_at, fees_at = places
            data[paid_at : paid_at + layout.U128_SIZE] = totals.paid.to_bytes(layout.U128_SIZE, "little")
            data[received_at : received_at + layout.U128_SIZE] = totals.received.to_bytes(layout.U128_SIZE, "little")
            layout.U64.pack_into(data, fees_at, totals.fees)
        accounts[terms.address] = Account(old.owner, old.lamports, bytes(data))
        for vault, now, before in zip(terms.vaults, state.balances, terms.balances, strict=True):
            accounts[vault] = token.credit(accounts[vault], now - before)
        return accounts

    def _side(self, in_mint: Mint) -> _Side:
        side = self._sides.get(in_mint)
        if side is None:
            raise ValueError(f"Pool {self.address} does not trade {in_mint}")
        return side

    def _room(self, side: int) -> int:
        """The most that a swap may pay in: until the vault or the sum of fees is full; nothing into an empty pool."""
        return (U64_MAX - max(self._state.balances[side], self._state.totals[side].fees)) if all(self.reserves) else 0

    def _not_payable(self, side: _Side, amount: int) -> SwapRefused:
        """Why an exact input is refused that is not positive, does not fit, or meets an empty pool."""
        reserve_in, reserve_out, _ = side
        if amount > U64_MAX:
            return _refused(None, Refusal.OVERFLOW, "The amount does not fit u64")
        net = max(amount, 0) - _fee(max(amount, 0), *self._rate, self._legacy)
        if reserve_in + net == 0:
            return _refused(None, Refusal.LIQUIDITY, "The pool is empty")
        if amount <= 0:
            return _refused(_INVALID_INPUT, Refusal.ZERO_AMOUNT, "Nothing is paid")
        received = reserve_out * net // (reserve_in + net)
        if received == 0:
            return _refused(_INVALID_INPUT, Refusal.ZERO_OUTPUT, "The swap pays nothing")
        if received == reserve_out:
            return _refused(_INSUFFICIENT_FUNDS, Refusal.LIQUIDITY, "The swap would empty the pool")
        return _refused(_TOKEN_OVERFLOW, Refusal.OVERFLOW, "The vault cannot hold so much")


_TOTALS_AT = (
    (layout.COIN_PAID_AT, layout.PC_RECEIVED_AT, layout.COIN_FEES_AT),
    (layout.PC_PAID_AT, layout.COIN_RECEIVED_AT, layout.PC_FEES_AT),
)


def _fee(amount: int, numerator: int, denominator: int, legacy: bool) -> int:
    fee = -(-amount * numerator // denominator)
    return 0 if fee == 1 and legacy and 2 * amount * numerator < denominator else fee


def _pieces(side: _Side, rate: tuple[int, int], legacy: bool) -> Iterator[Piece]:
    """Constant product; the legacy rounding takes no fee from a first few base units."""
    reserve_in, reserve_out, room = side
    numerator, denominator = rate
    free = min((denominator - 1) // (2 * numerator) if legacy and numerator else 0, room)
    kept = denominator - numerator, denominator
    gain, base, drag = reserve_out, reserve_in, 1
    if room and free:
        yield gain, base, 0, free, ceil_div(gain * free, base)
    gain, base, drag = beyond(gain, base, drag, (free * kept[0], denominator), kept)
    if room > free:
        yield gain, base, drag, room, reserve_out


def _counted(totals: _Totals, quoted: Quote) -> _Totals:
    return _Totals(totals.paid + quoted.in_amount, totals.received + quoted.out_amount, totals.fees + quoted.fee_amount)


def _not_receivable(reserve_out: int, amount: int) -> SwapRefused:
    if amount >= reserve_out:
        return _refused(None, Refusal.LIQUIDITY, "The pool does not hold so much")
    return _refused(_INVALID_INPUT, Refusal.ZERO_AMOUNT, "Nothing is wanted")


def _too_dear(price: int) -> SwapRefused:
    if price > U64_MAX:
        return _refused(None, Refusal.LIQUIDITY, "The price does not fit u64")
    return _refused(_TOKEN_OVERFLOW, Refusal.OVERFLOW, "The vault cannot hold so much")


def _refused(code: int | None, kind: Refusal, message: str) -> SwapRefused:
    return SwapRefused(message, program_code=code, name=ERRORS[code] if code else "panic", kind=kind)


def is_pool(account: Account) -> bool:
    """Whether an account is an AMM v4 pool: by owner and size, a status that exists and a nonce of one byte."""
    if account.owner != PROGRAM_ID or len(account.data) != layout.POOL_SIZE:
        return False
    status, nonce = layout.STATUS.unpack_from(account.data)
    return bool(layout.INITIALIZED <= status <= layout.WAITING_TRADE and nonce <= 0xFF)


def accounts_of(address: Pubkey, known: Accounts) -> tuple[Pubkey, ...]:
    """Pool, coin vault, pc vault, coin mint, pc mint. Raises UnsupportedPool where the pool is missing or is none."""
    pool = loaded(known, [address])[address]
    if not is_pool(pool):
        raise UnsupportedPool("Not a Raydium AMM v4 pool", address=str(address))
    return (address, *map(Pubkey, layout.KEYS.unpack_from(pool.data, layout.KEYS_AT)))


def decode(address: Pubkey, accounts: Accounts, *, rounding: Rounding = Rounding.STRICT) -> AmmPool:
    """Build the pool from account bytes; `rounding` says for which build of the program.

    Raises UnsupportedPool for accounts that are missing, malformed or contradict each other, for pools that trade in an
    order book, for Token-2022 mints, and for fees that are undefined or reach 100 %.
    """
    needed = accounts_of(address, accounts)
    used = loaded(accounts, needed)
    _, coin_vault, pc_vault, coin_mint, pc_mint = needed
    vaults, mints = (coin_vault, pc_vault), (coin_mint, pc_mint)
    data = used[address].data
    status, nonce = layout.STATUS.unpack_from(data)
    if status in (layout.INITIALIZED, layout.ORDER_BOOK_ONLY):
        raise UnsupportedPool("Pool trades in an order book", address=str(address), status=status)
    if nonce != layout.AUTHORITY_NONCE:
        raise UnsupportedPool("Pool has an unknown authority", address=str(address), nonce=nonce)
    if coin_mint == pc_mint:
        raise UnsupportedPool("Pool trades a mint for itself", address=str(address))
    numerator, denominator = layout.RATE.unpack_from(data, layout.SWAP_FEE_AT)
    if numerator >= denominator:
        raise UnsupportedPool("Fee is undefined or reaches 100 %", numerator=numerator, denominator=denominator)
    coin_owed, pc_owed = layout.OWED.unpack_from(data, layout.OWED_AT)
    coin, pc = _decode_balance(used, coin_vault, coin_mint), _decode_balance(used, pc_vault, pc_mint)
    if coin < coin_owed or pc < pc_owed:
        raise UnsupportedPool("Vaults hold less than they owe", address=str(address))
    terms = _Terms(
        accounts=used,
        address=address,
        vaults=vaults,
        mints=mints,
        owed=(coin_owed, pc_owed),
        fee_numerator=numerator,
        fee_denominator=denominator,
        open_time=layout.U64.unpack_from(data, layout.OPEN_TIME_AT)[0],
        rounding=rounding,
        balances=(coin, pc),
    )
    forward, backward = (_decode_totals(data, *places) for places in _TOTALS_AT)
    epoch = layout.U64.unpack_from(data, layout.EPOCH_AT)[0]
    return AmmPool(terms, _State(status, (coin, pc), (forward, backward), epoch))


def read_swap(accounts: tuple[Pubkey, ...], data: bytes) -> SwapCall:
    """The inverse of `swap_instruction`; reads the 18-account form and the V2 form too.

    Raises ValueError for any other instruction.
    """
    if len(data) != _SWAP_DATA.size:
        raise ValueError("Not a Raydium AMM v4 swap")
    tag, first, second = _SWAP_DATA.unpack(data)
    places = _USER_AT_V2 if tag in (_SWAP_BASE_IN_V2, _SWAP_BASE_OUT_V2) else _USER_AT
    at = places.get(len(accounts))
    if at is None or tag not in (_SWAP_BASE_IN, _SWAP_BASE_OUT, _SWAP_BASE_IN_V2, _SWAP_BASE_OUT_V2):
        raise ValueError("Not a Raydium AMM v4 swap")
    source, destination, owner = accounts[at : at + 3]
    user = SwapAccounts(owner, source, destination)
    if tag in (_SWAP_BASE_IN, _SWAP_BASE_IN_V2):
        return SwapCall(accounts[1], user, first, second, SwapMode.EXACT_IN)
    return SwapCall(accounts[1], user, second, first, SwapMode.EXACT_OUT)


def _decode_balance(accounts: Accounts, vault: Pubkey, mint: Mint) -> int:
    balance, _ = token.decode_vault(mint, accounts[mint], accounts[vault], token.TOKEN_PROGRAM)
    if accounts[vault].data[32:64] != bytes(AUTHORITY):
        raise UnsupportedPool("Vault is not the program's", vault=str(vault))
    return balance


def _decode_totals(data: bytes, paid_at: int, received_at: int, fees_at: int) -> _Totals:
    paid, received = (int.from_bytes(data[at : at + layout.U128_SIZE], "little") for at in (paid_at, received_at))
    if max(paid, received) >= _TOTALS_LIMIT:
        raise UnsupportedPool("Sums of swaps are about to overflow", paid=paid, received=received)
    return _Totals(paid, received, layout.U64.unpack_from(data, fees_at)[0])
