import { durationMs } from '../../../api/v1alpha1/duration.ts';
import type { ShardMapSpec } from '../../../api/v1alpha1/shard-map.ts';
import type { Connections } from '../../../postgres/connections.ts';
import type { ResolvedMigration } from '../../../postgres/migration-plan.ts';
import { readSource, type SourceFacts } from '../../../postgres/read-model/publisher.ts';
import { type ModelFacts, readModel } from '../../../postgres/read-model/subscriber.ts';
import type { KubeClient } from '../../../runtime/kube-client.ts';
import { type KubernetesObject, keyString } from '../../../runtime/kubernetes-object.ts';
import { configMapType, secretType } from '../../../runtime/kubernetes-types.ts';
import type { Reading } from '../../../runtime/reading.ts';
import type { Login } from '../../sharded-cluster/desired/credentials.ts';
import { hashOf } from '../../sharded-cluster/hash.ts';
import { isPodReady } from '../../sharded-cluster/kubernetes.ts';
import type { Observed, SecretReading, ShardedCluster, ShardMapObject } from '../../sharded-cluster/model.ts';
import { createNamedReader, type NamedReader } from '../../sharded-cluster/named-reader.ts';
import {
  applicationSecret,
  authoritySecret,
  monitoringSecret,
  operatorTlsSecret,
  roleLabel,
  shardIndex,
  shardLabel,
  shardMapName,
} from '../../sharded-cluster/names.ts';
import { type SecretObject, secretReading } from '../../sharded-cluster/observe.ts';
import { type ShardAccess, shardAccess } from '../../sharded-cluster/shard-access.ts';
import { byCluster, clusterIndexValue, type Sources } from '../../sharded-cluster/sources.ts';
import { loginOf } from '../../sharded-cluster/steps/identity.ts';
import { wantedNames } from '../../sharded-cluster/wanted-shards.ts';
import type { SetMemory } from '../memory.ts';
import type { ObservedReplica, ObservedReplicaShard, ReadReplicaSet, TakenByOthers } from '../model.ts';
import { type CachedShard, cachedShards, objectsOf } from '../observe-cache.ts';
import { readParameterProblems } from '../observe-parameters.ts';
import { takenByOthers } from '../others.ts';
import { createPoll } from '../poll.ts';
import { effectiveSettings } from '../settings.ts';
import type { ReplicaSources } from '../sources.ts';
import { type Look, withLook } from '../staleness.ts';
import { hasStandby } from '../steps/capacity.ts';
import { type ModelAccess, modelAccess } from './access.ts';
import type { ModelMemory } from './memory.ts';
import type { Migrations, ModelMember, ModelSource } from './model.ts';
import { modelPart, modelTlsSecret } from './names.ts';
import { lagOfStreams } from './stream-lag.ts';

/** For how long what is read by name is good. */
const secretMs = 120_000;
const certificateMs = 900_000;
const migrationMs = 10_000;

/** What a read model is observed with. */
export interface ModelObserverDependencies {
  readonly client: KubeClient;
  readonly sources: Sources;
  readonly replicas: ReplicaSources;
  readonly connections: Connections;
  readonly monotonicMs: () => number;
}

/** Roles with their passwords, as the cluster has them. */
export interface Logins {
  readonly application: Login;
  readonly monitoring: Login;
}

/** The world as one pass over a read model sees it. */
export interface ModelObservation {
  readonly sources: readonly ModelSource[];
  /** Shards that go, and own nothing any more. */
  readonly leaving: readonly ModelSource[];
  readonly map: ShardMapObject | undefined;
  readonly shard: ObservedReplicaShard;
  readonly members: readonly ModelMember[];
  /** By shard. */
  readonly takenByOthers: ReadonlyMap<string, TakenByOthers>;
  readonly objects: ReadonlyMap<string, KubernetesObject>;
  readonly secrets: Observed['secrets'];
  readonly migrations: Migrations;
  readonly extras: Migrations;
  readonly parameterProblems: readonly string[] | undefined;
  readonly logins: Logins | undefined;
  readonly shards: ShardAccess | undefined;
  readonly access: ModelAccess | undefined;
}

/** Gathers what a pass over a read model needs to know. */
export interface ModelObserver {
  readonly secrets: NamedReader<SecretObject>;
  observe(
    set: ReadReplicaSet,
    cluster: ShardedCluster,
    memory: SetMemory,
    model: ModelMemory,
    signal: AbortSignal,
  ): Promise<ModelObservation>;
}

/** An answer may come late: what it says was so when it was asked. */
type AskedSource = ModelSource & { readonly facts: Reading<SourceFacts & Look> };

type ConfigMapObject = KubernetesObject & { readonly data?: Readonly<Record<string, string>> };

/** An observer of read models. */
export function createModelObserver(dependencies: ModelObserverDependencies): ModelObserver {
  const { client, sources, replicas, connections, monotonicMs } = dependencies;
  const secrets = createNamedReader<SecretObject>(client, secretType, monotonicMs);
  const configMaps = createNamedReader<ConfigMapObject>(client, configMapType, monotonicMs);
  const poll = createPoll(connections);

  async function readSecrets(
    set: ReadReplicaSet,
    cluster: ShardedCluster,
    signal: AbortSignal,
  ): Promise<Map<string, SecretReading>> {
    const { credentials } = cluster.spec;
    const ages: readonly (readonly [string, number])[] = [
      [authoritySecret(set.spec.cluster), secretMs],
      [operatorTlsSecret(set.spec.cluster), certificateMs],
      [credentials.application ?? applicationSecret(set.spec.cluster), secretMs],
      [credentials.monitoring ?? monitoringSecret(set.spec.cluster), secretMs],
      [modelTlsSecret(set.metadata.name), certificateMs],
    ];
    const entries = ages.map(async ([name, maxAgeMs]): Promise<[string, SecretReading]> => {
      const reading = await secrets.read({ namespace: set.metadata.namespace, name }, maxAgeMs, signal);
      return [name, secretReading(reading)];
    });
    return new Map(await Promise.all(entries));
  }

  async function resolve(
    namespace: string,
    entries: ShardedCluster['spec']['schema'],
    signal: AbortSignal,
  ): Promise<Migrations> {
    const list: ResolvedMigration[] = [];
    for (const { name, sql, configMapKeyRef, lockTimeout, statementTimeout } of entries) {
      const limits = {
        ...(lockTimeout === undefined ? {} : { lockTimeoutMs: durationMs(lockTimeout) ?? 3_000 }),
        ...(statementTimeout === undefined
          ? {}
          : { statementTimeoutMs: durationMs(statementTimeout) ?? 600_000 }),
      };
      if (sql !== undefined) {
        list.push({ name, sql, ...limits });
        continue;
      }
      const key = { namespace, name: configMapKeyRef?.name ?? '' };
      const place = `migration "${name}": ConfigMap "${key.name}", key "${configMapKeyRef?.key}"`;
      const reading = await configMaps.read(key, migrationMs, signal);
      if (reading.state === 'unknown')
        return { kind: 'unknown', message: `${place}: ${reading.error.message}` };
      const text = reading.state === 'present' ? reading.value.data?.[configMapKeyRef?.key ?? ''] : undefined;
      if (text === undefined) return { kind: 'missing', message: `${place} does not exist: create it` };
      list.push({ name, sql: text, ...limits });
    }
    return { kind: 'known', list };
  }

  function readShardSource(
    set: ReadReplicaSet,
    cluster: ShardedCluster,
    shard: string,
    access: ShardAccess,
  ): Promise<AskedSource> | AskedSource {
    const { namespace } = set.metadata;
    const primaries = sources.pods.cache
      .byIndex(byCluster, clusterIndexValue(namespace, set.spec.cluster))
      .filter(
        ({ metadata, status }) =>
          metadata.labels?.[shardLabel] === shard &&
          metadata.labels[roleLabel] === 'primary' &&
          metadata.deletionTimestamp === undefined &&
          status?.podIP !== undefined,
      );
    const [pod, ...others] = primaries;
    const address = pod?.status?.podIP;
    if (pod === undefined || address === undefined || others.length > 0) {
      const error = new Error(`shard ${shard} has no single primary`);
      return { shard, member: undefined, address: undefined, facts: { state: 'unknown', error } };
    }
    const tables = (set.spec.logical?.tables ?? []).map(({ name }) => name);
    return poll
      .ask(
        // Asked for other tables it answers something else.
        `${keyString(set.metadata)}/${pod.metadata.uid}/source of ${tables.join()}`,
        access.asOperator(shard, address, cluster.spec.postgres.database),
        async (connection) => {
          const askedMs = monotonicMs();
          const facts = await readSource(connection, tables);
          return { ...facts, askedMs, answeredMs: monotonicMs() };
        },
      )
      .then((facts) => ({ shard, member: pod.metadata.name, address, facts }));
  }

  function note(model: ModelMemory, observed: readonly AskedSource[], keepMs: number): void {
    for (const { shard, facts } of observed) {
      if (facts.state !== 'present') continue;
      model.histories.set(shard, withLook(model.histories.get(shard) ?? [], facts.value, keepMs));
    }
  }

  return {
    secrets,
    async observe(set, cluster, memory, model, signal) {
      const { namespace, name } = set.metadata;
      const objects = objectsOf(set, replicas);
      const [readings, migrations, extras] = await Promise.all([
        readSecrets(set, cluster, signal),
        resolve(namespace, cluster.spec.schema, signal),
        resolve(namespace, set.spec.logical?.schema ?? [], signal),
      ]);
      const map = sources.maps.cache.get({ namespace, name: shardMapName(set.spec.cluster) });
      const shards = shardAccess(cluster, readings);
      const access = shards === undefined ? undefined : modelAccess(set, shards);
      const logins = loginsOf(cluster, readings);
      const cached: CachedShard = cachedShards(set, undefined, replicas, objects, memory, monotonicMs()).find(
        (shard) => shard.name === modelPart,
      ) ?? {
        name: modelPart,
        isWanted: true,
        statefulSet: undefined,
        settled: true,
        claims: [],
        upstream: undefined,
        byPrimary: false,
        members: [],
      };
      const followed = new Set(followedShards(cluster, map?.spec));
      const all =
        shards === undefined
          ? []
          : await Promise.all(shardsOf(cluster).map((shard) => readShardSource(set, cluster, shard, shards)));
      const observed = all.filter((source) => followed.has(source.shard));
      const { limits } = effectiveSettings(set.spec, cluster);
      note(model, observed, limits.maxSeconds * 1_500 + 60_000);
      const setUpFrom = logins === undefined ? undefined : setUpHash(logins);
      const members = await Promise.all(
        cached.members.map(async (member): Promise<ModelMember> => {
          const { pod } = member;
          const address = pod?.status?.podIP;
          const isSetUp = setUpFrom !== undefined && model.setUp.get(pod?.metadata.uid ?? '') === setUpFrom;
          const facts: Reading<ModelFacts> =
            pod === undefined || address === undefined || access === undefined || !isPodReady(pod) || !isSetUp
              ? { state: 'absent' }
              : await poll.ask(
                  `${keyString(set.metadata)}/${pod.metadata.uid}/model`,
                  access.asOperator(address, cluster.spec.postgres.database),
                  readModel,
                );
          const replica: ObservedReplica = {
            ...member,
            outdated: member.outdated || (facts.state === 'present' && facts.value.pendingRestart),
            stats: { state: 'absent' },
            lag: lagOfStreams(facts, observed, model.histories, monotonicMs()),
            pendingRestart: false,
            streamsFrom: undefined,
            isLost: false,
            hasStaleCertificate: false,
          };
          return { replica, isSetUp, facts, failed: model.failed.get(member.name) };
        }),
      );
      const shard: ObservedReplicaShard = {
        ...cached,
        members: members.map(({ replica }) => replica),
        // What a physical copy is made from; a read model makes its own.
        primary: {
          state: 'present',
          value: {
            name: '',
            address: '',
            clockMs: 0,
            askedMs: 0,
            initializedMs: 0,
            maxWalSenders: 0,
            maxReplicationSlots: 0,
            maxWalBytes: 0,
            bytes: 0,
            standbys: {},
          },
        },
        standbys: [],
        hasReadyPrimary: false,
        isCertified: readings.get(modelTlsSecret(name))?.state === 'present',
        takenByOthers: { senders: 0, slots: 0 },
      };
      const judges = observed.flatMap(({ shard: judge, member, address }): ObservedReplicaShard[] =>
        member === undefined || address === undefined
          ? []
          : [
              {
                ...shard,
                name: judge,
                primary: {
                  state: 'present',
                  value: {
                    name: member,
                    address,
                    clockMs: 0,
                    askedMs: 0,
                    initializedMs: 0,
                    maxWalSenders: 0,
                    maxReplicationSlots: 0,
                    maxWalBytes: 0,
                    bytes: 0,
                    standbys: {},
                  },
                },
              },
            ],
      );
      const parameterProblems =
        shards === undefined
          ? undefined
          : readParameterProblems({ set, access: shards, memory, connections, monotonicMs }, judges);
      return {
        sources: observed,
        leaving: all.filter((source) => !followed.has(source.shard)),
        map,
        shard,
        members,
        takenByOthers: new Map(
          observed.map(({ shard: source }) => [
            source,
            takenByOthers({ sources, replicas }, set, source, hasStandby(undefined, cluster)),
          ]),
        ),
        objects,
        secrets: readings,
        migrations,
        extras,
        parameterProblems,
        logins,
        shards,
        access,
      };
    },
  };
}

/** What a member's roles and schema are made from, as one text. */
export function setUpHash(logins: Logins): string {
  return hashOf({ logins: JSON.stringify(logins) });
}

function loginsOf(cluster: ShardedCluster, secrets: Observed['secrets']): Logins | undefined {
  const application = loginOf(cluster, secrets, 'application');
  const monitoring = loginOf(cluster, secrets, 'monitoring');
  return typeof application === 'string' || typeof monitoring === 'string'
    ? undefined
    : { application, monitoring };
}

/** The shards that the cluster has: also one that shall go, as long as it owns a bucket or one moves. */
function followedShards(cluster: ShardedCluster, map: ShardMapSpec | undefined): string[] {
  const wanted = wantedNames(cluster);
  const buckets = (map?.groups ?? []).flatMap((group) => group.buckets);
  const moves = buckets.some(({ pending }) => pending !== undefined);
  return shardsOf(cluster).filter(
    (name) => wanted.includes(name) || moves || buckets.some(({ shard }) => shard === name),
  );
}

function shardsOf(cluster: ShardedCluster): string[] {
  return (cluster.status?.shards?.items ?? [])
    .map(({ name }) => name)
    .toSorted((a, b) => (shardIndex(a) ?? 0) - (shardIndex(b) ?? 0));
}
