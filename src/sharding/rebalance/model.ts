/** What a shard's place in the balance is measured by. */
export type BalanceStrategy = 'byLoad' | 'bySize' | 'byCount';

/** A shard as the planner sees it. */
export interface ShardCapacity {
  readonly name: string;
  /** What its members can do, in any unit that all shards share (cores, say); above zero. */
  readonly capacity: number;
  /** Whether it shall be emptied. */
  readonly isDraining: boolean;
  /** Whether it can take part in a move now. */
  readonly isAvailable: boolean;
  /** Bytes that may still be put on it; none: not known, so not limited here (a move's preflight looks again). */
  readonly freeBytes?: number;
}

/** Names a bucket. */
export interface BucketKey {
  readonly group: string;
  readonly id: number;
}

/** A bucket as the planner sees it. */
export interface BucketLoad extends BucketKey {
  readonly shard: string;
  /** Share of one core, or any unit that all buckets share. */
  readonly load: number;
  readonly bytes: number;
  /** Shards that may own it; none: all. */
  readonly allowed?: readonly string[];
  /** Whether it stays on its shard unless that is drained: somebody said where it starts. */
  readonly isPinned?: boolean;
  /** Why it cannot be moved at all. */
  readonly immovable?: string;
  /** Whether it stays for other reasons, as after a move that failed. */
  readonly isHeld?: boolean;
  /** What came of its last move, and when it is tried again: what keeps it from where it has to go. */
  readonly setback?: string;
}

/** A bucket on its way. */
export interface Move extends BucketKey {
  readonly from: string;
  readonly to: string;
}

/** What the user chose. */
export interface RebalanceSettings {
  readonly strategy: BalanceStrategy;
  /** Share of the fair utilisation that a shard may be over or under it before anything moves. */
  readonly threshold: number;
  /** Least gain of a move, as a share of what the bucket costs its shard. */
  readonly improvementThreshold: number;
  readonly maxConcurrent: number;
}

/** What a plan is made from. */
export interface RebalanceInput {
  readonly shards: readonly ShardCapacity[];
  readonly buckets: readonly BucketLoad[];
  /** Moves under way: counted as done, and their shards as busy. */
  readonly running: readonly Move[];
  readonly settings: RebalanceSettings;
  /** Mean utilisation of the shards' processors, 0 to 1: load counts for little while the cluster idles. */
  readonly meanUtilisation: number;
  /** Rate of recent moves, or of what they are taken to do. */
  readonly bytesPerSecond: number;
}

/** A move with its reason and what it brings. */
export interface PlannedMove extends Move {
  readonly bytes: number;
  readonly reason: 'drain' | 'not-allowed' | 'balance';
  /** By how much the fuller of the two shards gets better; negative for what has to move anyway. */
  readonly gain: number;
}

/** A shard before and after a plan; a utilisation of 1 is the fair share. */
export interface ShardForecast {
  readonly name: string;
  readonly utilisation: number;
  readonly utilisationAfter: number;
  readonly bytes: number;
  readonly bytesAfter: number;
  readonly load: number;
  readonly loadAfter: number;
  readonly buckets: number;
  readonly bucketsAfter: number;
}

/** A bucket that should move and cannot. */
export interface Stuck extends BucketKey {
  readonly shard: string;
  readonly message: string;
}

/** What to move, in order, and what comes of it. Stopping after any of the moves leaves nothing worse than before. */
export interface RebalancePlan {
  readonly shards: readonly ShardForecast[];
  readonly moves: readonly PlannedMove[];
  /** The moves that can start at once. */
  readonly next: readonly PlannedMove[];
  readonly stuck: readonly Stuck[];
  /** Whether every shard is within the threshold now, and nothing has to be drained. */
  readonly isBalanced: boolean;
  /** Time of all moves at that rate. */
  readonly seconds: number;
}

/** Order of shards: s2 before s10. */
export function compareShards(a: string, b: string): number {
  return a.length - b.length || (a < b ? -1 : a > b ? 1 : 0);
}

/** Order of buckets. */
export function compareBuckets(a: BucketKey, b: BucketKey): number {
  return a.group < b.group ? -1 : a.group > b.group ? 1 : a.id - b.id;
}

/** A bucket as one text, such as `customer/7`. */
export function bucketText({ group, id }: BucketKey): string {
  return `${group}/${id}`;
}
