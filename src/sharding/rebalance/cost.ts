import type { BalanceStrategy, BucketLoad } from './model.ts';

/** Weight of load beside size when balancing by load: a bucket that is big is worth placing well even while it rests. */
const loadWeight = 0.8;
/** Mean utilisation from which load counts in full: below it, what is measured is mostly noise. */
const busyUtilisation = 0.1;
/** Bytes of all buckets from which size counts in full. */
const substantialBytes = 64 * 1024 ** 2;

/**
 * What each bucket costs its shard, as a share of all: α · load + β · size, and the bare number of buckets for what is
 * left of the weight while there is too little load or data to tell. All costs together are 1.
 */
export function costsOf(
  buckets: readonly BucketLoad[],
  strategy: BalanceStrategy,
  meanUtilisation: number,
): number[] {
  const total = { load: 0, bytes: 0 };
  for (const bucket of buckets) {
    total.load += bucket.load;
    total.bytes += bucket.bytes;
  }
  const busy = total.load > 0 ? Math.min(1, Math.max(0, meanUtilisation) / busyUtilisation) : 0;
  const alpha = strategy === 'byLoad' ? loadWeight * busy : 0;
  const substance = total.bytes > 0 ? Math.min(1, total.bytes / substantialBytes) : 0;
  const beta = strategy === 'byCount' ? 0 : (1 - alpha) * substance;
  const rest = 1 - alpha - beta;
  return buckets.map(
    (bucket) =>
      (alpha === 0 ? 0 : (alpha * bucket.load) / total.load) +
      (beta === 0 ? 0 : (beta * bucket.bytes) / total.bytes) +
      rest / buckets.length,
  );
}
