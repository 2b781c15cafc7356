import pg from 'pg';
import { beforeAll, describe, expect, it } from 'vitest';
import { apiVersion } from '../../src/api/v1alpha1/common.ts';
import type { ShardMove } from '../../src/resources/shard-move/model.ts';
import { readReplicaSetType, shardMoveType } from '../../src/resources/sharded-cluster/kinds.ts';
import { persistentVolumeClaimType, podType } from '../../src/runtime/kubernetes-types.ts';
import { kube } from '../support/cluster.ts';
import { refusal } from '../support/kubectl.ts';
import { connectApplication, query } from '../support/pg.ts';
import {
  applySet,
  inPod,
  type ReplicaSpec,
  readConfig,
  readOnce,
  readSet,
  waitForSet,
  waitForSetEvent,
  waitUntilServing,
} from '../support/read-replica-set.ts';
import { namespaceForFile } from '../support/scene.ts';
import {
  applyCluster,
  type ClusterKey,
  primaryPod,
  readCluster,
  type SpecInput,
  waitUntilReady,
} from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';

const namespace = namespaceForFile('logical');
const cluster: ClusterKey = { namespace, name: 'shop' };
const set: ClusterKey = { namespace, name: 'reports' };
const member = 'reports-model-replicas-0';
const at = (shard: string) => ({ namespace, cluster: cluster.name, shard });

const schema = [
  {
    name: '001',
    sql: `CREATE TABLE countries (code text PRIMARY KEY, name text NOT NULL);
      CREATE TABLE orders (customer int, id int, amount int NOT NULL, secret text NOT NULL, PRIMARY KEY (customer, id))
        PARTITION BY HASH (customer)`,
  },
  { name: '002', sql: "INSERT INTO countries VALUES ('de', 'Germany')" },
];
const clusterSpec = (shards: number, migrations: SpecInput['schema']): Partial<SpecInput> => ({
  members: 2,
  shards: { count: shards },
  rebalance: { mode: 'off' },
  schema: migrations,
  tables: [
    { name: 'countries', strategy: 'reference' },
    { name: 'orders', strategy: 'hash', key: 'customer', buckets: 4 },
  ],
});
const spec: ReplicaSpec = {
  cluster: cluster.name,
  mode: 'logical',
  logical: {
    tables: [
      { name: 'orders', columns: ['customer', 'id', 'amount'], where: 'customer < 1000' },
      { name: 'countries' },
    ],
    schema: [
      {
        name: 'by-amount',
        sql: 'ALTER TABLE orders ADD COLUMN cents bigint GENERATED ALWAYS AS (amount * 100::bigint) STORED; CREATE INDEX by_amount ON orders (cents)',
      },
    ],
  },
};

beforeAll(async () => {
  await applyCluster(cluster, clusterSpec(1, schema));
  await applySet(set, spec);
  await waitUntilReady(cluster);
  await query(
    at('s0'),
    "INSERT INTO orders (customer, id, amount, secret) SELECT n, 1, n, 'x' FROM generate_series(1, 1100) n",
  );
  await waitUntilServing(set, 1);
});

/** Writes one row after the other as a client that follows the map; `stop` answers how many were acknowledged. */
function startInserts(): { stop(): Promise<number> } {
  let stopping = false;
  const run = async (): Promise<number> => {
    let acknowledged = 0;
    let client: pg.Client | undefined;
    for (let id = 1; !stopping; id += 1) {
      // The row is written until it is there: an answer that is lost may have been a yes.
      for (let written = false; !written; ) {
        try {
          client ??= await connectApplication(at('s0'));
          await client.query(
            "INSERT INTO orders (customer, id, amount, secret) VALUES (500, 1000000 + $1, 1, 'x') ON CONFLICT (customer, id) DO NOTHING",
            [id],
          );
          written = true;
          acknowledged += 1;
        } catch {
          await client?.end().catch(() => undefined);
          client = undefined;
          await new Promise((resolve) => setTimeout(resolve, 100));
        }
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await client?.end();
    return acknowledged;
  };
  const running = run();
  return {
    stop() {
      stopping = true;
      return running;
    },
  };
}

const here = async <Row extends pg.QueryResultRow>(text: string): Promise<Row> =>
  readOnce<Row>(await readConfig(set, cluster.name, 'model'), text);

/** A session through the Service that runs nothing; tells whether it was ended. */
async function sessionHere(): Promise<{ ended(): boolean }> {
  const client = new pg.Client(await readConfig(set, cluster.name, 'model'));
  let isEnded = false;
  client.on('error', () => undefined);
  client.on('end', () => {
    isEnded = true;
  });
  await client.connect();
  return { ended: () => isEnded };
}

/** Waits until a query answers the same through the read model as on all shards together. */
async function agree(shards: readonly string[], where = 'true'): Promise<number> {
  return waitFor(`the read model agrees where ${where}`, async () => {
    const text = `SELECT count(*)::int AS n, coalesce(sum(amount), 0)::int AS amount FROM orders WHERE customer < 1000 AND ${where}`;
    const there = (
      await Promise.all(shards.map((shard) => query<{ n: number; amount: number }>(at(shard), text)))
    ).flat();
    const wanted = {
      n: there.reduce((sum, { n }) => sum + n, 0),
      amount: there.reduce((sum, { amount }) => sum + amount, 0),
    };
    const found = await here<{ n: number; amount: number }>(text);
    return found.n === wanted.n && found.amount === wanted.amount
      ? { done: found.n }
      : { state: { found, wanted } };
  });
}

it('has the chosen tables, columns and rows, with an index and a column of its own, and refuses writes', async () => {
  expect(await agree(['s0'])).toBe(999);
  expect(
    await here(
      'SELECT count(secret)::int AS secrets, sum(cents)::int AS cents, (SELECT count(*)::int FROM countries) AS countries FROM orders',
    ),
  ).toEqual({ secrets: 0, cents: 49_950_000, countries: 1 });
  expect(await here("SELECT to_regclass('by_amount') IS NOT NULL AS there")).toEqual({ there: true });
  await expect(here("INSERT INTO countries VALUES ('fr', 'France') RETURNING code")).rejects.toThrow(
    'write there',
  );
  const { status } = await readSet(set);
  expect(status?.model?.members[0]).toMatchObject({
    state: 'Streaming',
    migration: '002',
    tables: [
      { name: 'orders', state: 'Streaming' },
      { name: 'countries', state: 'Streaming' },
    ],
  });
});

it('applies migrations at their place in the stream, and one that its rows forbid by a new copy', async () => {
  const inserts = startInserts();
  const filled =
    'ALTER TABLE orders ADD COLUMN extra int; UPDATE orders SET extra = amount; ALTER TABLE orders ALTER extra SET DEFAULT 0; ALTER TABLE orders ALTER extra SET NOT NULL';
  const more = [
    ...schema,
    { name: '003', sql: "ALTER TABLE orders ADD COLUMN note text NOT NULL DEFAULT 'new'" },
    {
      name: '004',
      sql: 'ALTER TABLE orders RENAME amount TO total; ALTER TABLE orders RENAME total TO amount',
    },
  ];
  await applyCluster(cluster, clusterSpec(1, more));
  await waitForSet(set, 'migration 004 is applied', ({ model }) => model?.members[0]?.migration === '004');
  expect(await inserts.stop()).toBeGreaterThan(0);
  await agree(['s0']);
  const staying = await sessionHere();
  // Rows that change come with the stream, so that here none has the new column filled.
  await applyCluster(cluster, clusterSpec(1, [...more, { name: '005', sql: filled }]));
  await waitForSet(
    set,
    'migration 005 is applied',
    ({ model }) => model?.members[0]?.migration === '005' && model.members[0].state === 'Streaming',
  );
  await waitForSetEvent(set, /CopiedAnew .*migration "005" cannot be applied to its rows/);
  // Its tables were empty for a while, which nobody was to read.
  await waitFor('the session of before has ended', () =>
    staying.ended() ? { done: true } : { state: 'it goes on' },
  );
  await agree(['s0']);
});

describe('another primary of a shard', () => {
  const synced = (shard: string) =>
    waitFor('a standby has the slot', async () => {
      const primary = await primaryPod(cluster, shard);
      const standby = ['0', '1']
        .map((n) => `shop-${shard}-${n}`)
        .find((name) => name !== primary.metadata.name);
      const found = await inPod(
        namespace,
        standby ?? '',
        "SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'hr_reports%' AND synced AND NOT temporary",
      );
      return found === '1' ? { done: true } : { state: found };
    });

  it('after a failover is followed without a new copy, and nothing is lost or doubled', async () => {
    await synced('s0');
    const before = await inPod(namespace, member, 'SELECT copy FROM herdsman.read_model');
    const inserts = startInserts();
    const primary = await primaryPod(cluster);
    await (await kube()).delete(
      podType,
      { namespace, name: primary.metadata.name },
      { gracePeriodSeconds: 0 },
    );
    await waitForSetEvent(set, /StreamRedirected/);
    const acknowledged = await inserts.stop();
    expect(acknowledged).toBeGreaterThan(0);
    await agree(['s0']);
    expect(await inPod(namespace, member, 'SELECT copy FROM herdsman.read_model')).toBe(before);
  });
});

describe('shards', () => {
  it('that are added are followed, and a bucket that moves there is neither lost nor doubled', async () => {
    const present = (await readCluster(cluster)).spec.schema ?? [];
    await applyCluster(cluster, clusterSpec(2, present));
    await waitForSet(set, 'both shards are followed', ({ model }) => model?.shards.length === 2);
    await query(at('s0'), 'UPDATE orders SET amount = amount + 1 WHERE id = 1');
    await (await kube()).create(shardMoveType, {
      apiVersion,
      kind: 'ShardMove',
      metadata: { namespace, name: 'away' },
      spec: { cluster: cluster.name, group: 'orders', buckets: [0], to: 's1', retention: '0s' },
    });
    await waitFor('the bucket has moved', async () => {
      const found = await (await kube()).get<ShardMove>(shardMoveType, { namespace, name: 'away' });
      return found?.status?.phase === 'done' ? { done: true } : { state: found?.status };
    });
    await query(at('s1'), 'UPDATE orders SET amount = amount + 1 WHERE id = 1');
    await agree(['s0', 's1']);
  });
});

it('that has lost its volume copies anew, and leaves no slot behind', async () => {
  await (await kube()).delete(persistentVolumeClaimType, { namespace, name: `data-${member}` });
  await waitForSet(set, 'it copies', ({ conditions = [] }) =>
    conditions.some(({ type, status }) => type === 'Ready' && status === 'False'),
  );
  await waitUntilServing(set, 1);
  await agree(['s0', 's1']);
  await waitFor('one slot on each shard', async () => {
    const slots = await Promise.all(
      ['s0', 's1'].map((shard) =>
        query<{ n: number }>(
          at(shard),
          "SELECT count(*)::int AS n FROM pg_replication_slots WHERE slot_name LIKE 'hr_reports%'",
        ),
      ),
    );
    const counts = slots.flat().map(({ n }) => n);
    return counts.every((n) => n === 1) ? { done: true } : { state: counts };
  });
});

it('that goes takes its slots, roles and publications along', async () => {
  await (await kube()).delete(readReplicaSetType, set);
  await waitFor('nothing of it is left', async () => {
    const left = await Promise.all(
      ['s0', 's1'].map((shard) =>
        query<{ thing: string }>(
          at(shard),
          `SELECT slot_name AS thing FROM pg_replication_slots WHERE slot_name LIKE 'hr%' UNION ALL
            SELECT pubname FROM pg_publication UNION ALL SELECT rolname FROM pg_roles WHERE rolname LIKE 'hr%'`,
        ),
      ),
    );
    return left.flat().length === 0 ? { done: true } : { state: left };
  });
});

describe('bad input', () => {
  it.each<[string, object, string]>([
    ['without tables', { logical: undefined }, 'write them under "logical.tables"'],
    ['of some shards', { shards: ['s0'] }, 'gathers from every shard'],
    ['that is delayed', { workload: 'delayed' }, 'a read model is not delayed'],
    ['that primaries stand in for', { whenNoneFresh: 'primary' }, 'no primary has what a read model has'],
    [
      'with an autoscaler',
      { autoscaling: { maxReplicas: 2, metrics: [{ type: 'CPU', target: 50 }] } },
      'remove "autoscaling"',
    ],
    ['that is physical', { mode: 'physical' }, 'a physical set copies whole shards'],
  ])('a read model %s is refused', async (_, change, says) => {
    const object = {
      apiVersion,
      kind: 'ReadReplicaSet',
      metadata: { namespace, name: 'wrong' },
      spec: { ...spec, ...change },
    };
    expect(await refusal(object)).toContain(says);
  });

  it('of tables is told, and the cluster goes on', async () => {
    const wrong: ClusterKey = { namespace, name: 'wrong' };
    const failing = (reason: string, says: RegExp) =>
      waitForSet(wrong, reason, ({ conditions = [] }) =>
        conditions.some(
          (condition) =>
            condition.type === 'Degraded' && condition.status === 'True' && says.test(condition.message),
        ),
      );
    await applySet(wrong, {
      ...spec,
      logical: { tables: [{ name: 'nonsense' }, { name: 'orders', columns: ['id'] }] },
    });
    await failing('it names the table', /table "nonsense" is not there.*add customer/);
    await applySet(wrong, { ...spec, logical: { tables: [{ name: 'orders', where: 'amount > 5' }] } });
    await failing(
      'it names the column',
      /uses amount: PostgreSQL can filter by columns of the replica identity/,
    );
    await query(at('s0'), 'UPDATE orders SET amount = amount WHERE id = 1');
    await (await kube()).delete(readReplicaSetType, wrong);
  });
});
