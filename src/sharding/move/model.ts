import type { BucketBound } from '../../api/v1alpha1/shard-map.ts';
import type { Problem } from '../problem.ts';

/**
 * What is asked for: buckets from one shard to another, where others may take their place. One parent with several children
 * is a split, several with one child a merge; a bucket that only moves is its own child.
 */
export interface Move {
  /** What `pending.move` says: unique for good, also when a ShardMove of the same name is made again. */
  readonly key: string;
  /** Eight hexadecimal digits in the names of all that the move makes. */
  readonly id: string;
  readonly group: string;
  /** Buckets that the source gives away. */
  readonly parents: readonly BucketBound[];
  /** Buckets that the target takes; together they have the keys of the parents. */
  readonly children: readonly BucketBound[];
  readonly from: string;
  readonly to: string;
  readonly verify: 'full' | 'counts' | 'none';
  readonly cancel: boolean;
  /** How long the source keeps what it had. */
  readonly retentionMs: number;
}

/** Where a move is. The steps 6 to 11 of the protocol are one phase: what is observed tells how far they came. */
export type Phase =
  | 'preflight'
  | 'prepare'
  | 'copy'
  | 'catch-up'
  | 'index'
  | 'verify'
  | 'announce'
  | 'switch'
  | 'finish'
  | 'retain'
  | 'done'
  | 'failed'
  | 'cancelled';

/** Why an attempt is rolled back, and what comes after it: another switch, another copy, or the end. */
export interface Ending {
  readonly reason: string;
  readonly message: string;
  readonly next: 'switch' | 'copy' | 'failed' | 'cancelled';
}

/** What is kept outside of the process; written by compare-and-swap, before what it announces is done. */
export interface MoveRecord {
  readonly phase: Phase;
  /** Counts announcements: a cleared one never comes back. */
  readonly attempt: number;
  /** Counts copies; part of the names of all that a copy needs. */
  readonly copy: number;
  /** Attempts that were rolled back. */
  readonly failures: number;
  /** Timelines of both shards when the copy began. */
  readonly timelines?: { readonly source: number; readonly target: number };
  /** Fences of this attempt that did not get their locks. */
  readonly fenceTries: number;
  /** When the switch began (ms since 1970). */
  readonly switchedAt?: number;
  /** Nothing is done before (ms since 1970). */
  readonly notBefore?: number;
  readonly finishedAt?: number;
  readonly ending?: Ending;
  /** Why the last attempt that was rolled back was. */
  readonly lastEnding?: Ending;
}

/** The move's buckets as the map has them, as if they were one. */
export interface MapBucket {
  readonly owner: string;
  /** Newest epoch among them. */
  readonly epoch: number;
  readonly pending?: { readonly move: string; readonly attempt: number };
  /** Epoch of the whole map. */
  readonly mapEpoch: number;
}

/** The rows, one for each parent and child, in which a shard knows the move; prepared transactions hold it locked. */
export interface Guard {
  readonly move: string;
  readonly copy: number;
  /** Newest attempt that was armed or disarmed here; it never falls. */
  readonly attempt: number;
  /** Whether that attempt may prepare transactions here. */
  readonly armed: boolean;
  /** Whether a copy may have begun, on the source: it is not begun again under the same number. */
  readonly copying: boolean;
  /** Whether all rows of the copy's snapshot are here, on the target. */
  readonly copied: boolean;
}

/** A prepared transaction. */
export interface Prepared {
  readonly gid: string;
  /** Since when (ms since 1970). */
  readonly since: number;
}

/** A replication slot; `lost` when it cannot serve any more. */
export interface Slot {
  readonly name: string;
  readonly lost: boolean;
  /** WAL that the subscriber has not confirmed. */
  readonly lagBytes: number;
}

/** A subscription. */
export interface Subscription {
  readonly name: string;
  readonly enabled: boolean;
}

/** What one shard shows of a move; the same questions on both sides. */
export interface ShardFacts {
  readonly timeline: number;
  readonly guard: Guard | undefined;
  /** Those of this move only. */
  readonly prepared: readonly Prepared[];
  /** Newest epoch of the markers of parents (source) or children (target); `undefined` when there is none. */
  readonly marker: number | undefined;
  /** The leaves of parents (source) or children (target): `mixed` when they differ. */
  readonly leaves: 'absent' | 'staged' | 'attached' | 'detaching' | 'detached' | 'mixed';
  /** Whether tables wait here for the end of the retention. */
  readonly retired: boolean;
  /** Whether leaves still have what only the move needs: no autovacuum, a CHECK of the bound, tables for the stream. */
  readonly unsettled: boolean;
  /** Publications, roles, slots and subscriptions that this move made here, of all its copies. */
  readonly publications: readonly string[];
  readonly roles: readonly string[];
  readonly slots: readonly Slot[];
  readonly subscriptions: readonly Subscription[];
}

/** Something that may not be known. */
export type Known<T> = T | 'unknown';

/** Something in the way, found before anything is made. */
export interface Obstacle extends Problem {
  /** Whether waiting cannot help. */
  readonly permanent: boolean;
}

/** Another move that has passed its preflight, and takes part in one of this move's shards. */
export interface Rival {
  readonly message: string;
  /** Whether this move has to give way; else the other one does, or is seen to be ahead before long. */
  readonly isAhead: boolean;
}

/** Everything that a decision is made from. */
export interface MoveView {
  readonly move: Move;
  readonly record: MoveRecord;
  /** Read after the shards: a prepared transaction that is seen was announced before. */
  readonly map: Known<MapBucket>;
  readonly source: Known<ShardFacts>;
  readonly target: Known<ShardFacts>;
  /** Read in the phase `preflight` only. */
  readonly obstacles: Known<readonly Obstacle[]>;
  /** Read in the phase `prepare` only, after the record that says so. */
  readonly rival: Known<Rival | 'none'>;
  /** The fence after which the target has everything; known to the operator who waited for it. */
  readonly drained?: string;
  /** Whether both prepared transactions were seen to outlive a failover. */
  readonly gated?: boolean;
  /** Milliseconds since 1970. */
  readonly now: number;
}

/** One bounded, repeatable effect. */
export type Step =
  | { readonly kind: 'stage'; readonly copy: number }
  | { readonly kind: 'publish'; readonly copy: number }
  | { readonly kind: 'copy-rows'; readonly copy: number }
  | { readonly kind: 'subscribe'; readonly copy: number }
  | { readonly kind: 'catch-up'; readonly copy: number }
  | { readonly kind: 'index'; readonly copy: number }
  | { readonly kind: 'verify'; readonly copy: number }
  | { readonly kind: 'arm'; readonly attempt: number }
  | { readonly kind: 'announce'; readonly attempt: number }
  | { readonly kind: 'fence'; readonly attempt: number; readonly epoch: number; readonly from: number }
  | { readonly kind: 'drain'; readonly copy: number; readonly gid: string }
  | { readonly kind: 'open'; readonly attempt: number; readonly epoch: number }
  | { readonly kind: 'gate'; readonly fence: string; readonly open: string }
  | { readonly kind: 'decide'; readonly attempt: number; readonly epoch: number }
  | { readonly kind: 'commit-target'; readonly gid: string }
  | { readonly kind: 'commit-source'; readonly gid: string }
  | { readonly kind: 'clear-pending'; readonly attempt: number }
  | { readonly kind: 'roll-back-source'; readonly gid: string }
  | { readonly kind: 'roll-back-target'; readonly gid: string }
  | { readonly kind: 'disarm'; readonly attempt: number }
  | { readonly kind: 'unsubscribe'; readonly copy: number }
  | { readonly kind: 'unstage'; readonly copy: number }
  | { readonly kind: 'unpublish'; readonly copy: number }
  | { readonly kind: 'settle' }
  | { readonly kind: 'detach' }
  | { readonly kind: 'retire' }
  | { readonly kind: 'forget'; readonly copy: number }
  | { readonly kind: 'drop-retired' };

/** What to do now. */
export type Decision =
  /** Write the record, then decide again; or look at everything again, so much later, if `pause` says so. */
  | { readonly kind: 'record'; readonly record: MoveRecord; readonly pause?: Pause }
  /** Do the step; when it is done, write the record, if there is one. */
  | { readonly kind: 'act'; readonly step: Step; readonly record?: MoveRecord }
  | ({ readonly kind: 'wait' } & Pause)
  | { readonly kind: 'ended' };

/** Why nothing is done for so long. */
export interface Pause {
  readonly reason: string;
  readonly message: string;
  readonly afterMs: number;
}

/** How a step ended. An exception says that this is not known. */
export type StepResult =
  | {
      readonly kind: 'done';
      /** Rows that a comparison found to be the same. */
      readonly verifiedRows?: number;
    }
  /** Nothing was done. `ends`: the attempt cannot succeed any more. */
  | {
      readonly kind: 'refused';
      readonly reason: string;
      readonly message: string;
      readonly ends?: Ending['next'];
    };

/** The record of a move that has not begun. */
export const firstRecord: MoveRecord = {
  phase: 'preflight',
  attempt: 1,
  copy: 1,
  failures: 0,
  fenceTries: 0,
};
