import { type BucketKey, bucketText } from './model.ts';

/** Rates of one group's buckets as one line, such as `0:120 1:35 7:0.5`; buckets without load are left out. */
export interface GroupLoads {
  readonly group: string;
  readonly loads: string;
}

/** Rates as small text that survives the process; two significant digits are more than a measurement has. */
export function writeRates(
  rates: Readonly<Record<string, number>>,
  buckets: readonly BucketKey[],
): GroupLoads[] {
  const lines = new Map<string, string[]>();
  for (const bucket of buckets) {
    const rate = rounded(rates[bucketText(bucket)] ?? 0);
    if (rate === 0) continue;
    lines.set(bucket.group, [...(lines.get(bucket.group) ?? []), `${bucket.id}:${rate}`]);
  }
  return [...lines].map(([group, loads]) => ({ group, loads: loads.join(' ') }));
}

/** The inverse of `writeRates`; what cannot be read is left out. */
export function readRates(groups: readonly GroupLoads[]): Record<string, number> {
  const rates: Record<string, number> = {};
  for (const { group, loads } of groups) {
    for (const [, id, rate] of loads.matchAll(/(?:^| )([0-9]{1,4}):([0-9]+(?:\.[0-9]+)?)(?= |$)/g)) {
      rates[bucketText({ group, id: Number(id) })] = Number(rate);
    }
  }
  return rates;
}

/** Two significant digits without an exponent; under a tenth of an operation a second is none. */
function rounded(rate: number): number {
  if (!(rate >= 0.1) || !Number.isFinite(rate)) return 0;
  return Number(Math.min(rate, 1e15).toPrecision(2));
}
