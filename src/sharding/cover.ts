import type { Bound, Bucket } from '../api/v1alpha1/shard-map.ts';

/** How the buckets of a group compare with other bounds for the same keys. */
export interface Cover<T> {
  /** Of the bounds given: those whose keys no bucket takes. */
  readonly missing: readonly T[];
  /** Buckets that take keys which none of the bounds given takes, or some and not all of one. */
  readonly extra: readonly Bucket[];
}

/**
 * Compares the buckets of a group that was split, isolated from or merged with the bounds of its first layout. Whole regions and
 * defaults are compared as such; a tenant may have been isolated, so that one which the layout does not name is not extra.
 */
export function coverOf<T extends { readonly bound: Bound }>(
  slots: readonly T[],
  buckets: readonly Bucket[],
): Cover<T> {
  const missing: T[] = [];
  const extra: Bucket[] = [];
  const names = new Set([...slots.map(({ bound }) => levelOf(bound)), ...buckets.map(levelOf)]);
  for (const name of names) {
    const wanted = slots.filter(({ bound }) => levelOf(bound) === name);
    const known = buckets.filter((bucket) => levelOf(bucket) === name);
    const [first] = known;
    if (first === undefined) missing.push(...wanted);
    else if (wanted.length === 0) extra.push(...(isTenant(first) ? [] : known));
    else if (first.range !== undefined) {
      const found = coverRanges(wanted, known);
      missing.push(...found.missing);
      extra.push(...found.extra);
    } else if (first.hash !== undefined && !isWhole(known)) extra.push(...known);
  }
  return { missing, extra };
}

function isTenant({ values, region }: Bound): boolean {
  return values !== undefined && region === undefined;
}

function levelOf({ hash, range, region, values, isDefault }: Bound): string {
  const list = values === undefined ? undefined : [...values].sort();
  return JSON.stringify([hash !== undefined, range !== undefined, region, list, isDefault]);
}

/** Whether hash buckets, of which no two take one key, take all. */
function isWhole(buckets: readonly Bucket[]): boolean {
  const largest = Math.max(...buckets.map(({ hash }) => hash?.modulus ?? 1));
  return buckets.reduce((sum, { hash }) => sum + largest / (hash?.modulus ?? 1), 0) === largest;
}

/** Neighbouring ranges of both sides are followed from one common bound to the next. */
function coverRanges<T extends { readonly bound: Bound }>(
  slots: readonly T[],
  known: readonly Bucket[],
): Cover<T> {
  const missing: T[] = [];
  const left = new Set(known);
  const startingAt = (from: string | undefined) => known.find(({ range }) => range?.from === from);
  for (let index = 0; index < slots.length; ) {
    const run: Bucket[] = [];
    const start = startingAt(slots[index]?.bound.range?.from);
    let until = index;
    for (let bucket = start; bucket !== undefined; ) {
      run.push(bucket);
      const to = bucket.range?.to;
      const end = slots.findIndex(({ bound }, place) => place >= index && bound.range?.to === to);
      if (end >= 0) {
        until = end + 1;
        break;
      }
      bucket = to === undefined ? undefined : startingAt(to);
    }
    const slot = slots[index];
    if (until > index) for (const bucket of run) left.delete(bucket);
    else if (slot !== undefined) missing.push(slot);
    index = Math.max(until, index + 1);
  }
  return { missing, extra: [...left] };
}
