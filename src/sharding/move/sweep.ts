import type { Bucket, ShardMapSpec } from '../../api/v1alpha1/shard-map.ts';
import { parseGid } from './names.ts';

/** A prepared transaction of a move that is gone, with what its shard knows of the move. */
export interface Stray {
  readonly gid: string;
  /** From `herdsman.moves`, whose row it holds locked; absent when there is none. */
  readonly guard:
    | { readonly move: string; readonly group: string; readonly buckets: readonly number[] }
    | undefined;
}

/** What becomes of it. `clear-pending` comes first, and the transaction is looked at again. */
export type Sentence =
  | { readonly kind: 'commit' | 'roll-back' }
  | {
      readonly kind: 'clear-pending';
      readonly move: string;
      readonly group: string;
      readonly attempt: number;
    };

/**
 * Judges a prepared transaction whose ShardMove is gone, by the map alone: it is committed when a bucket of it has the epoch that it
 * was prepared for and the owner that it makes, and rolled back otherwise, after its announcement has been taken back.
 */
export function judgeStray({ gid, guard }: Stray, shard: string, map: ShardMapSpec): Sentence {
  const parsed = parseGid(gid);
  if (parsed === undefined || guard === undefined) return { kind: 'roll-back' };
  const { move, group } = guard;
  // Parents before the decision, children after it.
  const buckets =
    map.groups.find(({ name }) => name === group)?.buckets.filter(({ id }) => guard.buckets.includes(id)) ??
    [];
  const pending = buckets.find((bucket) => bucket.pending?.move === move)?.pending;
  if (pending !== undefined) return { kind: 'clear-pending', move, group, attempt: pending.attempt };
  const isDecided = buckets.some((bucket) => {
    const makesOwner = parsed.side === 'open' ? bucket.shard === shard : bucket.shard !== shard;
    return bucket.epoch === parsed.epoch && makesOwner;
  });
  return { kind: isDecided ? 'commit' : 'roll-back' };
}

/** The map without the announcements of moves that are gone; the same map when there are none. */
export function withoutPending(map: ShardMapSpec, isGone: (id: string) => boolean): ShardMapSpec {
  const isStale = ({ pending }: Bucket) => pending !== undefined && isGone(idOf(pending.move));
  if (!map.groups.some(({ buckets }) => buckets.some(isStale))) return map;
  return {
    ...map,
    groups: map.groups.map((group) => ({
      ...group,
      buckets: group.buckets.map((bucket) => {
        const { pending: _, ...settled } = bucket;
        return isStale(bucket) ? settled : bucket;
      }),
    })),
  };
}

function idOf(move: string): string {
  return move.split('.').at(-1) ?? '';
}

/** The buckets that a shard owns. */
export function ownedBy(map: ShardMapSpec, shard: string): { group: string; bucket: number }[] {
  return map.groups.flatMap(({ name, buckets }) =>
    buckets.filter((bucket) => bucket.shard === shard).map(({ id }) => ({ group: name, bucket: id })),
  );
}
