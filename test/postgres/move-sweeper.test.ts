import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { connect } from '../../src/postgres/connection.ts';
import { dropStaleSlots } from '../../src/postgres/read-model/publisher.ts';
import { moveSweeper } from '../../src/resources/shard-move/sweeper.ts';
import { shardMapType, shardMoveType } from '../../src/resources/sharded-cluster/kinds.ts';
import type { ShardMapObject } from '../../src/resources/sharded-cluster/model.ts';
import type { FindPrimaries, Standby } from '../../src/resources/sharded-cluster/primaries.ts';
import type { EventInput } from '../../src/runtime/events.ts';
import { clusterKey, type MemoryCluster, memoryCluster, namespace } from '../support/memory-cluster.ts';
import { type MoveShards, planMove, startShards, type TestMove } from '../support/move-world.ts';
import { type PostgresServer, startPostgres } from '../support/postgres-server.ts';
import { waitFor } from '../support/wait.ts';

const tables = [{ name: 'orders', strategy: 'hash' as const, key: 'id', buckets: 4 }];

let shards: MoveShards;
beforeAll(async () => {
  shards = await startShards('CREATE TABLE orders (id int PRIMARY KEY) PARTITION BY HASH (id)', tables);
});
afterAll(() => shards?.stop());

/** The cluster and the map as they are; the ShardMove is there only if it is said to be. */
function serve(test: TestMove, isThere: boolean): MemoryCluster {
  const cluster = memoryCluster(shards, { tables });
  if (!isThere) return cluster;
  cluster.api.create(shardMoveType, {
    apiVersion: 'herdsman.dev/v1alpha1',
    kind: 'ShardMove',
    metadata: { namespace, name: 'there', uid: `${test.move.id}-0000-4000-8000-000000000000` },
    spec: { cluster: clusterKey.name },
  });
  return cluster;
}

/** Runs the sweeper until the condition holds. */
async function sweep(
  cluster: MemoryCluster,
  until: () => Promise<boolean>,
  standbys: readonly Standby[] = [],
): Promise<readonly EventInput[]> {
  const { dependencies } = cluster;
  let looked = 0;
  const findPrimaries: FindPrimaries = (...about) => {
    looked += 1;
    return dependencies.findPrimaries(...about);
  };
  const findStandbys = async () => standbys;
  cluster.start(moveSweeper({ ...dependencies, findPrimaries, findStandbys, everyMs: 20 }));
  await waitFor('it is swept', async () =>
    (await until()) && looked > 5 ? { done: true } : { state: looked },
  );
  await cluster.stop();
  return cluster.events;
}

async function prepared(): Promise<unknown[]> {
  const found = await Promise.all(
    ['s0', 's1'].map((shard) => shards.rows(shard, 'SELECT gid FROM pg_prepared_xacts')),
  );
  return found.flat();
}

async function stopAfter(kind: 'gate' | 'decide', bucket: number): Promise<TestMove> {
  const test = planMove(shards, { bucket });
  const operator = test.operator(kind);
  await expect(operator.run()).rejects.toThrow();
  await operator.close();
  expect(await prepared()).toHaveLength(2);
  return test;
}

it('leaves alone what a ShardMove may still want, and rolls back what none wants', async () => {
  const test = await stopAfter('gate', 0);
  expect(await sweep(serve(test, true), async () => true)).toEqual([]);
  expect(await prepared()).toHaveLength(2);

  const cluster = serve(test, false);
  const events = await sweep(cluster, async () => (await prepared()).length === 0);
  expect(events.slice(0, 2)).toMatchObject([{ reason: 'MoveSwept' }, { reason: 'MoveSwept' }]);
  const [bucket] = cluster.bucketsOf('orders');
  expect(bucket).toMatchObject({ shard: 's0' });
  expect(bucket?.pending).toBeUndefined();
  expect(await shards.rows('s0', 'SELECT bucket FROM own.orders_b0000')).toEqual([{ bucket: 0 }]);
});

/** What moves have on a shard, but for dead leaves. */
async function debris(shard: string): Promise<string[]> {
  const rows = await shards.rows<{ name: string }>(
    shard,
    `SELECT subname::text AS name FROM pg_subscription UNION ALL SELECT slot_name FROM pg_replication_slots
      UNION ALL SELECT pubname FROM pg_publication UNION ALL SELECT rolname FROM pg_roles WHERE rolname LIKE 'hm%'
      UNION ALL SELECT move FROM herdsman.moves UNION ALL SELECT id FROM herdsman.move_sentinels
      UNION ALL SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
        AND NOT c.relispartition`,
  );
  return rows.map(({ name }) => name);
}

it.each(['stage', 'copy-rows', 'verify', 'announce'] as const)(
  'takes away what a ShardMove that is gone has left after "%s"',
  async (kind) => {
    const bucket = 2;
    const test = planMove(shards, { bucket });
    const operator = test.operator(kind);
    await expect(operator.run()).rejects.toThrow();
    await operator.close();
    const left = async () => [...(await debris('s0')), ...(await debris('s1'))];
    expect(await left()).not.toEqual([]);
    const stays = serve(test, true);
    await sweep(stays, async () => true);
    expect(await left()).not.toEqual([]);

    const cluster = serve(test, false);
    await sweep(cluster, async () => (await left()).length === 0);
    const map = cluster.api.get<ShardMapObject>(shardMapType, clusterKey).spec;
    expect(map.groups[0]?.buckets.find(({ id }) => id === bucket)).toMatchObject({ shard: 's0' });
    expect(JSON.stringify(map)).not.toContain('pending');
    shards.map.current = { version: '100', value: { ...map, cluster: 'test' } };
    await shards.reconcile();
  },
);

it('commits what the map has decided', async () => {
  const test = await stopAfter('decide', 2);
  await sweep(serve(test, false), async () => (await prepared()).length === 0);
  expect(await shards.rows('s1', 'SELECT bucket FROM own.orders_b0002')).toEqual([{ bucket: 2 }]);
  expect(await shards.rows('s0', "SELECT to_regclass('own.orders_b0002') AS marker")).toEqual([
    { marker: null },
  ]);
});

it('takes back what the map announces of a ShardMove that never was', async () => {
  const test = planMove(shards, { bucket: 2 });
  const cluster = serve(test, true);
  const map = cluster.api.get<ShardMapObject>(shardMapType, clusterKey);
  const pending = { move: 'by-hand.00000000', attempt: 1 };
  const groups = map.spec.groups.map((group) => ({
    ...group,
    buckets: group.buckets.map((bucket) => (bucket.id === 3 ? { ...bucket, pending } : bucket)),
  }));
  await cluster.api.client.update(shardMapType, { ...map, spec: { ...map.spec, groups } });
  const says = () => JSON.stringify(cluster.api.get<ShardMapObject>(shardMapType, clusterKey).spec);
  const events = await sweep(cluster, async () => !says().includes('pending'));
  expect(events.map(({ note }) => note)).toContainEqual(
    expect.stringContaining('announced moves that are over'),
  );
});

it('drops the slot of a table whose subscription is gone, and no other', async () => {
  const [system] = await shards.rows<{ id: string }>(
    's1',
    'SELECT system_identifier::text AS id FROM pg_control_system()',
  );
  const [orphan, foreign] = [`pg_99999_sync_1_${system?.id}`, 'pg_99999_sync_1_1'];
  for (const name of [orphan, foreign])
    await shards.rows('s0', `SELECT pg_create_logical_replication_slot('${name}', 'pgoutput')`);
  const slots = async () => {
    const rows = await shards.rows<{ name: string }>(
      's0',
      'SELECT slot_name AS name FROM pg_replication_slots',
    );
    return rows.map(({ name }) => name);
  };
  const events = await sweep(
    memoryCluster(shards, { tables }),
    async () => !(await slots()).includes(orphan),
  );
  expect(events.filter(({ note }) => note.includes('replication slot'))).toMatchObject([
    { reason: 'MoveSwept', note: expect.stringContaining(orphan) },
  ]);
  expect(await slots()).toEqual([foreign]);
  await shards.rows('s0', `SELECT pg_drop_replication_slot('${foreign}')`);
});

/** Rows of a statement on one server, as its superuser. */
async function ask<Row extends object>(
  { host, port, user, password }: PostgresServer,
  text: string,
): Promise<Row[]> {
  const connection = await connect({ host, port, user, password, database: 'app', tls: 'off' });
  try {
    return await connection.query<Row>({ text });
  } finally {
    await connection.close().catch(() => undefined);
  }
}

/** A standby of s0, with a slot of it, that has been the primary for a while, and made some of its own then. */
async function startDemoted(synchronized: string, ofItsOwn: readonly string[]): Promise<PostgresServer> {
  const [primary] = shards.servers;
  if (primary === undefined) throw new Error('no shard');
  await shards.rows('s0', "SELECT pg_create_physical_replication_slot('follower', true)");
  const server = await startPostgres({
    standby: { name: 'follower', of: primary },
    parameters: { primary_slot_name: 'follower', hot_standby_feedback: 'on' },
  });
  onTestFinished(async () => {
    await server.stop();
    await shards.rows('s0', "SELECT pg_drop_replication_slot('follower')");
  });
  await waitFor(`${synchronized} is synchronized`, async () => {
    await shards.rows('s0', 'SELECT pg_log_standby_snapshot()');
    await shards.rows('s0', `SELECT pg_replication_slot_advance('${synchronized}', pg_current_wal_lsn())`);
    await ask(server, 'SELECT pg_sync_replication_slots()');
    const rows = await ask(
      server,
      'SELECT slot_name FROM pg_replication_slots WHERE synced AND NOT temporary',
    );
    return rows.length > 0 ? { done: true } : { state: rows };
  });
  await ask(server, 'SELECT pg_promote()');
  for (const name of ofItsOwn)
    await ask(server, `SELECT pg_create_logical_replication_slot('${name}', 'pgoutput', false, false, true)`);
  // As after a crash: Patroni starts it as a standby, too.
  const crash = "COPY (SELECT) TO PROGRAM 'touch standby.signal && kill -KILL $PPID'";
  await expect(ask(server, crash)).rejects.toThrow();
  await waitFor('it is a standby', async () => {
    const rows = await ask<{ recovers: boolean }>(server, 'SELECT pg_is_in_recovery() AS recovers').catch(
      () => [],
    );
    return rows[0]?.recovers === true ? { done: true } : { state: rows };
  });
  return server;
}

it('drops what a demoted primary keeps of copies, of moves that go on, too, and nothing that is or may be used', async () => {
  const test = planMove(shards, { bucket: 2 });
  const cluster = serve(test, true);
  const retained = '0badcafe';
  cluster.api.create(shardMoveType, {
    apiVersion: 'herdsman.dev/v1alpha1',
    kind: 'ShardMove',
    metadata: { namespace, name: 'retained', uid: `${retained}-0000-4000-8000-000000000000` },
    spec: { cluster: clusterKey.name },
    status: { phase: 'retain' },
  });
  const [system] = await shards.rows<{ id: string }>(
    's1',
    'SELECT system_identifier::text AS id FROM pg_control_system()',
  );
  const running = `hm_${test.move.id}_1`;
  const over = ['hm_0a1b2c3d_1', `hm_${retained}_2`, running, `pg_99999_sync_1_${system?.id}`];
  const kept = ['hr_0a1b2c3d', 'mine', 'pg_99999_sync_1_1'];
  const synchronized = 'hm_0a1b2c3d_2';
  await shards.rows(
    's0',
    `SELECT pg_create_logical_replication_slot('${synchronized}', 'pgoutput', false, false, true)`,
  );
  const server = await startDemoted(synchronized, [...over, ...kept]);
  await shards.rows('s0', `SELECT pg_drop_replication_slot('${synchronized}')`);
  const { host, port, password } = server;
  const options = { host, port, database: 'app', user: 'herdsman', password, tls: 'off' as const };
  const away = { ...options, port: 1 };
  const standbys: Standby[] = [
    { shard: 's1', member: 'shop-s1-1', options: away },
    { shard: 's0', member: 'shop-s0-1', options },
  ];
  const slots = async () => {
    const rows = await ask<{ name: string }>(server, 'SELECT slot_name AS name FROM pg_replication_slots');
    return rows.map(({ name }) => name);
  };
  const gone = async () => over.every((name) => !left.includes(name));
  let left = await slots();
  expect(left).toEqual(expect.arrayContaining([...over, ...kept, synchronized]));
  const events = await sweep(
    cluster,
    async () => {
      left = await slots();
      return gone();
    },
    standbys,
  );
  expect(left.toSorted()).toEqual([...kept, synchronized].toSorted());
  const notes = events.flatMap(({ note }) => (note.includes('replication slot') ? [note] : []));
  expect(notes.toSorted()).toEqual(
    over
      .map(
        (slot) =>
          `replication slot ${slot} of a copy that is over was dropped on shop-s0-1, which was the primary of shard s0`,
      )
      .toSorted(),
  );
  // Those of read models are dropped by these.
  const connection = await connect(options);
  onTestFinished(() => connection.close());
  expect(await dropStaleSlots(connection)).toEqual(kept.slice(0, 1));
  expect((await slots()).toSorted()).toEqual([...kept.slice(1), synchronized].toSorted());
});
