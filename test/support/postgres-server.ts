import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chown, cp, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Client, type ClientConfig, escapeIdentifier } from 'pg';

const run = promisify(execFile);
const repository = join(import.meta.dirname, '../..');
const binaries = '/usr/lib/postgresql/17/bin';
const host = '127.0.0.1';

/** What a test may want to be different from a plain server. */
export interface PostgresOptions {
  /** Server parameters, over those every test server has. */
  readonly parameters?: Readonly<Record<string, string>>;
  /** Accept nothing but TLS, and from the roles `herdsman` and `replication` nothing but a certificate; `optional`: passwords without TLS, too. */
  readonly ssl?: boolean | 'optional';
  /** Stream from another server, which has TLS if this one has, as a standby of this name. */
  readonly standby?: {
    readonly name: string;
    readonly of: Pick<PostgresServer, 'host' | 'port'> & Partial<Pick<PostgresServer, 'user' | 'password'>>;
  };
}

/** A certificate of the test server's authority, with its key, in PEM. */
interface Certificate {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** A PostgreSQL 17 of a test's own. */
export interface PostgresServer {
  readonly host: string;
  readonly port: number;
  /** The superuser. */
  readonly user: string;
  readonly password: string;
  /** PEM of the authority that signed the server's certificate. */
  readonly ca: string;
  /** Makes a database and answers how the superuser connects to it. */
  createDatabase(name: string): Promise<ClientConfig>;
  /** How a role connects, by password or, on a server with TLS, by certificate; `herdsman` has the operator's rights. */
  connection(database: string, role?: 'postgres' | 'herdsman' | 'replication'): Promise<ClientConfig>;
  /** The client certificate of one of the roles that have no password. */
  certificate(role: 'herdsman' | 'replication'): Promise<Certificate>;
  /** The authority that signed the server's certificate, to sign others with. */
  authority(): Promise<{ readonly certificate: string; readonly key: string }>;
  /** Everything that the server has logged. */
  log(): string;
  /** Ends the server at once; its data is gone. */
  stop(): Promise<void>;
}

/** Where PostgreSQL's binaries are, who runs them, and where data directories are kept and made. */
interface Installation {
  readonly rootfs: string;
  /** Namespaces and chroot need root; without, the machine's own binaries are run as they are. */
  readonly isolated: boolean;
  readonly uid: number;
  readonly gid: number;
  /** A path inside of `rootfs`. */
  readonly templates: string;
}

const parameters = {
  listen_addresses: host,
  // Nothing that a test server knows has to survive the machine.
  fsync: 'off',
  full_page_writes: 'off',
  wal_level: 'logical',
  max_prepared_transactions: '50',
  max_connections: '200',
  max_wal_senders: '40',
  max_replication_slots: '40',
  max_worker_processes: '40',
  max_logical_replication_workers: '30',
  shared_buffers: '64MB',
  timezone: 'UTC',
  log_timezone: 'UTC',
  log_line_prefix: '%m [%p] %q%u@%d ',
};

const plainHba = ['local all all trust', 'host all all 127.0.0.1/32 scram-sha-256'];
const plainReplication = 'host replication all 127.0.0.1/32 scram-sha-256';
const tlsHba = [
  'local all all trust',
  'hostssl all herdsman,herdsman_pooler,replication 127.0.0.1/32 cert',
  'hostssl replication replication 127.0.0.1/32 cert',
  'hostssl all all 127.0.0.1/32 scram-sha-256',
];

/**
 * The directory whose binaries test servers run: the machine's own root, or the unpacked PostgreSQL image, which is
 * built when there is none (minutes, once). Answers a path for `HERDSMAN_POSTGRES_ROOTFS`.
 */
export async function findRootfs(): Promise<string> {
  if (process.env.HERDSMAN_POSTGRES_ROOTFS) return process.env.HERDSMAN_POSTGRES_ROOTFS;
  if (existsSync(join(binaries, 'postgres'))) return '/';
  if (process.getuid?.() !== 0) {
    throw new Error(`PostgreSQL 17 is not in ${binaries}: install it, or run the tests as root`);
  }
  const built = spawn(join(repository, 'deploy/images/build'), ['rootfs'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let answer = '';
  built.stdout.on('data', (chunk: Buffer) => {
    answer += chunk;
  });
  const [code] = await once(built, 'close');
  if (code !== 0) throw new Error('the PostgreSQL image could not be built; see above');
  return answer.trim();
}

async function findInstallation(): Promise<Installation> {
  const rootfs = await findRootfs();
  const uid = process.getuid?.() ?? -1;
  const gid = process.getgid?.() ?? -1;
  if (uid !== 0) return { rootfs, isolated: false, uid, gid, templates: join(homedir(), '.cache/herdsman') };

  const users = await readFile(join(rootfs, 'etc/passwd'), 'utf8');
  const ids = /^postgres:[^:]*:(\d+):(\d+):/m.exec(users);
  if (!ids) throw new Error(`no user postgres in ${rootfs}`);
  const templates = '/var/cache/herdsman-test';
  await mkdir(join(rootfs, templates), { recursive: true });
  await mkdir(join(rootfs, 'var/lib/postgresql'), { recursive: true });
  await chown(join(rootfs, templates), Number(ids[1]), Number(ids[2]));
  return { rootfs, isolated: true, uid: Number(ids[1]), gid: Number(ids[2]), templates };
}

/** The command that runs another as the right user in the right place, and ends with the process that started it. */
function wrap(installation: Installation, template: string, command: readonly string[]): string[] {
  const { rootfs, isolated, uid, gid } = installation;
  // A SIGKILL to the test runner must leave nothing behind either.
  const bound = ['setpriv', '--pdeathsig', 'KILL', '--'];
  if (!isolated) return process.platform === 'linux' ? [...bound, ...command] : [...command];
  const namespaces = ['unshare', '--mount', '--ipc', '--pid', '--fork', '--kill-child', '--'];
  const script = join(import.meta.dirname, 'postgres-run');
  return [...bound, ...namespaces, script, rootfs, `${uid}`, `${gid}`, template, ...command];
}

function environment(more: Record<string, string> = {}): NodeJS.ProcessEnv {
  return { PATH: `${binaries}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin`, LC_ALL: 'C.UTF-8', ...more };
}

/** The data directory that servers are copied from, made when there is none of this checkout's scripts. */
async function prepareTemplate(installation: Installation): Promise<string> {
  const script = await readFile(join(import.meta.dirname, 'postgres-template'), 'utf8');
  const postInit = await readFile(join(repository, 'deploy/images/postgres/herdsman-post-init'), 'utf8');
  const key = createHash('sha256').update(script).update(postInit).digest('hex').slice(0, 12);
  const template = join(installation.templates, key);
  if (existsSync(join(installation.rootfs, template))) return template;

  await mkdir(join(installation.rootfs, installation.templates), { recursive: true });
  const [file = '', ...args] = wrap(installation, template, [
    'sh',
    '-c',
    script,
    'postgres-template',
    template,
  ]);
  await run(file, args, { env: environment({ POST_INIT: postInit }), cwd: '/' });
  return template;
}

/** A port that nobody listens on now. */
export async function findFreePort(): Promise<number> {
  const listener = createServer().listen(0, host);
  await once(listener, 'listening');
  const address = listener.address();
  listener.close();
  await once(listener, 'close');
  if (typeof address !== 'object' || address === null) throw new Error('no free port');
  return address.port;
}

/** One postmaster, from its start until it has been stopped. */
interface Process {
  readonly port: number;
  log(): string;
  stop(): Promise<void>;
}

async function launch(
  installation: Installation,
  template: string,
  options: PostgresOptions,
): Promise<Process> {
  const port = await findFreePort();
  // An isolated server has a file system of its own here.
  const home = installation.isolated ? '/var/lib/postgresql' : await mkdtemp(join(tmpdir(), 'postgres-'));
  if (!installation.isolated) await cp(template, home, { recursive: true });

  const passwords = options.ssl === 'optional' ? plainHba : [];
  const hba = options.ssl ? [...tlsHba, ...passwords] : [...plainHba, plainReplication];
  const settings: Record<string, string> = {
    ...parameters,
    port: `${port}`,
    unix_socket_directories: home,
    ...(options.ssl && {
      ssl: 'on',
      ssl_ca_file: `${home}/tls/ca.crt`,
      ssl_cert_file: `${home}/tls/server.crt`,
      ssl_key_file: `${home}/tls/server.key`,
    }),
    ...options.parameters,
  };
  const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const copy =
    options.standby === undefined ? '' : 'rm -rf "$1"; pg_basebackup -c fast -D "$1" -R -d "$SOURCE" && ';
  const boot = `${copy}printf "%s\\n" "$HBA" >"$1/pg_hba.conf"; exec postgres -D "$@"`;
  const command = ['sh', '-c', boot, 'postgres', `${home}/data`, ...flags];
  const [file = '', ...args] = wrap(installation, template, command);
  const child = spawn(file, args, {
    cwd: '/',
    env: environment({ HBA: hba.join('\n'), SOURCE: sourceOf(options, home) }),
    stdio: ['ignore', 'ignore', 'pipe'],
  });

  let logged = '';
  const exited = once(child, 'exit');
  const ready = new Promise<void>((resolve) => {
    child.stderr.on('data', (chunk: Buffer) => {
      logged += chunk;
      if (/database system is ready to accept (read-only )?connections/.test(logged)) resolve();
    });
  });
  const stop = async () => {
    // The end of the namespaces is the end of all that is in them; otherwise PostgreSQL has to clean up itself.
    child.kill(installation.isolated ? 'SIGKILL' : 'SIGINT');
    if (child.exitCode === null && child.signalCode === null) await exited;
    if (!installation.isolated) await rm(home, { recursive: true, force: true });
  };
  await Promise.race([ready, exited]);
  if (child.exitCode === null && child.signalCode === null) return { port, log: () => logged, stop };
  await stop();
  throw new Error(`PostgreSQL ended: ${logged.split('\n').slice(-20).join('\n')}`);
}

/** What a standby connects to its source with. */
function sourceOf({ standby, ssl }: PostgresOptions, home: string): string {
  if (standby === undefined) return '';
  const { name, of } = standby;
  const address = `host=${of.host} port=${of.port} application_name=${name}`;
  if (!ssl) return `${address} user=${of.user} password=${of.password} dbname=postgres`;
  const tls = `sslmode=verify-ca sslrootcert=${home}/tls/ca.crt sslcert=${home}/tls/replication.crt sslkey=${home}/tls/replication.key`;
  return `${address} user=replication dbname=replication ${tls}`;
}

/** The command that runs another among the binaries of test servers, as their user, and ends with this process. */
export async function besideServers(command: readonly string[]): Promise<string[]> {
  return wrap(await findInstallation(), '/none', command);
}

/** Two that look for a port at once may find the same one. */
async function launchOnFreePort(
  installation: Installation,
  template: string,
  options: PostgresOptions,
): Promise<Process> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await launch(installation, template, options);
    } catch (error) {
      if (attempt === 5 || !`${error}`.includes('Address already in use')) throw error;
    }
  }
}

/**
 * Starts a PostgreSQL 17 on a free loopback port: no container engine, data in memory, roles as in a shard. As many as
 * wanted run side by side. It ends with the process that started it, however that ends.
 */
export async function startPostgres(options: PostgresOptions = {}): Promise<PostgresServer> {
  const installation = await findInstallation();
  const template = await prepareTemplate(installation);
  const directory = join(installation.rootfs, template);
  const read = (name: string) => readFile(join(directory, name), 'utf8');
  const password = (await read('password')).trim();
  const ca = await read('tls/ca.crt');
  const process = await launchOnFreePort(installation, template, options);
  const { port } = process;

  const certificate: PostgresServer['certificate'] = async (role) => ({
    ca,
    cert: await read(`tls/${role}.crt`),
    key: await read(`tls/${role}.key`),
  });
  const connection: PostgresServer['connection'] = async (database, role = 'postgres') => {
    const base = { host, port, user: role, database };
    if (!options.ssl) return { ...base, password };
    return role === 'postgres'
      ? { ...base, password, ssl: { ca } }
      : { ...base, ssl: await certificate(role) };
  };
  return {
    host,
    port,
    user: 'postgres',
    password,
    ca,
    connection,
    certificate,
    authority: async () => ({ certificate: ca, key: await read('tls/ca.key') }),
    log: process.log,
    stop: process.stop,
    async createDatabase(name) {
      const client = new Client(await connection('postgres'));
      await client.connect();
      try {
        await client.query(`CREATE DATABASE ${escapeIdentifier(name)}`);
      } finally {
        await client.end();
      }
      return connection(name);
    },
  };
}
