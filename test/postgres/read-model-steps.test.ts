import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readReplicaSetSpec } from '../../src/api/v1alpha1/read-replica-set.ts';
import { shardedClusterSpec } from '../../src/api/v1alpha1/sharded-cluster.ts';
import { type ConnectOptions, connect } from '../../src/postgres/connection.ts';
import { type Connections, createConnections } from '../../src/postgres/connections.ts';
import type { ResolvedMigration } from '../../src/postgres/migration-plan.ts';
import { applyMigration } from '../../src/postgres/migrations.ts';
import { readSource } from '../../src/postgres/read-model/publisher.ts';
import { grantedFunction } from '../../src/postgres/read-model/schema.ts';
import { type ModelFacts, readModel } from '../../src/postgres/read-model/subscriber.ts';
import type { ModelPass } from '../../src/resources/read-replica-set/logical/context.ts';
import { executeStep } from '../../src/resources/read-replica-set/logical/execute.ts';
import { emptyModelMemory } from '../../src/resources/read-replica-set/logical/memory.ts';
import type {
  ModelMember,
  ModelSource,
  ModelStep,
} from '../../src/resources/read-replica-set/logical/model.ts';
import { nextStep } from '../../src/resources/read-replica-set/logical/next-step.ts';
import { tablesOf } from '../../src/resources/read-replica-set/logical/tables.ts';
import type { ObservedReplica, ReadReplicaSet } from '../../src/resources/read-replica-set/model.ts';
import type { ShardedCluster } from '../../src/resources/sharded-cluster/model.ts';
import type { ShardAccess } from '../../src/resources/sharded-cluster/shard-access.ts';
import { type MoveShards, planMove, startShards } from '../support/move-world.ts';
import { type PostgresServer, startPostgres } from '../support/postgres-server.ts';
import { waitFor } from '../support/wait.ts';

const first: ResolvedMigration = {
  name: '1',
  sql: `
  CREATE TABLE countries (code text PRIMARY KEY, name text NOT NULL);
  INSERT INTO countries VALUES ('de', 'Germany');
  CREATE TABLE orders (customer int, id int, amount int NOT NULL, PRIMARY KEY (customer, id)) PARTITION BY HASH (customer)`,
};
const tables = [
  { name: 'countries', strategy: 'reference' as const },
  { name: 'orders', strategy: 'hash' as const, key: 'customer', buckets: 4 },
];
const password = 'an application';

let shards: MoveShards;
let server: PostgresServer;
let connections: Connections;
const memory = emptyModelMemory();
const told: string[] = [];
const migrations: ResolvedMigration[] = [first];
let followed = ['s0', 's1'];
let timelines: Record<string, number> = {};
let logical: Record<string, unknown> = {
  tables: [{ name: 'orders' }, { name: 'countries' }],
  schema: [{ name: 'index', sql: 'CREATE INDEX by_amount ON orders (amount)' }],
};

beforeAll(async () => {
  connections = createConnections();
  [shards, server] = await Promise.all([startShards(first.sql, tables, { count: 3 }), startPostgres()]);
  // Buckets are on the first two shards; the third one joins later.
  for (const bucket of shards.map.current.value.groups[0]?.buckets ?? [])
    if (bucket.shard === 's2') await move(bucket.id, 's2', 's0');
  const superuser = await connect({ ...at(server, 'postgres', server.password), database: 'template1' });
  await superuser.query({ text: `GRANT EXECUTE ON FUNCTION ${grantedFunction} TO PUBLIC` });
  await superuser.close();
  for (const shard of ['s0', 's1']) {
    const app = await shards.connectApplication(shard);
    await app.query({
      text: `INSERT INTO public.orders SELECT n, 1, n FROM generate_series(1, 200) n
        WHERE (SELECT l.shard FROM herdsman.locate('orders', n) l) = '${shard}'`,
    });
    await app.close();
  }
});
afterAll(async () => {
  await connections?.close();
  await Promise.all([shards?.stop(), server?.stop()]);
});

function at({ host, port }: PostgresServer, user: string, secret: string): Omit<ConnectOptions, 'database'> {
  return { host, port, user, password: secret, tls: 'off' };
}

async function move(bucket: number, from: string, to: string): Promise<void> {
  const operator = planMove(shards, { group: 'orders', bucket, from, to, retentionMs: 0 }).operator();
  await operator.run();
  await operator.close();
}

function serverOf(shard: string): PostgresServer {
  const found = shards.servers[Number(shard.slice(1))];
  if (found === undefined) throw new Error(shard);
  return found;
}

function cluster(): ShardedCluster {
  return {
    apiVersion: 'herdsman.dev/v1alpha1',
    kind: 'ShardedCluster',
    metadata: { name: 'shop', namespace: 'test', uid: 'c' },
    spec: shardedClusterSpec.parse({ storage: { size: '1Gi' }, tables }),
  };
}

function set(): ReadReplicaSet {
  return {
    apiVersion: 'herdsman.dev/v1alpha1',
    kind: 'ReadReplicaSet',
    metadata: { name: 'reports', namespace: 'test', uid: 'r' },
    spec: readReplicaSetSpec.parse({ cluster: 'shop', mode: 'logical', logical }),
  };
}

const asOperator = (target: PostgresServer) => (_: string, __: string, database?: string) => ({
  ...at(target, 'herdsman', target.password),
  database: database ?? __,
});

async function source(shard: string): Promise<ModelSource> {
  const target = serverOf(shard);
  const options = { ...at(target, 'herdsman', target.password), database: 'app' };
  const names = ((logical.tables ?? []) as { name: string }[]).map(({ name }) => name);
  const facts = await connections.use(options, (connection) => readSource(connection, names));
  const timeline = timelines[shard] ?? facts.timeline;
  return {
    shard,
    member: `shop-${shard}-0`,
    address: target.host,
    facts: { state: 'present', value: { ...facts, timeline } },
  };
}

/** One look and one step, as the controller does them; answers the step. */
async function step(): Promise<ModelStep> {
  const present = set();
  const all = await Promise.all(['s0', 's1', 's2'].map(source));
  const sources = all.filter(({ shard }) => followed.includes(shard));
  const replica = {
    name: 'reports-model-replicas-0',
    ordinal: 0,
    ready: true,
    pod: { metadata: { name: 'reports-model-replicas-0', uid: 'p' }, status: { podIP: server.host } },
  } as unknown as ObservedReplica;
  const isSetUp = memory.setUp.has('p');
  const options = { ...at(server, 'herdsman', server.password), database: 'app' };
  const facts: ModelMember['facts'] = isSetUp
    ? { state: 'present', value: await connections.use(options, readModel) }
    : { state: 'absent' };
  const member: ModelMember = { replica, isSetUp, facts, failed: memory.failed.get(replica.name) };
  const wanted = tablesOf(present.spec.logical, cluster(), sources.length);
  const map = {
    apiVersion: 'herdsman.dev/v1alpha1',
    kind: 'ShardMap',
    metadata: { name: 'shop' },
    spec: shards.map.current.value,
  };
  const next = nextStep(
    {
      set: 'reports',
      ...wanted,
      sources,
      map,
      migrations: { kind: 'known', list: migrations },
      extras: { kind: 'known', list: (present.spec.logical?.schema ?? []) as ResolvedMigration[] },
      replacements: new Map((present.spec.logical?.replace ?? []).map(({ name, sql }) => [name, sql])),
      copying: 0,
      maxCopies: 1,
      othersServe: true,
      isLast: false,
    },
    member,
  );
  const access: Partial<ShardAccess> = {
    asOperator: (shard, _, database) => ({
      ...at(serverOf(shard), 'herdsman', serverOf(shard).password),
      database,
    }),
    patroni: () => ({ history: async () => [[1, 1, 'reason', 'time', 'shop-s0-1']] }) as never,
  };
  const pass: ModelPass = {
    set: present,
    cluster: cluster(),
    observation: {
      sources,
      leaving: all.filter(({ shard }) => !followed.includes(shard)),
      members: [member],
      logins: {
        application: { username: 'app', password },
        monitoring: { username: 'monitoring', password },
      },
      shards: access as ShardAccess,
      access: {
        asOperator: (address, database) => asOperator(server)('', address, database),
        asApplication: () => ({ ...at(server, 'app', password), database: 'app' }),
      },
    },
    tables: wanted.tables,
    memory,
  };
  await executeStep(
    {
      client: { get: async () => map as never },
      connections,
      events: { record: (_, { reason, note }) => told.push(`${reason}: ${note}`) as never },
      addressOf: (_, shard) => {
        const { host, port } = serverOf(shard);
        return { host, port: String(port), dbname: 'app', sslmode: 'disable' };
      },
    },
    pass,
    member,
    next,
  );
  return next;
}

/** Goes on until nothing is left to do, or what is expected is done; answers the kinds of the steps on the way. */
async function settle(
  until: (next: ModelStep) => boolean = ({ kind }) => kind === 'none',
): Promise<string[]> {
  const kinds: string[] = [];
  await waitFor(
    'nothing is left to do',
    async () => {
      const next = await step();
      if (next.kind !== kinds.at(-1)) kinds.push(next.kind);
      return until(next) ? { done: true } : { state: { next, kinds } };
    },
    { everyMs: 20, timeoutMs: 40_000 },
  );
  return kinds.filter((kind) => kind !== 'wait' && kind !== 'none');
}

async function here<Row extends object>(text: string): Promise<Row[]> {
  const options = { ...at(server, 'herdsman', server.password), database: 'app' };
  return connections.use(options, (connection) => connection.query<Row>({ text }));
}

async function agree(): Promise<void> {
  const text = 'SELECT count(*)::int AS n, sum(amount)::int AS amount FROM public.orders';
  await waitFor('the model agrees', async () => {
    const there = (
      await Promise.all(
        ['s0', 's1', 's2'].map((shard) => shards.rows<{ n: number; amount: number }>(shard, text)),
      )
    ).flat();
    const wanted = {
      n: there.reduce((sum, { n }) => sum + n, 0),
      amount: there.reduce((sum, { amount }) => sum + amount, 0),
    };
    const [found] = await here<{ n: number; amount: number }>(text);
    return found?.n === wanted.n && found.amount === wanted.amount
      ? { done: true }
      : { state: { found, wanted } };
  });
}

async function migrate(name: string, sql: string): Promise<void> {
  const migration = { name, sql };
  migrations.push(migration);
  for (const shard of ['s0', 's1', 's2']) {
    const app = await shards.connectApplication(shard);
    const position = migrations.length;
    const outcome = await applyMigration(app, { shard, migration, position, layout: shards.layout });
    expect(outcome).toEqual({ kind: 'applied' });
    await app.close();
  }
}

async function slotsOn(shard: string): Promise<number> {
  return (await shards.rows(shard, "SELECT FROM pg_replication_slots WHERE slot_name LIKE 'hr_reports%'"))
    .length;
}

describe('a member of a read model', () => {
  it('comes from nothing to all tables by steps that can be seen', async () => {
    expect(await settle()).toEqual(['set-up', 'migrate', 'begin', 'follow', 'go-live']);
    await agree();
    expect(await here('SELECT code FROM public.countries')).toEqual([{ code: 'de' }]);
    expect(await here("SELECT to_regclass('public.by_amount') IS NOT NULL AS there")).toEqual([
      { there: true },
    ]);
  });

  it('follows a shard that is added before a bucket comes to it, and lets one go that is drained', async () => {
    followed = ['s0', 's1', 's2'];
    expect(await settle()).toEqual(['follow']);
    await move(0, shards.map.current.value.groups[0]?.buckets[0]?.shard ?? '', 's2');
    await shards.rows('s2', 'UPDATE public.orders SET amount = amount + 1');
    expect(await settle()).toEqual([]);
    await agree();
    await move(0, 's2', 's0');
    await shards.rows('s0', 'UPDATE public.orders SET amount = amount + 1');
    followed = ['s0', 's1'];
    expect(await settle()).toEqual(['unfollow']);
    await agree();
    expect(await slotsOn('s2')).toBe(0);
  });

  it('applies migrations, and copies anew for one that its rows forbid', async () => {
    await migrate('2', 'ALTER TABLE orders ADD COLUMN note text');
    expect(await settle()).toEqual(['migrate']);
    await migrate(
      '3',
      "UPDATE orders SET note = 'x'; ALTER TABLE orders ALTER note SET NOT NULL; ALTER TABLE orders ALTER note SET DEFAULT 'y'",
    );
    expect(await settle()).toEqual(['migrate', 'reset', 'migrate', 'begin', 'follow', 'go-live']);
    await agree();
    expect(await here("SELECT count(*)::int AS n FROM public.orders WHERE note = 'x'")).toEqual(
      await here('SELECT count(*)::int AS n FROM public.orders'),
    );
  });

  it('stands still at one that cannot be applied at all, until other SQL is given for it', async () => {
    await here('CREATE FUNCTION public.hurdle() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$');
    await migrate('4', 'CREATE FUNCTION hurdle() RETURNS int LANGUAGE sql AS $$ SELECT 2 $$');
    await settle(({ kind }) => kind === 'fail');
    const failed = await step();
    expect(failed).toMatchObject({ kind: 'fail', reason: 'MigrationFailed' });
    expect('message' in failed ? failed.message : '').toMatch(
      /member reports-model-replicas-0, migration "4".*already exists.*logical\.replace/,
    );
    await shards.rows(
      's0',
      "INSERT INTO public.orders SELECT customer, 2, 5, 'z' FROM public.orders LIMIT 1",
    );
    logical = { ...logical, replace: [{ name: '4', sql: 'SELECT 1' }] };
    await settle();
    await agree();
  });

  it('goes on with a stream that an operator stopped, and has not come to let go', async () => {
    const [copy] = await here<{ copy: string }>('SELECT copy FROM herdsman.read_model');
    await here(`ALTER SUBSCRIPTION ${copy?.copy}_s1 DISABLE`);
    expect(await settle()).toEqual(['redirect']);
    expect(told.at(-1)).toMatch(/^StreamResumed: .* follows shard s1 again$/);
    await agree();
  });

  it('copies anew when its tables are others, and leaves nothing of the former', async () => {
    logical = { ...logical, tables: [{ name: 'orders', where: 'customer < 50' }] };
    expect(await settle()).toEqual(['reset', 'begin', 'follow', 'go-live']);
    await waitFor('the rows are there', async () => {
      const [row] = await here<{ n: number }>('SELECT count(DISTINCT customer)::int AS n FROM public.orders');
      return row?.n === 49 ? { done: true } : { state: row };
    });
    expect([await slotsOn('s0'), await slotsOn('s1')]).toEqual([1, 1]);
  });

  it('copies anew without its slot, and when a former primary had sent it more than the present one has', async () => {
    const [copy] = await here<{ copy: string }>('SELECT copy FROM herdsman.read_model');
    const facts = (): Promise<ModelFacts> =>
      connections.use({ ...at(server, 'herdsman', server.password), database: 'app' }, readModel);
    await shards.rows(
      's1',
      `SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '${copy?.copy}'`,
    );
    await waitFor(
      'the slot is dropped',
      async () => {
        await shards.rows('s1', `SELECT pg_drop_replication_slot('${copy?.copy}')`);
        return { done: true };
      },
      { everyMs: 10 },
    );
    expect(await settle()).toContain('reset');
    expect(told.at(-3)).toMatch(/shard s1 no longer has its replication slot/);
    timelines = { s0: 2 };
    await settle(({ kind }) => kind === 'redirect');
    timelines = {};
    expect(await settle()).toContain('begin');
    expect(told.join()).toMatch(/it has changes of the former primary that the present one never had/);
    expect((await facts()).streams.every(({ running }) => running)).toBe(true);
  });
});
