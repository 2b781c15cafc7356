import pg from 'pg';
import type { z } from 'zod';
import { apiVersion } from '../../src/api/v1alpha1/common.ts';
import type { ReadReplicaSetStatus, readReplicaSetSpec } from '../../src/api/v1alpha1/read-replica-set.ts';
import { readReplicaSetType } from '../../src/resources/sharded-cluster/kinds.ts';
import type { KubernetesObject } from '../../src/runtime/kubernetes-object.ts';
import { eventType, podType } from '../../src/runtime/kubernetes-types.ts';
import { kube } from './cluster.ts';
import { endpoint } from './endpoint.ts';
import { kubectl } from './kubectl.ts';
import { applicationConfig, query, readSecret, type ShardService } from './pg.ts';
import { type ClusterKey, type EventObject, type MemberPod, memberPods } from './sharded-cluster.ts';
import { type WaitOptions, waitFor } from './wait.ts';

/** What a user writes under `spec`. */
export type ReplicaSpec = z.input<typeof readReplicaSetSpec>;

/** A ReadReplicaSet as the API server sends it. */
export interface ReadReplicaSet extends KubernetesObject {
  spec: ReplicaSpec;
  status?: ReadReplicaSetStatus;
}

/** Creates or changes a set as a user would. */
export async function applySet(key: ClusterKey, spec: ReplicaSpec): Promise<ReadReplicaSet> {
  const object: ReadReplicaSet = { apiVersion, kind: 'ReadReplicaSet', metadata: { ...key }, spec };
  return (await kube()).apply(readReplicaSetType, object, { fieldManager: 'user', force: true });
}

/** Reads the set; throws when it is not there. */
export async function readSet(key: ClusterKey): Promise<ReadReplicaSet> {
  const found = await (await kube()).get<ReadReplicaSet>(readReplicaSetType, key);
  if (found === undefined) throw new Error(`ReadReplicaSet ${key.namespace}/${key.name} is not there`);
  return found;
}

/** Waits until the status of the present generation is as wanted. */
export async function waitForSet(
  key: ClusterKey,
  description: string,
  holds: (status: ReadReplicaSetStatus) => boolean,
  options?: WaitOptions,
): Promise<ReadReplicaSet> {
  return waitFor(
    `set ${key.namespace}/${key.name}: ${description}`,
    async () => {
      const set = await readSet(key);
      const { status, metadata } = set;
      const isDone =
        status !== undefined && status.observedGeneration === metadata.generation && holds(status);
      return isDone ? { done: set } : { state: status };
    },
    options,
  );
}

/** Waits until so many members in each shard are in rotation, and nothing is under way. */
export async function waitUntilServing(key: ClusterKey, members: number): Promise<ReadReplicaSet> {
  return waitForSet(
    key,
    `${members} members in rotation in each shard`,
    ({ shards = [], conditions = [] }) => {
      const isProgressing = conditions.some(
        ({ type, status }) => type === 'Progressing' && status === 'True',
      );
      const isServing = shards.every(
        (shard) =>
          shard.members.length === members && shard.members.every(({ rotation }) => rotation === 'in'),
      );
      return shards.length > 0 && isServing && !isProgressing;
    },
  );
}

/** The pods of a set, by name. */
export async function replicaPods(key: ClusterKey): Promise<MemberPod[]> {
  const { items } = await (await kube()).list<MemberPod>(podType, {
    namespace: key.namespace,
    labelSelector: `herdsman.dev/replica-set=${key.name}`,
  });
  return items.toSorted((a, b) => a.metadata.name.localeCompare(b.metadata.name));
}

/** What is another for a member whose pod was replaced or whose data was copied anew. */
export function copiesOf(
  { namespace }: Pick<ClusterKey, 'namespace'>,
  pods: readonly MemberPod[],
): Promise<string[]> {
  return Promise.all(
    pods.map(async ({ metadata: { name, uid } }) => {
      const file = '/var/lib/postgresql/data/pgdata/PG_VERSION';
      const inode = await kubectl(['exec', '-n', namespace, name, '--', 'stat', '-c', '%i', file]);
      return `${name} ${uid} ${inode.trim()}`;
    }),
  );
}

/** Runs SQL in a pod as its superuser, and returns what it prints. */
export async function inPod(namespace: string, pod: string, sql: string): Promise<string> {
  const psql = [
    '/usr/lib/postgresql/17/bin/psql',
    '-XAtq',
    '-h',
    '/run/postgresql',
    '-U',
    'postgres',
    '-d',
    'app',
  ];
  return (await kubectl(['exec', '-n', namespace, pod, '--', ...psql, '-c', sql])).trim();
}

/** Parameters with which queries in members hold up their replay for as long as they run. */
export const patientReplay = { max_standby_streaming_delay: '10min' };

/**
 * Keeps members from showing anything new, as a long report does that reads what is changed meanwhile; answers how to end it.
 * (A replay that is merely paused is resumed by Patroni.) Needs `patientReplay`.
 */
export async function holdReplay(
  target: ShardService,
  pods: readonly MemberPod[],
): Promise<() => Promise<void>> {
  const config = await applicationConfig(target);
  await query(target, 'CREATE TABLE IF NOT EXISTS report AS SELECT 1 AS id');
  const reports = await Promise.all(
    pods.map(async ({ status }) => {
      const client = new pg.Client({ ...config, host: status?.podIP ?? '', port: 5432 });
      client.on('error', () => undefined);
      await client.connect();
      await waitFor('the table has come', async () => {
        const { rows } = await client.query("SELECT to_regclass('report') AS name");
        return rows[0]?.name === 'report' ? { done: true } : { state: rows };
      });
      await client.query('BEGIN');
      await client.query('SELECT id FROM report');
      return client;
    }),
  );
  await query(target, 'TRUNCATE report');
  return async () => {
    await Promise.all(reports.map((client) => client.end()));
  };
}

/** The member of the shard of which a copy is made now; waits for one. */
export async function copySource(cluster: ClusterKey): Promise<MemberPod> {
  return waitFor('a copy is under way', async () => {
    const pods = await memberPods(cluster);
    for (const pod of pods) {
      const text = "SELECT phase FROM pg_stat_progress_basebackup WHERE phase LIKE 'streaming%'";
      if ((await inPod(cluster.namespace, pod.metadata.name, text)) !== '') return { done: pod };
    }
    return { state: pods.map(({ metadata }) => metadata.name) };
  });
}

/**
 * Looks on while a copy is made of a member: bytes that it sent between two looks, and a time that is no shorter than the time
 * between them.
 */
export async function watchCopy(
  { namespace }: ClusterKey,
  source: string,
): Promise<{ readonly bytes: number; readonly seconds: number }> {
  const text = `SELECT extract(epoch FROM statement_timestamp()), backup_streamed, extract(epoch FROM clock_timestamp())
    FROM pg_stat_progress_basebackup`;
  const look = async () => {
    const [before = NaN, sent = NaN, after = NaN] = (await inPod(namespace, source, text))
      .split('|')
      .map(Number);
    if (Number.isNaN(after)) throw new Error(`no copy is made of ${source} any more`);
    return { before, sent, after };
  };
  const first = await look();
  return waitFor('enough of it is copied', async () => {
    const now = await look();
    const bytes = now.sent - first.sent;
    return bytes < 4 * 1024 ** 2
      ? { state: { first, now } }
      : { done: { bytes, seconds: now.after - first.before } };
  });
}

/** What connects as the application through the Service of a set, with its name verified. */
export async function readConfig(key: ClusterKey, cluster: string, shard = 's0'): Promise<pg.ClientConfig> {
  const secret = await readSecret(key.namespace, `${cluster}-app`);
  const service = `${key.name}-${shard}-read`;
  return {
    ...(await endpoint(key.namespace, service)),
    user: secret.username,
    password: secret.password,
    database: secret.dbname,
    ssl: { ca: secret['ca.crt'], servername: `${service}.${key.namespace}.svc` },
    connectionTimeoutMillis: 3_000,
    application_name: 'herdsman-tests',
  };
}

/** One query on a connection of its own. */
export async function readOnce<Row extends pg.QueryResultRow>(
  config: pg.ClientConfig,
  text: string,
): Promise<Row> {
  const client = new pg.Client(config);
  client.on('error', () => undefined);
  await client.connect();
  try {
    const [row] = (await client.query<Row>(text)).rows;
    if (row === undefined) throw new Error(`no row: ${text}`);
    return row;
  } finally {
    await client.end();
  }
}

/** Waits for an event about the set whose reason or message matches. */
export async function waitForSetEvent(key: ClusterKey, pattern: RegExp): Promise<EventObject> {
  return waitFor(`an event like ${pattern} about ${key.name}`, async () => {
    const { items } = await (await kube()).list<EventObject>(eventType, {
      namespace: key.namespace,
      fieldSelector: `involvedObject.kind=ReadReplicaSet,involvedObject.name=${key.name}`,
    });
    const found = items.find((event) => pattern.test(`${event.reason} ${event.message}`));
    return found === undefined
      ? { state: items.map(({ reason, message }) => `${reason}: ${message}`) }
      : { done: found };
  });
}
