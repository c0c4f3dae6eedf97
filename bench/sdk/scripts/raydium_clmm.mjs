// Raydium CLMM through @raydium-io/raydium-sdk-v2: swapInternal is the arithmetic alone, PoolUtils.computeAmountOut what
// the package's documentation shows (it adds price impact and slippage).
import { loadRaydium, token } from "./raydium.mjs";

export async function connect(require) {
  const { sdk, BN, Decimal, PublicKey } = await loadRaydium(require);
  const LOWEST = sdk.MIN_SQRT_PRICE_X64.addn(1);
  const HIGHEST = sdk.MAX_SQRT_PRICE_X64.subn(1);

  const UNUSED_PRICE = new Decimal(1);

  function decode({ accounts }) {
    const accInfo = sdk.PoolInfoLayout.decode(accounts.pool.data);
    const configInfo = sdk.ClmmConfigLayout.decode(accounts.amm_config.data);
    const exBitmapInfo = sdk.TickArrayBitmapExtensionLayout.decode(accounts.bitmap_extension.data);
    const tickArrays = [];
    const tickArrayCache = {};
    for (const role in accounts) {
      if (!role.startsWith("tick_array_")) continue;
      const { key, data } = accounts[role];
      const value = sdk.TickArrayLayout.decode(data);
      tickArrays.push({ address: key, value });
      tickArrayCache[value.startTickIndex] = { ...value, address: key };
    }
    // swapInternal wants the arrays in the order in which the price meets them, from the current one onwards.
    const width = 60 * accInfo.tickSpacing;
    const start = ({ value }) => value.startTickIndex;
    tickArrays.sort((a, b) => start(a) - start(b));
    const arraysAhead = {
      true: tickArrays.filter((array) => start(array) <= accInfo.tickCurrent).reverse(),
      false: tickArrays.filter((array) => start(array) + width > accInfo.tickCurrent),
    };
    const id = accounts.pool.key;
    const programId = accounts.pool.owner;
    return { accInfo, configInfo, exBitmapInfo, arraysAhead, tickArrayCache, id, programId };
  }

  /** What computeAmountOut takes. */
  function computeInfo({ accounts }, { accInfo, configInfo, exBitmapInfo, id, programId }) {
    return {
      ...accInfo,
      accInfo,
      id,
      programId,
      version: 6,
      mintA: token(accInfo.mintA, accounts.mint_0.owner, accInfo.mintDecimalsA),
      mintB: token(accInfo.mintB, accounts.mint_1.owner, accInfo.mintDecimalsB),
      ammConfig: { ...configInfo, id: accounts.amm_config.key },
      currentPrice: UNUSED_PRICE,
      exBitmapInfo,
      exBitmapAccount: accounts.bitmap_extension.key,
    };
  }

  function prepare(raw, swap, state) {
    const { accounts, clock } = raw;
    const forward = swap.input_mint === accounts.mint_0.key.toBase58();
    const baseMint = (forward ? accounts.mint_0 : accounts.mint_1).key;
    const poolInfo = computeInfo(raw, state);
    const epochInfo = { epoch: clock.epoch, slotIndex: 0, slotsInEpoch: 432000, absoluteSlot: clock.slot };
    return { forward, baseMint, epochInfo, poolInfo, amount: new BN(swap.amount), now: clock.unix_timestamp };
  }

  const swapInternal = (state, { forward, amount, now }) =>
    sdk.swapInternal({
      programId: state.programId,
      poolId: state.id,
      poolInfo: state.accInfo,
      tickArrays: state.arraysAhead[forward],
      configInfo: state.configInfo,
      tickarrayBitmapExtension: state.exBitmapInfo,
      amountSpecified: amount,
      sqrtPriceLimitX64: forward ? LOWEST : HIGHEST,
      zeroForOne: forward,
      isBaseInput: true,
      blockTimestamp: now,
      includeExtraTickArrays: false,
    });

  const computeAmountOut = (state, { poolInfo, baseMint, epochInfo, amount, now }) =>
    sdk.PoolUtils.computeAmountOut({
      poolInfo,
      tickarrayBitmapExtension: state.exBitmapInfo,
      tickArrayCache: state.tickArrayCache,
      baseMint,
      epochInfo,
      amountIn: amount,
      slippage: 0,
      catchLiquidityInsufficient: true,
      blockTimestamp: now,
    });

  return {
    PublicKey,
    decode,
    prepare,
    functions: {
      swapInternal: {
        quote: swapInternal,
        amounts: (result, { amount }) => [
          amount.sub(result.amountSpecifiedRemaining.abs()),
          result.amountCalculated.abs(),
        ],
      },
      "PoolUtils.computeAmountOut": {
        quote: computeAmountOut,
        amounts: (result) => [result.realAmountIn.amount, result.amountOut.amount],
      },
    },
  };
}
