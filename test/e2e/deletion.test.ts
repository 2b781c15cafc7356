import { beforeAll, expect, it } from 'vitest';
import {
  namespaceType,
  persistentVolumeClaimType,
  secretType,
  statefulSetType,
} from '../../src/runtime/kubernetes-types.ts';
import { kube } from '../support/cluster.ts';
import { createNamespace } from '../support/namespace.ts';
import { query, readSecret } from '../support/pg.ts';
import { namespaceForFile } from '../support/scene.ts';
import {
  applyCluster,
  type ClusterKey,
  memberPods,
  type ShardMap,
  type SpecInput,
  shardedClusterType,
  shardMapType,
  waitUntilReady,
} from '../support/sharded-cluster.ts';
import { waitFor, waitUntil } from '../support/wait.ts';

const namespace = namespaceForFile('deletion');
const key: ClusterKey = { namespace, name: 'kept' };
const spec: Partial<SpecInput> = {
  shards: { count: 2 },
  schema: [{ name: 'items', sql: 'CREATE TABLE items (id int PRIMARY KEY) PARTITION BY HASH (id)' }],
  tables: [{ name: 'items', strategy: 'hash', key: 'id', buckets: 8 }],
};
const shards = ['s0', 's1'];

interface Identity extends Record<string, unknown> {
  readonly ids: number[];
  readonly system: string;
}

/** The rows of each shard, and the identity of its data directory. */
function readShards(): Promise<Identity[]> {
  return Promise.all(
    shards.map(async (shard) => {
      const [row] = await query<Identity>(
        { namespace, cluster: key.name, shard },
        `SELECT (SELECT coalesce(array_agg(id ORDER BY id), '{}') FROM items) AS ids,
                (SELECT system_identifier::text FROM pg_control_system()) AS system`,
      );
      if (row === undefined) throw new Error('no answer');
      return row;
    }),
  );
}

async function readMap(): Promise<ShardMap | undefined> {
  return (await kube()).get<ShardMap>(shardMapType, key);
}

beforeAll(async () => {
  await applyCluster(key, spec);
  await waitUntilReady(key);
});

it('deletes what runs, keeps what holds data, and finds it again', async () => {
  const client = await kube();
  for (const id of Array.from({ length: 40 }, (_, index) => index)) {
    const [row] = await query<{ shard: string }>(
      { namespace, cluster: key.name },
      'SELECT shard FROM herdsman.locate($1, $2::int)',
      ['items', id],
    );
    await query({ namespace, cluster: key.name, shard: row?.shard ?? '' }, 'INSERT INTO items VALUES ($1)', [
      id,
    ]);
  }
  const before = await readShards();
  const map = await readMap();
  const secret = await readSecret(namespace, 'kept-app');
  expect(before.flatMap(({ ids }) => ids)).toHaveLength(40);

  await client.delete(shardedClusterType, key);
  await waitFor('pods and StatefulSets are gone', async () => {
    const pods = await memberPods(key);
    const { items } = await client.list(statefulSetType, { namespace });
    return pods.length + items.length === 0
      ? { done: true }
      : { state: [...pods, ...items].map((object) => object.metadata.name) };
  });
  const claims = await client.list(persistentVolumeClaimType, { namespace });
  expect(claims.items.map(({ metadata }) => metadata.name).toSorted()).toEqual([
    'data-kept-s0-0',
    'data-kept-s1-0',
  ]);
  expect(claims.items.filter(({ metadata }) => metadata.deletionTimestamp !== undefined)).toEqual([]);
  expect((await readMap())?.spec).toEqual(map?.spec);
  const secrets = (await client.list(secretType, { namespace })).items.map(({ metadata }) => metadata.name);
  expect(secrets).toEqual(expect.arrayContaining(['kept-app', 'kept-ca', 'kept-monitoring']));

  await applyCluster(key, spec);
  await waitUntilReady(key);
  expect(await readShards()).toEqual(before);
  expect((await readMap())?.spec).toEqual(map?.spec);
  const again = await readSecret(namespace, 'kept-app');
  expect([again.password, again['ca.crt']]).toEqual([secret.password, secret['ca.crt']]);
});

it('does not hold up the deletion of a namespace', async () => {
  const doomed = await createNamespace('doomed');
  await applyCluster({ namespace: doomed, name: 'doomed' });
  await waitUntilReady({ namespace: doomed, name: 'doomed' });
  const client = await kube();
  await client.delete(namespaceType, { namespace: '', name: doomed });
  await waitUntil(
    'the namespace is gone',
    async () => (await client.get(namespaceType, { namespace: '', name: doomed })) === undefined,
    async () => client.get(namespaceType, { namespace: '', name: doomed }),
  );
});
