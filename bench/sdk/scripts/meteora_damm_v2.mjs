// Meteora DAMM v2 through @meteora-ag/cp-amm-sdk: getSwapResultFromExactInput is the arithmetic alone, CpAmm.getQuote2
// what the package's documentation shows (it adds price impact and slippage).
import { createRequire } from "node:module";

export async function connect(require) {
  const name = "@meteora-ag/cp-amm-sdk";
  const sdk = require(name);
  const own = createRequire(require.resolve(name));
  const BN = own("bn.js");
  const { PublicKey, Connection } = own("@solana/web3.js");
  const offline = async () => {
    throw new Error("no network in a benchmark");
  };
  const client = new sdk.CpAmm(new Connection("http://127.0.0.1:9", { fetch: offline }));
  const coder = client._program.coder.accounts;

  function prepare({ accounts, clock }, swap) {
    const { activationType, collectFeeMode } = coder.decode("pool", accounts.pool.data);
    const aToB = swap.input_mint === accounts.mint_a.key.toBase58();
    const direction = aToB ? sdk.TradeDirection.AtoB : sdk.TradeDirection.BtoA;
    const inSlots = activationType === sdk.ActivationType.Slot;
    return {
      amount: new BN(swap.amount),
      direction,
      inputTokenMint: new PublicKey(swap.input_mint),
      feeMode: sdk.getFeeMode(collectFeeMode, direction, false),
      currentPoint: new BN(inSlots ? clock.slot : clock.unix_timestamp),
      tokenADecimal: accounts.mint_a.data[44],
      tokenBDecimal: accounts.mint_b.data[44],
    };
  }

  return {
    PublicKey,
    decode: ({ accounts }) => coder.decode("pool", accounts.pool.data),
    prepare,
    functions: {
      getSwapResultFromExactInput: {
        quote: (pool, { amount, feeMode, direction, currentPoint }) =>
          sdk.getSwapResultFromExactInput(pool, amount, feeMode, direction, currentPoint),
        amounts: (result) => [result.includedFeeInputAmount, result.outputAmount],
      },
      "CpAmm.getQuote2": {
        quote: (poolState, { amount, inputTokenMint, currentPoint, tokenADecimal, tokenBDecimal }) =>
          client.getQuote2({
            inputTokenMint,
            slippage: 0,
            currentPoint,
            poolState,
            tokenADecimal,
            tokenBDecimal,
            hasReferral: false,
            swapMode: sdk.SwapMode.ExactIn,
            amountIn: amount,
          }),
        amounts: (result) => [result.includedFeeInputAmount, result.outputAmount],
      },
    },
  };
}
