import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  endIdleSessions,
  readOldestPosition,
  readPrimaryPosition,
  readReplicaStats,
  readServerBytes,
} from '../../src/postgres/replica-stats.ts';
import { statement } from '../../src/postgres/statement.ts';
import { waitFor } from '../support/wait.ts';
import { makeWorld, open, type World } from './world.ts';

let world: World;

beforeAll(async () => {
  world = await makeWorld('replica_stats', 1);
}, 60_000);
afterAll(() => world?.close());

describe('where a primary is', () => {
  it('goes on with what is written, and lies behind the oldest WAL that it has', async () => {
    const { operator, application } = world.shard(0);
    const before = await readPrimaryPosition(operator);
    expect(before).toMatchObject({ inRecovery: false });
    expect(Math.abs(before.clockMs - Date.now())).toBeLessThan(60_000);
    expect(before.maxWalSenders).toBeGreaterThan(0);
    expect(before.maxReplicationSlots).toBeGreaterThan(0);
    expect(await readOldestPosition(operator)).toBeLessThanOrEqual(before.position);
    await application.query({
      text: "CREATE TABLE public.noise AS SELECT repeat('x', 10000) FROM generate_series(1, 10)",
    });
    await waitFor('the WAL is on disk', async () => {
      const { position } = await readPrimaryPosition(operator);
      return position > before.position ? { done: true } : { state: { position, before } };
    });
  });

  it('has databases of some size', async () => {
    const { operator } = world.shard(0);
    expect(await readServerBytes(operator)).toBeGreaterThan(1024 * 1024);
  });
});

describe('what a server says of its load', () => {
  it('counts sessions of clients, those that work, and their transactions, but not the operator', async () => {
    const { operator, database } = world.shard(0);
    const before = await readReplicaStats(operator, database);
    expect(before).toMatchObject({
      inRecovery: false,
      streaming: false,
      config: null,
      committedMs: null,
      pendingRestart: false,
    });
    const client = await open(world.application, world.password, database);
    const working = client.query({ text: 'SELECT pg_sleep(60)' }).catch(() => 'ended');
    try {
      await waitFor('a session that works', async () => {
        const [row] = await operator.query<{ n: number }>({
          text: `SELECT count(*)::int AS n FROM pg_stat_activity WHERE usename = '${world.application}' AND state = 'active'`,
        });
        return row?.n === 1 ? { done: true } : { state: row };
      });
      const now = await readReplicaStats(operator, database);
      expect(now.active).toBeGreaterThanOrEqual(1);
      // Its idle session of before is one, too.
      expect(now.connections).toBeGreaterThanOrEqual(now.active + 1);
    } finally {
      await operator.query({
        text: `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '${world.application}' AND state = 'active'`,
      });
      await working;
    }
    await waitFor('its transactions are counted', async () => {
      const { transactions } = await readReplicaStats(operator, database);
      return transactions > before.transactions ? { done: true } : { state: { transactions } };
    });
  });

  it('tells sessions with an open transaction, which a restart would end, from those that work', async () => {
    const { operator, database } = world.shard(0);
    const client = await open(world.application, world.password, database);
    const beyondActive = async (count: number) =>
      waitFor(`${count} that are busy and do not work`, async () => {
        const { busy, active } = await readReplicaStats(operator, database);
        return busy - active === count ? { done: true } : { state: { busy, active } };
      });
    await beyondActive(0);
    await client.query({ text: 'BEGIN' });
    await client.query({ text: 'SELECT 1' });
    await beyondActive(1);
    await client.query({ text: 'ROLLBACK' });
    await beyondActive(0);
    await client.close();
  });

  it('knows nothing of a database that is not there', async () => {
    const { operator } = world.shard(0);
    expect(await readReplicaStats(operator, 'nowhere')).toMatchObject({ transactions: 0, activeMs: 0 });
  });
});

describe('sessions of a member that is late', () => {
  it('end when they run nothing, but for those that have only just begun', async () => {
    const { operator, database } = world.shard(0);
    const isThere = async (marker: string) => {
      const rows = await operator.query(
        statement('SELECT FROM pg_stat_activity WHERE query LIKE $1', `%'${marker}'%`),
      );
      return rows.length > 0;
    };
    const old = await open(world.application, world.password, database);
    await old.query({ text: "SELECT 'idle'" });
    const busy = await open(world.application, world.password, database);
    const working = busy.query({ text: "SELECT 'busy', pg_sleep(60)" }).catch(() => 'ended');
    await waitFor('the idle session has ended', async () => {
      const young = await open(world.application, world.password, database);
      await young.query({ text: "SELECT 'young'" });
      await endIdleSessions(operator);
      expect(await isThere('young')).toBe(true);
      await young.close();
      return (await isThere('idle')) ? { state: 'it is there' } : { done: true };
    });
    expect(await isThere('busy')).toBe(true);
    await operator.query({
      text: "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%''busy''%' AND pid <> pg_backend_pid()",
    });
    expect(await working).toBe('ended');
    await old.close();
  });
});
