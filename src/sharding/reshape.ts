import type { Bound, BucketBound } from '../api/v1alpha1/shard-map.ts';
import type { Problem } from './problem.ts';

/** Bounds that take the place of others, or why they cannot. */
export type Reshaped =
  | { readonly kind: 'bounds'; readonly bounds: readonly Bound[] }
  | { readonly kind: 'refused'; readonly problem: Problem };

function refused(code: string, message: string): Reshaped {
  return { kind: 'refused', problem: { code, message } };
}

/** Most buckets that one split makes. */
export const maxParts = 64;
/** PostgreSQL keeps a modulus in an int. */
const maxModulus = 2 ** 31 - 1;

/** A hash bucket in so many equal parts, a power of two. */
export function splitHash({ id: _, hash, ...rest }: BucketBound, parts: number): Reshaped {
  if (hash === undefined) return refused('NotHashed', 'only a hash bucket can be split into "parts"');
  if (parts < 2 || parts > maxParts || !Number.isInteger(Math.log2(parts))) {
    return refused('PartsNotPowerOfTwo', `"parts" is ${parts}: write 2, 4, 8, 16, 32 or ${maxParts}`);
  }
  const modulus = hash.modulus * parts;
  if (modulus > maxModulus) return refused('ModulusTooLarge', 'the bucket is too small a part to be split');
  const bounds = Array.from({ length: parts }, (_, part) => ({
    ...rest,
    hash: { modulus, remainder: hash.remainder + part * hash.modulus },
  }));
  return { kind: 'bounds', bounds };
}

/** A range in two, at a bound that the second one starts with, and which PostgreSQL has found to be inside: texts do not tell the order. */
export function splitRange({ id: _, range, ...rest }: BucketBound, at: string): Reshaped {
  if (range === undefined) return refused('NotARange', 'only a range can be split "at" a bound');
  const { from, to } = range;
  const lower = { ...rest, range: { ...(from === undefined ? {} : { from }), to: at } };
  const upper = { ...rest, range: { from: at, ...(to === undefined ? {} : { to }) } };
  return { kind: 'bounds', bounds: [lower, upper] };
}

/** What is said of a bound that is not inside of a range. */
export function outside({ from, to }: NonNullable<Bound['range']>, at: string): string {
  return (
    `"at: ${at}" is not inside of the range ${from ?? 'MINVALUE'} to ${to ?? 'MAXVALUE'}: write a value above the one and ` +
    'below the other, or leave "at" out for the median'
  );
}

/** A tenant apart from the bucket of the default that its rows are in. */
export function isolateTenant({ id: _, ...bound }: BucketBound, tenant: string): Reshaped {
  if (bound.isDefault !== true || bound.hash === undefined) {
    return refused('NotInDefault', `tenant "${tenant}" is not among those of the default`);
  }
  return { kind: 'bounds', bounds: [{ values: [tenant] }, bound] };
}

/** Siblings as one: hash buckets that a split could have made of one, or neighbouring ranges. */
export function mergeBounds(buckets: readonly BucketBound[]): Reshaped {
  const names = buckets.map(({ id }) => id).join(', ');
  const no = (why: string) => refused('NotSiblings', `buckets ${names} cannot be merged: ${why}`);
  const [first] = buckets;
  if (first === undefined || buckets.length < 2) return no('name two or more');
  if (buckets.some((bucket) => levelOf(bucket) !== levelOf(first))) return no('they are of different kinds');
  if (first.hash !== undefined) return mergeHashes(first, buckets, no);
  if (first.range !== undefined) return mergeRanges(first, buckets, no);
  return no('only hash buckets and ranges can');
}

/** What buckets have in common that are below one partitioned table. */
function levelOf({ hash, range, region, values, isDefault }: Bound): string {
  const tenants = region === undefined ? values : undefined;
  return JSON.stringify([hash !== undefined, range !== undefined, region, tenants, isDefault]);
}

function mergeHashes(
  { id: _, hash: __, ...rest }: BucketBound,
  buckets: readonly BucketBound[],
  no: (why: string) => Reshaped,
): Reshaped {
  let hashes = buckets.flatMap(({ hash }) => (hash === undefined ? [] : [hash]));
  while (hashes.length > 1) {
    const largest = Math.max(...hashes.map(({ modulus }) => modulus));
    const one = hashes.find(({ modulus }) => modulus === largest);
    const half = largest / 2;
    const other = hashes.find(
      (hash) =>
        hash !== one && hash.modulus === largest && hash.remainder % half === (one?.remainder ?? 0) % half,
    );
    if (one === undefined || other === undefined || !Number.isInteger(half)) {
      const sibling = siblingOf(one, largest);
      return no(
        `remainder ${one?.remainder} of ${largest} has ${sibling} as its sibling, which is not among them`,
      );
    }
    const joined = { modulus: half, remainder: one.remainder % half };
    hashes = [...hashes.filter((hash) => hash !== one && hash !== other), joined];
  }
  const [hash] = hashes;
  return { kind: 'bounds', bounds: [{ ...rest, ...(hash === undefined ? {} : { hash }) }] };
}

function siblingOf(hash: Bound['hash'], modulus: number): string {
  if (hash === undefined || modulus % 2 === 1) return 'none';
  return `remainder ${(hash.remainder + modulus / 2) % modulus} of ${modulus}`;
}

function mergeRanges(
  { id: _, range: __, ...rest }: BucketBound,
  buckets: readonly BucketBound[],
  no: (why: string) => Reshaped,
): Reshaped {
  const left = buckets.flatMap(({ range }) => (range === undefined ? [] : [range]));
  const start = left.find(({ from }) => from === undefined || left.every(({ to }) => to !== from));
  if (start === undefined) return no('they do not lie side by side');
  const { from } = start;
  let end: typeof start | undefined = start;
  let to = start.to;
  for (let taken = 1; taken < left.length; taken += 1) {
    end = left.find((range) => range.from !== undefined && range.from === to);
    if (end === undefined) return no(`none of them starts at ${to ?? 'MAXVALUE'}, where another ends`);
    to = end.to;
  }
  const range = { ...(from === undefined ? {} : { from }), ...(to === undefined ? {} : { to }) };
  return { kind: 'bounds', bounds: [{ ...rest, range }] };
}
