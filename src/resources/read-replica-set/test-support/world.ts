import { readReplicaSetSpec } from '../../../api/v1alpha1/read-replica-set.ts';
import { shardedClusterSpec } from '../../../api/v1alpha1/sharded-cluster.ts';
import type { ReplicaStats } from '../../../postgres/replica-stats.ts';
import type { KubernetesObject } from '../../../runtime/kubernetes-object.ts';
import type { Pod, StatefulSet } from '../../sharded-cluster/kubernetes.ts';
import type { ShardedCluster } from '../../sharded-cluster/model.ts';
import { objectId } from '../../sharded-cluster/steps/objects.ts';
import { replicaConfig } from '../desired/patroni-config.ts';
import type {
  ObservedReplica,
  ObservedReplicaShard,
  ObservedSet,
  PrimaryFacts,
  ReadReplicaSet,
  SetAction,
  SetInput,
} from '../model.ts';
import { replicaPod, replicasName } from '../names.ts';
import { plan } from '../plan.ts';
import { effectiveSettings } from '../settings.ts';

/** The time of every pass. */
export const now = new Date('2026-01-01T12:00:00Z');

/** The cluster that sets belong to. */
export const cluster: ShardedCluster = {
  apiVersion: 'herdsman.dev/v1alpha1',
  kind: 'ShardedCluster',
  metadata: { name: 'shop', namespace: 'store', uid: 'c' },
  spec: shardedClusterSpec.parse({ storage: { size: '1Gi' } }),
};

/** The set, with its defaults. */
export function readers(spec: Record<string, unknown> = {}): ReadReplicaSet {
  return {
    apiVersion: 'herdsman.dev/v1alpha1',
    kind: 'ReadReplicaSet',
    metadata: { name: 'readers', namespace: 'store', uid: 'r' },
    spec: readReplicaSetSpec.parse({ cluster: 'shop', ...spec }),
  };
}

/** Its primary, which has room for 20 standbys. */
export const primary: PrimaryFacts = {
  name: 'shop-s0-0',
  address: '10.0.0.1',
  clockMs: 0,
  askedMs: 0,
  initializedMs: Date.parse('2026-01-01T00:00:00Z'),
  maxWalSenders: 20,
  maxReplicationSlots: 20,
  standbys: {},
  maxWalBytes: 128 * 1024 ** 2,
  bytes: 1e8,
};

function markOf(set: ReadReplicaSet, shard: string): string {
  const { parameters } = effectiveSettings(set.spec, cluster);
  return replicaConfig(set, cluster, shard, { parameters, upstream: undefined }).mark;
}

/** What a member that is well says of itself. */
export function stats(set: ReadReplicaSet, fields: Partial<ReplicaStats> = {}): ReplicaStats {
  return {
    inRecovery: true,
    replayed: 1_000,
    received: 1_000,
    committedMs: null,
    pendingRestart: false,
    waitsForWal: true,
    streaming: true,
    config: markOf(set, 's0'),
    connections: 3,
    active: 1,
    busy: 1,
    transactions: 10,
    activeMs: 5,
    ...fields,
  };
}

function pod(name: string): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'store', uid: `uid-of-${name}`, creationTimestamp: '2026-01-01T11:00:00Z' },
    status: { podIP: '10.0.1.1' },
  };
}

/** A member that is well and in rotation. */
export function member(
  set: ReadReplicaSet,
  ordinal: number,
  fields: Partial<ObservedReplica> = {},
): ObservedReplica {
  const name = replicaPod('readers', 's0', ordinal);
  return {
    name,
    ordinal,
    pod: pod(name),
    ready: true,
    outdated: false,
    losesVolume: false,
    rotation: 'in',
    drainingMs: 0,
    outMs: 0,
    work: new Map(),
    stats: { state: 'present', value: stats(set) },
    lag: { bytes: 0, seconds: 0, exact: true },
    pendingRestart: false,
    streamsFrom: undefined,
    isLost: false,
    hasStaleCertificate: false,
    ...fields,
  };
}

/** The StatefulSet of the set in a shard. */
export function statefulSet(replicas: number, shard = 's0'): StatefulSet {
  return {
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: {
      name: replicasName('readers', shard),
      namespace: 'store',
      uid: 'sts',
      labels: { 'herdsman.dev/shard': shard },
    },
    spec: { replicas, volumeClaimTemplates: [{ spec: { resources: { requests: { storage: '1Gi' } } } }] },
  };
}

/** A shard in which all is well. */
export function shard(
  members: readonly ObservedReplica[],
  fields: Partial<ObservedReplicaShard> = {},
): ObservedReplicaShard {
  return {
    name: 's0',
    isWanted: true,
    statefulSet: statefulSet(members.length),
    settled: true,
    members,
    claims: [],
    primary: { state: 'present', value: primary },
    standbys: ['shop-s0-1', 'shop-s0-2'],
    upstream: undefined,
    isCertified: true,
    takenByOthers: { senders: 0, slots: 0 },
    byPrimary: false,
    hasReadyPrimary: true,
    ...fields,
  };
}

/** A pass over shards. */
export function input(
  set: ReadReplicaSet,
  shards: readonly ObservedReplicaShard[],
  fields: Partial<ObservedSet> = {},
): SetInput {
  return {
    set,
    settings: { postgresImage: 'herdsman/postgres:17' },
    now,
    observed: {
      cluster,
      shards,
      objects: new Map<string, KubernetesObject>(),
      parameterProblems: [],
      weighers: [],
      replicas: set.spec.replicas,
      ...fields,
    },
  };
}

/** The same world, in which the API server has taken every object as the plan wants it. */
export function settled(before: SetInput): SetInput {
  const objects = new Map(before.observed.objects);
  for (const action of plan(before).actions)
    if (action.kind === 'apply') objects.set(objectId(action.object), action.object);
  return { ...before, observed: { ...before.observed, objects } };
}

/** Members that the plan wants in the StatefulSet that it applies. */
export function membersApplied(actions: readonly SetAction[]): number | undefined {
  for (const action of actions) {
    if (action.kind === 'apply' && action.object.kind === 'StatefulSet')
      return (action.object as StatefulSet).spec?.replicas;
  }
  return undefined;
}

/** What the plan does beside applying objects. */
export function kinds(actions: readonly SetAction[]): string[] {
  return actions.filter(({ kind }) => kind !== 'apply').map(({ kind }) => kind);
}
