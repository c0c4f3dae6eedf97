// Meteora DLMM through @meteora-ag/dlmm: DLMM.swapQuote, on an object built from decoded accounts.
import { createRequire } from "node:module";

export async function connect(require) {
  const name = "@meteora-ag/dlmm";
  const sdk = require(name);
  const own = createRequire(require.resolve(name));
  const DLMM = sdk.default ?? sdk;
  const BN = own("bn.js");
  const { PublicKey, Connection } = own("@solana/web3.js");
  const { unpackMint, unpackAccount } = own("@solana/spl-token");
  const offline = async () => {
    throw new Error("no network in a benchmark");
  };
  const program = sdk.createProgram(new Connection("http://127.0.0.1:9", { fetch: offline }));
  const NO_SLIPPAGE = new BN(0);

  function reserve({ accounts }, side) {
    const mint = accounts[`mint_${side}`];
    const vault = accounts[`reserve_${side}`];
    return {
      publicKey: mint.key,
      reserve: vault.key,
      mint: unpackMint(mint.key, mint, mint.owner),
      amount: unpackAccount(vault.key, vault, vault.owner).amount,
      owner: mint.owner,
      transferHookAccountMetas: [],
    };
  }

  function decode(raw) {
    const { accounts, clock } = raw;
    const pair = sdk.decodeAccount(program, "lbPair", accounts.lb_pair.data);
    const extension = accounts.bitmap_extension && {
      publicKey: accounts.bitmap_extension.key,
      account: sdk.decodeAccount(program, "binArrayBitmapExtension", accounts.bitmap_extension.data),
    };
    const binArrays = [];
    for (const role in accounts) {
      if (!role.startsWith("bin_array_")) continue;
      const { key, data } = accounts[role];
      binArrays.push({ publicKey: key, account: sdk.decodeAccount(program, "binArray", data) });
    }
    const now = {
      slot: new BN(clock.slot),
      epochStartTimestamp: new BN(0),
      epoch: new BN(clock.epoch),
      leaderScheduleEpoch: new BN(clock.epoch),
      unixTimestamp: new BN(clock.unix_timestamp),
    };
    const tokens = [reserve(raw, "x"), reserve(raw, "y")];
    const dlmm = new DLMM(accounts.lb_pair.key, program, pair, extension ?? null, ...tokens, [null, null], now);
    return { dlmm, binArrays };
  }

  return {
    PublicKey,
    decode,
    prepare: ({ accounts }, swap) => ({
      forward: swap.input_mint === accounts.mint_x.key.toBase58(),
      amount: new BN(swap.amount),
    }),
    functions: {
      "DLMM.swapQuote": {
        quote: ({ dlmm, binArrays }, { forward, amount }) => dlmm.swapQuote(amount, forward, NO_SLIPPAGE, binArrays),
        amounts: (result) => [result.consumedInAmount, result.outAmount],
      },
    },
  };
}
