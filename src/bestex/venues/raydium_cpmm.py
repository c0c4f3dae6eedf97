"""Raydium CPMM: constant product, on two vaults whose balances hold the reserves and the fees that are owed.

Fees come off the input (the trade fee, and a creator fee beside it), or the creator fee comes off the output. Source:
the on-chain program (build af0a49f61578e94f), whose own answers are in tests/golden.

Not modelled: the observation account, a price history that no swap reads.
"""

import struct
from collections.abc import Mapping
from typing import Self, TypeAlias

import msgspec
from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

from bestex.errors import SwapRefused, UnsupportedPool
from bestex.types import U64_MAX, Account, ChainClock, Mint, SwapMode
from bestex.venues import cpmm_layout as layout
from bestex.venues import token
from bestex.venues.cpmm_layout import AUTHORITY, PROGRAM_ID, RATE, Rates, synthesize
from bestex.venues.curve import Curve, product_pieces
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
from bestex.venues.token import TransferFeeConfig

__all__ = [
    "AUTHORITY",
    "COMPUTE_UNITS",
    "ERRORS",
    "PROGRAM_ID",
    "PROGRAM_SHA256",
    "SLIPPAGE_EXCEEDED",
    "VENUE",
    "CpmmPool",
    "Rates",
    "accounts_of",
    "decode",
    "is_pool",
    "read_swap",
    "synthesize",
]

VENUE: Venue = Venue.RAYDIUM_CPMM
PROGRAM_SHA256 = "af0a49f61578e94f91a968a6dacb6d22b4392c6bc07c363e76e9c97b8bad27e2"
COMPUTE_UNITS = ComputeUnits(swap=33_000, per_step=0)
ERRORS: Mapping[int, str] = {
    14: "token:Overflow",
    2505: "RequireGtViolated",
    6000: "NotApproved",
    6005: "ExceededSlippage",
    6012: "InsufficientVault",
}
_SLIPPAGE = ProgramError(6005, ERRORS[6005])
SLIPPAGE_EXCEEDED: Mapping[SwapMode, ProgramError] = dict.fromkeys(SwapMode, _SLIPPAGE)

_SWAP_BASE_INPUT = bytes.fromhex("8fbe5adac41e33de")
_SWAP_BASE_OUTPUT = bytes.fromhex("37d96256a34ab4ad")
_SWAP_DATA = struct.Struct("<8sQQ")
_SWAP_ACCOUNTS = 13

_EXACT_IN = SwapMode.EXACT_IN
_NEVER = 1 << 64
_NOT_GREATER, _NOT_APPROVED, _INSUFFICIENT_VAULT = 2505, 6000, 6012
_TOKEN_OVERFLOW = 14


class _Terms(msgspec.Struct, frozen=True):
    """What no swap changes."""

    accounts: dict[Pubkey, Account]
    """As decoded: pool, config, vaults, mints."""
    address: Pubkey
    config: Pubkey
    vaults: tuple[Pubkey, Pubkey]
    mints: tuple[Mint, Mint]
    programs: tuple[Pubkey, Pubkey]
    observation: Pubkey
    transfer_fees: tuple[TransferFeeConfig | None, TransferFeeConfig | None]
    rates: Rates
    creator_rate: int
    """Zero where the pool takes no creator fee."""
    side_rates: tuple[tuple[int, int, int], tuple[int, int, int]]
    """For each input token: all rates on the input, creator's part of them, creator's rate on the output."""
    disabled: bool
    open_time: int
    decoded: tuple["_Holding", "_Holding"]


class _Holding(msgspec.Struct, frozen=True, gc=False):
    """One token of the pool: the vault's balance, fees owed out of it, transfer fees withheld since decoding."""

    vault: int
    protocol: int
    fund: int
    creator: int
    withheld: int = 0

    @property
    def reserve(self) -> int:
        return self.vault - self.protocol - self.fund - self.creator


_Side: TypeAlias = tuple[int, int, int, int, int, TransferFeeConfig | None, TransferFeeConfig | None]
"""Reserve in and out; all rates on the input, the creator's part of them, its rate on the output; transfer fees."""

_Flow: TypeAlias = tuple[int, int, int, int, int, int]
"""Base units: user pays, user receives, vault gains, vault loses, fees on the input, creator's fee (either side)."""


class CpmmPool:
    """A Raydium CPMM pool; immutable."""

    __slots__ = ("_curves", "_epoch", "_holdings", "_opens", "_sides", "_terms")

    def __init__(self, terms: _Terms, holdings: tuple[_Holding, _Holding], epoch: int) -> None:
        self._terms = terms
        self._holdings = holdings
        self._epoch = epoch
        reserve_0, reserve_1 = holdings[0].reserve, holdings[1].reserve
        fee_0, fee_1 = terms.transfer_fees
        mint_0, mint_1 = terms.mints
        rates_0, rates_1 = terms.side_rates
        self._sides: dict[Mint, _Side] = {
            mint_0: (reserve_0, reserve_1, *rates_0, fee_0, fee_1),
            mint_1: (reserve_1, reserve_0, *rates_1, fee_1, fee_0),
        }
        self._curves: dict[Mint, Curve] = {}
        self._opens = _NEVER if terms.disabled or reserve_0 < 0 or reserve_1 < 0 else terms.open_time

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CpmmPool) and self.address == other.address and self.encode() == other.encode()

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
        """Base units that trade: the vaults' balances less the fees owed out of them."""
        return self._holdings[0].reserve, self._holdings[1].reserve

    @property
    def fee_bps_hundredths(self) -> int:
        """Trade fee and creator fee together, in hundredths of a basis point."""
        return self._terms.rates.trade + self._terms.creator_rate

    def quote(self, in_mint: Mint, amount: int, swap_mode: SwapMode, clock: ChainClock) -> Quote:
        """The exact outcome of a swap without a threshold, in base units.

        `fee_amount` is what comes off the input; a creator fee that is taken from the output is not in it. Raises
        SwapRefused as the program would, ValueError for a mint that is not of this pool.
        """
        paid, received, _, _, fee, _ = self._flow(in_mint, amount, swap_mode, clock)
        return Quote(paid, received, fee, True, 1)

    def curve(self, in_mint: Mint, clock: ChainClock) -> Curve:
        """The most that swaps pay, see `Pool.curve`."""
        if clock.unix_timestamp < self._opens:
            raise self._closed(clock)
        kept = self._curves.get(in_mint)
        if kept is None:
            reserve_in, reserve_out, rate, _, output_rate, *fees = self._side(in_mint)
            pieces = product_pieces(reserve_in, reserve_out, (RATE - rate, RATE), (RATE - output_rate, RATE))
            self._curves[in_mint] = kept = Curve(pieces, (fees[0], fees[1]))
        return kept

    def spot_price_x64(self, in_mint: Mint) -> int:
        """Marginal price before fees, output base units per input base unit, Q64.64, rounded down; 0 if empty."""
        reserve_in, reserve_out = self._side(in_mint)[:2]
        return (reserve_out << 64) // reserve_in if reserve_in > 0 else 0

    def apply(self, in_mint: Mint, amount: int, swap_mode: SwapMode, clock: ChainClock) -> tuple[Self, Quote]:
        """The pool after the swap, and the swap's quote. Raises SwapRefused as the program would."""
        paid, received, arriving, leaving, fee, creator_fee = self._flow(in_mint, amount, swap_mode, clock)
        terms = self._terms
        forward = in_mint == terms.mints[0]
        source, target = self._holdings if forward else self._holdings[::-1]
        if source.vault + arriving > U64_MAX:
            raise _refused(_TOKEN_OVERFLOW, Refusal.OVERFLOW, "The vault cannot hold so much")
        creator_in, creator_out = (0, creator_fee) if self._side(in_mint)[4] else (creator_fee, 0)
        trade_fee = fee - creator_in
        source = _Holding(
            source.vault + arriving,
            source.protocol + trade_fee * terms.rates.protocol // RATE,
            source.fund + trade_fee * terms.rates.fund // RATE,
            source.creator + creator_in,
            source.withheld + paid - arriving,
        )
        target = _Holding(
            target.vault - leaving, target.protocol, target.fund, target.creator + creator_out, target.withheld
        )
        holdings = (source, target) if forward else (target, source)
        return type(self)(terms, holdings, clock.epoch), Quote(paid, received, fee, True, 1)

    def swap_instruction(
        self, user: SwapAccounts, in_mint: Mint, amount: int, threshold: int, swap_mode: SwapMode
    ) -> Instruction:
        """`swap_base_input` or `swap_base_output`. `threshold`: base units, least to receive or most to pay."""
        self._side(in_mint)
        terms = self._terms
        i, o = (0, 1) if in_mint == terms.mints[0] else (1, 0)
        if swap_mode is _EXACT_IN:
            data = _SWAP_DATA.pack(_SWAP_BASE_INPUT, amount, threshold)
        else:
            data = _SWAP_DATA.pack(_SWAP_BASE_OUTPUT, threshold, amount)
        metas = [
            AccountMeta(user.owner, True, False),
            AccountMeta(AUTHORITY, False, False),
            AccountMeta(terms.config, False, False),
            AccountMeta(terms.address, False, True),
            AccountMeta(user.source, False, True),
            AccountMeta(user.destination, False, True),
            AccountMeta(terms.vaults[i], False, True),
            AccountMeta(terms.vaults[o], False, True),
            AccountMeta(terms.programs[i], False, False),
            AccountMeta(terms.programs[o], False, False),
            AccountMeta(terms.mints[i], False, False),
            AccountMeta(terms.mints[o], False, False),
            AccountMeta(terms.observation, False, True),
        ]
        return Instruction(PROGRAM_ID, data, metas)

    def arrays_ahead(self, in_mint: Mint, limit: int) -> tuple[Pubkey, ...]:  # noqa: ARG002 - the contract has them
        """None: the liquidity lies in the vaults."""
        return ()

    def accounts(self) -> tuple[Pubkey, ...]:
        """Pool, config, both vaults, both mints."""
        return tuple(self._terms.accounts)

    def encode(self) -> dict[Pubkey, Account]:
        """The accounts that the pool was decoded from, with what `apply` has changed."""
        terms = self._terms
        accounts = dict(terms.accounts)
        old = accounts[terms.address]
        data = bytearray(old.data)
        one, two = self._holdings
        layout.OWED.pack_into(data, layout.PROTOCOL_AT, one.protocol, two.protocol)
        layout.OWED.pack_into(data, layout.FUND_AT, one.fund, two.fund)
        layout.OWED.pack_into(data, layout.CREATOR_AT, one.creator, two.creator)
        layout.U64.pack_into(data, layout.EPOCH_AT, self._epoch)
        accounts[terms.address] = Account(old.owner, old.lamports, bytes(data))
        for vault, now, before in zip(terms.vaults, self._holdings, terms.decoded, strict=True):
            accounts[vault] = token.credit(accounts[vault], now.vault - before.vault, now.withheld)
        return accounts

    def _side(self, in_mint: Mint) -> _Side:
        side = self._sides.get(in_mint)
        if side is None:
            raise ValueError(f"Pool {self.address} does not trade {in_mint}")
        return side

    def _flow(self, in_mint: Mint, amount: int, swap_mode: SwapMode, clock: ChainClock) -> _Flow:
        side = self._sides.get(in_mint) or self._side(in_mint)
        if amount > U64_MAX:
            raise _refused(None, Refusal.OVERFLOW, "The amount does not fit u64")
        if swap_mode is not _EXACT_IN and amount <= 0:
            raise _refused(_NOT_GREATER, Refusal.ZERO_AMOUNT, "Nothing is wanted")
        if clock.unix_timestamp < self._opens:
            raise self._closed(clock)
        return (_exact_in if swap_mode is _EXACT_IN else _exact_out)(side, amount, clock.epoch)

    def _closed(self, clock: ChainClock) -> SwapRefused:
        if self._terms.disabled or clock.unix_timestamp < self._terms.open_time:
            return _refused(_NOT_APPROVED, Refusal.CLOSED, "The pool is closed")
        return _refused(_INSUFFICIENT_VAULT, Refusal.LIQUIDITY, "The vaults hold less than the fees they owe")


def _exact_in(side: _Side, amount: int, epoch: int) -> _Flow:
    reserve_in, reserve_out, rate, creator_rate, output_rate, fee_in, fee_out = side
    arriving = amount if fee_in is None else amount - fee_in.at(epoch).on(amount)
    if arriving <= 0:
        raise _refused(_NOT_GREATER, Refusal.ZERO_AMOUNT, "Nothing arrives at the pool")
    fee = -(-arriving * rate // RATE)
    net = arriving - fee
    leaving = net * reserve_out // (reserve_in + net) if net else 0
    creator_fee = fee * creator_rate // rate if creator_rate else 0
    if output_rate:
        creator_fee = ceil_div(leaving * output_rate, RATE)
        leaving -= creator_fee
    received = leaving if fee_out is None else leaving - fee_out.at(epoch).on(leaving)
    if received <= 0:
        raise _refused(_NOT_GREATER, Refusal.ZERO_OUTPUT, "The swap pays nothing")
    return amount, received, arriving, leaving, fee, creator_fee


def _exact_out(side: _Side, amount: int, epoch: int) -> _Flow:
    reserve_in, reserve_out, rate, creator_rate, output_rate, fee_in, fee_out = side
    leaving = amount if fee_out is None else amount + fee_out.at(epoch).to_deliver(amount)
    swapped = ceil_div(leaving * RATE, RATE - output_rate)
    if swapped >= reserve_out:
        raise _refused(None, Refusal.LIQUIDITY, "The pool does not hold so much")
    net = ceil_div(reserve_in * swapped, reserve_out - swapped)
    arriving = ceil_div(net * RATE, RATE - rate)
    fee = arriving - net
    creator_fee = fee * creator_rate // rate if creator_rate else swapped - leaving
    if arriving == 0:
        raise _refused(_NOT_GREATER, Refusal.ZERO_AMOUNT, "Nothing is to be paid")
    paid = arriving if fee_in is None else arriving + fee_in.at(epoch).to_deliver(arriving)
    if paid > U64_MAX:
        raise _refused(None, Refusal.OVERFLOW, "The price does not fit u64")
    return paid, amount, arriving, leaving, fee, creator_fee


def _refused(code: int | None, kind: Refusal, message: str) -> SwapRefused:
    return SwapRefused(message, program_code=code, name=ERRORS[code] if code else "panic", kind=kind)


def is_pool(account: Account) -> bool:
    """Whether an account is a CPMM pool, by owner, size and discriminator."""
    return account.owner == PROGRAM_ID and len(account.data) == layout.POOL_SIZE and account.data[:8] == layout.POOL_TAG


def accounts_of(address: Pubkey, known: Accounts) -> tuple[Pubkey, ...]:
    """Pool, config, both vaults, both mints. Raises UnsupportedPool for an account that is not a CPMM pool."""
    pool = loaded(known, [address])[address]
    if not is_pool(pool):
        raise UnsupportedPool("Not a Raydium CPMM pool", address=str(address))
    _, config, _, vault_0, vault_1, _, mint_0, mint_1, *_ = layout.KEYS.unpack_from(pool.data)
    return (address, *map(Pubkey, (config, vault_0, vault_1, mint_0, mint_1)))


def decode(address: Pubkey, accounts: Accounts) -> CpmmPool:
    """Build the pool from account bytes.

    Raises UnsupportedPool for accounts that are missing, malformed or contradict each other, for mints whose transfers
    differ from plain ones in more than a fee, and for fee rates that are unknown or reach 100 %.
    """
    needed = accounts_of(address, accounts)
    used = loaded(accounts, needed)
    data = used[address].data
    config, vaults, mints = needed[1], needed[2:4], needed[4:6]
    *_, program_0, program_1, observation = layout.KEYS.unpack_from(data)
    programs = Pubkey(program_0), Pubkey(program_1)
    rates = _decode_rates(used[config])
    on, enabled = layout.CREATOR_FEE.unpack_from(data, layout.CREATOR_FEE_AT)
    creator_rate = rates.creator if enabled else 0
    if on > 2 or rates.trade + creator_rate >= RATE:
        raise UnsupportedPool("Fees are unknown or reach 100 %", address=str(address), creator_fee_on=on)
    balances = [
        token.decode_vault(mint, used[mint], used[vault], program)
        for mint, vault, program in zip(mints, vaults, programs, strict=True)
    ]
    holdings = _decode_holdings(data, balances[0][0], balances[1][0])
    terms = _Terms(
        accounts=used,
        address=address,
        config=config,
        vaults=(vaults[0], vaults[1]),
        mints=(mints[0], mints[1]),
        programs=programs,
        observation=Pubkey(observation),
        transfer_fees=(balances[0][1], balances[1][1]),
        rates=rates,
        creator_rate=creator_rate,
        side_rates=(_side_rates(rates.trade, creator_rate, on != 2), _side_rates(rates.trade, creator_rate, on != 1)),
        disabled=bool(data[layout.STATUS_AT + 1] & layout.SWAP_DISABLED),
        open_time=layout.U64.unpack_from(data, layout.OPEN_TIME_AT)[0],
        decoded=holdings,
    )
    return CpmmPool(terms, holdings, layout.U64.unpack_from(data, layout.EPOCH_AT)[0])


def read_swap(accounts: tuple[Pubkey, ...], data: bytes) -> SwapCall:
    """The inverse of `swap_instruction`. Raises ValueError for any other instruction."""
    if len(accounts) != _SWAP_ACCOUNTS or len(data) != _SWAP_DATA.size:
        raise ValueError("Not a Raydium CPMM swap")
    tag, first, second = _SWAP_DATA.unpack(data)
    user = SwapAccounts(accounts[0], accounts[4], accounts[5])
    if tag == _SWAP_BASE_INPUT:
        return SwapCall(accounts[3], user, first, second, SwapMode.EXACT_IN)
    if tag == _SWAP_BASE_OUTPUT:
        return SwapCall(accounts[3], user, second, first, SwapMode.EXACT_OUT)
    raise ValueError("Not a Raydium CPMM swap")


def _decode_holdings(data: bytes, vault_0: int, vault_1: int) -> tuple[_Holding, _Holding]:
    protocol_0, protocol_1 = layout.OWED.unpack_from(data, layout.PROTOCOL_AT)
    fund_0, fund_1 = layout.OWED.unpack_from(data, layout.FUND_AT)
    creator_0, creator_1 = layout.OWED.unpack_from(data, layout.CREATOR_AT)
    return _Holding(vault_0, protocol_0, fund_0, creator_0), _Holding(vault_1, protocol_1, fund_1, creator_1)


def _side_rates(trade: int, creator: int, on_input: bool) -> tuple[int, int, int]:
    return (trade + creator, creator, 0) if on_input else (trade, 0, creator)


def _decode_rates(config: Account) -> Rates:
    data = config.data
    if config.owner != PROGRAM_ID or len(data) != layout.CONFIG_SIZE or data[:8] != layout.CONFIG_TAG:
        raise UnsupportedPool("Not a Raydium CPMM config")
    trade, protocol, fund = layout.RATES.unpack_from(data, layout.RATES_AT)
    return Rates(
        trade=trade, protocol=protocol, fund=fund, creator=layout.U64.unpack_from(data, layout.CREATOR_RATE_AT)[0]
    )
