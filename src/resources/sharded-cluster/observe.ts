import { X509Certificate } from 'node:crypto';
import type { Connections } from '../../postgres/connections.ts';
import { servedCertificate } from '../../postgres/served-certificate.ts';
import type { KubeClient } from '../../runtime/kube-client.ts';
import type { KubernetesObject } from '../../runtime/kubernetes-object.ts';
import { configMapType, nodeType, secretType } from '../../runtime/kubernetes-types.ts';
import { type Reading, readingOf } from '../../runtime/reading.ts';
import { layoutOf } from '../../sharding/layout.ts';
import { groupsWithoutBuckets } from '../../sharding/map.ts';
import { readService } from '../read-replica-set/names.ts';
import type { ClusterMemory } from './cluster-memory.ts';
import type { DatabaseFacts } from './database-facts.ts';
import { withFarewells } from './forgotten.ts';
import { hashOf } from './hash.ts';
import { shardMapType } from './kinds.ts';
import type {
  MigrationSource,
  Observed,
  ObservedShard,
  SecretReading,
  ShardedCluster,
  ShardMapObject,
} from './model.ts';
import { createNamedReader, type NamedReader } from './named-reader.ts';
import { patroniPort, primaryHost, shardMapName, shardTlsSecret } from './names.ts';
import { findAbandonedClaim } from './observe-claims.ts';
import { readDatabase } from './observe-database.ts';
import { readGroup } from './observe-group.ts';
import { type CachedShard, cachedShards } from './observe-members.ts';
import { movingShards, switchingBuckets } from './observe-moves.ts';
import { readReferences } from './observe-references.ts';
import { readStrays } from './observe-strays.ts';
import { type ShardAccess, shardAccess } from './shard-access.ts';
import { byCluster, clusterIndexValue, type Sources } from './sources.ts';
import { contentOf, loginOf, secretNames } from './steps/identity.ts';
import { objectId } from './steps/objects.ts';
import { wantedNames } from './wanted-shards.ts';

/** A Secret as it is read. */
export interface SecretObject extends KubernetesObject {
  data?: Record<string, string>;
}

interface ConfigMapObject extends KubernetesObject {
  data?: Record<string, string>;
}

/** How long what was read by name is good: a Secret that a user changes is noticed within this time. */
const freshMs = {
  secret: 120_000,
  certificate: 900_000,
  migration: 120_000,
  catalog: 60_000,
  servedCertificate: 30_000,
};
/** A server that does not come up for so long after it failed to start will not: Patroni tries every few seconds. */
const failedStartMs = 10_000;

/** Gathers what a pass needs to know. */
export interface Observer {
  observe(
    cluster: ShardedCluster,
    memory: ClusterMemory,
    signal: AbortSignal,
  ): Promise<{ observed: Observed; access: ShardAccess | undefined }>;
  /** The reader of Secrets, so that writes of ours are known at once. */
  readonly secrets: NamedReader<SecretObject>;
}

/** What an observer works with. */
export interface ObserverDependencies {
  readonly client: KubeClient;
  readonly sources: Sources;
  readonly connections: Connections;
  readonly monotonicMs: () => number;
}

/** An observer. */
export function createObserver({
  client,
  sources,
  connections,
  monotonicMs,
}: ObserverDependencies): Observer {
  const secrets = createNamedReader<SecretObject>(client, secretType, monotonicMs);
  const configMaps = createNamedReader<ConfigMapObject>(client, configMapType, monotonicMs);
  const nodes = createNamedReader<KubernetesObject>(client, nodeType, monotonicMs);
  const zones = new Map<string, string | undefined>();

  /** Zones of nodes do not change; each is asked for once. */
  async function learnZones(namespace: string, name: string, signal: AbortSignal): Promise<void> {
    const pods = sources.pods.cache.byIndex(byCluster, clusterIndexValue(namespace, name));
    const unknown = new Set(
      pods.flatMap((pod) => pod.spec?.nodeName ?? []).filter((node) => !zones.has(node)),
    );
    await Promise.all(
      [...unknown].map(async (node) => {
        const reading = await nodes.read({ namespace: '', name: node }, 0, signal);
        if (reading.state !== 'present') return;
        zones.set(node, reading.value.metadata.labels?.['topology.kubernetes.io/zone']);
      }),
    );
  }

  async function readSecrets(
    cluster: ShardedCluster,
    shards: readonly CachedShard[],
    signal: AbortSignal,
  ): Promise<Map<string, SecretReading>> {
    const names = secretNames(
      cluster,
      shards.map((shard) => shard.name),
    );
    const entries = names.map(async (name): Promise<[string, SecretReading]> => {
      const maxAgeMs = name.endsWith('-tls') || name.endsWith('-ca') ? freshMs.certificate : freshMs.secret;
      const reading = await secrets.read({ namespace: cluster.metadata.namespace, name }, maxAgeMs, signal);
      return [name, secretReading(reading)];
    });
    return new Map(await Promise.all(entries));
  }

  async function readMigrations(
    cluster: ShardedCluster,
    signal: AbortSignal,
  ): Promise<Map<string, MigrationSource>> {
    const entries = cluster.spec.schema.map(
      async ({ name, sql, configMapKeyRef }): Promise<[string, MigrationSource]> => {
        if (sql !== undefined) return [name, { state: 'present', value: sql }];
        if (configMapKeyRef === undefined) return [name, { state: 'absent' }];
        const key = { namespace: cluster.metadata.namespace, name: configMapKeyRef.name };
        const reading = await configMaps.read(key, freshMs.migration, signal);
        if (reading.state !== 'present') return [name, reading];
        const text = reading.value.data?.[configMapKeyRef.key];
        if (text === undefined) configMaps.forget(key);
        return [name, text === undefined ? { state: 'absent' } : { state: 'present', value: text }];
      },
    );
    return new Map(await Promise.all(entries));
  }

  async function readShard(
    cluster: ShardedCluster,
    memory: ClusterMemory,
    shard: CachedShard,
    access: ShardAccess | undefined,
    secretReadings: Observed['secrets'],
    knownMap: ShardMapObject | undefined,
    signal: AbortSignal,
  ): Promise<ObservedShard> {
    if (access === undefined) {
      return {
        ...shard,
        group: { state: 'absent' },
        config: { state: 'absent' },
        database: { state: 'absent' },
        abandonedClaim: undefined,
        failedStarts: [],
        strays: [],
        staleCertificates: [],
      };
    }
    const { group, config } = await readGroup(shard.members, (address) =>
      access.patroni(shard.name, address),
    );
    const database = await readPrimary(cluster, memory, shard, access, group, secretReadings, knownMap);
    const abandonedClaim = await findAbandonedClaim(
      { client, memory, nowMs: monotonicMs(), signal },
      cluster,
      shard,
      group,
      knownMap,
    );
    const staleCertificates = await readStaleCertificates(cluster, memory, shard, secretReadings);
    const failedStarts = failedStartsOf(memory, group, monotonicMs());
    const strays = await readStrays({ connections, access, memory, nowMs: monotonicMs() }, shard, group);
    return { ...shard, group, config, database, abandonedClaim, failedStarts, strays, staleCertificates };
  }

  /** Kubelets deliver a renewed Secret in their own time; a member is told to read it again until it serves it. */
  async function readStaleCertificates(
    cluster: ShardedCluster,
    memory: ClusterMemory,
    shard: CachedShard,
    secretReadings: Observed['secrets'],
  ): Promise<string[]> {
    const { name, namespace } = cluster.metadata;
    const certificate = contentOf(secretReadings.get(shardTlsSecret(name, shard.name)))?.['tls.crt'];
    const lastMs = memory.certificates.get(shard.name) ?? Number.NEGATIVE_INFINITY;
    if (certificate === undefined || monotonicMs() - lastMs < freshMs.servedCertificate) return [];
    memory.certificates.set(shard.name, monotonicMs());
    const { fingerprint256 } = new X509Certificate(certificate);
    const servername = primaryHost(name, shard.name, namespace);
    const readings = shard.members.map(async (member): Promise<string[]> => {
      const host = member.pod?.status?.podIP;
      if (host === undefined || !member.ready) return [];
      const served = await readingOf(() => servedCertificate({ host, port: patroniPort, servername }));
      return served.state === 'present' && served.value !== fingerprint256 ? [member.name] : [];
    });
    return (await Promise.all(readings)).flat();
  }

  async function readPrimary(
    cluster: ShardedCluster,
    memory: ClusterMemory,
    shard: CachedShard,
    access: ShardAccess,
    group: ObservedShard['group'],
    secretReadings: Observed['secrets'],
    knownMap: ShardMapObject | undefined,
  ): Promise<Reading<DatabaseFacts>> {
    if (group.state !== 'present') return group.state === 'unknown' ? group : { state: 'absent' };
    const { leader } = group.value;
    const address = shard.members.find((member) => member.name === leader)?.pod?.status?.podIP;
    if (leader === undefined || address === undefined) return { state: 'absent' };
    const { timeline } = group.value.members.get(leader) ?? {};
    const isSetUp = memory.setUps.get(shard.name) === setUpKey(cluster, secretReadings, leader, timeline);
    const catalogKey = [
      leader,
      timeline,
      cluster.metadata.generation,
      wantedNames(cluster).join(),
      knownMap?.metadata.resourceVersion,
      ...switchingBuckets(cluster, sources).map(({ group: name, bucket }) => `${name}.${bucket}`),
    ].join('/');
    const remembered = memory.catalogs.get(shard.name);
    // Nothing was to be done, and nothing that says what is wanted has changed.
    const known = memory.isQuiet && remembered?.key === catalogKey ? remembered : undefined;
    const isFresh = known !== undefined && monotonicMs() - known.atMs < freshMs.catalog;
    const wanted = cluster.spec.postgres.parameters;
    const lastGood = cluster.status?.lastGoodParameters;
    const reading = await readDatabase(connections, {
      member: leader,
      options: access.asOperator(shard.name, address, isSetUp ? cluster.spec.postgres.database : 'postgres'),
      isSetUp,
      parameters:
        lastGood !== undefined && hashOf(lastGood) === hashOf(wanted)
          ? undefined
          : { wanted, options: access.asOperator(shard.name, address, 'postgres') },
      newGroups: groupsWithoutBuckets(layoutOf(cluster.spec.tables), knownMap?.spec),
      remembered: isFresh ? known.facts : undefined,
      ifLocked: known?.facts,
    });
    if (reading.state === 'present' && !isFresh) {
      memory.catalogs.set(shard.name, { key: catalogKey, atMs: monotonicMs(), facts: reading.value });
    }
    return reading;
  }

  /** That the map is absent the API server must say itself; it is asked when every shard has said what it holds. */
  async function readMissingMap(
    { metadata }: ShardedCluster,
    shards: readonly ObservedShard[],
    signal: AbortSignal,
  ): Promise<Reading<ShardMapObject>> {
    const isDue = shards.every((shard) => shard.database.state === 'present' && shard.database.value.isSetUp);
    if (!isDue) return { state: 'unknown', error: new Error('it is asked for when every shard is set up') };
    const key = { namespace: metadata.namespace, name: shardMapName(metadata.name) };
    return client.read<ShardMapObject>(shardMapType, key, { signal, timeoutMs: 5_000 });
  }

  return {
    secrets,
    async observe(cluster, memory, signal) {
      const { namespace, name } = cluster.metadata;
      await learnZones(namespace, name, signal);
      const cached = cachedShards(cluster, sources, (node) => zones.get(node));
      const [secretReadings, migrations] = await Promise.all([
        readSecrets(cluster, cached, signal),
        readMigrations(cluster, signal),
      ]);
      const access = shardAccess(cluster, secretReadings);
      const knownMap = sources.maps.cache.get({ namespace, name: shardMapName(name) });
      const answers = await Promise.all(
        cached.map((shard) => readShard(cluster, memory, shard, access, secretReadings, knownMap, signal)),
      );
      // As it is now: a map that is older than what the shards hold would be taken for one that was put back.
      const latestMap = sources.maps.cache.get({ namespace, name: shardMapName(name) });
      const map: Reading<ShardMapObject> =
        latestMap === undefined
          ? await readMissingMap(cluster, answers, signal)
          : { state: 'present', value: latestMap };
      const wanted = wantedNames(cluster);
      const shards = withFarewells(memory, { shards: answers, map, wanted }, monotonicMs());
      const references = await readReferences(
        { connections, monotonicMs },
        cluster,
        memory,
        { shards, map },
        access,
      );
      return {
        observed: {
          shards,
          underWay: memory.longWork.underWay,
          map,
          isMapNewer: latestMap?.metadata.resourceVersion !== knownMap?.metadata.resourceVersion,
          switching: switchingBuckets(cluster, sources),
          movingShards: movingShards(cluster, sources),
          references,
          secrets: secretReadings,
          migrations,
          readServices: readServicesOf(cluster, sources, shards),
          objects: objectsOf(cluster, sources),
        },
        access,
      };
    },
  };
}

/** Between its tries a failing server says that it starts; only one that runs is over it. */
function failedStartsOf(memory: ClusterMemory, group: ObservedShard['group'], nowMs: number): string[] {
  if (group.state !== 'present') return [];
  return [...group.value.members].flatMap(([name, { state }]) => {
    const since = memory.failedStarts.get(name) ?? (state === 'start failed' ? nowMs : undefined);
    if (since === undefined || state === 'running' || state === 'streaming') {
      memory.failedStarts.delete(name);
      return [];
    }
    memory.failedStarts.set(name, since);
    return nowMs - since < failedStartMs ? [] : [name];
  });
}

/** What a set-up is good for: this server, on this timeline, with these logins. */
export function setUpKey(
  cluster: ShardedCluster,
  secrets: Observed['secrets'],
  leader: string,
  timeline: number | undefined,
): string {
  const logins = (['application', 'monitoring'] as const).map((role) => loginOf(cluster, secrets, role));
  return hashOf({ leader, timeline: String(timeline), logins: JSON.stringify(logins) });
}

/** What a plan needs of a Secret that was read. */
export function secretReading(reading: Reading<SecretObject>): SecretReading {
  if (reading.state !== 'present') return reading;
  const { data = {}, metadata } = reading.value;
  return { state: 'present', value: { data, resourceVersion: metadata.resourceVersion ?? '' } };
}

/** Whoever reads through a set verifies the name of its Service, also when the primary stands in for its members. */
function readServicesOf(
  { metadata }: ShardedCluster,
  sources: Sources,
  shards: readonly ObservedShard[],
): ReadonlyMap<string, readonly string[]> {
  const value = clusterIndexValue(metadata.namespace, metadata.name);
  const sets = sources.replicaSets.cache.byIndex(byCluster, value);
  return new Map(
    shards.map(({ name }) => [
      name,
      sets
        .filter(
          ({ spec }) => spec.mode !== 'logical' && (spec.shards === undefined || spec.shards.includes(name)),
        )
        .map((set) => readService(set.metadata.name, name))
        .sort(),
    ]),
  );
}

function objectsOf(cluster: ShardedCluster, sources: Sources): ReadonlyMap<string, KubernetesObject> {
  const value = clusterIndexValue(cluster.metadata.namespace, cluster.metadata.name);
  const informers = [...sources.plain, sources.statefulSets];
  const objects = informers.flatMap((informer): readonly KubernetesObject[] =>
    informer.cache.byIndex(byCluster, value),
  );
  return new Map(objects.map((object) => [objectId(object), object]));
}
