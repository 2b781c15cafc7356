import type { ShardMapSpec } from '../../api/v1alpha1/shard-map.ts';
import type { ShardLoadStats } from '../../postgres/bucket-stats.ts';
import type { LoadWindow } from '../../sharding/rebalance/hot.ts';
import type { LoadState } from '../../sharding/rebalance/load.ts';
import type { BucketKey, Move } from '../../sharding/rebalance/model.ts';
import type { PersistentVolumeClaim } from '../sharded-cluster/kubernetes.ts';
import type { ShardedCluster } from '../sharded-cluster/model.ts';

/** What one shard said at one time. */
export interface ShardMeasure {
  readonly name: string;
  readonly atMs: number;
  readonly stats: ShardLoadStats;
  /** Cores that the primary uses, where a metrics server tells; without, the time in which sessions execute stands for it. */
  readonly cores?: number;
}

/** A key with most rows of a bucket. */
export interface HotKey extends BucketKey {
  readonly value: string;
  readonly share: number;
}

/** Rates of one shard between its last two measurements. */
export interface ShardRates {
  /** Part of its processors' time that it used. */
  readonly utilisation: number;
  /** Time in which sessions were executing, as a part of its processors' time. */
  readonly activity: number;
  readonly transactionsPerSecond: number;
}

/** What is remembered of a cluster between passes. */
export interface Measurements {
  /** When was measured last while nothing moved, or first, on the monotonic clock; absent before. */
  readonly calmAtMs?: number;
  readonly load: LoadState;
  /** The newest measurement of each shard. */
  readonly latest: ReadonlyMap<string, ShardMeasure>;
  /** Smoothed; absent before the second measurement of the shard. */
  readonly rates: ReadonlyMap<string, ShardRates>;
  /** The last windows, the oldest first. */
  readonly windows: readonly LoadWindow[];
  /** Shards that did not answer when they were asked last. */
  readonly silent: ReadonlySet<string>;
  readonly hotKeys: readonly HotKey[];
}

/** A ShardMove, as far as a plan needs to know it. */
export interface MoveFacts {
  readonly name: string;
  readonly group: string;
  /** None of a tenant's isolation that has not begun: which bucket it is of is not known yet. */
  readonly buckets: readonly Move[];
  readonly isRunning: boolean;
  /** The window that it waits for, if that is closed. */
  readonly closedWindow?: string;
  /** When its bucket was on its new shard. */
  readonly movedAtMs?: number;
  /** How long it took until then. */
  readonly tookMs?: number;
  /** When it ended without having moved its bucket. */
  readonly failedAtMs?: number;
  /** Why it failed. */
  readonly failure?: string;
  /** Whether somebody ended it then, which says nothing of whether the next one would fail. */
  readonly isCancelled?: boolean;
  /** Whether it changes which buckets there are. */
  readonly isReshape?: boolean;
  /** Whether it makes one bucket of several. */
  readonly isMerge?: boolean;
  /** Tenant that it isolates. */
  readonly tenant?: string;
  /** Whether the rebalancer made it, and only its retention is left, which nobody has ended. */
  readonly isRetained?: boolean;
  /** Rate of its copy, when it is done and was big enough to tell. */
  readonly bytesPerSecond?: number;
}

/** What a decision is made from. */
export interface RebalanceView {
  readonly cluster: ShardedCluster;
  readonly map: ShardMapSpec;
  readonly measurements: Measurements;
  readonly moves: readonly MoveFacts[];
  /** Claims of its members' volumes. */
  readonly claims: readonly PersistentVolumeClaim[];
  readonly now: Date;
}
