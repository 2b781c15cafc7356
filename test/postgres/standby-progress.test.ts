import { expect, it, onTestFinished } from 'vitest';
import { type Connection, connect } from '../../src/postgres/connection.ts';
import { readStandbyProgress } from '../../src/postgres/replica-stats.ts';
import { type PostgresServer, startPostgres } from '../support/postgres-server.ts';
import { waitFor } from '../support/wait.ts';

async function superuser({ host, port, user, password }: PostgresServer): Promise<Connection> {
  const connection = await connect({ host, port, user, password, database: 'postgres', tls: 'off' });
  onTestFinished(() => connection.close());
  return connection;
}

it('a standby tells how far it has come, and whether it waits for more WAL or for somebody', async () => {
  const server = await startPostgres();
  onTestFinished(server.stop);
  const follower = await startPostgres({ standby: { name: 'follower', of: server } });
  onTestFinished(follower.stop);
  const [primary, standby] = [await superuser(server), await superuser(follower)];
  const waits = (wanted: boolean, beyond = 0) =>
    waitFor(`it ${wanted ? 'waits' : 'does not wait'} for WAL beyond ${beyond}`, async () => {
      const progress = await readStandbyProgress(standby);
      const isSo = progress.waitsForWal === wanted && progress.replayed > beyond;
      return isSo ? { done: progress } : { state: progress };
    });
  const before = await waits(true);
  expect(before.received).toBeGreaterThanOrEqual(before.replayed);
  await standby.query({ text: 'SELECT pg_wal_replay_pause()' });
  await primary.query({ text: 'CREATE TABLE public.written AS SELECT 1' });
  const paused = await waits(false);
  expect(paused).toMatchObject({ startedMs: before.startedMs });
  await standby.query({ text: 'SELECT pg_wal_replay_resume()' });
  await waits(true, before.replayed);
});
