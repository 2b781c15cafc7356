import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chown, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Client } from 'pg';
import { findFreePort, type PostgresServer } from './postgres-server.ts';
import { waitFor } from './wait.ts';

const run = promisify(execFile);
const binaries = (version: number) => `/usr/lib/postgresql/${version}/bin`;
const password = 'of an old server';

/** Versions before 17 that this machine has, as Debian's packages install them. */
export const oldVersions: readonly number[] = [13, 14, 15, 16].filter((version) =>
  existsSync(join(binaries(version), 'postgres')),
);

/** A server of a version before 17: what somebody has had until now. */
export type OldServer = Pick<PostgresServer, 'host' | 'port' | 'password' | 'stop'>;

/** Starts one with a data directory of its own. */
export async function startOldPostgres(version: number): Promise<OldServer> {
  const folder = await mkdtemp(join(tmpdir(), `postgres-${version}-`));
  const as = await ordinaryUser(folder);
  const data = join(folder, 'data');
  const secret = join(folder, 'password');
  await writeFile(secret, password, { mode: 0o644 });
  const initialise = [
    '-D',
    data,
    '-U',
    'postgres',
    `--pwfile=${secret}`,
    '--auth=scram-sha-256',
    '--no-sync',
  ];
  const [file = '', ...words] = [...as, join(binaries(version), 'initdb'), ...initialise];
  await run(file, words, { cwd: folder });
  const port = await findFreePort();
  const settings = [
    'wal_level=logical',
    'fsync=off',
    'listen_addresses=127.0.0.1',
    `unix_socket_directories=${folder}`,
  ];
  const options = ['-D', data, '-p', `${port}`, ...settings.flatMap((setting) => ['-c', setting])];
  const [program = '', ...arguments_] = [...as, join(binaries(version), 'postgres'), ...options];
  const child = spawn(program, arguments_, { cwd: folder, stdio: 'ignore' });
  const ended = once(child, 'close');
  await waitFor(`PostgreSQL ${version} answers`, async () => {
    const client = new Client({ host: '127.0.0.1', port, user: 'postgres', password, database: 'postgres' });
    try {
      await client.connect();
      return { done: true };
    } catch (error) {
      return { state: String(error) };
    } finally {
      await client.end().catch(() => undefined);
    }
  });
  return {
    host: '127.0.0.1',
    port,
    password,
    async stop() {
      child.kill('SIGQUIT');
      await ended;
      await rm(folder, { recursive: true });
    },
  };
}

/** The command that runs another as somebody else than root, whom PostgreSQL refuses, and ends it with the process that started it. */
async function ordinaryUser(folder: string): Promise<string[]> {
  const bound = ['setpriv', '--pdeathsig', 'KILL'];
  if (process.getuid?.() !== 0) return [...bound, '--'];
  const [, uid, gid] = /^postgres:[^:]*:(\d+):(\d+):/m.exec(await readFile('/etc/passwd', 'utf8')) ?? [];
  if (uid === undefined || gid === undefined) throw new Error('this machine has no user postgres');
  await chown(folder, Number(uid), Number(gid));
  // A change of user takes the signal away again that was asked for before it.
  return ['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', '--', ...bound, '--'];
}
