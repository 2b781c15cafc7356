import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import pg from 'pg';
import { connect } from '../../src/postgres/connection.ts';
import { ensureSchema } from '../../src/postgres/herdsman-schema.ts';
import { applyRoles, ensurePasswords, planRoles, readRoles } from '../../src/postgres/roles.ts';
import { scramVerifier } from '../../src/postgres/scram.ts';
import { createNamespace, deleteNamespace } from '../support/namespace.ts';
import { applyPooler, type PoolerKey, startPoolerLoad, waitUntilPooling } from '../support/pooler-config.ts';
import { type PoolerServers, startPoolers } from '../support/pooler-server.ts';
import { findRootfs, type PostgresServer, startPostgres } from '../support/postgres-server.ts';
import { applyCluster, primaryPod, waitUntilReady } from '../support/sharded-cluster.ts';
import { waitFor, waitUntil } from '../support/wait.ts';
import { type Measured, median, note, type Reach, reached, runCount } from './report.ts';
import { targets } from './targets.ts';

const run = promisify(execFile);
const app = { name: 'app', password: 'application secret' };
const monitoring = { name: 'monitoring', password: 'watch' };
const poolSize = 20;

/** Poolers: their speed beside a PgBouncer that was set up by hand, on the same binaries and one server, and a switchover. */
export async function pooler(): Promise<Measured> {
  const speed = await measureSpeed();
  const change = await measureSwitchover();
  return { reach: [...speed.reach, ...change.reach], detail: { ...speed.detail, ...change.detail } };
}

async function measureSpeed(): Promise<Measured> {
  const server = await startPostgres({ ssl: true, parameters: { max_connections: '200' } });
  await makeDatabase(server);
  const shards = { s0: { server, database: 'one' } };
  const spec = { sizing: 'manual', poolSize, maxClientConnections: 3000 };
  const both = { monitoring: monitoring.name, shards, instances: 1, maxConnections: 200 };
  const ours = await startPoolers({ ...both, spec });
  const byHand = await startPoolers({ ...both, spec, byHand: (place) => settingsByHand(server, place) });
  try {
    const places = {
      direct: { port: server.port, database: 'one' },
      ours: { port: ours.ports[0] ?? 0, database: 'app' },
      byHand: { port: byHand.ports[0] ?? 0, database: 'app' },
    };
    const seconds = runCount(3);
    await pgbench(places.direct, ['-i', '-q', '-s', '10']);
    const tps: Record<string, Record<string, number>> = {};
    const scripts: readonly (readonly [string, readonly string[]])[] = [
      ['select', ['-S', '-n']],
      ['tpcb', ['-n']],
    ];
    for (const clients of [8, 32, 128]) {
      for (const [name, words] of scripts) {
        const found = { direct: [0], ours: [0], byHand: [0] } as Record<keyof typeof places, number[]>;
        // Turn by turn, so that whatever else the machine does befalls all of them.
        for (let turn = 0; turn < 4; turn += 1) {
          for (const way of ['ours', 'byHand', 'direct'] as const)
            found[way].push(await pgbench(places[way], [...words, '-c', `${clients}`, '-T', `${seconds}`]));
        }
        tps[`${name} ${clients}`] = best(found);
        note(`${name} with ${clients} clients: ${JSON.stringify(tps[`${name} ${clients}`])}`);
      }
    }
    const each = ['-S', '-n', '-C', '-j', '2', '-c', '128', '-T', `${seconds}`];
    const connecting = { direct: await pgbench(places.direct, each), ours: await pgbench(places.ours, each) };
    note(`a connection for each transaction, 128 clients: ${JSON.stringify(connecting)}`);
    const bytes = await memoryOf(ours);
    const ratios = Object.values(tps).map((entry) => (entry.byHand ?? 0) / (entry.ours ?? 1));
    return {
      reach: [
        reached(targets.pooler.speed, median(ratios), ratios.length),
        reached(targets.pooler.connecting, connecting.direct / connecting.ours, 1),
        reached(targets.pooler.memory, bytes / 2 ** 20, 1),
      ],
      detail: { tps, connecting },
    };
  } finally {
    await ours.stop();
    await byHand.stop();
    await server.stop();
  }
}

function best(found: Readonly<Record<string, readonly number[]>>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(found).map(([way, values]) => [way, Math.round(Math.max(...values))]),
  );
}

async function memoryOf(ours: PoolerServers): Promise<number> {
  const before = await ours.memory(0);
  const config = {
    host: '127.0.0.1',
    port: ours.ports[0] ?? 0,
    user: app.name,
    password: app.password,
    database: 'app',
    ssl: { ca: ours.ca, servername: ours.servername },
  };
  const clients = Array.from({ length: 1000 }, () => new pg.Client(config));
  for (let from = 0; from < clients.length; from += 100)
    await Promise.all(clients.slice(from, from + 100).map((client) => client.connect()));
  const after = await ours.memory(0);
  await Promise.all(clients.map((client) => client.end()));
  return after - before;
}

/** What somebody would write who sets PgBouncer up for the same. */
function settingsByHand(
  server: PostgresServer,
  { directory, port }: { directory: string; port: number },
): string {
  return `[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = scram-sha-256
auth_user = herdsman_pooler
auth_query = SELECT role_name, verifier FROM herdsman.login($1)
client_tls_sslmode = require
client_tls_cert_file = ${directory}/tls.crt
client_tls_key_file = ${directory}/tls.key
server_tls_sslmode = verify-full
server_tls_ca_file = ${directory}/ca.crt
server_tls_cert_file = ${directory}/client.crt
server_tls_key_file = ${directory}/client.key
pool_mode = transaction
max_client_conn = 3000
default_pool_size = ${poolSize}
max_prepared_statements = 200
log_connections = 0
log_disconnections = 0

[databases]
app = host=127.0.0.1 port=${server.port} dbname=one
`;
}

async function makeDatabase(server: PostgresServer): Promise<void> {
  const { ca, cert, key } = await server.certificate('herdsman');
  const options = {
    host: server.host,
    port: server.port,
    user: 'herdsman',
    tls: { ca, servername: 'localhost', clientCertificate: { cert, key } },
  };
  const maintenance = await connect({ ...options, database: 'postgres' });
  const roles = {
    operator: 'herdsman',
    database: 'one',
    application: { name: app.name, verifier: scramVerifier(app.password) },
    monitoring: { name: monitoring.name, verifier: scramVerifier(monitoring.password) },
  };
  await applyRoles(maintenance, planRoles(roles, await readRoles(maintenance)));
  await maintenance.close();
  const inside = await connect({ ...options, database: 'one' });
  await ensureSchema(inside, { application: app.name, monitoring: monitoring.name });
  await ensurePasswords(inside, [app, monitoring]);
  await inside.close();
}

interface Place {
  readonly port: number;
  readonly database: string;
}

/** Transactions a second. */
async function pgbench(place: Place, words: readonly string[]): Promise<number> {
  const rootfs = await findRootfs();
  const command = [
    'pgbench',
    ...words,
    '-h',
    '127.0.0.1',
    '-p',
    `${place.port}`,
    '-U',
    app.name,
    place.database,
  ];
  const [file = '', ...arguments_] = rootfs === '/' ? command : ['chroot', rootfs, ...command];
  const env = {
    PGPASSWORD: app.password,
    PGSSLMODE: 'require',
    PATH: '/usr/lib/postgresql/17/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  };
  const { stdout } = await run(file, arguments_, { env });
  return Number(/^tps = ([0-9.]+)/m.exec(stdout)?.[1] ?? 0);
}

async function measureSwitchover(): Promise<Measured> {
  const runs = 3;
  const key: PoolerKey = { namespace: await createNamespace('bench'), name: 'web', cluster: 'planned' };
  const cluster = { namespace: key.namespace, name: key.cluster };
  const applyLocks = (locks: number) =>
    applyCluster(cluster, {
      members: 3,
      postgres: { parameters: { max_locks_per_transaction: String(locks) } },
    });
  const waitsMs: number[] = [];
  const errors = new Map<string, number>();
  try {
    await applyLocks(64);
    await applyPooler(key);
    await waitUntilReady(cluster);
    await waitUntilPooling(key);
    for (let turn = 1; turn <= runs; turn += 1) {
      const before = (await primaryPod(cluster)).metadata.name;
      const load = await startPoolerLoad(key, 50);
      await waitUntil('clients are at work', () => load.done() > 200);
      await applyLocks(64 + turn);
      await waitFor('another member leads', async () => {
        const { metadata } = await primaryPod(cluster);
        return metadata.name === before ? { state: metadata.name } : { done: true };
      });
      await waitUntilReady(cluster);
      await load.stop();
      for (const [message, count] of load.errors) errors.set(message, (errors.get(message) ?? 0) + count);
      waitsMs.push(load.longestMs());
      note(
        `switchover ${turn}/${runs}: longest wait ${Math.round(load.longestMs())} ms, ${load.errors.size} errors`,
      );
    }
  } finally {
    await deleteNamespace(key.namespace);
  }
  const failed = [...errors.values()].reduce((sum, count) => sum + count, 0);
  const reach: Reach[] = [
    reached(targets.pooler.errors, failed, runs),
    reached(targets.pooler.wait, Math.max(...waitsMs), runs),
  ];
  return { reach, detail: { waitsMs: waitsMs.map(Math.round), errors: Object.fromEntries(errors) } };
}
