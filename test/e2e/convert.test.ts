import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { kubectl } from '../support/kubectl.ts';
import { applicationConfig, query } from '../support/pg.ts';
import { namespaceForFile } from '../support/scene.ts';
import {
  applyCluster,
  type ClusterKey,
  readCluster,
  type SpecInput,
  waitForEvent,
  waitUntilReady,
} from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';
import { type Load, startLoad } from '../support/writer.ts';

const namespace = namespaceForFile('convert');
const key: ClusterKey = { namespace, name: 'shop' };
const rows = 20_000;
const plain: Partial<SpecInput> = {
  rebalance: { interval: '5s', strategy: 'byCount' },
  schema: [
    {
      name: '001',
      sql: `
        CREATE TABLE countries (code text PRIMARY KEY);
        INSERT INTO countries VALUES ('de'), ('fr');
        CREATE TABLE orders (
          writer int, n bigint, id bigint GENERATED ALWAYS AS IDENTITY, country text REFERENCES countries, PRIMARY KEY (writer, n)
        );
        CREATE TABLE lines (writer int, n bigint, line int, PRIMARY KEY (writer, n, line), FOREIGN KEY (writer, n) REFERENCES orders)`,
    },
  ],
};
const distributed: Partial<SpecInput> = {
  ...plain,
  tables: [
    { name: 'countries', strategy: 'reference' },
    { name: 'orders', strategy: 'hash', key: 'writer', group: 'writer', buckets: 8 },
    { name: 'lines', strategy: 'hash', key: 'writer', group: 'writer' },
  ],
};

/** Waits until the group stands so, or is not spoken of. */
async function waitForPhase(phase: string | undefined): Promise<void> {
  await waitFor(
    `the conversion is ${phase ?? 'over'}`,
    async () => {
      const { status } = await readCluster(key);
      const found = status?.conversions?.[0];
      return found?.phase === phase ? { done: true } : { state: [found, status?.conditions] };
    },
    { timeoutMs: 60_000 },
  );
}

/** What an application does that knows of no shards. */
function write(): Load {
  return startLoad({
    config: () => applicationConfig({ namespace, cluster: key.name }),
    insert: (writer, n) => ({
      text: 'WITH o AS (INSERT INTO orders (writer, n, country) VALUES ($1, $2, $3)) SELECT 1',
      values: [writer, n, 'fr'],
    }),
  });
}

async function stored(shards: readonly string[]) {
  const found = await Promise.all(
    shards.map((shard) =>
      query<{ writer: number; n: number }>(
        { namespace, cluster: key.name, shard },
        'SELECT writer, n::int AS n FROM orders WHERE writer < 100',
      ),
    ),
  );
  return found.flat();
}

async function counts(shards: readonly string[]): Promise<[orders: number, lines: number]> {
  const total: [number, number] = [0, 0];
  for (const shard of shards) {
    const [row] = await query<{ orders: number; lines: number }>(
      { namespace, cluster: key.name, shard },
      'SELECT (SELECT count(*)::int FROM orders) AS orders, (SELECT count(*)::int FROM lines) AS lines',
    );
    total[0] += row?.orders ?? 0;
    total[1] += row?.lines ?? 0;
  }
  return total;
}

describe('plain tables with rows on one shard', () => {
  let load: Load;
  beforeAll(async () => {
    await applyCluster(key, plain);
    await waitUntilReady(key);
    await query(
      { namespace, cluster: key.name },
      `WITH o AS (INSERT INTO orders (writer, n, country) SELECT 100 + n % 500, n, 'de' FROM generate_series(1, ${rows}) n RETURNING writer, n)
        INSERT INTO lines SELECT writer, n, 1 FROM o`,
    );
    load = write();
  });
  afterAll(() => load.stop());

  it('become distributed while an application writes, and plain again when they are taken out', async () => {
    await applyCluster(key, distributed);
    await waitForPhase('settled');
    await waitUntilReady(key);
    await waitForEvent(key, /orders, lines on s0 are distributed/);
    await applyCluster(key, { ...plain, tables: [{ name: 'countries', strategy: 'reference' }] });
    await waitForPhase(undefined);
    await waitUntilReady(key);
    expect(
      await query({ namespace, cluster: key.name }, "SELECT relkind FROM pg_class WHERE relname = 'orders'"),
    ).toEqual([{ relkind: 'r' }]);
  });

  it('become distributed for good, and go to the shards that are added', async () => {
    await applyCluster(key, { ...distributed, conversion: { retention: '0s' } });
    await waitForPhase(undefined);
    await waitUntilReady(key);
    await load.stop();
    // Whatever was sent was answered: no write failed or hung.
    expect(load.ledger.judge(await stored(['s0']))).toMatchObject({
      unknown: 0,
      lost: [],
      doubled: [],
      strange: [],
    });
    const before = await counts(['s0']);
    await kubectl(['scale', '-n', namespace, 'shardedcluster/shop', '--replicas=4']);
    await waitFor(
      'every shard has two buckets',
      async () => {
        const { status } = await readCluster(key);
        const owned = status?.shards?.items.map((shard) => shard.buckets?.writer ?? 0);
        const isDone = JSON.stringify(owned) === '[2,2,2,2]' && status?.rebalance?.runningMoves === 0;
        return isDone ? { done: true } : { state: [owned, status?.rebalance?.message, status?.conditions] };
      },
      { timeoutMs: 240_000 },
    );
    const shards = ['s0', 's1', 's2', 's3'];
    expect(await counts(shards)).toEqual(before);
    expect(load.ledger.judge(await stored(shards))).toMatchObject({ lost: [], doubled: [], strange: [] });
    expect((await readCluster(key)).status?.laidOutTables).toEqual(['countries', 'orders', 'lines']);
  });
});
