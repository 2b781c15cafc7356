import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  endStaleSessions,
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
    expect(before.initializedMs).toBeGreaterThan(Date.parse('2024-01-01T00:00:00Z'));
    expect(before.initializedMs).toBeLessThanOrEqual(before.clockMs);
    expect(before.maxWalSenders).toBeGreaterThan(0);
    expect(before.maxReplicationSlots).toBeGreaterThan(0);
    expect(before.maxWalBytes).toBeGreaterThanOrEqual(32 * 1024 ** 2);
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

describe('sessions of a member that has left rotation', () => {
  const patient = { outMs: 0, graceMs: 30_000 };

  async function isThere(marker: string): Promise<boolean> {
    const rows = await world
      .shard(0)
      .operator.query(statement('SELECT FROM pg_stat_activity WHERE query LIKE $1', `%'${marker}'%`));
    return rows.length > 0;
  }

  /** For how long the transaction of a session has gone on, by the clock of the server. */
  async function ageMs(marker: string): Promise<number | undefined> {
    const [row] = await world.shard(0).operator.query<{ age: number }>(
      statement(
        `SELECT extract(epoch FROM now() - xact_start)::float8 * 1000 AS age FROM pg_stat_activity
          WHERE query LIKE $1 AND xact_start IS NOT NULL`,
        `%'${marker}'%`,
      ),
    );
    return row?.age;
  }

  async function waitForAge(marker: string, ms: number): Promise<number> {
    return waitFor(`transaction ${marker} has gone on for ${ms} ms`, async () => {
      const age = await ageMs(marker);
      return age !== undefined && age > ms ? { done: age } : { state: age };
    });
  }

  async function openSession(applicationName = 'shop') {
    const { database } = world.shard(0);
    const session = await open(world.application, world.password, database, { applicationName });
    return { ...session, query: (text: string) => session.query({ text }), close: () => session.close() };
  }

  it('end when they run nothing, but for those that have only just begun', async () => {
    const { operator } = world.shard(0);
    const old = await openSession();
    await old.query("SELECT 'idle'");
    const busy = await openSession();
    const working = busy.query("SELECT 'busy', pg_sleep(60)").catch(() => 'ended');
    await waitFor('the idle session has ended', async () => {
      const young = await openSession();
      await young.query("SELECT 'young'");
      await endStaleSessions(operator, patient);
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

  it('end when their query began since, and finish what they began before', async () => {
    const { operator } = world.shard(0);
    const before = await openSession();
    const kept = before.query("SELECT 'before', pg_sleep(60)").catch(() => 'ended');
    const beforeMs = await waitForAge('before', 1_000);
    const since = await openSession();
    const stale = since.query("SELECT 'since', pg_sleep(60)").catch(() => 'ended');
    const sinceMs = await waitForAge('since', 600);
    // The member left between the two, and one grace ago.
    const age = (await ageMs('before')) ?? beforeMs;
    const outMs = (age + sinceMs) / 2;
    expect(await endStaleSessions(operator, { outMs, graceMs: 0 })).toBe(1);
    expect(await stale).toBe('ended');
    // While its process is about to end it would be counted once more.
    await waitFor('the session is gone', async () =>
      (await isThere('since')) ? { state: 'it is there' } : { done: true },
    );
    expect(await isThere('before')).toBe(true);
    expect(await endStaleSessions(operator, { outMs: age + 60_000, graceMs: 30_000 })).toBe(1);
    expect(await kept).toBe('ended');
    await Promise.all([before.close(), since.close()]);
  });

  it('go on where the operator applies a migration as the application', async () => {
    const { operator } = world.shard(0);
    const migrating = await openSession('herdsman');
    const migration = migrating.query("SELECT 'migration', pg_sleep(3)").then(() => 'applied');
    await waitForAge('migration', 600);
    expect(await endStaleSessions(operator, { outMs: 60_000, graceMs: 0 })).toBe(0);
    expect(await migration).toBe('applied');
    await migrating.close();
  });

  it('end with a transaction that was begun before and does nothing, after the grace', async () => {
    const { operator } = world.shard(0);
    const waiting = await openSession();
    await waiting.query('BEGIN');
    await waiting.query("SELECT 'waiting'");
    await waitForAge('waiting', 600);
    expect(await endStaleSessions(operator, { outMs: 100, graceMs: 200 })).toBe(0);
    expect(await isThere('waiting')).toBe(true);
    expect(await endStaleSessions(operator, { outMs: 300, graceMs: 200 })).toBe(1);
    await waiting.close();
  });
});
