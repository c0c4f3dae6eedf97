"""Hold a venue against a recording: every amount, every byte, every refusal of the real program.

Each pool (decode, encode), each swap and each step of a sequence counts once: it agrees in all respects or it failed.
"""

import base64
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

import msgspec
from solders.instruction import Instruction
from solders.pubkey import Pubkey

from bestex.errors import SwapRefused, UnsupportedPool
from bestex.types import Account, ChainClock, SwapMode
from bestex.venues import PROGRAMS, raydium_amm_v4
from bestex.venues.meteora_damm_v2 import DammPool
from bestex.venues.meteora_dlmm import DlmmPool
from bestex.venues.pool import Pool, Quote, SwapAccounts, VenueProgram
from bestex.venues.raydium_amm_v4 import Rounding
from bestex.venues.raydium_clmm import ClmmPool
from bestex.venues.recording import Mode, RecordedInstruction, RecordedPool, RecordedSwap, Recording

Result = TypeVar("Result")

RECORDED_ARRAYS = 8
"""Tick or bin arrays that the recorded instructions list."""

_OF_THE_USER = frozenset({"balance", "balance_or_liquidity"})
_OF_THE_TRANSACTION = frozenset({"missing_arrays", "compute_budget"})


class Disagreement(msgspec.Struct, frozen=True):
    """Where we differ from the program."""

    vector: str
    """Which pool, swap or step."""
    aspect: str
    expected: str
    """What the program did."""
    actual: str
    """What we would have done."""


class PoolReport(msgspec.Struct):
    """One pool of a recording, all of its vectors tried."""

    name: str
    what: str
    agreed: Counter[str] = msgspec.field(default_factory=Counter)
    """How often we agreed, by aspect."""
    passed: int = 0
    failed: int = 0
    refused: str | None = None
    """Why the decoder refuses the pool, where the recording allows that; its swaps then count neither way."""
    disagreements: list[Disagreement] = msgspec.field(default_factory=list)


def venue_of(recording: Recording) -> VenueProgram:
    """The venue that a recording is of. Raises ValueError for a program that we do not trade on."""
    program = PROGRAMS.get(Pubkey.from_string(recording.program_id))
    if program is None:
        raise ValueError(f"no venue has the program {recording.program_id}")
    return program


def verify(recording: Recording) -> Iterator[PoolReport]:
    """Try every vector of a recording, pool by pool. Raises ValueError as `venue_of` does."""
    program = venue_of(recording)
    for pool in recording.pools:
        yield _PoolTrial(program, recording, pool).run()


def rounding_of(recording: Recording) -> Rounding:
    """Which ceil division a recorded Raydium AMM v4 program has."""
    legacy = recording.program_sha256 in raydium_amm_v4.LEGACY_SHA256 or "legacy" in recording.program_variant
    return Rounding.LEGACY if legacy else Rounding.STRICT


class _PoolTrial:
    """All vectors of one pool."""

    def __init__(self, program: VenueProgram, recording: Recording, recorded: RecordedPool) -> None:
        self._program = program
        self._recording = recording
        self._recorded = recorded
        self._loaded = recorded.loaded()
        self._report = PoolReport(recorded.name, recorded.what)
        self._vector = ""

    def run(self) -> PoolReport:
        report, name = self._report, self._recorded.name
        swaps = [(number, swap) for number, swap in enumerate(self._recording.swaps) if swap.pool == name]
        sequences = [sequence for sequence in self._recording.sequences if sequence.pool == name]
        pool = self._try(f"pool {name}", self._decode_and_encode)
        if report.refused:
            return report
        if pool is None:
            report.failed += len(swaps) + sum(len(sequence.steps) for sequence in sequences)
            return report
        for number, swap in swaps:
            self._try(f"swap {number}, {_described(swap)}", partial(self._check_swap, pool, swap, self._recorded.clock))
        for sequence in sequences:
            self._run_sequence(pool, sequence.name, sequence.steps)
        return report

    def _run_sequence(self, pool: Pool, name: str, steps: tuple[RecordedSwap, ...]) -> None:
        accounts = self._loaded
        for number, step in enumerate(steps):
            check = partial(self._check_swap, pool, step, step.clock or self._recorded.clock, accounts)
            pool = self._try(f"{name}, step {number}, {_described(step)}", check) or pool
            if step.post_accounts:
                accounts = self._after(accounts, step.post_accounts)
                pool = self._next(pool, accounts)

    def _next(self, pool: Pool, accounts: dict[Pubkey, Account]) -> Pool:
        """The pool for the next step: our own unless it has gone astray, or says that it must be read again."""
        if isinstance(pool, DammPool) and not pool.state_is_exact:
            return self._decode(accounts)
        encoded = pool.encode()
        return pool if all(accounts[key] == account for key, account in encoded.items()) else self._decode(accounts)

    def _try(self, vector: str, check: Callable[[], Result | None]) -> Result | None:
        """Count a vector, whatever happens in it."""
        self._vector = vector
        before = len(self._report.disagreements)
        result = None
        try:
            result = check()
        except UnsupportedPool as error:
            if self._recorded.params.optional_feature:
                self._report.refused = error.message
                return None
            self._differ("decode", "a pool that trades", f"refused: {error.message}")
        except SwapRefused as error:
            self._differ("quote", "accepted", f"refused: {error.name}: {error.message}")
        except Exception as error:  # noqa: BLE001 - a fault of ours on one vector is a finding, and must not hide the rest
            self._differ("fault", "an answer", f"{type(error).__name__}: {error}")
        if len(self._report.disagreements) == before:
            self._report.passed += 1
        else:
            self._report.failed += 1
        return result

    def _differ(self, aspect: str, expected: object, actual: object) -> None:
        self._report.disagreements.append(Disagreement(self._vector, aspect, str(expected), str(actual)))

    def _compare(self, aspect: str, expected: object, actual: object) -> None:
        if expected == actual:
            self._report.agreed[aspect] += 1
        else:
            self._differ(aspect, expected, actual)

    def _decode(self, accounts: dict[Pubkey, Account], rounding: Rounding | None = None) -> Pool:
        if self._program.PROGRAM_ID == raydium_amm_v4.PROGRAM_ID:
            variant = rounding or rounding_of(self._recording)
            return raydium_amm_v4.decode(self._recorded.address, accounts, rounding=variant)
        return self._program.decode(self._recorded.address, accounts)

    def _decode_and_encode(self) -> Pool:
        loaded, address = self._loaded, self._recorded.address
        pool = self._decode(loaded)
        self._report.agreed["decode"] += 1
        self._compare_accounts("encode", loaded, pool.encode())
        unread = [key for key in pool.accounts() if key not in self._program.accounts_of(address, loaded)]
        self._compare("accounts", [], unread)
        return pool

    def _check_swap(
        self, pool: Pool, swap: RecordedSwap, clock: ChainClock, accounts: dict[Pubkey, Account] | None = None
    ) -> Pool | None:
        """The quote, the refusal, the instruction, the state; returns the pool after the swap."""
        if swap.strict_ceil is not None:
            self._check_strict(swap, swap.strict_ceil, clock, accounts or self._loaded)
        if swap.ix is not None:
            self._check_instruction(pool, swap, swap.ix, clock)
        if swap.error is not None:
            self._check_refusal(pool, swap, clock)
            return None
        arguments, options = (swap.mint, swap.amount, swap.mode.swap_mode, clock), options_of(pool, swap)
        quoted = pool.quote(*arguments, **options)
        self._compare("quote", _amounts(swap.amount_in, swap.amount_out), _amounts(quoted.in_amount, quoted.out_amount))
        if _misses(swap, quoted):
            self._differ("threshold", "met", f"missed: {_amounts(quoted.in_amount, quoted.out_amount)}")
        after, applied = pool.apply(*arguments, **options)
        self._compare("apply", quoted, applied)
        if swap.post_accounts is not None:
            expected = self._after(accounts or self._loaded, swap.post_accounts)
            self._check_state(after, expected)
        return after

    def _check_refusal(self, pool: Pool, swap: RecordedSwap, clock: ChainClock) -> None:
        failure = swap.error
        assert failure is not None
        if failure.kind in _OF_THE_TRANSACTION:
            return
        arguments, options = (swap.mint, swap.amount, swap.mode.swap_mode, clock), options_of(pool, swap)
        try:
            quoted = pool.quote(*arguments, **options)
        except SwapRefused as refused:
            if failure.kind not in _OF_THE_USER:
                expected = failure.custom, failure.name
                self._compare("refusal", expected, (refused.program_code, refused.name))
            return
        if failure.kind in _OF_THE_USER:
            short = quoted.in_amount > self._recording.user.balance_of_each_token_account
            self._compare("refusal", True, short)
        elif failure.kind == "slippage":
            exceeded = self._program.SLIPPAGE_EXCEEDED[swap.mode.swap_mode]
            self._compare("refusal", (failure.custom, failure.name, True), (*_pair(exceeded), _misses(swap, quoted)))
            if swap.reference is not None:
                reference = _amounts(swap.reference["amount_in"], swap.reference["amount_out"])
                self._compare("quote", reference, _amounts(quoted.in_amount, quoted.out_amount))
        else:
            refused_as = f"refused: {failure.custom} {failure.name} ({failure.kind})"
            self._differ("refusal", refused_as, _amounts(quoted.in_amount, quoted.out_amount))

    def _check_instruction(
        self, pool: Pool, swap: RecordedSwap, recorded: RecordedInstruction, clock: ChainClock
    ) -> None:
        keys = tuple(Pubkey.from_string(meta.pubkey) for meta in recorded.accounts)
        read = self._program.read_swap(keys, bytes.fromhex(recorded.data))
        options = options_of(pool, swap)
        asked = (pool.address, swap.amount, swap.threshold, swap.mode.swap_mode, options)
        given = {name: getattr(read, name) for name in options}
        self._compare("instruction read", asked, (read.pool, read.amount, read.threshold, read.swap_mode, given))
        if swap.instruction is None:  # the others are older kinds, which we read but do not write
            written = instruction_of(pool, read.user, swap, clock)
            self._compare("instruction", _recorded(recorded), _written(written))

    def _check_state(self, after: Pool, expected: dict[Pubkey, Account]) -> None:
        encoded = after.encode()
        if isinstance(after, DammPool) and not after.state_is_exact:
            encoded[after.address] = after.with_volatility_of(encoded[after.address], expected[after.address])
        self._compare_accounts("state", expected, encoded)

    def _compare_accounts(self, aspect: str, expected: dict[Pubkey, Account], actual: dict[Pubkey, Account]) -> None:
        """Every account that we would write is as the program left it, changed or not, to the byte."""
        wrong = [
            (self._role(key), _first_difference(expected[key].data, account.data))
            for key, account in actual.items()
            if expected[key].data != account.data
        ]
        for role, (at, theirs, ours) in wrong:
            self._differ(f"{aspect} of {role}", f"at byte {at}: {theirs}", f"at byte {at}: {ours}")
        unknown = [self._role(key) for key in expected if key not in actual and expected[key] != self._loaded.get(key)]
        for role in unknown:
            self._differ(f"{aspect} of {role}", "changed", "not among the pool's accounts")
        self._report.agreed[aspect] += not wrong and not unknown

    def _after(self, accounts: dict[Pubkey, Account], changes: dict[str, str]) -> dict[Pubkey, Account]:
        """The accounts with a swap's recorded changes."""
        changed = dict(accounts)
        for role, data in changes.items():
            key = self._recorded.address_of(role)
            before = accounts[key]
            changed[key] = Account(before.owner, before.lamports, base64.b64decode(data))
        return changed

    def _role(self, key: Pubkey) -> str:
        roles = {account.pubkey: role for role, account in self._recorded.accounts.items()}
        return roles.get(str(key), str(key))

    def _check_strict(
        self, swap: RecordedSwap, expected: int, clock: ChainClock, accounts: dict[Pubkey, Account]
    ) -> None:
        """AMM v4: what a program with the other rounding would pay or charge; 0 where it would refuse."""
        pool = self._decode(accounts, Rounding.STRICT)
        try:
            quoted = pool.quote(swap.mint, swap.amount, swap.mode.swap_mode, clock)
            actual = quoted.in_amount if swap.mode is Mode.EXACT_OUT else quoted.out_amount
        except SwapRefused:
            actual = 0
        self._compare("strict rounding", expected, actual)


def options_of(pool: Pool, swap: RecordedSwap) -> dict[str, Any]:
    """The keyword arguments that this venue's quote, apply and instruction take beyond those all share."""
    if isinstance(pool, ClmmPool):
        return {"sqrt_price_limit_x64": swap.sqrt_price_limit}
    if isinstance(pool, DammPool):
        return {"partial_fill": swap.mode is Mode.PARTIAL_FILL}
    return {}


def instruction_of(pool: Pool, user: SwapAccounts, swap: RecordedSwap, clock: ChainClock) -> Instruction:
    """Our instruction for a recorded swap, with as many arrays as the recordings list."""
    options = options_of(pool, swap)
    if isinstance(pool, DammPool):
        options["clock"] = clock
    if isinstance(pool, ClmmPool | DlmmPool):
        options["array_limit"] = RECORDED_ARRAYS
    return pool.swap_instruction(user, swap.mint, swap.amount, swap.threshold, swap.mode.swap_mode, **options)


def _described(swap: RecordedSwap) -> str:
    return f"{swap.mode.value} of {swap.amount} from {swap.input}"


def _amounts(paid: int | None, received: int | None) -> str:
    return f"{paid} in, {received} out"


def _pair(error: Any) -> tuple[int, str]:
    return error.code, error.name


def _misses(swap: RecordedSwap, quoted: Quote) -> bool:
    if swap.mode.swap_mode is SwapMode.EXACT_OUT:
        return quoted.in_amount > swap.threshold
    return quoted.out_amount < swap.threshold


def _recorded(instruction: RecordedInstruction) -> str:
    metas = [f"{meta.pubkey}{_flags(meta.is_signer, meta.is_writable)}" for meta in instruction.accounts]
    return f"{instruction.program_id} {instruction.data} {' '.join(metas)}"


def _written(instruction: Instruction) -> str:
    metas = [f"{meta.pubkey}{_flags(meta.is_signer, meta.is_writable)}" for meta in instruction.accounts]
    return f"{instruction.program_id} {bytes(instruction.data).hex()} {' '.join(metas)}"


def _flags(is_signer: bool, is_writable: bool) -> str:
    return ("/signer" if is_signer else "") + ("/writable" if is_writable else "")


def _first_difference(expected: bytes, actual: bytes) -> tuple[int, str, str]:
    """Offset of the first byte that differs, and up to 16 bytes of each from there on."""
    at = next((at for at, (one, other) in enumerate(zip(expected, actual, strict=False)) if one != other), None)
    start = min(len(expected), len(actual)) if at is None else at
    return start, expected[start : start + 16].hex(), actual[start : start + 16].hex()
