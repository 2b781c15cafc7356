import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { connect } from '../../src/postgres/connection.ts';
import { ensureSchema } from '../../src/postgres/herdsman-schema.ts';
import { applyRoles, ensurePasswords, planRoles, readRoles } from '../../src/postgres/roles.ts';
import { scramVerifier } from '../../src/postgres/scram.ts';
import { tpsOf } from '../support/pgbench.ts';
import { type PoolerServers, startPoolers } from '../support/pooler-server.ts';
import { findRootfs, type PostgresServer, startPostgres } from '../support/postgres-server.ts';

const run = promisify(execFile);
/** The login of all clients. */
export const app = { name: 'app', password: 'application secret' };
const monitoring = { name: 'monitoring', password: 'watch' };
const poolSize = 20;
const maxConnections = 200;

/** Where a client connects. */
export interface Place {
  readonly port: number;
  readonly database: string;
  /** Whether clients use TLS. */
  readonly tls: boolean;
}

/** One server, and poolers that can be started before it. */
export interface Ground {
  readonly direct: Place;
  /** Starts PgBouncer with our settings, and the same program as somebody sets it up by hand. */
  startContenders(): Promise<Contenders>;
  stop(): Promise<void>;
}

/** The ways to one server, two of them through poolers of their own. */
export interface Contenders {
  readonly places: Readonly<Record<Way, Place>>;
  readonly ours: PoolerServers;
  stop(): Promise<void>;
}

/** How a client comes to the server. */
export type Way = 'direct' | 'ours' | 'byHand';

/** Starts the server, for clients with TLS, or for those without. */
export async function startGround({ tls = true } = {}): Promise<Ground> {
  const parameters = { max_connections: `${maxConnections}` };
  const server = await startPostgres({ ssl: 'optional', parameters });
  await makeDatabase(server);
  const shards = { s0: { server, database: 'one' } };
  const spec = { sizing: 'manual', poolSize, maxClientConnections: 3000, tls: { required: tls } };
  const both = { monitoring: monitoring.name, shards, instances: 1, maxConnections, spec };
  const direct: Place = { port: server.port, database: 'one', tls };
  return {
    direct,
    async startContenders() {
      const ours = await startPoolers(both);
      const byHand = await startPoolers({ ...both, byHand: (place) => settingsByHand(server, place, tls) });
      return {
        places: {
          direct,
          ours: { port: ours.ports[0] ?? 0, database: 'app', tls },
          byHand: { port: byHand.ports[0] ?? 0, database: 'app', tls },
        },
        ours,
        async stop() {
          await ours.stop();
          await byHand.stop();
        },
      };
    },
    stop: () => server.stop(),
  };
}

/** What somebody would write who sets PgBouncer up for the same. */
function settingsByHand(
  server: PostgresServer,
  { directory, port }: { directory: string; port: number },
  tls: boolean,
): string {
  return `[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = scram-sha-256
auth_user = herdsman_pooler
auth_query = SELECT role_name, verifier FROM herdsman.login($1)
client_tls_sslmode = ${tls ? 'require' : 'allow'}
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

/** What pgbench did. */
export interface Run {
  /** Transactions a second. */
  readonly tps: number;
  /** CPU time of all servers and poolers for a transaction, in milliseconds. */
  readonly serverMs: number;
}

/** Makes pgbench's tables. */
export async function makeTables(place: Place, scale: number): Promise<void> {
  await runPgbench(place, ['-i', '-q', '-s', `${scale}`]);
}

/** Runs transactions of pgbench. */
export async function pgbench(place: Place, words: readonly string[]): Promise<Run> {
  const before = serverMs();
  const stdout = await runPgbench(place, words);
  const used = serverMs() - before;
  const transactions = Number(/^number of transactions actually processed: (\d+)/m.exec(stdout)?.[1] ?? 0);
  if (transactions === 0) throw new Error(`pgbench did nothing in its time: ${stdout}`);
  return { tps: tpsOf(stdout), serverMs: used / transactions };
}

async function runPgbench(place: Place, words: readonly string[]): Promise<string> {
  const rootfs = await findRootfs();
  const where = ['-h', '127.0.0.1', '-p', `${place.port}`, '-U', app.name, place.database];
  const command = ['pgbench', ...words, ...where];
  const [file = '', ...arguments_] = rootfs === '/' ? command : ['chroot', rootfs, ...command];
  const env = {
    PGPASSWORD: app.password,
    PGSSLMODE: place.tls ? 'require' : 'disable',
    PATH: '/usr/lib/postgresql/17/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  };
  return (await run(file, arguments_, { env })).stdout;
}

/** CPU time that PostgreSQL and PgBouncer have used on this machine, with that of sessions that have ended. */
function serverMs(): number {
  const ticks = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
        if (!/\((postgres|pgbouncer)\)/.test(stat)) return 0;
        // Behind the name: the 12th to 15th are time as user and as system, its own and that of its children.
        const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
        return fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
      } catch {
        // It has ended meanwhile.
        return 0;
      }
    });
  return ticks.reduce((sum, count) => sum + count, 0) * 10;
}
