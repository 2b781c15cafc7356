import { bucketText } from '../../sharding/rebalance/model.ts';
import type { MoveFacts, RebalanceView } from './model.ts';

/** A bucket whose move failed stays for so long. */
const holdMs = 600_000;
/** After so many failures in so long a group is left alone. */
const failuresOfGroup = 3;
const failingMs = 1_800_000;

type Moves = Pick<RebalanceView, 'moves' | 'now'>;

interface Failure extends MoveFacts {
  readonly failedAtMs: number;
}

/** Buckets that stay for a while, since a move of theirs has ended without having moved them; each with what came of it. */
export function heldBuckets({ moves, now }: Moves): ReadonlyMap<string, string> {
  const held = failuresOf(moves).filter(({ failedAtMs }) => now.getTime() - failedAtMs < holdMs);
  return new Map(
    held.flatMap((move) => {
      const ended = move.isCancelled === true ? 'was cancelled' : 'failed';
      return move.buckets.map(
        (bucket) => [bucketText(bucket), `its move ${ended} (${whatOf(move)})`] as const,
      );
    }),
  );
}

/**
 * Groups whose moves have failed several times lately, and none has succeeded since: what is wrong concerns all of them; each with
 * what came of the last. Neither what somebody cancelled counts, nor a tenant's isolation that was refused before it had a bucket:
 * they say nothing of moves.
 */
export function failingGroups({ moves, now }: Moves): ReadonlyMap<string, string> {
  const groups = new Set(moves.flatMap(({ buckets }) => buckets.map(({ group }) => group)));
  return new Map(
    [...groups].flatMap((group) => {
      const ofGroup = moves.filter(({ buckets }) => buckets.some((bucket) => bucket.group === group));
      const movedMs = Math.max(
        Number.NEGATIVE_INFINITY,
        ...ofGroup.flatMap(({ movedAtMs }) => movedAtMs ?? []),
      );
      const failures = failuresOf(ofGroup).filter(
        ({ failedAtMs, isCancelled }) =>
          isCancelled !== true && failedAtMs > movedMs && now.getTime() - failedAtMs < failingMs,
      );
      const last = failures.at(-1);
      return last === undefined || failures.length < failuresOfGroup ? [] : [[group, whatOf(last)] as const];
    }),
  );
}

/** The newest last. */
function failuresOf(moves: readonly MoveFacts[]): Failure[] {
  return moves
    .flatMap((move) => (move.failedAtMs === undefined ? [] : [{ ...move, failedAtMs: move.failedAtMs }]))
    .sort((a, b) => a.failedAtMs - b.failedAtMs);
}

function whatOf({ name, failure }: MoveFacts): string {
  return failure === undefined ? `see ShardMove ${name}` : `ShardMove ${name}: ${failure}`;
}
