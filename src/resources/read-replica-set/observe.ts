import type { X509Certificate } from 'node:crypto';
import { readCertificate } from '../../pki/renewal.ts';
import type { Connections } from '../../postgres/connections.ts';
import type { ReplicaStats } from '../../postgres/replica-stats.ts';
import type { KubeClient } from '../../runtime/kube-client.ts';
import { keyString } from '../../runtime/kubernetes-object.ts';
import { secretType } from '../../runtime/kubernetes-types.ts';
import type { Reading } from '../../runtime/reading.ts';
import type { PoolerConfig } from '../pooler-config/model.ts';
import { byTarget, type PoolerSources } from '../pooler-config/sources.ts';
import { isPodReady, type Pod } from '../sharded-cluster/kubernetes.ts';
import type { ShardedCluster } from '../sharded-cluster/model.ts';
import { createNamedReader } from '../sharded-cluster/named-reader.ts';
import { operatorTlsSecret, serviceHost, shardTlsSecret } from '../sharded-cluster/names.ts';
import { type SecretObject, secretReading } from '../sharded-cluster/observe.ts';
import { type ShardAccess, shardAccess } from '../sharded-cluster/shard-access.ts';
import type { Sources } from '../sharded-cluster/sources.ts';
import { contentOf } from '../sharded-cluster/steps/identity.ts';
import type { Inquiry } from './inquiry.ts';
import { inferred, lagOf } from './lag.ts';
import type { GroupView, SetMemory } from './memory.ts';
import type { ObservedReplica, ObservedReplicaShard, ObservedSet, ReadReplicaSet } from './model.ts';
import { readService } from './names.ts';
import { type CachedShard, cachedShards, objectsOf } from './observe-cache.ts';
import { readGroup } from './observe-group.ts';
import { isLost, positionOf, readMember, takeStaleCertificates, upstreamOf } from './observe-members.ts';
import { readParameterProblems } from './observe-parameters.ts';
import { hasReadyPrimary, readPrimary } from './observe-primary.ts';
import { takenByOthers } from './others.ts';
import { createPoll } from './poll.ts';
import { effectiveSettings } from './settings.ts';
import type { ReplicaSources } from './sources.ts';
import { hasStandby } from './steps/capacity.ts';

/** For how long a Secret is good, and one that has not yet what is waited for. */
const secretMs = 900_000;
const uncertifiedMs = 2_000;

/** What a set is observed with. */
export interface SetObserverDependencies {
  readonly client: KubeClient;
  readonly sources: Sources;
  readonly replicas: ReplicaSources;
  readonly poolerSources: Pick<PoolerSources, 'poolers'>;
  readonly connections: Connections;
  readonly monotonicMs: () => number;
}

/** Everything about a set but how many members are wanted, and how to reach them. */
export interface SetObservation {
  readonly observed: Omit<ObservedSet, 'replicas'>;
  readonly access: ShardAccess | undefined;
}

/** Gathers what a pass needs to know. */
export interface SetObserver {
  observe(
    set: ReadReplicaSet,
    cluster: ShardedCluster | undefined,
    memory: SetMemory,
    signal: AbortSignal,
  ): Promise<SetObservation>;
}

/** An observer of sets. */
export function createSetObserver(dependencies: SetObserverDependencies): SetObserver {
  const { client, sources, replicas, poolerSources, connections, monotonicMs } = dependencies;
  const secrets = createNamedReader<SecretObject>(client, secretType, monotonicMs);
  const poll = createPoll(connections);

  /** The certificate of a shard, once it is valid for the Service of the set. */
  async function certificateOf(
    set: ReadReplicaSet,
    shard: string,
    signal: AbortSignal,
  ): Promise<X509Certificate | undefined> {
    const { namespace, name } = set.metadata;
    const host = serviceHost(readService(name, shard), namespace);
    for (const maxAgeMs of [secretMs, uncertifiedMs]) {
      const key = { namespace, name: shardTlsSecret(set.spec.cluster, shard) };
      const reading = secretReading(await secrets.read(key, maxAgeMs, signal));
      const text = contentOf(reading)?.['tls.crt'];
      if (text === undefined) continue;
      const certificate = readCertificate(text);
      if (certificate?.checkHost(host) !== undefined) return certificate;
    }
    return undefined;
  }

  /** The pod of a standby of the shard, or of a member of the set. */
  function standbyPod({ metadata }: ReadReplicaSet, name: string | undefined): Pod | undefined {
    if (name === undefined) return undefined;
    const key = { namespace: metadata.namespace, name };
    return sources.pods.cache.get(key) ?? replicas.pods.cache.get(key);
  }

  async function readShard(
    inquiry: Inquiry,
    cached: CachedShard,
    signal: AbortSignal,
  ): Promise<ObservedReplicaShard> {
    const { set, cluster, shard } = inquiry;
    const { limits, applyDelayMs } = effectiveSettings(set.spec, cluster);
    const fineMs = limits.maxSeconds * 1_500 + 60_000;
    const span = { keepMs: fineMs + applyDelayMs * 1.5, fineMs };
    const pods = cached.members.flatMap(({ pod }) => pod ?? []);
    const [{ facts: primary, history }, certificate, ...readings] = await Promise.all([
      readPrimary(inquiry, sources, span),
      certificateOf(set, shard, signal),
      ...cached.members.map(({ pod }) => readMember(inquiry, pod)),
    ]);
    const facts = primary.state === 'present' ? primary.value : undefined;
    const addresses = [facts?.address, ...pods.filter(isPodReady).map(({ status }) => status?.podIP)];
    const group = readGroup(
      inquiry,
      addresses.flatMap((address) => address ?? []),
    );
    const stale = takeStaleCertificates(inquiry, pods, certificate);
    const upstream = standbyPod(set, cached.upstream);
    const members = await Promise.all(
      cached.members.map(async (member, index): Promise<ObservedReplica> => {
        const stats = readings[index] ?? { state: 'absent' };
        const position = positionOf(inquiry, member.pod, stats, facts);
        const lag = lagOf(position, history, applyDelayMs, monotonicMs());
        const streamsFrom = upstreamOf(member.name, upstream);
        return {
          ...member,
          streamsFrom,
          stats,
          lag: stats.state === 'present' && facts !== undefined ? lag : inferred(lag),
          pendingRestart: restartOf(member.name, stats, group),
          isLost: await isLost(inquiry, member.pod, stats, streamsFrom ?? facts),
          hasStaleCertificate: stale.includes(member.name),
        };
      }),
    );
    return {
      ...cached,
      members,
      primary,
      standbys: group?.standbys,
      isCertified: certificate !== undefined,
      hasReadyPrimary: hasReadyPrimary(inquiry, sources),
      takenByOthers: takenByOthers({ sources, replicas }, set, shard, hasStandby(group?.standbys, cluster)),
    };
  }

  function weighersOf({ metadata, spec }: ReadReplicaSet): string[] {
    const target = keyString({ namespace: metadata.namespace, name: spec.cluster });
    return poolerSources.poolers.cache
      .byIndex(byTarget, target)
      .filter((pooler) => setsOf(pooler).includes(metadata.name))
      .map((pooler) => pooler.metadata.name)
      .toSorted();
  }

  return {
    async observe(set, cluster, memory, signal) {
      const objects = objectsOf(set, replicas);
      const cached = cachedShards(set, cluster, replicas, objects, memory, monotonicMs());
      const weighers = weighersOf(set);
      const unreachable: SetObservation = {
        observed: {
          cluster,
          objects,
          shards: cached.map((shard) => unreached(set, shard, sources)),
          parameterProblems: undefined,
          weighers,
        },
        access: undefined,
      };
      if (cluster === undefined) return unreachable;
      const tls = operatorTlsSecret(cluster.metadata.name);
      const reading = await secrets.read({ namespace: set.metadata.namespace, name: tls }, secretMs, signal);
      const access = shardAccess(cluster, new Map([[tls, secretReading(reading)]]));
      if (access === undefined) return unreachable;
      const means = { set, cluster, access, memory, poll, connections, monotonicMs };
      const shards = await Promise.all(
        cached.map((shard) => readShard({ ...means, shard: shard.name }, shard, signal)),
      );
      const parameterProblems = readParameterProblems(means, shards);
      return { observed: { cluster, objects, shards, parameterProblems, weighers }, access };
    },
  };
}

/** Names of the sets over which a pooler spreads reads by weight. */
export function setsOf({ metadata, spec }: PoolerConfig): string[] {
  if (metadata.deletionTimestamp !== undefined || spec.engine !== 'pgpool') return [];
  return (spec.pgpool?.readReplicaSets ?? []).map(({ name }) => name);
}

/** A shard that nobody can be asked about. */
function unreached(set: ReadReplicaSet, shard: CachedShard, sources: Sources): ObservedReplicaShard {
  return {
    ...shard,
    hasReadyPrimary: hasReadyPrimary({ set, shard: shard.name }, sources),
    members: shard.members.map((member) => ({
      ...member,
      streamsFrom: undefined,
      stats: { state: 'absent' },
      lag: undefined,
      pendingRestart: undefined,
      isLost: false,
      hasStaleCertificate: false,
    })),
    primary: { state: 'absent' },
    standbys: undefined,
    isCertified: false,
    takenByOthers: { senders: 0, slots: 0 },
  };
}

/** A parameter of its own waits for a restart by the word of the server, one that all members share by that of Patroni. */
function restartOf(
  member: string,
  stats: Reading<ReplicaStats>,
  group: GroupView | undefined,
): boolean | undefined {
  if (stats.state === 'present' && stats.value.pendingRestart) return true;
  return group?.pendingRestart.has(member);
}
