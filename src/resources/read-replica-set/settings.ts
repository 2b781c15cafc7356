import { durationMs } from '../../api/v1alpha1/duration.ts';
import type { ReadReplicaSetSpec } from '../../api/v1alpha1/read-replica-set.ts';
import { bytesOf } from '../sharded-cluster/desired/quantity.ts';
import { memberSize, slotWalLimit, tune } from '../sharded-cluster/desired/tuning.ts';
import type { ShardedCluster } from '../sharded-cluster/model.ts';

/** How far behind a member may be. */
export interface LagLimits {
  readonly maxBytes: number;
  readonly maxSeconds: number;
}

/** What follows from the workload, and from what overrides it. */
export interface EffectiveSettings {
  readonly limits: LagLimits;
  readonly applyDelayMs: number;
  /** Parameters in which members differ from those of the cluster. */
  readonly parameters: Readonly<Record<string, string>>;
}

interface Preset {
  readonly maxBytes: string;
  readonly maxSeconds: number;
  readonly applyDelay: string;
  readonly parameters: Readonly<Record<string, string>>;
}

const presets: Readonly<Record<ReadReplicaSetSpec['workload'], Preset>> = {
  // Short queries on fresh data: whatever runs for long is ended before it holds up the replay.
  oltp: {
    maxBytes: '16Mi',
    maxSeconds: 10,
    applyDelay: '0s',
    parameters: { hot_standby_feedback: 'on', max_standby_streaming_delay: '5s', statement_timeout: '30s' },
  },
  // Long queries: the replay waits for them, and the primary keeps what they look at.
  analytics: {
    maxBytes: '1Gi',
    maxSeconds: 300,
    applyDelay: '0s',
    parameters: {
      hot_standby_feedback: 'on',
      max_standby_streaming_delay: '240s',
      statement_timeout: '0',
      work_mem: '64MB',
    },
  },
  // The past: feedback would keep rows on the primary for as long as the delay.
  delayed: {
    maxBytes: '1Gi',
    maxSeconds: 300,
    applyDelay: '1h',
    parameters: { hot_standby_feedback: 'off', max_standby_streaming_delay: '240s', statement_timeout: '0' },
  },
};

/** Set by the primary for all that follow it; Patroni ignores what a member says of them. */
const sharedWithPrimary: ReadonlySet<string> = new Set(['max_connections', 'min_wal_size']);

/** What the members of a set shall have; the user's parameters are left out while they are refused. */
export function effectiveSettings(
  spec: ReadReplicaSetSpec,
  cluster: Pick<ShardedCluster, 'spec'>,
  useParameters = true,
): EffectiveSettings {
  const preset = presets[spec.workload];
  const applyDelayMs = durationMs(spec.applyDelay ?? preset.applyDelay) ?? 0;
  return {
    limits: {
      maxBytes: bytesOf(spec.lag.maxBytes ?? preset.maxBytes),
      maxSeconds: spec.lag.maxSeconds ?? preset.maxSeconds,
    },
    applyDelayMs,
    parameters: sorted({
      ...tuned(spec, cluster),
      ...bounded(spec, cluster),
      ...preset.parameters,
      ...(useParameters ? spec.parameters : {}),
      ...(applyDelayMs === 0 ? {} : { recovery_min_apply_delay: `${applyDelayMs}ms` }),
    }),
  };
}

/** Members of the cluster's own size are tuned as its members are; others need their own. */
function tuned(spec: ReadReplicaSetSpec, cluster: Pick<ShardedCluster, 'spec'>): Record<string, string> {
  if (spec.resources === undefined || cluster.spec.postgres.tuning === 'none') return {};
  const size = memberSize({ resources: spec.resources, storage: spec.storage ?? cluster.spec.storage });
  const given = new Set(Object.keys(cluster.spec.postgres.parameters));
  return Object.fromEntries(
    Object.entries(tune(size)).filter(([name]) => !sharedWithPrimary.has(name) && !given.has(name)),
  );
}

/** The first of a cascade keeps WAL for those that follow it, on a volume that may be smaller than the primary's. */
function bounded(spec: ReadReplicaSetSpec, cluster: Pick<ShardedCluster, 'spec'>): Record<string, string> {
  const isGiven = 'max_slot_wal_keep_size' in cluster.spec.postgres.parameters;
  if (spec.storage === undefined || isGiven) return {};
  return { max_slot_wal_keep_size: slotWalLimit(bytesOf(spec.storage.size)) };
}

function sorted(parameters: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(parameters).sort(([a], [b]) => (a < b ? -1 : 1)));
}
