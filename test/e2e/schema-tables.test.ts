import { beforeAll, describe, expect, it } from 'vitest';
import { configMapType } from '../../src/runtime/kubernetes-types.ts';
import { kube } from '../support/cluster.ts';
import { query } from '../support/pg.ts';
import { namespaceForFile } from '../support/scene.ts';
import {
  applyCluster,
  type ClusterKey,
  conditionOf,
  readCluster,
  type ShardMap,
  type SpecInput,
  shardMapType,
  waitForCondition,
  waitUntilReady,
} from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';

const namespace = namespaceForFile('tables');
const key: ClusterKey = { namespace, name: 'shop' };
const shards = ['s0', 's1', 's2'] as const;

const schema: NonNullable<SpecInput['schema']> = [
  {
    name: '001-reference',
    sql: 'CREATE TABLE countries (code text PRIMARY KEY, name text NOT NULL)',
  },
  {
    name: '002-hash',
    sql: `
      CREATE TABLE customers (id bigint PRIMARY KEY, country text NOT NULL REFERENCES countries) PARTITION BY HASH (id);
      CREATE TABLE orders (
        customer_id bigint NOT NULL REFERENCES customers, id bigint NOT NULL, total numeric NOT NULL,
        PRIMARY KEY (customer_id, id)
      ) PARTITION BY HASH (customer_id);
      CREATE INDEX orders_total ON orders (total)`,
  },
  {
    name: '003-range',
    sql: 'CREATE TABLE readings (day date NOT NULL, id int NOT NULL, PRIMARY KEY (day, id)) PARTITION BY RANGE (day)',
  },
  {
    name: '004-geographic',
    sql: `CREATE TABLE people (region text NOT NULL, id bigint NOT NULL, PRIMARY KEY (region, id)) PARTITION BY LIST (region)`,
  },
  {
    name: '005-directory',
    sql: `CREATE TABLE documents (tenant text NOT NULL, id int NOT NULL, PRIMARY KEY (tenant, id)) PARTITION BY LIST (tenant)`,
  },
];

const tables: NonNullable<SpecInput['tables']> = [
  { name: 'countries', strategy: 'reference' },
  { name: 'customers', strategy: 'hash', key: 'id', group: 'customer', buckets: 12 },
  { name: 'orders', strategy: 'hash', key: 'customer_id', group: 'customer', buckets: 12 },
  {
    name: 'readings',
    strategy: 'range',
    key: 'day',
    bounds: [
      { to: '2024-01-01' },
      { from: '2024-01-01', to: '2025-01-01', shard: 's1' },
      { from: '2025-01-01' },
    ],
  },
  {
    name: 'people',
    strategy: 'geographic',
    key: 'region',
    hashKey: 'id',
    regions: [
      { name: 'europe', values: ['de', 'fr'], shards: ['s0', 's1'], buckets: 4 },
      { name: 'asia', values: ['jp'], shards: ['s2'] },
    ],
  },
  {
    name: 'documents',
    strategy: 'directory',
    key: 'tenant',
    buckets: 6,
    tenants: [{ value: 'acme', shard: 's2' }, { value: 'globex' }],
  },
];

const notes = { name: '006-notes', configMapKeyRef: { name: 'notes', key: 'sql' } };

/** With a table that is added later. */
const grown = {
  shards: { count: 3 },
  schema: [
    ...schema,
    notes,
    {
      name: '007-carts',
      sql: `CREATE TABLE carts (customer_id bigint PRIMARY KEY REFERENCES customers) PARTITION BY HASH (customer_id)`,
    },
  ],
  tables: [
    ...tables,
    { name: 'carts', strategy: 'hash', key: 'customer_id', group: 'customer', buckets: 12 },
  ],
} satisfies Partial<SpecInput>;

const on = (shard: string) => ({ namespace, cluster: key.name, shard });

beforeAll(async () => {
  await applyCluster(key, { shards: { count: 3 }, schema, tables });
  await waitUntilReady(key);
});

async function readMap(): Promise<ShardMap> {
  const map = await (await kube()).get<ShardMap>(shardMapType, key);
  if (map === undefined) throw new Error('there is no ShardMap');
  return map;
}

/** The shard that a group's key is on, as every shard must say. */
async function locate(group: string, value: string, hashKey?: string): Promise<string> {
  const answers = await Promise.all(
    shards.map((shard) =>
      hashKey === undefined
        ? query<{ shard: string }>(on(shard), 'SELECT shard FROM herdsman.locate($1, $2::text)', [
            group,
            value,
          ])
        : query<{ shard: string }>(on(shard), 'SELECT shard FROM herdsman.locate($1, $2::text, $3::text)', [
            group,
            value,
            hashKey,
          ]),
    ),
  );
  const found = new Set(answers.map((rows) => rows[0]?.shard ?? 'nowhere'));
  expect(found.size).toBe(1);
  return [...found][0] ?? 'nowhere';
}

describe('migrations', () => {
  it('are applied on every shard once, in order', async () => {
    for (const shard of shards) {
      const rows = await query<{ name: string }>(
        on(shard),
        'SELECT name FROM herdsman.migrations ORDER BY position',
      );
      expect(rows.map(({ name }) => name)).toEqual(schema.map(({ name }) => name));
    }
    const { status } = await readCluster(key);
    expect(status?.shards?.items.map(({ schemaVersion }) => schemaVersion)).toEqual(
      shards.map(() => '005-directory'),
    );
  });

  it('may come from a ConfigMap, and wait for it', async () => {
    await applyCluster(key, { shards: { count: 3 }, schema: [...schema, notes], tables });
    await waitForCondition(key, { type: 'SchemaApplied', status: 'False', message: /notes/ });
    await (await kube()).create(configMapType, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'notes', namespace, labels: { 'herdsman.dev/cluster': key.name } },
      ...{ data: { sql: 'CREATE TABLE notes (id int PRIMARY KEY)' } },
    });
    await waitUntilReady(key);
    for (const shard of shards)
      expect(await query(on(shard), 'SELECT count(*)::int AS n FROM notes')).toEqual([{ n: 0 }]);
  });

  it('stop when one that was applied is edited, and go on when it is as before', async () => {
    const edited = schema.with(0, {
      name: '001-reference',
      sql: 'CREATE TABLE countries (code text PRIMARY KEY)',
    });
    await applyCluster(key, { shards: { count: 3 }, schema: [...edited, notes], tables });
    await waitForCondition(key, { type: 'SchemaApplied', status: 'False', message: /001-reference/ });
    expect(await query(on('s0'), 'SELECT count(*)::int AS n FROM countries')).toEqual([{ n: 0 }]);
    await applyCluster(key, { shards: { count: 3 }, schema: [...schema, notes], tables });
    await waitUntilReady(key);
  });
});

describe('buckets', () => {
  it('are owned by exactly one shard, as markers and leaves say', async () => {
    const map = await readMap();
    const expected = map.spec.groups.flatMap((group) =>
      group.buckets.map(({ id, shard }) => `${group.name}_b${String(id).padStart(4, '0')} ${shard}`),
    );
    const markers = await Promise.all(
      shards.map(async (shard) => {
        const rows = await query<{ name: string }>(
          on(shard),
          `SELECT relname AS name FROM pg_class WHERE relnamespace = 'own'::regnamespace AND relkind = 'r'`,
        );
        return rows.map(({ name }) => `${name} ${shard}`);
      }),
    );
    expect(markers.flat().toSorted()).toEqual(expected.toSorted());
    const leaves = await Promise.all(
      shards.map(async (shard) => {
        const rows = await query<{ name: string }>(
          on(shard),
          `SELECT relid::regclass::text AS name FROM pg_partition_tree('orders') WHERE isleaf`,
        );
        return rows.map(({ name }) => `${name.replace('orders', 'customer')} ${shard}`);
      }),
    );
    expect(leaves.flat().toSorted()).toEqual(
      expected.filter((line) => line.startsWith('customer_')).toSorted(),
    );
  });

  it('are counted in the status, and spread evenly', async () => {
    const { status } = await readCluster(key);
    expect(status?.shards?.items.map(({ buckets }) => buckets?.customer)).toEqual([4, 4, 4]);
    expect(status?.map?.epoch).toBeGreaterThanOrEqual(1);
  });

  const inserts: readonly (readonly [
    string,
    string,
    (value: string) => string,
    readonly string[],
    boolean,
  ])[] = [
    [
      'customer',
      'hash',
      (value) => `INSERT INTO customers VALUES (${value}, 'de')`,
      ['1', '2', '3', '400', '5000'],
      false,
    ],
    [
      'readings',
      'range',
      (value) => `INSERT INTO readings VALUES ('${value}', 1)`,
      ['1999-01-01', '2024-06-01', '2025-01-01', '2031-01-01'],
      false,
    ],
    [
      'people',
      'geographic',
      (value) => `INSERT INTO people VALUES ('${value}', 7)`,
      ['de', 'fr', 'jp'],
      true,
    ],
    [
      'documents',
      'directory',
      (value) => `INSERT INTO documents VALUES ('${value}', 1)`,
      ['acme', 'globex', 'initech', 'umbrella', 'hooli'],
      false,
    ],
  ];

  it.each(inserts)(
    'of group %s (%s) take a row where locate says, and nowhere else',
    async (group, _, insert, values, hashed) => {
      await Promise.all(
        shards.map((shard) =>
          query(on(shard), `INSERT INTO countries VALUES ('de', 'Germany') ON CONFLICT DO NOTHING`),
        ),
      );
      for (const value of values) {
        const owner = await locate(group, value, hashed ? '7' : undefined);
        expect(shards).toContain(owner);
        for (const shard of shards) {
          const attempt = query(on(shard), insert(value));
          if (shard === owner) await attempt;
          else await expect(attempt).rejects.toThrow(/no partition of relation|is on shard/);
        }
      }
    },
  );

  it('are placed where the spec pins them', async () => {
    expect(await locate('readings', '2024-06-01')).toBe('s1');
    expect(await locate('people', 'jp', '1')).toBe('s2');
    expect(await locate('documents', 'acme')).toBe('s2');
    for (const id of ['1', '2', '3', '4', '5', '6'])
      expect(['s0', 's1']).toContain(await locate('people', 'de', id));
  });

  it('keep foreign keys within the bucket and to reference tables', async () => {
    const owner = await locate('customer', '77');
    await expect(query(on(owner), `INSERT INTO orders VALUES (77, 1, 9.99)`)).rejects.toThrow(/foreign key/);
    await expect(query(on(owner), `INSERT INTO customers VALUES (77, 'xx')`)).rejects.toThrow(/foreign key/);
    await query(on(owner), `INSERT INTO customers VALUES (77, 'de')`);
    await query(on(owner), `INSERT INTO orders VALUES (77, 1, 9.99)`);
    await expect(query(on(owner), 'DELETE FROM customers WHERE id = 77')).rejects.toThrow(/foreign key/);
    const parents = await query(
      on(owner),
      `SELECT conname FROM pg_constraint WHERE contype = 'f' AND conrelid IN ('orders'::regclass, 'customers'::regclass)`,
    );
    expect(parents).toEqual([]);
  });

  it('have the indexes of their parent', async () => {
    const [row] = await query<{ leaves: number; indexes: number }>(
      on('s0'),
      `SELECT (SELECT count(*)::int FROM pg_partition_tree('orders') WHERE isleaf) AS leaves,
              (SELECT count(*)::int FROM pg_partition_tree('orders_total') WHERE isleaf) AS indexes`,
    );
    expect(row?.leaves).toBe(4);
    expect(row?.indexes).toBe(4);
  });

  it('of a table added later to a group lie with the others', async () => {
    await applyCluster(key, grown);
    await waitUntilReady(key);
    const owner = await locate('customer', '77');
    await query(on(owner), 'INSERT INTO carts VALUES (77)');
  });
});

it('goes on while a migration runs that holds tables for long, and says so', async () => {
  const long = {
    name: '008-long',
    sql: `LOCK TABLE customers IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(20); CREATE TABLE later ()`,
  };
  const schema = [...grown.schema, long];
  await applyCluster(key, { ...grown, schema });
  const message = /migration "008-long" is under way/;
  const cluster = await waitForCondition(key, { type: 'SchemaApplied', status: 'False', message });
  expect(conditionOf(cluster, 'Degraded')?.status).toBe('False');
  await applyCluster(key, { ...grown, schema, postgres: { parameters: { work_mem: '6MB' } } });
  const [row] = await waitFor('a parameter that needs no restart holds', async () => {
    const text = `SELECT current_setting('work_mem') AS value, to_regclass('public.later') AS later`;
    const rows = await query<{ value: string; later: string | null }>(on('s1'), text);
    return rows[0]?.value === '6MB' ? { done: rows } : { state: rows };
  });
  expect(row?.later).toBeNull();
  await waitUntilReady(key);
  for (const shard of shards)
    expect(await query(on(shard), 'SELECT count(*)::int AS n FROM later')).toEqual([{ n: 0 }]);
});
