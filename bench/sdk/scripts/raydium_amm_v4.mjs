// Raydium AMM v4 through @raydium-io/raydium-sdk-v2: Liquidity.computeAmountOut, its only quote function (it adds price
// impact and slippage).
import { loadRaydium } from "./raydium.mjs";

export async function connect(require) {
  const { sdk, BN, Decimal, PublicKey, raydium } = await loadRaydium(require);

  const UNUSED_PRICE = new Decimal(1);

  function decode({ accounts }) {
    const state = sdk.liquidityStateV4Layout.decode(accounts.amm.data);
    const mintAAmount = sdk.splAccountLayout.decode(accounts.coin_vault.data).amount;
    const mintBAmount = sdk.splAccountLayout.decode(accounts.pc_vault.data).amount;
    const baseReserve = mintAAmount.sub(state.baseNeedTakePnl);
    const quoteReserve = mintBAmount.sub(state.quoteNeedTakePnl);
    const programId = accounts.amm.owner;
    const data = { ...state, baseReserve, quoteReserve, mintAAmount, mintBAmount, poolPrice: UNUSED_PRICE, programId };
    const id = accounts.amm.key.toBase58();
    return sdk.toAmmComputePoolInfo({ [id]: data })[id];
  }

  function prepare({ accounts }, swap) {
    const coin = accounts.mint_coin.key.toBase58();
    const pc = accounts.mint_pc.key.toBase58();
    const forward = swap.input_mint === coin;
    return { amount: new BN(swap.amount), mintIn: forward ? coin : pc, mintOut: forward ? pc : coin };
  }

  return {
    PublicKey,
    decode,
    prepare,
    functions: {
      "Liquidity.computeAmountOut": {
        quote: (poolInfo, { amount, mintIn, mintOut }) =>
          raydium.liquidity.computeAmountOut({ poolInfo, amountIn: amount, mintIn, mintOut, slippage: 0 }),
        amounts: (result, { amount }) => [amount, result.amountOut],
      },
    },
  };
}
