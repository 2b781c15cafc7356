import type { ShardMapSpec } from '../../api/v1alpha1/shard-map.ts';
import { parseGid } from './names.ts';

/** A prepared transaction of a move that is gone, with what its shard knows of the move. */
export interface Stray {
  readonly gid: string;
  /** From `herdsman.moves`, whose row it holds locked; absent when there is none. */
  readonly guard: { readonly move: string; readonly group: string; readonly bucket: number } | undefined;
}

/** What becomes of it. `clear-pending` comes first, and the transaction is looked at again. */
export type Sentence =
  | { readonly kind: 'commit' | 'roll-back' }
  | {
      readonly kind: 'clear-pending';
      readonly move: string;
      readonly group: string;
      readonly bucket: number;
      readonly attempt: number;
    };

/**
 * Judges a prepared transaction whose ShardMove is gone, by the map alone: it is committed when the bucket has the epoch that it
 * was prepared for and the owner that it makes, and rolled back otherwise, after its announcement has been taken back.
 */
export function judgeStray({ gid, guard }: Stray, shard: string, map: ShardMapSpec): Sentence {
  const parsed = parseGid(gid);
  const bucket = map.groups
    .find((group) => group.name === guard?.group)
    ?.buckets.find((candidate) => candidate.id === guard?.bucket);
  if (parsed === undefined || guard === undefined || bucket === undefined) return { kind: 'roll-back' };
  const { pending } = bucket;
  if (pending !== undefined && pending.move === guard.move) {
    return { kind: 'clear-pending', ...guard, attempt: pending.attempt };
  }
  const makesOwner = parsed.side === 'open' ? bucket.shard === shard : bucket.shard !== shard;
  return { kind: bucket.epoch === parsed.epoch && makesOwner ? 'commit' : 'roll-back' };
}
