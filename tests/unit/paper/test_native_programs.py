"""The programs around a swap do what Solana's own do: same errors, same balances, same account bytes."""

import struct
from collections.abc import Sequence

import pytest
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from bestex.types import Account
from bestex.venues.token import NATIVE_MINT, TOKEN_PROGRAM, mint_account, token_account
from tests.support import paper
from tests.support.native import ours, real
from tests.support.paper import STRANGER, SYSTEM_PROGRAM, TOKEN_ACCOUNT_RENT, USDC, USDT, WALLET, ata

ME, THEM = WALLET.pubkey(), STRANGER.pubkey()
NEW = Keypair.from_seed(b"an account that does not exist..")
SEEDED = Pubkey.create_with_seed(ME, "temporary", TOKEN_PROGRAM)
EMPTY = Pubkey.from_string("EmptyAccount1111111111111111111111111111111")
FROZEN, MY_SOL, RICH, ZEROS, ODD = (Pubkey(bytes([byte]) * 32) for byte in (7, 8, 9, 10, 11))


def frozen(account: Account) -> Account:
    return Account(account.owner, account.lamports, account.data[:108] + b"\x02" + account.data[109:])


WORLD = {
    ME: Account(SYSTEM_PROGRAM, 10_000_000_000, b""),
    THEM: Account(SYSTEM_PROGRAM, 5_000_000_000, b""),
    USDC: mint_account(6, 10**15),
    USDT: mint_account(6, 10**15),
    NATIVE_MINT: mint_account(9, 0),
    ata(USDC): token_account(USDC, ME, 1_000_000),
    ata(USDC, THEM): token_account(USDC, THEM, 2_000_000),
    ata(USDT): token_account(USDT, ME, 0),
    FROZEN: frozen(token_account(USDC, ME, 1_000)),
    MY_SOL: token_account(NATIVE_MINT, ME, 1_000_000_000),
    RICH: token_account(USDC, THEM, 2**64 - 1),
    ZEROS: Account(TOKEN_PROGRAM, TOKEN_ACCOUNT_RENT, bytes(165)),
    ODD: Account(TOKEN_PROGRAM, 10_000_000, bytes(100)),
}

WRAP = [
    paper.create_with_seed(ME, SEEDED, "temporary", TOKEN_ACCOUNT_RENT + 777),
    paper.initialize_account(SEEDED, NATIVE_MINT, ME),
]

CASES: dict[str, Sequence[Instruction]] = {
    # System
    "transfer": [paper.transfer_sol(ME, THEM, 1_000)],
    "transfer to a new account": [paper.transfer_sol(ME, EMPTY, 1_000_000)],
    "transfer too little to stay": [paper.transfer_sol(ME, EMPTY, 1_000)],
    "transfer all but the fee": [paper.transfer_sol(ME, THEM, 10_000_000_000 - 5_000)],
    "transfer and leave dust": [paper.transfer_sol(ME, THEM, 10_000_000_000 - 5_001)],
    "transfer more than there is": [paper.transfer_sol(ME, THEM, 20_000_000_000)],
    "transfer to oneself": [paper.transfer_sol(ME, ME, 1_000)],
    "transfer, short of data": [Instruction(SYSTEM_PROGRAM, b"\x02\0\0\0\1", [AccountMeta(ME, True, True)])],
    "transfer, short of accounts": [
        Instruction(SYSTEM_PROGRAM, struct.pack("<IQ", 2, 1), [AccountMeta(ME, True, True)])
    ],
    "transfer, not signed": [
        Instruction(
            SYSTEM_PROGRAM, struct.pack("<IQ", 2, 1), [AccountMeta(THEM, False, True), AccountMeta(ME, False, True)]
        )
    ],
    "create": [paper.create_account(ME, NEW.pubkey(), TOKEN_ACCOUNT_RENT, 165, TOKEN_PROGRAM)],
    "create without rent": [paper.create_account(ME, NEW.pubkey(), 1_000_000, 165, TOKEN_PROGRAM)],
    "create what exists": [paper.create_with_seed(ME, SEEDED, "temporary", 3_000_000)] * 2,
    "create from a wrong seed": [paper.create_with_seed(ME, SEEDED, "another", 3_000_000)],
    "create with a seed": [paper.create_with_seed(ME, SEEDED, "temporary", 3_000_000, 10)],
    "create beyond means": [paper.create_with_seed(ME, SEEDED, "temporary", 30_000_000_000)],
    # Token: accounts
    "wrap": WRAP,
    "wrap and unwrap": [*WRAP, paper.close_account(SEEDED, ME, ME)],
    "initialize twice": [*WRAP, paper.initialize_account(SEEDED, USDC, ME)],
    "initialize without rent": [
        paper.create_with_seed(ME, SEEDED, "temporary", 1_500_000),
        paper.initialize_account(SEEDED, USDC, ME),
    ],
    "initialize with no mint": [WRAP[0], paper.initialize_account(SEEDED, ME, ME)],
    "initialize a wallet": [paper.initialize_account(THEM, USDC, ME)],
    "initialize a wrong size": [paper.initialize_account(ODD, USDC, ME)],
    "close": [paper.close_account(ata(USDT), ME, ME)],
    "close with a balance": [paper.close_account(ata(USDC), ME, ME)],
    "close into itself": [paper.close_account(ata(USDT), ata(USDT), ME)],
    "close another's": [paper.close_account(RICH, ME, ME)],
    "close a wallet": [paper.close_account(THEM, ME, ME)],
    "close wrapped SOL to another": [paper.close_account(MY_SOL, THEM, ME)],
    # Token: transfers
    "send": [paper.transfer(ata(USDC), ata(USDC, THEM), ME, 400_000)],
    "send everything": [paper.transfer(ata(USDC), ata(USDC, THEM), ME, 1_000_000)],
    "send nothing": [paper.transfer(ata(USDC), ata(USDC, THEM), ME, 0)],
    "send too much": [paper.transfer(ata(USDC), ata(USDC, THEM), ME, 1_000_001)],
    "send to oneself": [paper.transfer(ata(USDC), ata(USDC), ME, 5)],
    "send too much to oneself": [paper.transfer(ata(USDC), ata(USDC), ME, 5_000_000)],
    "send another's": [paper.transfer(ata(USDC, THEM), ata(USDC), ME, 5)],
    "send to another mint": [paper.transfer(ata(USDC), ata(USDT), ME, 5)],
    "send from frozen": [paper.transfer(FROZEN, ata(USDC), ME, 5)],
    "send to frozen": [paper.transfer(ata(USDC), FROZEN, ME, 5)],
    "send to a wallet": [paper.transfer(ata(USDC), THEM, ME, 5)],
    "send to zero bytes": [paper.transfer(ata(USDC), ZEROS, ME, 5)],
    "send to a wrong size": [paper.transfer(ata(USDC), ODD, ME, 5)],
    "send to nowhere": [paper.transfer(ata(USDC), EMPTY, ME, 5)],
    "send unsigned": [
        Instruction(
            TOKEN_PROGRAM,
            struct.pack("<BQ", 3, 5),
            [AccountMeta(ata(USDC), False, True), AccountMeta(RICH, False, True), AccountMeta(THEM, False, False)],
        )
    ],
    "send read-only": [
        Instruction(
            TOKEN_PROGRAM,
            struct.pack("<BQ", 3, 5),
            [
                AccountMeta(ata(USDC), False, False),
                AccountMeta(ata(USDC, THEM), False, True),
                AccountMeta(ME, True, False),
            ],
        )
    ],
    "send wrapped SOL": [*WRAP, paper.transfer(MY_SOL, SEEDED, ME, 123)],
    "send checked": [paper.transfer_checked(ata(USDC), USDC, ata(USDC, THEM), ME, 7, 6)],
    "send with wrong decimals": [paper.transfer_checked(ata(USDC), USDC, ata(USDC, THEM), ME, 7, 9)],
    "send checked by another mint": [paper.transfer_checked(ata(USDC), USDT, ata(USDC, THEM), ME, 7, 6)],
    "send too much, checked": [paper.transfer_checked(ata(USDC), USDC, ata(USDC, THEM), ME, 10**9, 6)],
    "sync": [paper.transfer_sol(ME, MY_SOL, 12_345), paper.sync_native(MY_SOL)],
    "sync what is in sync": [paper.sync_native(MY_SOL)],
    "sync a token": [paper.sync_native(ata(USDC))],
    "sync a wallet": [paper.sync_native(THEM)],
    "no instruction": [Instruction(TOKEN_PROGRAM, b"", [])],
    "short of data": [
        Instruction(
            TOKEN_PROGRAM,
            b"\x03\x01",
            [AccountMeta(ata(USDC), False, True), AccountMeta(RICH, False, True), AccountMeta(ME, True, False)],
        )
    ],
    # Associated Token Account
    "open an account": [paper.create_ata(ME, ME, NATIVE_MINT)],
    "open an account for another": [paper.create_ata(ME, THEM, USDT, idempotent=False)],
    "open what is open": [paper.create_ata(ME, ME, USDC)],
    "open anew what is open": [paper.create_ata(ME, ME, USDC, idempotent=False)],
    "open and fund": [
        paper.create_ata(ME, ME, NATIVE_MINT),
        paper.transfer_sol(ME, ata(NATIVE_MINT), 9),
        paper.sync_native(ata(NATIVE_MINT)),
    ],
    "open a prefunded account": [
        paper.transfer_sol(ME, ata(NATIVE_MINT), 1_000_000),
        paper.create_ata(ME, ME, NATIVE_MINT),
    ],
    "open a rich account": [
        paper.transfer_sol(ME, ata(NATIVE_MINT), 4_000_000),
        paper.create_ata(ME, ME, NATIVE_MINT),
    ],
    "open without a mint": [paper.create_ata(ME, ME, THEM)],
    # Whole transactions
    "first leg undone by the second": [
        paper.transfer(ata(USDC), ata(USDC, THEM), ME, 400_000),
        paper.transfer_sol(ME, THEM, 20_000_000_000),
    ],
    "budget": [paper.unit_limit(50_000), paper.unit_price(1_000_000), paper.transfer_sol(ME, THEM, 1)],
    "budget, rounded up": [paper.unit_limit(50_001), paper.unit_price(1), paper.transfer_sol(ME, THEM, 1)],
    "limit given twice": [paper.unit_limit(50_000), paper.unit_limit(50_000)],
    "malformed limit": [paper.transfer_sol(ME, THEM, 1), Instruction(paper.COMPUTE_BUDGET, b"\x02\x01", [])],
    "limit too low": [paper.unit_limit(100), paper.transfer(ata(USDC), ata(USDC, THEM), ME, 1)],
    "fee beyond means": [paper.unit_limit(1_000_000), paper.unit_price(10**10), paper.transfer_sol(ME, THEM, 1)],
    "memo": [paper.memo("grüße".encode())],
    "nothing": [],
}


@pytest.mark.parametrize("name", CASES)
def test_same_as_solana(name: str) -> None:
    instructions = CASES[name]
    needed = {meta.pubkey for step in instructions for meta in step.accounts if meta.is_signer}
    signers = [key for key in (STRANGER, NEW) if key.pubkey() in needed]
    assert ours(WORLD, instructions, *signers) == real(WORLD, instructions, *signers)
