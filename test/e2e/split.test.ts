import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { apiVersion } from '../../src/api/v1alpha1/common.ts';
import type { ShardMove } from '../../src/resources/shard-move/model.ts';
import { shardMoveType } from '../../src/resources/sharded-cluster/kinds.ts';
import { markerName } from '../../src/sharding/names.ts';
import { kube } from '../support/cluster.ts';
import { refusal } from '../support/kubectl.ts';
import { applicationOf, makeCustomers, readMap, readMove } from '../support/move-scene.ts';
import { startWriters } from '../support/move-writers.ts';
import { query } from '../support/pg.ts';
import { namespaceForFile } from '../support/scene.ts';
import { applyCluster, type ClusterKey, type ShardMap, waitUntilReady } from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';

const namespace = namespaceForFile('split');
const key: ClusterKey = { namespace, name: 'shop' };
const target = (shard: string) => ({ namespace, cluster: 'shop', shard });
let customers: number[] = [];

beforeAll(async () => {
  await applyCluster(key, {
    members: 1,
    shards: { count: 2 },
    rebalance: { mode: 'off' },
    schema: [
      {
        name: '001',
        sql: `CREATE TABLE customers (id int PRIMARY KEY, name text) PARTITION BY HASH (id);
          CREATE TABLE orders (customer_id int REFERENCES customers, id int, amount int, PRIMARY KEY (customer_id, id))
            PARTITION BY HASH (customer_id);
          CREATE TABLE events (at date, id int, PRIMARY KEY (at, id)) PARTITION BY RANGE (at);
          CREATE TABLE accounts (tenant text, id int, PRIMARY KEY (tenant, id)) PARTITION BY LIST (tenant)`,
      },
    ],
    tables: [
      { name: 'customers', strategy: 'hash', key: 'id', group: 'customer', buckets: 4 },
      { name: 'orders', strategy: 'hash', key: 'customer_id', group: 'customer' },
      {
        name: 'events',
        strategy: 'range',
        key: 'at',
        bounds: [{ to: '2026-01-01', shard: 's0' }, { from: '2026-01-01' }],
      },
      { name: 'accounts', strategy: 'directory', key: 'tenant', buckets: 1 },
    ],
  });
  await waitUntilReady(key, { timeoutMs: 240_000 });
  customers = await makeCustomers(key, 50);
  await query(
    target('s0'),
    "INSERT INTO events SELECT '2025-01-01'::date + n, n FROM generate_series(0, 299) n",
  );
  const [rest] = await bucketsOf('accounts');
  await query(
    target(rest?.shard ?? ''),
    "INSERT INTO accounts SELECT 't' || n % 5, n FROM generate_series(1, 100) n",
  );
});

async function bucketsOf(group: string): Promise<ShardMap['spec']['groups'][number]['buckets']> {
  const map = await readMap(key);
  return map.spec.groups.find(({ name }) => name === group)?.buckets ?? [];
}

const other = (shard = '') => (shard === 's0' ? 's1' : 's0');

function objectOf(name: string, spec: object) {
  const metadata = { namespace, name };
  return { apiVersion, kind: 'ShardMove', metadata, spec: { cluster: 'shop', retention: '0s', ...spec } };
}

async function change(name: string, spec: object, phase = 'done'): Promise<NonNullable<ShardMove['status']>> {
  await (await kube()).create(shardMoveType, objectOf(name, spec));
  const status = await waitFor(`ShardMove ${name} is ${phase}`, async () => {
    const found = await readMove(key, name);
    return found.status?.phase === phase ? { done: found.status } : { state: found.status };
  });
  if (phase === 'done') console.log(`${name}: fenced for ${status.fenceMs} ms`);
  return status;
}

/** What is there of any move on the shards, and markers and leaves that the map does not know. */
afterEach(async () => {
  const map = await readMap(key);
  const wanted = map.spec.groups.flatMap(({ name, buckets }) =>
    buckets.map(({ id, shard }) => `${shard} ${markerName(name, id)}`),
  );
  await waitFor('nothing is left of moves', async () => {
    const found = await Promise.all(
      ['s0', 's1'].map(async (shard) => {
        const things = await query<{ thing: string }>(
          target(shard),
          `SELECT gid AS thing FROM pg_prepared_xacts UNION ALL SELECT slot_name FROM pg_replication_slots WHERE slot_type = 'logical'
            UNION ALL SELECT pubname FROM pg_publication UNION ALL SELECT subname FROM pg_subscription
            UNION ALL SELECT rolname FROM pg_roles WHERE rolname LIKE 'hm%'
            UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
            UNION ALL SELECT conname FROM pg_constraint WHERE conname LIKE 'herdsman%'
            UNION ALL SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
              AND NOT relispartition AND relname NOT IN ('customers', 'orders', 'events', 'accounts')
            UNION ALL SELECT 'marker ' || relname FROM pg_class WHERE relnamespace = 'own'::regnamespace AND relkind = 'r'`,
        );
        return things.map(({ thing }) => thing.replace(/^marker/, shard));
      }),
    );
    const state = found.flat().sort();
    return JSON.stringify(state) === JSON.stringify(wanted.sort())
      ? { done: true }
      : { state: { state, wanted } };
  });
});

describe('a ShardMove', () => {
  it('splits a bucket and merges its parts under writers, which see no error', async () => {
    const writers = startWriters(applicationOf(key, 5_000), customers, { writers: 8, everyMs: 10 });
    const split = await change('split', { operation: 'split', group: 'customer', buckets: [0], to: 's1' });
    expect(split.children).toEqual([
      { id: 4, hash: { modulus: 8, remainder: 0 } },
      { id: 5, hash: { modulus: 8, remainder: 4 } },
    ]);
    expect((await bucketsOf('customer')).map(({ id, shard }) => `${id} ${shard}`)).toEqual([
      '1 s1',
      '2 s0',
      '3 s1',
      '4 s1',
      '5 s1',
    ]);
    await change('merge', { operation: 'merge', group: 'customer', buckets: [4, 5], to: 's0' });
    expect(await bucketsOf('customer')).toContainEqual({
      id: 6,
      shard: 's0',
      epoch: expect.any(Number),
      hash: { modulus: 4, remainder: 0 },
    });
    const report = await writers.stop();
    console.log(`${report.acknowledged} commits, longest gap ${Math.round(report.longestGapMs)} ms`);
    expect([...report.errors, ...report.violations].slice(0, 5)).toEqual([]);
    expect(report.redirected).toBeGreaterThan(0);
    const rows = await Promise.all(
      ['s0', 's1'].map((shard) =>
        query<{ key: string; value: number }>(
          target(shard),
          "SELECT customer_id || '/' || id AS key, amount AS value FROM orders",
        ),
      ),
    );
    expect(report.ledger.judge(rows.flat())).toEqual({ lost: [], stale: [], doubled: [], strange: [] });
  });

  it('splits a range at its median', async () => {
    const status = await change('median', { operation: 'split', group: 'events', buckets: [0], to: 's1' });
    expect(status.children).toEqual([
      { id: 2, range: { to: '2025-05-30' } },
      { id: 3, range: { from: '2025-05-30', to: '2026-01-01' } },
    ]);
    const sizes = await query(
      target('s1'),
      'SELECT (SELECT count(*)::int FROM events_b0002) AS lower, (SELECT count(*)::int FROM events_b0003) AS upper',
    );
    expect(sizes).toEqual([{ lower: 149, upper: 151 }]);
  });

  it('isolates a tenant, whose rows no other shard takes', async () => {
    const [rest] = await bucketsOf('accounts');
    const to = other(rest?.shard);
    const status = await change('isolate', { operation: 'isolate', group: 'accounts', tenant: 't3', to });
    expect(status.children).toMatchObject([
      { id: 1, values: ['t3'] },
      { id: 2, isDefault: true },
    ]);
    await change('rest', { group: 'accounts', buckets: [2], to: other(to) });
    const counts = await query(target(to), 'SELECT tenant, count(*)::int AS rows FROM accounts GROUP BY 1');
    expect(counts).toEqual([{ tenant: 't3', rows: 20 }]);
    await query(target(to), "INSERT INTO accounts VALUES ('t3', 1000)");
    await expect(query(target(other(to)), "INSERT INTO accounts VALUES ('t3', 1001)")).rejects.toThrow(
      'no partition',
    );
    await query(target(other(to)), "INSERT INTO accounts VALUES ('t9', 1)");
  });
});

describe('what cannot be', () => {
  it.each([
    ['no-bucket', { operation: 'split', group: 'customer', buckets: [99], to: 's1' }, 'has no bucket 99'],
    [
      'outside',
      { operation: 'split', group: 'events', buckets: [1], at: '2020-01-01', to: 's0' },
      'leave "at" out',
    ],
    [
      'no-date',
      { operation: 'split', group: 'events', buckets: [1], at: 'never', to: 's0' },
      'is not a key of this group',
    ],
    ['empty', { operation: 'split', group: 'events', buckets: [1], to: 's0' }, 'write "at"'],
    [
      'apart',
      { operation: 'merge', group: 'customer', buckets: [1, 2], to: 's0' },
      'move them to one shard first',
    ],
    ['cousins', { operation: 'merge', group: 'events', buckets: [1, 2], to: 's0' }, 'cannot be merged'],
    ['same', { operation: 'split', group: 'customer', buckets: [1], to: 's1' }, 'write "to: s0"'],
    [
      'stranger',
      { operation: 'isolate', group: 'accounts', tenant: 'nobody', to: 's0' },
      'see to its spelling',
    ],
    ['twice', { operation: 'isolate', group: 'accounts', tenant: 't3', to: 's0' }, 'write "operation: move"'],
  ])('is refused with what to write instead: %s', async (name, spec, says) => {
    const status = await change(name, spec, 'failed');
    expect(status.message).toContain(says);
  });

  it.each([
    [
      'a merge of one bucket',
      { operation: 'merge', group: 'customer', buckets: [1] },
      'a merge needs the siblings',
    ],
    [
      'a split of two',
      { operation: 'split', group: 'customer', buckets: [1, 2] },
      'a split is of one bucket',
    ],
    [
      'a tenant to move',
      { group: 'accounts', buckets: [1], tenant: 'a' },
      'only "operation: isolate" has a "tenant"',
    ],
    [
      'three parts of a hash',
      { operation: 'split', group: 'customer', buckets: [1], parts: 3 },
      'split into a power of two',
    ],
    ['nobody to isolate', { operation: 'isolate', group: 'accounts' }, 'write "tenant: <its key>"'],
    [
      'a plain move in parts',
      { group: 'customer', buckets: [1], parts: 2 },
      'only "operation: split" has "parts"',
    ],
  ])('is refused by the API server: %s', async (_, spec, says) => {
    expect(await refusal(objectOf('wrong', { to: 's1', ...spec }))).toContain(says);
  });
});
