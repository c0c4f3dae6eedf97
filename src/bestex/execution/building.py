"""From a route to a transaction: the swap, and what must stand around it."""

from collections.abc import Mapping, Sequence

import msgspec
from solders.instruction import Instruction
from solders.pubkey import Pubkey

from bestex.errors import NoRoute
from bestex.routing.quote import Route
from bestex.solana.instructions import (
    close_token_account,
    compute_unit_limit,
    compute_unit_price,
    create_account_with_seed,
    create_token_account_idempotent,
    initialize_token_account,
    memo,
)
from bestex.solana.transaction import Draft, draft
from bestex.types import Mint, SwapMode, Token
from bestex.venues.math import rent_exempt
from bestex.venues.pool import SwapAccounts
from bestex.venues.token import ACCOUNT_SIZE, NATIVE_MINT, TOKEN_PROGRAM, associated_token_address

TOKEN_ACCOUNT_RENT_LAMPORTS = rent_exempt(ACCOUNT_SIZE)


class Step(msgspec.Struct, frozen=True, gc=False):
    """An instruction, and its name for people."""

    name: str
    instruction: Instruction


class Composition(msgspec.Struct, frozen=True, gc=False):
    """A transaction that is ready but for its signature."""

    draft: Draft
    steps: tuple[str, ...]


class Composer:
    """Composes the transactions of one wallet.

    SOL is wrapped into a temporary account that lives for one transaction: nothing stays wrapped, and a wrapped-SOL
    account that the user has is never touched. A memo with the order and attempt makes every transaction unique:
    two equal orders under one blockhash would otherwise have the same signature, and only one of them would land.
    """

    def __init__(self, wallet: Pubkey) -> None:
        self._wallet = wallet
        self._token_accounts: dict[Mint, Pubkey] = {}

    def source_account(self, token: Token) -> Pubkey:
        """The wallet's token account that pays; for SOL the wallet itself."""
        return self._wallet if token.mint == NATIVE_MINT else self._token_account(token)

    def _token_account(self, token: Token) -> Pubkey:
        account = self._token_accounts.get(token.mint)
        if account is None:
            account = associated_token_address(self._wallet, token.mint, token.program)
            self._token_accounts[token.mint] = account
        return account

    def compose(
        self,
        route: Route,
        tokens: Sequence[Token],
        *,
        reference: str,
        attempt: int,
        blockhash: str,
        unit_limit: int,
        unit_price_micro_lamports: int,
    ) -> Composition:
        """The transaction of a route over these tokens, those of `Route.mints`. `reference` is the order's id.

        Raises NoRoute when it does not fit.
        """
        before, accounts, after = self.surroundings(
            tokens,
            route.most_in,
            reference=reference,
            attempt=attempt,
            unit_limit=unit_limit,
            unit_price_micro_lamports=unit_price_micro_lamports,
        )
        steps = [*before, *self._swaps(route, accounts), *after]
        try:
            compiled = draft(self._wallet, [step.instruction for step in steps], blockhash)
        except ValueError as error:
            raise NoRoute(f"the route does not fit into one transaction: {error}") from error
        return Composition(compiled, tuple(step.name for step in steps))

    def surroundings(
        self,
        tokens: Sequence[Token],
        spent: int,
        *,
        reference: str,
        attempt: int,
        unit_limit: int,
        unit_price_micro_lamports: int,
    ) -> tuple[list[Step], Mapping[Mint, Pubkey], list[Step]]:
        """What comes before the swaps, the token accounts that these use, and what comes after.

        `spent` is the most that the swaps take of the first token, base units.
        """
        before = [
            Step("setComputeUnitLimit", compute_unit_limit(unit_limit)),
            Step("setComputeUnitPrice", compute_unit_price(unit_price_micro_lamports)),
            Step("memo", memo(f"bestex:{reference}:{attempt}")),
        ]
        after: list[Step] = []
        accounts: dict[Mint, Pubkey] = {}
        for place, token in enumerate(tokens):
            if token.mint == NATIVE_MINT:
                lamports = TOKEN_ACCOUNT_RENT_LAMPORTS + (0 if place else spent)
                account, opening, after = self._temporary_sol(reference.replace("-", ""), lamports)
                before += opening
            else:
                account = self._token_account(token)
                if place:  # what is sold is there already
                    create = create_token_account_idempotent(self._wallet, account, token.mint, token.program)
                    before.append(Step("createTokenAccount", create))
            accounts[token.mint] = account
        return before, accounts, after

    def _temporary_sol(self, seed: str, lamports: int) -> tuple[Pubkey, list[Step], list[Step]]:
        account = Pubkey.create_with_seed(self._wallet, seed, TOKEN_PROGRAM)
        create = create_account_with_seed(
            self._wallet, account, seed, lamports=lamports, space=ACCOUNT_SIZE, owner=TOKEN_PROGRAM
        )
        initialize = initialize_token_account(account, NATIVE_MINT, self._wallet, TOKEN_PROGRAM)
        close = close_token_account(account, self._wallet, TOKEN_PROGRAM)
        before = [Step("createWrappedSol", create), Step("initializeWrappedSol", initialize)]
        return account, before, [Step("unwrapSol", close)]

    def _swaps(self, route: Route, accounts: Mapping[Mint, Pubkey]) -> list[Step]:
        """In the order of the legs; each has its own threshold, so a swap that misses it undoes all of them."""
        steps = []
        for leg in route.legs:
            user = SwapAccounts(owner=self._wallet, source=accounts[leg.in_mint], destination=accounts[leg.out_mint])
            amount = leg.in_amount if route.swap_mode is SwapMode.EXACT_IN else leg.out_amount
            swap = leg.pool.swap_instruction(user, leg.in_mint, amount, leg.other_amount_threshold, route.swap_mode)
            steps.append(Step(f"swap:{leg.pool.venue}", swap))
        return steps
