import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { readMap, readMoves } from '../support/move-scene.ts';
import { applicationConfig, query } from '../support/pg.ts';
import { type Pgbench, startPgbench } from '../support/pgbench.ts';
import { findRootfs } from '../support/postgres-server.ts';
import { namespaceForFile } from '../support/scene.ts';
import {
  applyCluster,
  type ClusterKey,
  readCluster,
  type SpecInput,
  waitUntilReady,
} from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';

const namespace = namespaceForFile('skew');
const key: ClusterKey = { namespace, name: 'shop' };
const buckets = 16;
const shards = ['s0', 's1'];
const keys = 200;
const rowsPerKey = 50;

const spec: Partial<SpecInput> = {
  shards: { count: 2 },
  schema: [
    {
      name: '001',
      sql: `CREATE TABLE ranks (rank int PRIMARY KEY, key int NOT NULL);
        CREATE TABLE orders (customer_id int, id int, amount int, PRIMARY KEY (customer_id, id))
          PARTITION BY HASH (customer_id)`,
    },
  ],
  tables: [
    { name: 'ranks', strategy: 'reference' },
    { name: 'orders', strategy: 'hash', key: 'customer_id', buckets },
  ],
};

/**
 * A reader of keys by Zipf's law. One works at each shard, draws as the others do, asks where the key is, and reads it if that is
 * here: all of them together read every key that was drawn, wherever its bucket is by now.
 */
const script = (shard: string) => `
\\set rank random_zipfian(1, ${keys}, 1.2)
SELECT CASE WHEN l.shard = '${shard}' THEN 1 ELSE 0 END AS here, r.key AS key
  FROM ranks r, LATERAL herdsman.locate('orders', r.key) l WHERE r.rank = :rank \\gset
\\if :here
SELECT sum(amount) FROM orders WHERE customer_id = :key;
\\endif
`;

let folder = '';
const readers: Pgbench[] = [];

beforeAll(async () => {
  await applyCluster(key, { ...spec, rebalance: { interval: '5s', dryRun: true } });
  await waitUntilReady(key, { timeoutMs: 180_000 });
  const places = await query<{ key: number; shard: string }>(
    { namespace, cluster: key.name },
    `SELECT key, l.shard FROM generate_series(1, ${keys}) key, LATERAL herdsman.locate('orders', key) l
      ORDER BY l.shard, key`,
  );
  // The keys that are read most are all on the first shard.
  for (const shard of shards) {
    const target = { namespace, cluster: key.name, shard };
    await query(target, 'INSERT INTO ranks SELECT row_number() OVER (), key FROM unnest($1::int[]) key', [
      places.map((place) => place.key),
    ]);
    await query(
      target,
      `INSERT INTO orders SELECT key, id, 1 FROM unnest($1::int[]) key, generate_series(1, ${rowsPerKey}) id`,
      [places.filter((place) => place.shard === shard).map((place) => place.key)],
    );
  }
  folder = await mkdtemp(join(await findRootfs(), tmpdir(), 'skew-'));
  for (const shard of shards) {
    const file = join(folder, `${shard}.sql`);
    await writeFile(file, script(shard));
    const config = await applicationConfig({ namespace, cluster: key.name, shard });
    const inRootfs = join(tmpdir(), folder.split('/').at(-1) ?? '', `${shard}.sql`);
    readers.push(await startPgbench(config, ['-n', '-c', '2', '-R', '150', '-T', '900', '-f', inRootfs]));
  }
});

afterAll(async () => {
  for (const reader of readers) await reader.stop();
  if (folder !== '') await rm(folder, { recursive: true });
});

it('is seen by the rebalancer, which moves what is hot away until the shards have as much to do', async () => {
  await waitFor('the first shard is seen to be overloaded', async () => {
    const { status } = await readCluster(key);
    const [first] = status?.rebalance?.shards ?? [];
    return (first?.utilisation ?? 0) > 120 && (status?.rebalance?.totalMoves ?? 0) > 0
      ? { done: true }
      : { state: status?.rebalance };
  });
  const before = (await readCluster(key)).status?.rebalance?.shards ?? [];
  expect(await readMoves(key)).toEqual([]);

  await applyCluster(key, { ...spec, rebalance: { interval: '5s' } });
  await waitFor('the rebalancer has moved what is hot', async () =>
    (await readMoves(key)).length > 0 ? { done: true } : { state: 'no move' },
  );
  const after = await waitFor(
    'the shards are balanced and at rest',
    async () => {
      const { status } = await readCluster(key);
      const { phase, runningMoves, totalMoves, shards: found = [] } = status?.rebalance ?? {};
      const isAtRest = phase === 'Balanced' && runningMoves === 0 && totalMoves === 0;
      return isAtRest ? { done: found } : { state: status?.rebalance };
    },
    { timeoutMs: 240_000 },
  );
  const shown = (list: typeof before) =>
    list
      .map(({ name, utilisation, buckets: owned }) => `${name} ${utilisation} % (${owned} buckets)`)
      .join(', ');
  console.log(
    `utilisation before: ${shown(before)}; after: ${shown(after)}; ${(await readMoves(key)).length} moves`,
  );
  const highest = (list: typeof before) => Math.max(...list.map(({ utilisation }) => utilisation));
  expect(highest(after)).toBeLessThan(highest(before));
  const owners = (await readMap(key)).spec.groups[0]?.buckets.map(({ shard }) => shard) ?? [];
  expect(owners.filter((shard) => shard === 's0').length).toBeLessThan(buckets / 2);
  for (const shard of shards) {
    const [row] = await query<{ n: number }>(
      { namespace, cluster: key.name, shard },
      'SELECT count(*)::int AS n FROM orders',
    );
    expect(row?.n).toBeGreaterThan(0);
  }
});
