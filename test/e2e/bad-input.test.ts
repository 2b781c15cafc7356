import { beforeAll, describe, expect, it } from 'vitest';
import type { KubernetesObject, ResourceType } from '../../src/runtime/kubernetes-object.ts';
import { secretType, statefulSetType } from '../../src/runtime/kubernetes-types.ts';
import { kube } from '../support/cluster.ts';
import { query } from '../support/pg.ts';
import { namespaceForFile } from '../support/scene.ts';
import {
  applyCluster,
  type ClusterKey,
  conditionOf,
  memberPods,
  type ShardMap,
  type SpecInput,
  shardedClusterType,
  shardMapType,
  waitForCondition,
  waitForEvent,
  waitUntilReady,
} from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';

// What the object alone tells is refused at admission: see api.test.ts. Here is what only the servers can tell.

const namespace = namespaceForFile('bad-input');
const key: ClusterKey = { namespace, name: 'sound' };
/** Another cluster, since events about one object are limited in number. */
const other: ClusterKey = { namespace, name: 'steady' };
const shards = ['s0', 's1', 's2'] as const;
const resourceQuotaType: ResourceType = {
  group: '',
  version: 'v1',
  plural: 'resourcequotas',
  kind: 'ResourceQuota',
  namespaced: true,
};
const good = {
  shards: { count: 3 },
  schema: [
    { name: '001-items', sql: 'CREATE TABLE items (id int PRIMARY KEY) PARTITION BY HASH (id)' },
    {
      name: '002-unfit',
      sql: `CREATE TABLE keyless (id int PRIMARY KEY) PARTITION BY HASH (id);
            CREATE TABLE listed (id int PRIMARY KEY) PARTITION BY LIST (id);
            CREATE TABLE plain (id int PRIMARY KEY, tenant int NOT NULL);
            CREATE TABLE copied (id int PRIMARY KEY);
            CREATE MATERIALIZED VIEW copy AS SELECT * FROM copied`,
    },
  ],
  tables: [{ name: 'items', strategy: 'hash', key: 'id', buckets: 6 }],
} satisfies Partial<SpecInput>;

const on = (shard: string, cluster = key.name) => ({ namespace, cluster, shard });

beforeAll(async () => {
  await Promise.all([key, other].map((each) => applyCluster(each, good)));
  for (const each of [key, other]) {
    await waitUntilReady(each);
    for (const id of Array.from({ length: 12 }, (_, index) => index)) {
      const [row] = await query<{ shard: string }>(
        on('s0', each.name),
        'SELECT shard FROM herdsman.locate($1, $2::int)',
        ['items', id],
      );
      await query(on(row?.shard ?? '', each.name), 'INSERT INTO items VALUES ($1)', [id]);
    }
  }
});

/** What served goes on serving, and nothing is lost. */
async function expectServing(cluster = key.name): Promise<void> {
  const counts = await Promise.all(
    shards.map(async (shard) => {
      const [row] = await query<{ n: number }>(on(shard, cluster), 'SELECT count(*)::int AS n FROM items');
      return row?.n ?? 0;
    }),
  );
  expect(counts.reduce((sum, count) => sum + count, 0)).toBe(12);
}

describe('tables that do not fit', () => {
  const apart = 'CREATE TABLE apart (id int PRIMARY KEY, tenant int NOT NULL) PARTITION BY HASH (tenant)';

  it.each([
    ['a table that is not there', 'nowhere', 'id', undefined],
    ['a key that is no column', 'keyless', 'tenant', undefined],
    ['a table that is partitioned otherwise', 'listed', 'id', undefined],
    ['a plain table whose primary key lacks the key', 'plain', 'tenant', undefined],
    ['a plain table that something else is bound to', 'copied', 'id', undefined, /copied.*materialized view/],
    ['a key that is not in the primary key', 'apart', 'tenant', apart],
  ] as const)(
    '%s: a condition and an event name the table',
    async (_, name, column, sql, message = new RegExp(name)) => {
      await applyCluster(key, {
        ...good,
        schema: sql === undefined ? good.schema : [...good.schema, { name: '003-last', sql }],
        tables: [...good.tables, { name, strategy: 'hash', key: column }],
      });
      const cluster = await waitForCondition(key, { type: 'SchemaApplied', status: 'False', message });
      expect(conditionOf(cluster, 'Degraded')?.status).toBe('True');
      await waitForEvent(key, message);
      await expectServing();
      await applyCluster(key, good);
      await waitUntilReady(key);
      await expectServing();
    },
  );
});

describe('bounds and values that only PostgreSQL can judge', () => {
  const bounded: ClusterKey = { namespace, name: 'bounded' };
  const sound = {
    schema: [
      {
        name: 'tables',
        sql: `CREATE TABLE items (id int PRIMARY KEY) PARTITION BY HASH (id);
              CREATE TABLE texts (id text PRIMARY KEY) PARTITION BY RANGE (id);
              CREATE TABLE days (id date PRIMARY KEY) PARTITION BY RANGE (id);
              CREATE TABLE numbers (id int PRIMARY KEY) PARTITION BY LIST (id)`,
      },
    ],
    tables: [{ name: 'items', strategy: 'hash', key: 'id', buckets: 2 }],
  } satisfies Partial<SpecInput>;
  beforeAll(async () => {
    await applyCluster(bounded, sound);
    await waitUntilReady(bounded);
    await query(on('s0', bounded.name), 'INSERT INTO items SELECT generate_series(1, 12)');
  });

  type Table = NonNullable<SpecInput['tables']>[number];
  const cases: [string, Table, RegExp][] = [
    [
      'texts that are out of order',
      {
        name: 'texts',
        strategy: 'range',
        key: 'id',
        bounds: [
          { from: 'a', to: 'm' },
          { from: 'k', to: 'z' },
        ],
        defaultBucket: true,
      },
      /ranges a to m and k to z overlap/,
    ],
    [
      'a month that is none',
      { name: 'days', strategy: 'range', key: 'id', bounds: [{ from: '2025-01-01', to: '2025-13-01' }] },
      /no key of table "days".*2025-13-01/,
    ],
    [
      'a tenant that is no number',
      { name: 'numbers', strategy: 'directory', key: 'id', tenants: [{ value: 'acme' }] },
      /no key of table "numbers".*acme/,
    ],
  ];

  it.each(cases)('%s: no bucket is made, so that they can be corrected', async (_, table, message) => {
    await applyCluster(bounded, { ...sound, tables: [...sound.tables, table] });
    const cluster = await waitForCondition(bounded, { type: 'SchemaApplied', status: 'False', message });
    expect(conditionOf(cluster, 'Degraded')?.status).toBe('True');
    await waitForEvent(bounded, message);
    const [row] = await query<{ n: number }>(on('s0', bounded.name), 'SELECT count(*)::int AS n FROM items');
    expect(row?.n).toBe(12);
    const map = await (await kube()).get<ShardMap>(shardMapType, bounded);
    expect(map?.spec.groups.map(({ name }) => name)).toEqual(['items']);
    await applyCluster(bounded, sound);
    await waitUntilReady(bounded);
  });
});

describe('SQL that fails on one shard', () => {
  it('stops there, names shard, migration and error, and resumes when the cause is gone', async () => {
    const clash = { name: '020-clash', sql: 'CREATE TABLE clash (id int PRIMARY KEY)' };
    await query(on('s1'), 'CREATE TABLE clash (other int)');
    await applyCluster(key, { ...good, schema: [...good.schema, clash] });
    const cluster = await waitForCondition(key, {
      type: 'SchemaApplied',
      status: 'False',
      message: /s1.*020-clash.*already exists|020-clash.*s1.*already exists/s,
    });
    expect(conditionOf(cluster, 'Degraded')?.status).toBe('True');
    await waitForEvent(key, /020-clash/);
    await expectServing();
    await query(on('s1'), 'DROP TABLE clash');
    await waitUntilReady(key);
    for (const shard of shards) {
      const rows = await query<{ id: number }>(on(shard), 'SELECT id FROM clash');
      expect(rows).toEqual([]);
    }
  });

  it('resumes when the migration is corrected', async () => {
    const clash = { name: '020-clash', sql: 'CREATE TABLE clash (id int PRIMARY KEY)' };
    const wrong = { name: '021-wrong', sql: 'CREATE TABLE wrong (id nonsense)' };
    await applyCluster(key, { ...good, schema: [...good.schema, clash, wrong] });
    await waitForCondition(key, { type: 'SchemaApplied', status: 'False', message: /021-wrong.*nonsense/s });
    await applyCluster(key, {
      ...good,
      schema: [...good.schema, clash, { name: '021-wrong', sql: 'CREATE TABLE wrong (id int)' }],
    });
    await waitUntilReady(key);
    await expectServing();
  });
});

describe('settings that cannot be', () => {
  it.each([
    ['a value that PostgreSQL refuses', { work_mem: 'plenty' }, /work_mem/],
    ['a parameter that PostgreSQL does not know', { wrok_mem: '4MB' }, /wrok_mem/],
  ])('%s: the last good ones stay', async (_, parameters, message) => {
    await applyCluster(other, { ...good, postgres: { parameters: { random_page_cost: '1.3' } } });
    await waitUntilReady(other);
    await applyCluster(other, {
      ...good,
      postgres: { parameters: { ...parameters, random_page_cost: '1.3' } },
    });
    await waitForCondition(other, { type: 'ParametersAccepted', status: 'False', message });
    await waitForEvent(other, message);
    await expectServing(other.name);
    const [row] = await query<{ cost: string }>(
      on('s2', other.name),
      `SELECT current_setting('random_page_cost') AS cost`,
    );
    expect(row?.cost).toBe('1.3');
    await applyCluster(other, good);
    await waitUntilReady(other);
  });

  it('a Secret with a missing key: the condition names Secret and key', async () => {
    await (await kube()).create(secretType, {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'half', namespace },
      ...{ stringData: { username: 'app' } },
    });
    await applyCluster(other, { ...good, credentials: { application: 'half' } });
    await waitForCondition(other, {
      type: 'Degraded',
      status: 'True',
      message: /half.*password|password.*half/s,
    });
    await expectServing(other.name);
    await applyCluster(other, good);
    await waitUntilReady(other);
  });

  it('a quota that leaves no room for another shard: told, and those that are there take over what was changed', async () => {
    const client = await kube();
    const quota = { namespace, name: 'full' };
    await client.create(resourceQuotaType, {
      apiVersion: 'v1',
      kind: 'ResourceQuota',
      metadata: quota,
      ...{ spec: { hard: { 'count/statefulsets.apps': '6' } } },
    });
    await waitFor('the quota counts', async () => {
      const found = await client.get<KubernetesObject & { status?: { used?: object } }>(
        resourceQuotaType,
        quota,
      );
      return found?.status?.used === undefined ? { state: found } : { done: found };
    });
    await applyCluster(other, {
      ...good,
      shards: { count: 4 },
      rebalance: { mode: 'manual' },
      postgres: { parameters: { random_page_cost: '1.7' } },
    });
    await waitForCondition(other, { type: 'Degraded', status: 'True', message: /steady-s3.*quota: full/s });
    await waitFor('the parameter holds', async () => {
      const [row] = await query<{ cost: string }>(
        on('s2', other.name),
        `SELECT current_setting('random_page_cost') AS cost`,
      );
      return row?.cost === '1.7' ? { done: row } : { state: row };
    });
    await expectServing(other.name);
    await applyCluster(other, good);
    await waitUntilReady(other);
    await client.delete(resourceQuotaType, quota);
  });

  it('fewer shards than own data, and no rebalancer to drain them: refused with the reason, and all stay', async () => {
    await applyCluster(other, { ...good, shards: { count: 2 }, rebalance: { mode: 'manual' } });
    const refusal = /shard s[12] owns buckets/;
    await waitForCondition(other, { type: 'Degraded', status: 'True', message: refusal });
    await waitForEvent(other, refusal);
    await expectServing(other.name);
    for (const shard of ['s1', 's2']) {
      const found = await (await kube()).get(statefulSetType, { namespace, name: `steady-${shard}` });
      expect(found?.metadata.deletionTimestamp).toBeUndefined();
      expect(await memberPods(other, shard)).toHaveLength(1);
    }
    await applyCluster(other, good);
    await waitUntilReady(other);
    await expectServing(other.name);
  });
});

describe('a cluster that cannot start', () => {
  it.each([
    [
      'no node has room',
      { resources: { requests: { cpu: '500' } } },
      /insufficient cpu.*lower spec\.resources\.requests/is,
    ],
    ['the image cannot be pulled', { postgres: { image: 'registry.invalid/none:1' } }, /correct the image/],
  ] as const)(
    '%s: a condition and an event say what Kubernetes says, and what helps',
    async (_, spec, message) => {
      const stuck: ClusterKey = { namespace, name: 'stuck' };
      await applyCluster(stuck, spec);
      const cluster = await waitForCondition(stuck, { type: 'Degraded', status: 'True', message });
      expect(conditionOf(cluster, 'Ready')?.status).toBe('False');
      expect(cluster.status?.phase).toBe('Degraded');
      await waitForEvent(stuck, message);
      await (await kube()).delete(shardedClusterType, stuck);
      await waitFor('its pods are gone', async () => {
        const pods = await memberPods(stuck);
        return pods.length === 0 ? { done: true } : { state: pods.map((pod) => pod.metadata.name) };
      });
    },
  );

  it('leaves the others as they were', () => expectServing());
});
