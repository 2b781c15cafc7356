import type { AutoscalingStatus } from './autoscale.ts';
import type { Position } from './lag.ts';
import type { CpuUse, LoadWindow } from './load.ts';
import type { WorkMemory } from './member-work.ts';
import type { Rotation } from './names.ts';
import type { Sample } from './staleness.ts';

/** Something that was asked for, and when. */
export interface Remembered<T> {
  readonly value: T;
  readonly atMs: number;
}

/** What Patroni says that matters to a set. */
export interface GroupView {
  /** Standbys of the shard itself that stream. */
  readonly standbys: readonly string[];
  /** Members of which a parameter waits for a restart. */
  readonly pendingRestart: ReadonlySet<string>;
}

/** What is remembered between passes, per set; all of it can be found out again. */
export interface SetMemory {
  /** By shard: where its primary was. */
  readonly histories: Map<string, readonly Sample[]>;
  /** By pod uid: since when it has had its rotation. */
  readonly rotations: Map<string, { readonly rotation: Rotation; readonly sinceMs: number }>;
  /** By pod uid: where the member was last known to be. */
  readonly positions: Map<string, Position>;
  /** By pod uid: since when the member has not streamed. */
  readonly silent: Map<string, number>;
  readonly work: WorkMemory;
  readonly groups: Map<string, Remembered<GroupView>>;
  readonly bytes: Map<string, Remembered<number>>;
  /** By shard: when certificates were last looked at. */
  readonly certificateLooks: Map<string, number>;
  /** By shard: members that served an old certificate at that look, until they have been told. */
  readonly staleCertificates: Map<string, readonly string[]>;
  /** What is being asked beside the passes, by name. */
  readonly asking: Set<string>;
  /** What the metrics server said last, until a decision has taken it. */
  cpuUse: CpuUse | undefined;
  parameterProblems: (Remembered<readonly string[]> & { readonly hash: string }) | undefined;
  window: { load: LoadWindow; sinceMs: number };
  autoscaling: AutoscalingStatus | undefined;
  /** Wall clock and monotonic clock at the last pass, which shows whether somebody sets the first. */
  clocks: { readonly nowMs: number; readonly atMs: number } | undefined;
}

/** An empty memory. */
export function emptyMemory(nowMs: number): SetMemory {
  return {
    histories: new Map(),
    rotations: new Map(),
    positions: new Map(),
    silent: new Map(),
    work: new Map(),
    groups: new Map(),
    bytes: new Map(),
    certificateLooks: new Map(),
    staleCertificates: new Map(),
    asking: new Set(),
    cpuUse: undefined,
    parameterProblems: undefined,
    window: { load: new Map(), sinceMs: nowMs },
    autoscaling: undefined,
    clocks: undefined,
  };
}
