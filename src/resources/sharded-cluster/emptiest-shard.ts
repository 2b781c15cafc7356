import { compareShards } from '../../sharding/rebalance/model.ts';
import { type KeptBy, keptShards } from './kept-shards.ts';

/** What a shard owns. */
export interface Holding {
  readonly buckets: number;
  /** Of its buckets; absent while nobody has measured them. */
  readonly bytes?: number;
}

/** What each shard owns; one that is not in it owns nothing. */
export type Holdings = ReadonlyMap<string, Holding>;

/** A shard that goes, and why it. */
export interface LeavingShard {
  readonly name: string;
  readonly why: string;
}

/** Of the shards that may go, the one that owns least; `undefined` when none may. */
export function emptiestShard(
  spec: KeptBy,
  names: readonly string[],
  holdings: Holdings,
): LeavingShard | undefined {
  const kept = keptShards(spec, names);
  const [name] = names.filter((candidate) => !kept.has(candidate)).toSorted(byHolding(holdings));
  return name === undefined ? undefined : { name, why: whyText(holdingOf(holdings, name)) };
}

/** What a shard owns. */
export function holdingOf(holdings: Holdings, name: string): Holding {
  return holdings.get(name) ?? { buckets: 0, bytes: 0 };
}

/** Orders shards by what they own: the least bytes first, then the fewest buckets, then the highest index. */
export function byHolding(holdings: Holdings): (a: string, b: string) => number {
  return (a, b) => {
    const [one, other] = [holdingOf(holdings, a), holdingOf(holdings, b)];
    return (one.bytes ?? 0) - (other.bytes ?? 0) || one.buckets - other.buckets || compareShards(b, a);
  };
}

function whyText({ buckets, bytes }: Holding): string {
  if (buckets === 0) return 'it owns no bucket';
  const number = `${buckets} bucket${buckets === 1 ? '' : 's'}`;
  return bytes === undefined
    ? `it owns ${number}, the fewest of those that may go`
    : `it owns ${sizeText(bytes)} in ${number}, the least of those that may go`;
}

/** Bytes for people, to two significant digits. */
function sizeText(bytes: number): string {
  const units = ['bytes', 'kB', 'MB', 'GB', 'TB'];
  const power = bytes < 1000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(bytes) / 3));
  return `${Number((bytes / 1000 ** power).toPrecision(2))} ${units[power]}`;
}
