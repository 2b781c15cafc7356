import { readReplicaSetSpec } from '../../api/v1alpha1/read-replica-set.ts';
import { type ShardStatus, shardedClusterSpec } from '../../api/v1alpha1/sharded-cluster.ts';
import type { Connections } from '../../postgres/connections.ts';
import type { Clock } from '../../runtime/clock.ts';
import type { KubeClient } from '../../runtime/kube-client.ts';
import { type KubernetesObject, keyString } from '../../runtime/kubernetes-object.ts';
import { secretType } from '../../runtime/kubernetes-types.ts';
import { readPodCores } from '../../runtime/pod-metrics.ts';
import { type Reading, readingOf } from '../../runtime/reading.ts';
import type { ReadReplicaSet } from '../read-replica-set/model.ts';
import { isPodReady, type Pod } from '../sharded-cluster/kubernetes.ts';
import type { SecretReading, ShardedCluster } from '../sharded-cluster/model.ts';
import { createNamedReader, type NamedReader } from '../sharded-cluster/named-reader.ts';
import {
  applicationSecret,
  authoritySecret,
  monitoringSecret,
  operatorTlsSecret,
  selectorText,
} from '../sharded-cluster/names.ts';
import { type SecretObject, secretReading } from '../sharded-cluster/observe.ts';
import { shardAccess } from '../sharded-cluster/shard-access.ts';
import type { Sources } from '../sharded-cluster/sources.ts';
import { objectId } from '../sharded-cluster/steps/objects.ts';
import { type ConsoleAccess, consoleAccess, useConsole } from './console-access.ts';
import { type GatedShards, hasSwitched, shardKey } from './gated-shards.ts';
import { readInstance, sessionName } from './instance-facts.ts';
import type { PoolerMemory, TargetFacts } from './memory.ts';
import type { InstanceFacts, Observed, ObservedInstance, ObservedTarget, PoolerConfig } from './model.ts';
import {
  adminSecret,
  instanceOrdinal,
  peersService,
  pgpoolKeySecret,
  poolerName,
  poolerSelector,
} from './names.ts';
import { readPgpoolInstance } from './pgpool-access.ts';
import { isServedByOthers } from './served-by-others.ts';
import { leavingOf, sharersOf, type Target } from './sharers.ts';
import { byCluster, byPooler, byTarget, type PoolerSources } from './sources.ts';

/** How long what was read by name, or from a server, is good. */
const freshMs = { secret: 600_000, login: 30_000, limits: 10_000 };
/** While something is amiss or new, somebody may just be putting it right. */
const unsettledMs = 5_000;

/** Gathers what a pass needs to know. */
export interface PoolerObserver {
  observe(
    pooler: PoolerConfig,
    memory: PoolerMemory,
    signal: AbortSignal,
  ): Promise<{ observed: Observed; access: ConsoleAccess | undefined }>;
  readonly secrets: NamedReader<SecretObject>;
  /** Reads the Secrets that a console needs. */
  access(pooler: Pick<PoolerConfig, 'metadata'>, signal: AbortSignal): Promise<ConsoleAccess | undefined>;
}

/** What an observer works with. */
export interface PoolerObserverDependencies {
  readonly client: KubeClient;
  readonly sources: Sources;
  readonly poolerSources: PoolerSources;
  readonly connections: Connections;
  readonly gated: GatedShards;
  readonly clock: Pick<Clock, 'monotonicMs' | 'now'>;
}

/** An observer. */
export function createPoolerObserver(dependencies: PoolerObserverDependencies): PoolerObserver {
  const { client, sources, poolerSources, connections, gated, clock } = dependencies;
  const { monotonicMs, now } = clock;
  const secrets = createNamedReader<SecretObject>(client, secretType, monotonicMs);
  function servedFor({ served }: PoolerMemory, key: string, by: string | undefined): number {
    const before = served.get(key);
    if (before !== undefined && before.by === by) return monotonicMs() - before.sinceMs;
    served.set(key, { by, sinceMs: monotonicMs() });
    return 0;
  }

  function addressOf(namespace: string, member: string | undefined): string | undefined {
    return member === undefined
      ? undefined
      : sources.pods.cache.get({ namespace, name: member })?.status?.podIP;
  }

  async function readSecrets(
    namespace: string,
    names: readonly string[],
    maxAgeMs: number,
    signal: AbortSignal,
  ): Promise<Map<string, SecretReading>> {
    const entries = names.map(async (name): Promise<[string, SecretReading]> => {
      const reading = await secrets.read({ namespace, name }, maxAgeMs, signal);
      return [name, secretReading(reading)];
    });
    return new Map(await Promise.all(entries));
  }

  async function readTargets(
    pooler: PoolerConfig,
    memory: PoolerMemory,
    cluster: ShardedCluster | undefined,
    replicaSet: ReadReplicaSet | undefined,
    readings: Observed['secrets'],
    pods: readonly Pod[],
    instances: Promise<unknown>,
  ): Promise<ObservedTarget[]> {
    if (cluster === undefined) return [];
    const access = shardAccess(cluster, readings);
    const addresses = pods.flatMap((pod) => pod.status?.podIP ?? []);
    const { namespace, name } = cluster.metadata;
    const { readReplicaSet, role } = pooler.spec.target;
    const shards = replicaSet?.spec.shards;
    const maxAgeMs = isSettled(pooler) ? freshMs.limits : unsettledMs;
    const items = (cluster.status?.shards?.items ?? []).filter((item) => shards?.includes(item.name) ?? true);
    return Promise.all(
      items.map(async (item): Promise<ObservedTarget> => {
        const { name: shard, primary } = item;
        const key = `${name}/${shard}`;
        const remembered = memory.targets.get(key);
        const servedBy =
          readReplicaSet === undefined ? servedByOf(item, role) : readBy(item, replicaSet?.status);
        const host = addressOf(namespace, primary);
        const ask = <Row extends object>(text: string): Promise<Row[]> => {
          if (access === undefined || host === undefined)
            throw new Error(`shard ${shard} has no primary yet`);
          return connections.use(access.asOperator(shard, host, 'postgres'), (connection) =>
            connection.query<Row>({ text, values: [addresses] }),
          );
        };
        const target = {
          shard,
          servedBy,
          servedMs: servedFor(memory, key, servedBy),
          sessions: hasMoved(pooler, shard, servedBy) ? await readSessions(ask, instances) : undefined,
        };
        const server = servedByOf(item, 'rw');
        if (
          remembered !== undefined &&
          remembered.server === server &&
          monotonicMs() - remembered.atMs < maxAgeMs
        )
          return targetOf(target, { state: 'present', value: remembered.facts });
        const facts = await readingOf(async () => (await ask<TargetFacts>(limitsQuery))[0]);
        if (facts.state === 'present')
          memory.targets.set(key, { facts: facts.value, atMs: monotonicMs(), server });
        else if (remembered !== undefined)
          return targetOf(target, { state: 'present', value: remembered.facts });
        return targetOf(target, facts);
      }),
    );
  }

  async function readInstances(
    pooler: PoolerConfig,
    pods: readonly Pod[],
    readFacts: (pod: Pod) => Promise<InstanceFacts>,
    signal: AbortSignal,
  ): Promise<ObservedInstance[]> {
    const { namespace, name } = pooler.metadata;
    const selector = selectorText(poolerSelector(name));
    const cores =
      pooler.spec.autoscaling === undefined
        ? undefined
        : await readPodCores(client, namespace, selector, signal, pooler.spec.engine);
    const cpuPercentOf = (podName: string) => {
      const used = cores?.state === 'present' ? cores.value.get(podName) : undefined;
      return used === undefined ? undefined : used * 100;
    };
    const instances = pods.map(async (pod): Promise<ObservedInstance[]> => {
      const ordinal = instanceOrdinal(name, pod.metadata.name);
      if (ordinal === undefined) return [];
      const facts = await readingOf(() => readFacts(pod));
      const { name: podName } = pod.metadata;
      return [
        { name: podName, ordinal, pod, ready: isPodReady(pod), facts, cpuPercent: cpuPercentOf(podName) },
      ];
    });
    return (await Promise.all(instances)).flat().toSorted((a, b) => a.ordinal - b.ordinal);
  }

  return {
    secrets,
    async access(pooler, signal) {
      const names = [poolerName(pooler.metadata.name), adminSecret(pooler.metadata.name)];
      return consoleAccess(
        pooler,
        await readSecrets(pooler.metadata.namespace, names, freshMs.secret, signal),
      );
    },
    async observe(pooler, memory, signal) {
      const { namespace, name } = pooler.metadata;
      const { cluster: clusterName, readReplicaSet } = pooler.spec.target;
      const replicaSet =
        readReplicaSet === undefined
          ? undefined
          : sources.replicaSets.cache.get({ namespace, name: readReplicaSet });
      const found = sources.clusters.cache.get({ namespace, name: clusterName });
      const cluster =
        found === undefined ? undefined : { ...found, spec: shardedClusterSpec.parse(found.spec) };
      const { engine, pgpool } = pooler.spec;
      const maxAgeMs = secretAgeMs(pooler);
      const loginAgeMs = Math.min(maxAgeMs, freshMs.login);
      const readings = new Map([
        ...(await readSecrets(namespace, secretNames(pooler), maxAgeMs, signal)),
        ...(pgpool === undefined
          ? []
          : await readSecrets(namespace, loginSecrets(clusterName, pgpool.logins), loginAgeMs, signal)),
      ]);
      const access = engine === 'pgbouncer' ? consoleAccess(pooler, readings) : undefined;
      const pods = poolerSources.pods.cache.byIndex(byPooler, keyString({ namespace, name }));
      const anyMoved = (cluster?.status?.shards?.items ?? []).some((item) =>
        hasMoved(pooler, item.name, servedByOf(item, 'rw')),
      );
      const reading = readInstances(
        pooler,
        pods,
        (pod) =>
          engine === 'pgpool'
            ? readPgpoolInstance(pooler, cluster, readings, pod)
            : useConsole(access, pod, (console) => readInstance(console, anyMoved)),
        signal,
      );
      const [targets, instances] = await Promise.all([
        readTargets(pooler, memory, cluster, replicaSet, readings, pods, reading),
        reading,
      ]);
      const clusterKey = keyString({ namespace, name: clusterName });
      const others = poolerSources.poolers.cache
        .byIndex(byTarget, clusterKey)
        .filter((other) => other.metadata.name !== name);
      const sharing = sharersOf(
        serversOf(pooler),
        others.map((other) => ({
          ...serversOf(other),
          name: other.metadata.name,
          total: other.status?.sizing?.total ?? 0,
        })),
        leavingOf(
          poolerSources.pods.cache.byIndex(byCluster, clusterKey),
          [
            { name },
            ...others.map(({ metadata, status }) => ({
              name: metadata.name,
              madeAt: status?.sizing === undefined ? metadata.creationTimestamp : undefined,
            })),
          ],
          now(),
        ),
        (set) => sources.replicaSets.cache.get({ namespace, name: set })?.spec.whenNoneFresh === 'primary',
      );
      const objects = objectsOf(namespace, name, sources);
      return {
        access,
        observed: {
          cluster,
          replicaSet,
          sets: (pgpool?.readReplicaSets ?? []).flatMap((read) => {
            const set = sources.replicaSets.cache.get({ namespace, name: read.name });
            return set === undefined ? [] : [{ ...set, spec: readReplicaSetSpec.parse(set.spec) }];
          }),
          targets,
          sharing,
          secrets: readings,
          statefulSet: sources.statefulSets.cache.get({ namespace, name: poolerName(name) }),
          instances,
          objects: new Map(objects.map((object) => [objectId(object), object])),
          held: gated.held,
          switched: new Set(
            (cluster?.status?.shards?.items ?? [])
              .filter(({ name: shard, primary }) =>
                hasSwitched(
                  gated,
                  shardKey({ namespace, pooler: name, shard }),
                  addressOf(namespace, primary),
                  monotonicMs(),
                ),
              )
              .map(({ name: shard }) => shard),
          ),
        },
      };
    },
  };
}

const limitsQuery = `
SELECT current_setting('max_connections')::int AS "maxConnections",
  current_setting('superuser_reserved_connections')::int + current_setting('reserved_connections')::int AS reserved,
  (SELECT coalesce(array_agg(usename::text), '{}') FROM pg_stat_activity
    WHERE client_addr = ANY ($1::inet[]) AND query ~* '^\\s*listen\\s') AS listeners`;

const sessionsQuery = `
SELECT pid, client_port AS port FROM pg_stat_activity WHERE client_addr = ANY ($1::inet[])`;

/** Asked after the instances, so that none of theirs is missing here that leads here. */
async function readSessions(
  ask: <Row extends object>(text: string) => Promise<Row[]>,
  instances: Promise<unknown>,
): Promise<ReadonlySet<string> | undefined> {
  await instances;
  const found = await readingOf(() => ask<{ pid: number; port: number }>(sessionsQuery));
  return found.state === 'present'
    ? new Set(found.value.map(({ pid, port }) => sessionName(pid, port)))
    : undefined;
}

/** Whether another server has become the primary: only those that write have all their sessions on one. */
function hasMoved(pooler: PoolerConfig, shard: string, servedBy: string | undefined): boolean {
  const { engine, target } = pooler.spec;
  const isOne = engine === 'pgbouncer' && target.role === 'rw' && target.readReplicaSet === undefined;
  return isOne && isServedByOthers(pooler, shard, servedBy);
}

/** Who writes another spec may have changed a Secret just before: what was read before that tells nothing of it. */
function secretAgeMs(pooler: PoolerConfig): number {
  if (pooler.status?.observedGeneration !== pooler.metadata.generation) return 0;
  return isSettled(pooler) ? freshMs.secret : unsettledMs;
}

function isSettled({ status, metadata }: PoolerConfig): boolean {
  return status?.phase === 'Ready' && status.observedGeneration === metadata.generation;
}

/** Whoever reads waits until there is a standby, but may read on from one that was promoted. */
function servedByOf(item: ShardStatus, role: 'rw' | 'ro'): string | undefined {
  const { primary, timeline, members } = item;
  if (primary === undefined) return undefined;
  const hasStandby = members.some((member) => member.role === 'standby' && member.ready);
  return role === 'ro' && !hasStandby ? undefined : `${primary}/${timeline ?? ''}`;
}

/** With others in rotation connections are spread anew: off a member that is about to stop, and on to one that has come. */
function readBy(item: ShardStatus, status: ReadReplicaSet['status']): string | undefined {
  const shard = status?.shards?.find(({ name }) => name === item.name);
  if (shard?.servedBy === 'primary') return servedByOf(item, 'rw');
  const serving = shard?.members.filter(({ rotation }) => rotation === 'in') ?? [];
  return serving.length === 0 ? undefined : serving.map(({ name }) => name).join(', ');
}

function targetOf(
  served: Pick<ObservedTarget, 'shard' | 'servedBy' | 'servedMs' | 'sessions'>,
  facts: Reading<TargetFacts>,
): ObservedTarget {
  return {
    ...served,
    limits: facts,
    listeners: facts.state === 'present' ? facts.value.listeners : [],
  };
}

/** Pgpool-II is connected to the members that it reads as well. */
function serversOf({ spec }: Pick<PoolerConfig, 'spec'>): Target {
  return { ...spec.target, alsoReads: spec.pgpool?.readReplicaSets.map(({ name }) => name) ?? [] };
}

function secretNames({ metadata, spec }: PoolerConfig): string[] {
  const { cluster } = spec.target;
  return [
    authoritySecret(cluster),
    operatorTlsSecret(cluster),
    applicationSecret(cluster),
    monitoringSecret(cluster),
    poolerName(metadata.name),
    spec.engine === 'pgpool' ? pgpoolKeySecret(metadata.name) : adminSecret(metadata.name),
  ];
}

/** Secrets with passwords that instances have a copy of, so that a new one has to reach them soon. */
function loginSecrets(cluster: string, more: readonly string[]): string[] {
  return [applicationSecret(cluster), monitoringSecret(cluster), ...more];
}

function objectsOf(namespace: string, pooler: string, sources: Sources): KubernetesObject[] {
  const names = [poolerName(pooler), peersService(pooler)];
  const informers = [...sources.plain, sources.statefulSets];
  return names.flatMap((name) =>
    informers.flatMap((informer): KubernetesObject[] => {
      const found = informer.cache.get({ namespace, name });
      return found === undefined ? [] : [found];
    }),
  );
}
