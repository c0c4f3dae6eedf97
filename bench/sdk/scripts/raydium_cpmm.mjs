// Raydium CPMM through @raydium-io/raydium-sdk-v2: CurveCalculator is the arithmetic alone, Cpmm.computeSwapAmount what
// the package's documentation shows (it adds price impact and slippage).
import { loadRaydium } from "./raydium.mjs";

export async function connect(require) {
  const { sdk, BN, Decimal, PublicKey, raydium } = await loadRaydium(require);
  const ZERO = new BN(0);
  const UNUSED_PRICE = new Decimal(1);

  function decode({ accounts }) {
    const pool = sdk.CpmmPoolInfoLayout.decode(accounts.pool.data);
    const configInfo = sdk.CpmmConfigInfoLayout.decode(accounts.amm_config.data);
    const vault0 = sdk.splAccountLayout.decode(accounts.vault_0.data).amount;
    const vault1 = sdk.splAccountLayout.decode(accounts.vault_1.data).amount;
    const baseReserve = vault0.sub(pool.protocolFeesMintA).sub(pool.fundFeesMintA).sub(pool.creatorFeesMintA);
    const quoteReserve = vault1.sub(pool.protocolFeesMintB).sub(pool.fundFeesMintB).sub(pool.creatorFeesMintB);
    return { pool, configInfo, vault0, vault1, baseReserve, quoteReserve };
  }

  /** What computeSwapAmount takes, made by the package's own function. */
  function computeData({ accounts }, { pool, configInfo, vault0, vault1, baseReserve, quoteReserve }) {
    const id = accounts.pool.key.toBase58();
    const programId = accounts.pool.owner;
    const amounts = { vaultAAmount: vault0, vaultBAmount: vault1, baseReserve, quoteReserve };
    const mintInfos = {};
    for (const { key, owner, data } of [accounts.mint_0, accounts.mint_1]) {
      mintInfos[key.toBase58()] = { ...sdk.SPL_MINT_LAYOUT.decode(data), address: key, programId: owner };
    }
    const pools = { [id]: { ...pool, ...amounts, configInfo, poolPrice: UNUSED_PRICE, programId } };
    return raydium.cpmm.toComputePoolInfos({ pools, mintInfos })[id];
  }

  function prepare(raw, swap, state) {
    const { accounts } = raw;
    const forward = swap.input_mint === accounts.mint_0.key.toBase58();
    const outputMint = (forward ? accounts.mint_1 : accounts.mint_0).key;
    return { forward, outputMint, amount: new BN(swap.amount), pool: computeData(raw, state) };
  }

  function curve({ pool, configInfo, baseReserve, quoteReserve }, { forward, amount }) {
    return sdk.CurveCalculator.swapBaseInput(
      amount,
      forward ? baseReserve : quoteReserve,
      forward ? quoteReserve : baseReserve,
      configInfo.tradeFeeRate,
      pool.enableCreatorFee ? configInfo.creatorFeeRate : ZERO,
      configInfo.protocolFeeRate,
      configInfo.fundFeeRate,
      pool.feeOn === 0 || (pool.feeOn === 1) === forward,
    );
  }

  return {
    PublicKey,
    decode,
    prepare,
    functions: {
      "CurveCalculator.swapBaseInput": {
        quote: curve,
        amounts: (result) => [result.inputAmount, result.outputAmount],
      },
      "Cpmm.computeSwapAmount": {
        quote: (_, { pool, outputMint, amount }) =>
          raydium.cpmm.computeSwapAmount({ pool, amountIn: amount, outputMint, slippage: 0 }),
        amounts: (result) => [result.amountIn, result.amountOut],
      },
    },
  };
}
