import { expect, it, onTestFinished } from 'vitest';
import { type Connection, connect } from '../../src/postgres/connection.ts';
import { readMemberSlots, renewMemberSlot } from '../../src/postgres/member-slots.ts';
import { readOldestPosition } from '../../src/postgres/replica-stats.ts';
import { statement } from '../../src/postgres/statement.ts';
import { type PostgresServer, startPostgres } from '../support/postgres-server.ts';
import { waitFor } from '../support/wait.ts';

const slot = 'readers_s0_replicas_0';

async function session({ host, port, password }: PostgresServer, user: string): Promise<Connection> {
  const connection = await connect({ host, port, user, password, database: 'postgres', tls: 'off' });
  onTestFinished(() => connection.close());
  return connection;
}

async function makeSlot(connection: Connection): Promise<void> {
  await connection.query(statement('SELECT pg_create_physical_replication_slot($1, true)', slot));
}

/** Whether the slot keeps what it promises, and from which byte of WAL on. */
async function stateOf(connection: Connection): Promise<{ status: string; from: number | null }> {
  const [row] = await connection.query<{ status: string; from: number | null }>(
    statement(
      `SELECT wal_status AS status, pg_wal_lsn_diff(restart_lsn, '0/0')::float8 AS "from"
        FROM pg_replication_slots WHERE slot_name = $1`,
      slot,
    ),
  );
  if (row === undefined) throw new Error('there is no slot');
  return row;
}

it('a standby gives up the slot of a follower, says what WAL it has left, and makes place for another slot', async () => {
  // The standby that has the slot shall not get lost itself.
  const server = await startPostgres({ parameters: { wal_keep_size: '1GB' } });
  onTestFinished(server.stop);
  const upstream = await startPostgres({
    standby: { name: 'upstream', of: server },
    parameters: { max_slot_wal_keep_size: '16MB' },
  });
  onTestFinished(upstream.stop);
  const [primary, standby] = [await session(server, 'postgres'), await session(upstream, 'postgres')];
  const operator = await session(upstream, 'herdsman');
  await makeSlot(standby);
  const { from } = await stateOf(standby);
  await waitFor('the slot is lost', async () => {
    await primary.query({ text: "SELECT pg_logical_emit_message(false, 'noise', repeat('x', 8000000))" });
    await primary.query({ text: 'SELECT pg_switch_wal()' });
    await primary.query({ text: 'CHECKPOINT' });
    await standby.query({ text: 'CHECKPOINT' });
    const state = await stateOf(standby);
    return state.status === 'lost' ? { done: true } : { state };
  });
  expect(await readOldestPosition(operator)).toBeGreaterThan(from ?? Number.POSITIVE_INFINITY);
  await renewMemberSlot(operator, 'readers-s0-replicas-0');
  expect(await readMemberSlots(operator)).toEqual([]);
  await makeSlot(standby);
  expect(await stateOf(standby)).toMatchObject({ status: 'reserved' });
});

it('tells when a slot was used, and does not take the start of a server for it', async () => {
  const server = await startPostgres();
  onTestFinished(server.stop);
  const before = await session(server, 'postgres');
  await makeSlot(before);
  const idle = async (connection: Connection) =>
    (await readMemberSlots(connection)).map(({ idleMs }) => idleMs);
  expect(await idle(await session(server, 'herdsman'))).toEqual([expect.any(Number)]);
  // The end of a backend by a signal has the postmaster start all others anew, which loads the slots.
  await expect(before.query({ text: "COPY (SELECT 1) TO PROGRAM 'kill -9 $PPID'" })).rejects.toThrow();
  await waitFor('the server is up again', async () => {
    const log = server.log();
    return /reinitializing.*ready to accept connections/s.test(log) ? { done: true } : { state: log };
  });
  const postgres = await session(server, 'postgres');
  const operator = await session(server, 'herdsman');
  expect(await idle(operator)).toEqual([null]);
  await postgres.query(statement('SELECT pg_replication_slot_advance($1, pg_current_wal_flush_lsn())', slot));
  expect(await idle(operator)).toEqual([expect.any(Number)]);
});
