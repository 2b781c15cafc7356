/** Whether the rows of a shard's reference tables are of another time; `comparing`: a second look is needed. */
export type ReferenceVerdict = 'comparing' | 'stale';

/** What is remembered of the comparison of a shard's reference tables with another's. */
export interface ReferenceMemory {
  /** The StatefulSet for which it was made: when it is made anew, so is the comparison. */
  readonly uid: string;
  /** Whether it is over: from then on the shard is written to as all others are. */
  readonly isSettled: boolean;
  /** Prints of the tables that differed. */
  readonly seen: string;
  readonly atMs: number;
}

/** A comparison that is over. */
export function settled(uid: string, atMs: number): ReferenceMemory {
  return { uid, isSettled: true, seen: '[]', atMs };
}

/** Prints of tables, by name. */
type Prints = ReadonlyMap<string, string>;

/** Rows that differ and do not change for so long are nobody's who writes to one shard after another. */
export const secondLookMs = 5_000;
const noRows = '0/0';

/**
 * Compares prints of the tables on a shard that joins with those on the source. What differs twice and is the same both times
 * is of another time; what has changed meanwhile is being written to. Tables without a row are left to be filled.
 */
export function compared(
  before: ReferenceMemory | undefined,
  uid: string,
  prints: { readonly source: Prints; readonly target: Prints },
  nowMs: number,
): { readonly memory: ReferenceMemory; readonly verdict: ReferenceVerdict | undefined } {
  const different = [...prints.target].filter(([table, print]) => print !== prints.source.get(table));
  const filled = different.filter(([, print]) => print !== noRows);
  const seen = JSON.stringify(filled);
  const known = before?.uid === uid && !before.isSettled && before.seen !== '[]' ? before : undefined;
  if (filled.length === 0) {
    return { memory: { uid, isSettled: different.length === 0, seen, atMs: nowMs }, verdict: undefined };
  }
  if (known === undefined) {
    return { memory: { uid, isSettled: false, seen, atMs: nowMs }, verdict: 'comparing' };
  }
  if (known.seen !== seen) {
    return { memory: settled(uid, nowMs), verdict: undefined };
  }
  return { memory: known, verdict: nowMs - known.atMs < secondLookMs ? 'comparing' : 'stale' };
}
