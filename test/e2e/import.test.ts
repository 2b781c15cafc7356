import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encoded } from '../../src/resources/sharded-cluster/desired/secrets.ts';
import { secretType } from '../../src/runtime/kubernetes-types.ts';
import { kube } from '../support/cluster.ts';
import {
  createExternalPostgres,
  type ExternalPostgres,
  externalConfig,
  onExternal,
} from '../support/external-postgres.ts';
import { query } from '../support/pg.ts';
import { namespaceForFile } from '../support/scene.ts';
import {
  applyCluster,
  type ClusterKey,
  readCluster,
  type SpecInput,
  shardedClusterType,
  waitForCondition,
  waitForEvent,
  waitUntilReady,
} from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';
import { type Load, startLoad } from '../support/writer.ts';

const namespace = namespaceForFile('import');
const key: ClusterKey = { namespace, name: 'shop' };
const old: ExternalPostgres = { namespace, name: 'old', password: 'password-of-old' };
const database = 'shop';
const rows = 20_000;
const schema = `
CREATE TABLE countries (code text PRIMARY KEY);
CREATE TABLE orders (writer int, n bigint, id bigserial, country text REFERENCES countries, PRIMARY KEY (writer, n));`;

function specOf(cutover: 'manual' | 'auto'): Partial<SpecInput> {
  return {
    shards: { count: 2 },
    rebalance: { interval: '5s', strategy: 'byCount' },
    conversion: { retention: '0s' },
    schema: [{ name: '001', sql: schema }],
    tables: [
      { name: 'countries', strategy: 'reference' },
      { name: 'orders', strategy: 'hash', key: 'writer', buckets: 4 },
    ],
    bootstrap: {
      import: { host: `old.${namespace}`, database, credentials: 'old', tls: { mode: 'disable' }, cutover },
    },
  };
}

async function stored(shards: readonly string[]) {
  const text = 'SELECT writer, n::int AS n FROM orders WHERE writer < 100';
  const found = await Promise.all(
    shards.map((shard) =>
      query<{ writer: number; n: number }>({ namespace, cluster: key.name, shard }, text),
    ),
  );
  return found.flat();
}

const leftAt = (external: ExternalPostgres) =>
  onExternal<{ name: string }>(
    external,
    'SELECT slot_name::text AS name FROM pg_replication_slots UNION ALL SELECT pubname::text FROM pg_publication',
    database,
  );

describe('a PostgreSQL that Herdsman knows nothing of', () => {
  let load: Load;
  beforeAll(async () => {
    await applyCluster(key, specOf('manual'));
    await createExternalPostgres(old);
    await onExternal(old, `CREATE DATABASE ${database}`);
    await onExternal(
      old,
      `${schema} INSERT INTO countries VALUES ('de'), ('fr');
        INSERT INTO orders (writer, n, country) SELECT 100 + n % 500, n, 'de' FROM generate_series(1, ${rows}) n`,
      database,
    );
    load = startLoad({
      // Nobody dies here: whatever is late is waited for.
      patienceMs: 20_000,
      config: () => externalConfig(old, database),
      insert: (writer, n) => ({
        text: 'INSERT INTO orders (writer, n, country) VALUES ($1, $2, $3)',
        values: [writer, n, 'fr'],
      }),
    });
  });
  afterAll(() => load?.stop());

  it('is told apart when its password is wrong', async () => {
    const secret = (password: string) => ({
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { namespace, name: 'old' },
      data: encoded({ password }),
    });
    const client = await kube();
    await client.patch(secretType, { namespace, name: 'old' }, secret('wrong'), { type: 'merge' });
    await waitForCondition(key, {
      type: 'Imported',
      status: 'False',
      reason: 'LoginFailed',
      message: /in the Secret/,
    });
    await client.patch(secretType, { namespace, name: 'old' }, secret(old.password), { type: 'merge' });
  });

  it('is copied and kept in step until the user lets the cluster take over', async () => {
    await waitForCondition(key, { type: 'Imported', status: 'False', reason: 'AwaitingCutover' });
    const { status } = await readCluster(key);
    expect(status?.import).toMatchObject({ phase: 'following', tables: '2/2', attempt: 1 });
    await expect(
      query({ namespace, cluster: key.name }, "INSERT INTO countries VALUES ('it')"),
    ).rejects.toThrow(/is being brought in from another server/);
    await applyCluster(key, specOf('auto'));
    await waitForCondition(key, { type: 'Imported', status: 'True' });
    await waitForEvent(key, /has taken over from database "shop"/);
    await load.stop();
    expect([...load.errors.keys()]).toEqual([
      expect.stringMatching(/table "orders" has moved to shop-s0-rw/),
    ]);
  });

  it('is spread over the shards, with every row that it acknowledged', async () => {
    await waitUntilReady(key);
    await waitFor('every shard has two buckets', async () => {
      const { status } = await readCluster(key);
      const owned = status?.shards?.items.map((shard) => shard.buckets?.orders ?? 0);
      const isDone = JSON.stringify(owned) === '[2,2]' && status?.rebalance?.runningMoves === 0;
      return isDone ? { done: true } : { state: [owned, status?.rebalance?.message] };
    });
    // What was refused at the end was answered: nothing is unknown but that.
    expect(load.ledger.judge(await stored(['s0', 's1']))).toMatchObject({
      lost: [],
      doubled: [],
      strange: [],
    });
    for (const shard of ['s0', 's1'])
      expect(
        await query({ namespace, cluster: key.name, shard }, 'SELECT code FROM countries ORDER BY 1'),
      ).toEqual([{ code: 'de' }, { code: 'fr' }]);
  });

  it('keeps no slot and no publication, and the cluster is no longer held', async () => {
    await waitFor('the import is done', async () => {
      const { status, metadata } = await readCluster(key);
      const isDone = status?.import?.phase === 'done' && (metadata.finalizers ?? []).length === 0;
      return isDone ? { done: true } : { state: [status?.import, metadata.finalizers] };
    });
    expect(await leftAt(old)).toEqual([]);
    const { bootstrap: _bootstrap, ...rest } = specOf('auto');
    const client = await kube();
    await client.patch(shardedClusterType, key, { spec: { bootstrap: null } }, { type: 'merge' });
    await applyCluster(key, rest);
    await waitFor('the import is not spoken of any more', async () => {
      const { status } = await readCluster(key);
      return status?.import === undefined ? { done: true } : { state: status.import };
    });
  });
});

describe('a cluster that is deleted while it imports', () => {
  it('leaves nothing at the other server, which takes writes as before', async () => {
    const other: ClusterKey = { namespace, name: 'second' };
    const spec = specOf('manual');
    await onExternal(old, 'CREATE DATABASE again');
    await onExternal(old, `${schema} INSERT INTO countries VALUES ('de')`, 'again');
    const from = spec.bootstrap?.import;
    if (from === undefined) throw new Error('no import');
    await applyCluster(other, {
      schema: [{ name: '001', sql: schema }],
      bootstrap: { import: { ...from, database: 'again' } },
    });
    await waitForCondition(other, { type: 'Imported', status: 'False', reason: 'AwaitingCutover' });
    expect(await leftAt(old)).toHaveLength(1);
    await (await kube()).delete(shardedClusterType, other);
    await waitFor('the cluster is gone', async () => {
      const found = await (await kube()).get(shardedClusterType, other);
      return found === undefined ? { done: true } : { state: found };
    });
    expect(await leftAt(old)).toEqual([]);
    await onExternal(old, "INSERT INTO countries VALUES ('fr')", 'again');
  });
});
