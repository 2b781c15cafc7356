import { X509Certificate } from 'node:crypto';

import type { Connections } from '../../postgres/connections.ts';
import { checkParameters, probeParameters, readSettings } from '../../postgres/parameters.ts';
import {
  type PrimaryPosition,
  type ReplicaStats,
  readOldestPosition,
  readPrimaryPosition,
  readReplicaStats,
  readServerBytes,
} from '../../postgres/replica-stats.ts';
import { servedCertificate } from '../../postgres/served-certificate.ts';
import type { KubeClient } from '../../runtime/kube-client.ts';
import { keyString } from '../../runtime/kubernetes-object.ts';
import { secretType } from '../../runtime/kubernetes-types.ts';
import { type Reading, readingOf } from '../../runtime/reading.ts';
import { parameterProblems } from '../sharded-cluster/desired/parameters.ts';
import { hashOf } from '../sharded-cluster/hash.ts';
import { isPodReady, type Pod } from '../sharded-cluster/kubernetes.ts';
import type { SecretReading, ShardedCluster } from '../sharded-cluster/model.ts';
import { createNamedReader } from '../sharded-cluster/named-reader.ts';
import {
  operatorTlsSecret,
  patroniPort,
  primaryHost,
  roleLabel,
  serviceHost,
  shardLabel,
  shardTlsSecret,
} from '../sharded-cluster/names.ts';
import type { SecretObject } from '../sharded-cluster/observe.ts';
import { type ShardAccess, shardAccess } from '../sharded-cluster/shard-access.ts';
import { byCluster, clusterIndexValue, type Sources } from '../sharded-cluster/sources.ts';
import { contentOf } from '../sharded-cluster/steps/identity.ts';
import type { GroupView, Remembered, SetMemory } from './memory.ts';
import type {
  ObservedReplica,
  ObservedReplicaShard,
  ObservedSet,
  PrimaryFacts,
  ReadReplicaSet,
} from './model.ts';
import { readService, replicasName } from './names.ts';
import { type CachedShard, cachedShards, objectsOf } from './observe-cache.ts';
import { createPoll } from './poll.ts';
import type { Lag } from './rotation.ts';
import { effectiveSettings } from './settings.ts';
import type { ReplicaSources } from './sources.ts';
import { type Sample, stalenessOf, withSample } from './staleness.ts';

/** How long what is not asked every second is good. */
const freshMs = {
  secret: 900_000,
  uncertified: 2_000,
  group: 10_000,
  bytes: 60_000,
  certificate: 30_000,
  parameters: 300_000,
};
/** A member that has not streamed for so long may have lost its place. */
const silentMs = 30_000;

/** What a set is observed with. */
export interface SetObserverDependencies {
  readonly client: KubeClient;
  readonly sources: Sources;
  readonly replicas: ReplicaSources;
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
  const { client, sources, replicas, connections, monotonicMs } = dependencies;
  const secrets = createNamedReader<SecretObject>(client, secretType, monotonicMs);
  const poll = createPoll(connections);

  async function secret(
    namespace: string,
    name: string,
    maxAgeMs: number,
    signal: AbortSignal,
  ): Promise<SecretReading> {
    const reading = await secrets.read({ namespace, name }, maxAgeMs, signal);
    if (reading.state !== 'present') return reading;
    const { data = {}, metadata } = reading.value;
    return { state: 'present', value: { data, resourceVersion: metadata.resourceVersion ?? '' } };
  }

  /** The certificate of a shard, once it is valid for the Service of the set. */
  async function certificateOf(
    set: ReadReplicaSet,
    shard: string,
    signal: AbortSignal,
  ): Promise<X509Certificate | undefined> {
    const { namespace, name } = set.metadata;
    const host = serviceHost(readService(name, shard), namespace);
    for (const maxAgeMs of [freshMs.secret, freshMs.uncertified]) {
      const reading = await secret(namespace, shardTlsSecret(set.spec.cluster, shard), maxAgeMs, signal);
      const text = contentOf(reading)?.['tls.crt'];
      if (text === undefined) continue;
      const certificate = new X509Certificate(text);
      if (certificate.checkHost(host) !== undefined) return certificate;
    }
    return undefined;
  }

  function remembered<T>(known: Remembered<T> | undefined, maxAgeMs: number): T | undefined {
    return known !== undefined && monotonicMs() - known.atMs < maxAgeMs ? known.value : undefined;
  }

  async function readPrimary(
    set: ReadReplicaSet,
    shard: string,
    access: ShardAccess,
    memory: SetMemory,
    keepMs: number,
  ): Promise<Reading<PrimaryFacts>> {
    const { namespace } = set.metadata;
    const ofCluster = sources.pods.cache.byIndex(byCluster, clusterIndexValue(namespace, set.spec.cluster));
    const primaries = ofCluster.filter(
      ({ metadata, status }) =>
        metadata.labels?.[shardLabel] === shard &&
        metadata.labels[roleLabel] === 'primary' &&
        metadata.deletionTimestamp === undefined &&
        status?.podIP !== undefined,
    );
    const [pod] = primaries;
    const address = pod?.status?.podIP;
    if (pod === undefined || address === undefined || primaries.length > 1) {
      return { state: 'unknown', error: new Error(`shard ${shard} has no single primary`) };
    }
    const options = access.asOperator(shard, address, 'postgres');
    const reading = await poll.ask<PrimaryPosition>(
      `${keyString(set.metadata)}/${pod.metadata.uid}`,
      options,
      readPrimaryPosition,
    );
    if (reading.state !== 'present') return reading;
    const { inRecovery, position, maxWalSenders, maxReplicationSlots } = reading.value;
    if (inRecovery)
      return { state: 'unknown', error: new Error(`${pod.metadata.name} is not the primary any more`) };
    const primary = pod.metadata.uid ?? pod.metadata.name;
    const history = memory.histories.get(shard);
    const before = history?.primary === primary ? history.samples : [];
    memory.histories.set(shard, {
      primary,
      samples: withSample(before, { atMs: monotonicMs(), position }, keepMs),
    });
    let bytes = remembered(memory.bytes.get(shard), freshMs.bytes);
    if (bytes === undefined) {
      const counted = await poll.ask(
        `${keyString(set.metadata)}/${shard}/bytes`,
        options,
        async (connection) => ({
          bytes: await readServerBytes(connection),
        }),
      );
      bytes = counted.state === 'present' ? counted.value.bytes : memory.bytes.get(shard)?.value;
      if (counted.state === 'present')
        memory.bytes.set(shard, { value: counted.value.bytes, atMs: monotonicMs() });
    }
    return {
      state: 'present',
      value: { name: pod.metadata.name, address, maxWalSenders, maxReplicationSlots, bytes },
    };
  }

  async function readGroup(
    shard: string,
    access: ShardAccess,
    addresses: readonly string[],
    memory: SetMemory,
  ): Promise<GroupView | undefined> {
    const known = remembered(memory.groups.get(shard), freshMs.group);
    if (known !== undefined) return known;
    for (const address of addresses.slice(0, 2)) {
      const view = await readingOf(() => access.patroni(shard, address, 1_000).cluster());
      if (view.state !== 'present') continue;
      const value: GroupView = {
        standbys: view.value.members
          .filter(
            ({ state, tags, role }) =>
              state === 'streaming' && tags?.nofailover !== true && role !== 'leader',
          )
          .map(({ name }) => name),
        pendingRestart: new Set(
          view.value.members.filter((member) => member.pending_restart === true).map(({ name }) => name),
        ),
      };
      memory.groups.set(shard, { value, atMs: monotonicMs() });
      return value;
    }
    return undefined;
  }

  async function readParameterProblems(
    { spec }: ReadReplicaSet,
    shard: string,
    access: ShardAccess,
    address: string,
    memory: SetMemory,
  ): Promise<readonly string[] | undefined> {
    const hash = hashOf(spec.parameters);
    const known = memory.parameterProblems;
    if (known?.hash === hash && remembered(known, freshMs.parameters) !== undefined) return known.value;
    const own = parameterProblems(spec.parameters);
    const reading = await readingOf(() =>
      connections.use(access.asOperator(shard, address, 'postgres'), async (connection) => {
        const settings = await readSettings(connection);
        const problems = [...own, ...checkParameters(spec.parameters, settings)];
        return problems.length > 0 ? problems : probeParameters(connection, spec.parameters, settings);
      }),
    );
    if (reading.state !== 'present') return known?.hash === hash ? known.value : undefined;
    const value = [...new Set(reading.value.map(({ message }) => message))];
    memory.parameterProblems = { hash, value, atMs: monotonicMs() };
    return value;
  }

  /** Kubelets deliver a renewed Secret in their own time; a member is told to read it again until it serves it. */
  async function readStaleCertificates(
    set: ReadReplicaSet,
    shard: string,
    pods: readonly Pod[],
    certificate: X509Certificate | undefined,
    memory: SetMemory,
  ): Promise<readonly string[]> {
    const known = memory.certificates.get(shard);
    if (certificate === undefined || remembered(known, freshMs.certificate) !== undefined) return [];
    const servername = primaryHost(set.spec.cluster, shard, set.metadata.namespace);
    const readings = pods.filter(isPodReady).map(async ({ metadata, status }): Promise<string[]> => {
      const host = status?.podIP;
      if (host === undefined) return [];
      const served = await readingOf(() => servedCertificate({ host, port: patroniPort, servername }));
      return served.state === 'present' && served.value !== certificate.fingerprint256 ? [metadata.name] : [];
    });
    const value = (await Promise.all(readings)).flat();
    memory.certificates.set(shard, { value, atMs: monotonicMs() });
    return value;
  }

  async function isLost(
    member: string,
    shard: string,
    stats: Reading<ReplicaStats>,
    primary: { readonly address: string } | undefined,
    access: ShardAccess,
    memory: SetMemory,
  ): Promise<boolean> {
    if (stats.state !== 'present' || stats.value.streaming) {
      if (stats.state === 'present') memory.silent.delete(member);
      return false;
    }
    const since = memory.silent.get(member) ?? monotonicMs();
    memory.silent.set(member, since);
    if (primary === undefined || monotonicMs() - since < silentMs) return false;
    const oldest = await poll.ask(
      `${member}/oldest`,
      access.asOperator(shard, primary.address, 'postgres'),
      async (connection) => ({ position: await readOldestPosition(connection) }),
    );
    return oldest.state === 'present' && stats.value.received < oldest.value.position;
  }

  async function readShard(
    set: ReadReplicaSet,
    cluster: ShardedCluster,
    cached: CachedShard,
    access: ShardAccess,
    memory: SetMemory,
    signal: AbortSignal,
  ): Promise<ObservedReplicaShard> {
    const { limits, applyDelayMs } = effectiveSettings(set.spec, cluster);
    const { name } = cached;
    const keepMs = (limits.maxSeconds * 1_000 + applyDelayMs) * 1.5 + 60_000;
    const pods = cached.members.flatMap(({ pod }) => pod ?? []);
    const [primary, certificate, ...readings] = await Promise.all([
      readPrimary(set, name, access, memory, keepMs),
      certificateOf(set, name, signal),
      ...cached.members.map(({ pod }) => readMember(set, cluster, name, pod, access)),
    ]);
    const facts = primary.state === 'present' ? primary.value : undefined;
    const addresses = [facts?.address, ...pods.filter(isPodReady).map(({ status }) => status?.podIP)];
    const [group, stale] = await Promise.all([
      readGroup(
        name,
        access,
        addresses.flatMap((address) => address ?? []),
        memory,
      ),
      readStaleCertificates(set, name, pods, certificate, memory),
    ]);
    const members = await Promise.all(
      cached.members.map(async (member, index): Promise<ObservedReplica> => {
        const stats = readings[index] ?? { state: 'absent' };
        return {
          ...member,
          stats,
          lag: lagOf(
            stats,
            facts === undefined ? undefined : memory.histories.get(name)?.samples,
            applyDelayMs,
          ),
          pendingRestart: group?.pendingRestart.has(member.name),
          isLost: await isLost(member.name, name, stats, facts, access, memory),
          hasStaleCertificate: stale.includes(member.name),
        };
      }),
    );
    return {
      ...cached,
      members,
      primary,
      standbys: group?.standbys ?? [],
      isCertified: certificate !== undefined,
      othersOnPrimary: membersOfOthers(set, name),
    };
  }

  function readMember(
    set: ReadReplicaSet,
    cluster: ShardedCluster,
    shard: string,
    pod: Pod | undefined,
    access: ShardAccess,
  ): Promise<Reading<ReplicaStats>> {
    const address = pod?.status?.podIP;
    if (pod === undefined || address === undefined || !isPodReady(pod))
      return Promise.resolve({ state: 'absent' });
    return poll.ask(
      `${keyString(set.metadata)}/${pod.metadata.uid}`,
      access.asOperator(shard, address, 'postgres'),
      (connection) => readReplicaStats(connection, cluster.spec.postgres.database),
    );
  }

  function lagOf(
    stats: Reading<ReplicaStats>,
    history: readonly Sample[] | undefined,
    applyDelayMs: number,
  ): Lag | undefined {
    const last = history?.at(-1);
    if (stats.state !== 'present' || history === undefined || last === undefined) return undefined;
    const nowMs = monotonicMs();
    const { received, replayed } = stats.value;
    const shown = stalenessOf(history, replayed, nowMs);
    const sent = stalenessOf(history, received, nowMs);
    if (shown === undefined || sent === undefined) return undefined;
    if (applyDelayMs === 0) {
      return { bytes: Math.max(0, last.position - replayed), seconds: shown.ms / 1_000, exact: shown.exact };
    }
    // What it holds back on purpose is not lag; what it has not even received is.
    const beyond = shown.exact ? Math.max(0, shown.ms - applyDelayMs) : 0;
    return {
      bytes: Math.max(0, last.position - received),
      seconds: Math.max(sent.ms, beyond) / 1_000,
      exact: sent.exact,
    };
  }

  /** Members that other sets have on the primary of a shard. */
  function membersOfOthers(set: ReadReplicaSet, shard: string): number {
    const { namespace, name } = set.metadata;
    return sources.replicaSets.cache
      .byIndex(byCluster, clusterIndexValue(namespace, set.spec.cluster))
      .filter((other) => other.metadata.name !== name && other.spec.source !== 'standby')
      .reduce((sum, other) => {
        const key = { namespace, name: replicasName(other.metadata.name, shard) };
        const members = replicas.statefulSets.cache.get(key)?.spec?.replicas ?? 0;
        return sum + (other.spec.source === 'cascade' ? Math.min(1, members) : members);
      }, 0);
  }

  return {
    async observe(set, cluster, memory, signal) {
      const objects = objectsOf(set, replicas);
      const cached = cachedShards(set, cluster, replicas, objects, memory, monotonicMs());
      const base = { cluster, objects };
      if (cluster === undefined) {
        return {
          observed: { ...base, shards: cached.map(unreached), parameterProblems: undefined },
          access: undefined,
        };
      }
      const tls = operatorTlsSecret(cluster.metadata.name);
      const reading = await secret(set.metadata.namespace, tls, freshMs.secret, signal);
      const access = shardAccess(cluster, new Map([[tls, reading]]));
      if (access === undefined) {
        return { observed: { ...base, shards: cached.map(unreached), parameterProblems: undefined }, access };
      }
      const shards = await Promise.all(
        cached.map((shard) => readShard(set, cluster, shard, access, memory, signal)),
      );
      return {
        observed: { ...base, shards, parameterProblems: await problemsOf(set, shards, access, memory) },
        access,
      };
    },
  };

  async function problemsOf(
    set: ReadReplicaSet,
    shards: readonly ObservedReplicaShard[],
    access: ShardAccess,
    memory: SetMemory,
  ): Promise<readonly string[] | undefined> {
    if (Object.keys(set.spec.parameters).length === 0) return [];
    for (const { name, primary } of shards) {
      if (primary.state !== 'present') continue;
      return readParameterProblems(set, name, access, primary.value.address, memory);
    }
    const known = memory.parameterProblems;
    return known?.hash === hashOf(set.spec.parameters) ? known.value : undefined;
  }
}

/** A shard that nobody can be asked about. */
function unreached(shard: CachedShard): ObservedReplicaShard {
  return {
    ...shard,
    members: shard.members.map((member) => ({
      ...member,
      stats: { state: 'absent' },
      lag: undefined,
      pendingRestart: undefined,
      isLost: false,
      hasStaleCertificate: false,
    })),
    primary: { state: 'absent' },
    standbys: [],
    isCertified: false,
    othersOnPrimary: 0,
  };
}
