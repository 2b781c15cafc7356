import type { ClientConfig } from 'pg';
import { beforeAll, describe, expect, it } from 'vitest';
import { apiVersion } from '../../src/api/v1alpha1/common.ts';
import { type Connection, connect } from '../../src/postgres/connection.ts';
import type { ShardMove } from '../../src/resources/shard-move/model.ts';
import { shardMoveType } from '../../src/resources/sharded-cluster/kinds.ts';
import { kube } from '../support/cluster.ts';
import { refusal } from '../support/kubectl.ts';
import { startWriters } from '../support/move-writers.ts';
import { applicationConfig, query } from '../support/pg.ts';
import { namespaceForFile } from '../support/scene.ts';
import {
  applyCluster,
  type ClusterKey,
  type ShardMap,
  shardMapType,
  waitUntilReady,
} from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';

const namespace = await namespaceForFile('move');
const key: ClusterKey = { namespace, name: 'shop' };
const target = (shard: string) => ({ namespace, cluster: 'shop', shard });
let customers: number[] = [];

/** Three members: every commit, and each half of the switch, waits for a standby. */
beforeAll(async () => {
  await applyCluster(key, {
    members: 3,
    shards: { count: 2 },
    rebalance: { mode: 'off' },
    schema: [
      {
        name: '001',
        sql: `CREATE TABLE customers (id int PRIMARY KEY, name text) PARTITION BY HASH (id);
          CREATE TABLE orders (customer_id int REFERENCES customers, id int, amount int, PRIMARY KEY (customer_id, id))
            PARTITION BY HASH (customer_id)`,
      },
    ],
    tables: [
      { name: 'customers', strategy: 'hash', key: 'id', group: 'customer', buckets: 4 },
      { name: 'orders', strategy: 'hash', key: 'customer_id', group: 'customer' },
    ],
  });
  await waitUntilReady(key, { timeoutMs: 240_000 });
  const rows = await query<{ id: number }>(
    target('s0'),
    `INSERT INTO customers SELECT n, 'c' || n FROM generate_series(1, 400) n
      WHERE satisfies_hash_partition('customers'::regclass, 4, 0, n) RETURNING id`,
  );
  customers = rows.map(({ id }) => id);
});

async function connectApplication(shard: string): Promise<Connection> {
  const { host, port, user, password, database, ssl } = (await applicationConfig(
    target(shard),
  )) as ClientConfig & {
    ssl: { ca: string; servername: string };
  };
  return connect({
    host: host ?? '',
    port: port ?? 5432,
    user: user ?? '',
    password: String(password),
    database: database ?? '',
    tls: ssl,
  });
}

async function move(name: string, to: string, spec: object = {}): Promise<void> {
  await (await kube()).create(shardMoveType, {
    apiVersion,
    kind: 'ShardMove',
    metadata: { namespace, name },
    spec: { cluster: 'shop', group: 'customer', buckets: [0], to, retention: '0s', ...spec },
  });
}

async function ended(name: string, phase: string): Promise<NonNullable<ShardMove['status']>> {
  return waitFor(`ShardMove ${name} is ${phase}`, async () => {
    const found = await (await kube()).get<ShardMove>(shardMoveType, { namespace, name });
    return found?.status?.phase === phase ? { done: found.status } : { state: found?.status };
  });
}

async function ownerOf(): Promise<string | undefined> {
  const map = await (await kube()).get<ShardMap>(shardMapType, key);
  const bucket = map?.spec.groups[0]?.buckets.find(({ id }) => id === 0);
  expect(bucket?.pending).toBeUndefined();
  return bucket?.shard;
}

/** What is there of any move, and the markers of the bucket, as every shard shows them. */
async function left(): Promise<string[]> {
  const found = await Promise.all(
    ['s0', 's1'].map((shard) =>
      query<{ thing: string }>(
        target(shard),
        `SELECT gid AS thing FROM pg_prepared_xacts UNION ALL SELECT slot_name FROM pg_replication_slots WHERE slot_type = 'logical'
          UNION ALL SELECT pubname FROM pg_publication UNION ALL SELECT subname FROM pg_subscription
          UNION ALL SELECT rolname FROM pg_roles WHERE rolname LIKE 'hm%'
          UNION ALL SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND NOT relispartition
          UNION ALL SELECT 'marker on ${shard}' FROM pg_class WHERE relnamespace = 'own'::regnamespace AND relname = 'customer_b0000'`,
      ),
    ),
  );
  return found.flat().map(({ thing }) => thing);
}

describe('a ShardMove', () => {
  it('moves a bucket there and back under writers, which see no error', async () => {
    const writers = startWriters({ connectApplication }, customers, { writers: 4 });
    for (const [name, to] of [
      ['there', 's1'],
      ['back', 's0'],
    ] as const) {
      await move(name, to);
      const status = await ended(name, 'done');
      expect(status).toMatchObject({ failures: 0, fenceMs: expect.any(Number) });
      expect(await ownerOf()).toBe(to);
      console.log(`move ${name}: fenced for ${status.fenceMs} ms`);
    }
    const report = await writers.stop();
    console.log(`${report.acknowledged} commits, longest gap ${Math.round(report.longestGapMs)} ms`);
    expect([...report.errors, ...report.violations].slice(0, 5)).toEqual([]);
    expect(report.redirected).toBeGreaterThan(0);
    const rows = await query<{ customer_id: number; id: number; amount: number }>(
      target('s0'),
      'SELECT customer_id, id, amount FROM orders WHERE customer_id = ANY ($1)',
      [customers],
    );
    const found = rows.map((row) => ({ key: `${row.customer_id}/${row.id}`, value: row.amount }));
    expect(report.ledger.judge(found)).toEqual({ lost: [], stale: [], doubled: [], strange: [] });
    expect(await left()).toEqual(['marker on s0']);
  });

  it('that is deleted ends without a trace, or when it is done', async () => {
    await move('dropped', 's1');
    await (await kube()).delete(shardMoveType, { namespace, name: 'dropped' });
    await waitFor('it is gone', async () => {
      const found = await (await kube()).get<ShardMove>(shardMoveType, { namespace, name: 'dropped' });
      return found === undefined ? { done: true } : { state: found.status };
    });
    expect(await left()).toEqual([`marker on ${await ownerOf()}`]);
  });

  it.each([
    ['onto the shard that it comes from', { from: 's1', to: 's1' }, '"to" is where the bucket is already'],
    ['of no bucket', { to: 's1', buckets: [] }, 'buckets'],
    ['of a bucket twice', { to: 's1', buckets: [0, 0] }, 'buckets'],
    ['slower than can be', { to: 's1', maxBytesPerSecond: 1 }, 'maxBytesPerSecond'],
  ])('%s is refused by the API server', async (_, spec, says) => {
    const object = {
      apiVersion,
      kind: 'ShardMove',
      metadata: { namespace, name: 'wrong' },
      spec: { cluster: 'shop', group: 'customer', buckets: [0], ...spec },
    };
    expect(await refusal(object)).toContain(says);
  });
});
