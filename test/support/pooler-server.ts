import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, chown, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { issueCertificate } from '../../src/pki/certificate.ts';
import type { ConsoleOptions } from '../../src/postgres/pgbouncer-console.ts';
import { poolerRole } from '../../src/postgres/roles.ts';
import { scramVerifier } from '../../src/postgres/scram.ts';
import { databasesOf } from '../../src/resources/pooler-config/databases.ts';
import { guardScript } from '../../src/resources/pooler-config/desired/guard.ts';
import { farewell } from '../../src/resources/pooler-config/desired/objects.ts';
import { resolverCommand } from '../../src/resources/pooler-config/desired/resolver.ts';
import {
  consoleUsers,
  resolverPort,
  settingsDirectory,
  settingsFiles,
  socketDirectory,
} from '../../src/resources/pooler-config/desired/settings.ts';
import { instanceHost, poolerPort, poolerServerNames } from '../../src/resources/pooler-config/names.ts';
import { sizePools } from '../../src/resources/pooler-config/sizing.ts';
import { poolerConfig } from '../../src/resources/pooler-config/test-support/world.ts';
import { findRootfs, type PostgresServer } from './postgres-server.ts';
import { waitUntil } from './wait.ts';

/** Server and database of each shard. */
export type Shards = Readonly<Record<string, { readonly server: PostgresServer; readonly database: string }>>;

/** What the poolers stand in front of. */
export interface PoolerServerOptions {
  /** The shards; all servers have the same authority. */
  readonly shards: Shards;
  readonly monitoring: string;
  readonly instances?: number;
  readonly maxConnections?: number;
  readonly spec?: Record<string, unknown>;
  /** Writes the settings of an instance by hand, instead of taking the operator's. */
  readonly byHand?: (place: { readonly directory: string; readonly port: number }) => string;
}

/** Instances of PgBouncer with the very settings that the operator makes; only addresses and paths are the machine's own. */
export interface PoolerServers {
  readonly ports: readonly number[];
  /** PEM of the authority that signed their certificate. */
  readonly ca: string;
  /** Name in their certificate. */
  readonly servername: string;
  readonly revision: string;
  console(instance: number, user?: 'admin' | 'stats'): ConsoleOptions;
  /** Writes settings anew; nobody is told to read them. */
  write(spec: Record<string, unknown>, shards?: Shards): Promise<string>;
  /** Runs what an instance's pod runs before it ends; resolves when it is through. */
  farewell(instance: number, drainSeconds: number): Promise<unknown>;
  /** Starts what stands beside an instance in its pod to end pauses; the answer stops it. */
  guard(instance: number): () => Promise<void>;
  /** Resolves when the instance has ended. */
  ended(instance: number): Promise<unknown>;
  /** What all instances have logged. */
  log(): string;
  /** Resident memory of an instance in bytes. */
  memory(instance: number): Promise<number>;
  stop(): Promise<void>;
}

const host = '127.0.0.1';
const environment = { PATH: '/usr/lib/postgresql/17/bin:/usr/sbin:/usr/bin:/sbin:/bin' };
const ids = { uid: 100, gid: 102 };
const passwords = { admin: 'console secret', stats: 'statistics secret' };
const servername = 'web-pooler.store.svc';
/** Names of all servers are the machine itself, whatever they are. */
const everythingHere = `
import socket
resolve = socket.getaddrinfo
socket.getaddrinfo = lambda name, *rest: resolve('${host}', *rest)
`;

/** Starts them. They end with the process that started them. */
export async function startPoolers(options: PoolerServerOptions): Promise<PoolerServers> {
  const { monitoring, instances = 2, maxConnections = 100 } = options;
  const [first] = Object.values(options.shards);
  if (first === undefined) throw new Error('poolers without a shard');
  const { server } = first;
  const rootfs = await findRootfs();
  const isRoot = process.getuid?.() === 0;
  const parent = join(rootfs, isRoot ? '/var/cache/herdsman-test' : '/tmp');
  await mkdir(parent, { recursive: true });
  const outside = await mkdtemp(join(parent, 'pooler-'));
  const inside = isRoot && rootfs !== '/' ? outside.slice(rootfs.length) : outside;
  const [ownPort = 0, ...ports] = await freePorts(1 + instances);
  const certificates = await certificatesOf(server);
  let present = options.shards;

  async function put(name: string, text: string): Promise<void> {
    const path = join(outside, name);
    await writeFile(path, text);
    await chmod(path, 0o640);
    if (isRoot) await chown(path, ids.uid, ids.gid);
  }

  async function write(spec: Record<string, unknown>, shards = present): Promise<string> {
    present = shards;
    const pooler = poolerConfig(spec);
    const names = Object.keys(shards);
    const sizing = sizePools({
      spec: pooler.spec,
      databases: databasesOf('app', pooler.spec.target.role, names),
      limits: new Map(names.map((shard) => [shard, { maxConnections, reserved: 3 }])),
      instances,
      poolers: 1,
      taken: { names: [], total: 0 },
      held: 0,
    });
    if (sizing.kind !== 'sized') throw new Error(sizing.message);
    const { files, revision } = settingsFiles({
      pooler,
      database: 'app',
      sizes: sizing.databases,
      monitoring,
      instances,
      certificates,
    });
    for (const [name, text] of Object.entries({ ...certificates, ...files }))
      await put(name, localized(text));
    const { byHand } = options;
    if (byHand !== undefined) {
      for (const [ordinal, port] of ports.entries())
        await put(`instance-${ordinal}.ini`, byHand({ directory: inside, port }));
    }
    return revision;
  }

  /** Puts the machine's addresses and paths in the place of a cluster's. */
  function localized(text: string): string {
    let local = text
      .replaceAll(settingsDirectory, inside)
      .replaceAll(`${host}:${resolverPort}`, `${host}:${ownPort}`)
      // What differs from instance to instance on one machine is said in the instance's own file.
      .replaceAll(/^(listen_port|unix_socket_dir) = .*\n/gm, '');
    for (const [shard, { server: its, database }] of Object.entries(present)) {
      const name = `${shard}.postgres.test`;
      local = local
        .replaceAll(
          `host=shop-${shard}-rw.store.svc port=5432 dbname=app`,
          `host=${name} port=${its.port} dbname=${database}`,
        )
        .replaceAll(`shop-${shard}-rw.store.svc 5432 `, `${name} ${its.port} `);
    }
    for (const [ordinal, port] of ports.entries()) {
      local = local.replaceAll(
        `host=${instanceHost('web', ordinal, 'store')} port=${poolerPort}`,
        `host=${host} port=${port}`,
      );
    }
    return local.replace(
      /^(peer_id = (\d+)\n)/m,
      (_, head: string, peer: string) =>
        `${head}listen_port = ${ports[Number(peer) - 1]}\nunix_socket_dir = ${inside}\n`,
    );
  }

  /** One for all instances, since they share what they read. */
  async function startResolver(): Promise<() => Promise<unknown>> {
    const words = resolverCommand.map((word) =>
      word.startsWith('\n')
        ? `${everythingHere}${word}`
        : word
            .replace(settingsDirectory, inside)
            .replace(socketDirectory, inside)
            .replace(`.PGSQL.${poolerPort}`, `.PGSQL.${ports[0]}`)
            .replace(`${resolverPort}`, `${ownPort}`),
    );
    const [program = '', ...arguments_] = commandOf(rootfs, isRoot, words);
    const child = spawn(program, arguments_, {
      cwd: '/',
      stdio: ['ignore', 'ignore', 'inherit'],
      env: environment,
    });
    const exited = once(child, 'exit');
    await waitUntil('names are looked up', () => existsSync(join(outside, 'resolver')));
    return () => {
      child.kill('SIGKILL');
      return exited;
    };
  }

  if (isRoot) await chown(outside, ids.uid, ids.gid);
  const revision = await write(options.spec ?? {});
  await put(
    'users',
    [
      `"${consoleUsers.admin}" "${scramVerifier(passwords.admin)}"`,
      `"${consoleUsers.stats}" "${scramVerifier(passwords.stats)}"`,
      '',
    ].join('\n'),
  );
  const stopResolver = await startResolver();
  let logged = '';
  const running = ports.map((_, ordinal) => {
    const words = commandOf(rootfs, isRoot, ['pgbouncer', `${inside}/instance-${ordinal}.ini`]);
    const [program = '', ...arguments_] = words;
    const child = spawn(program, arguments_, {
      cwd: '/',
      stdio: ['ignore', 'ignore', 'pipe'],
      env: environment,
    });
    const exited = once(child, 'exit');
    const up = new Promise<void>((resolve) => {
      let own = '';
      child.stderr.on('data', (chunk: Buffer) => {
        own += chunk;
        logged += chunk;
        if (own.includes('process up')) resolve();
      });
    });
    return { child, exited, up };
  });
  const stop = async () => {
    for (const { child } of running) child.kill('SIGKILL');
    await Promise.all([...running.map(({ exited }) => exited), stopResolver()]);
    await rm(outside, { recursive: true, force: true });
  };
  for (const { up, exited } of running) {
    const isUp = await Promise.race([up.then(() => true), exited.then(() => false)]);
    if (isUp) continue;
    await stop();
    throw new Error(`PgBouncer ended: ${logged}`);
  }
  return {
    ports,
    ca: server.ca,
    servername,
    revision,
    console: (instance, user = 'admin') => ({
      host,
      port: ports[instance] ?? 0,
      user: consoleUsers[user],
      password: passwords[user],
      ca: server.ca,
      servername,
    }),
    write,
    async farewell(instance, drainSeconds) {
      const script = farewell(drainSeconds)
        .replaceAll(socketDirectory, inside)
        .replaceAll(`-p ${poolerPort}`, `-p ${ports[instance]}`)
        .replaceAll('kill -INT 1', `kill -INT ${running[instance]?.child.pid}`);
      const [program = '', ...words] = commandOf(rootfs, isRoot, ['sh', '-c', script]);
      const child = spawn(program, words, {
        cwd: '/',
        stdio: ['ignore', 'ignore', 'inherit'],
        env: environment,
      });
      // In a pod the script ends with its container.
      void running[instance]?.exited.then(() => child.kill('SIGKILL'));
      return once(child, 'exit');
    },
    guard(instance) {
      const script = guardScript
        .replaceAll(socketDirectory, inside)
        .replaceAll(settingsDirectory, inside)
        .replaceAll(`-p ${poolerPort}`, `-p ${ports[instance]}`)
        .replaceAll(`.PGSQL.${poolerPort}`, `.PGSQL.${ports[instance]}`);
      const [program = '', ...words] = commandOf(rootfs, isRoot, ['sh', '-c', script]);
      // A group of its own, since it consists of several processes.
      const child = spawn(program, words, { cwd: '/', stdio: 'ignore', env: environment, detached: true });
      const exited = once(child, 'exit');
      return async () => {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
        await exited;
      };
    },
    ended: async (instance) => running[instance]?.exited,
    log: () => logged,
    async memory(instance) {
      const status = await readFile(`/proc/${running[instance]?.child.pid}/status`, 'utf8');
      return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
    },
    stop,
  };
}

/** Every command behind another takes its place, so that signals reach PgBouncer itself. */
function commandOf(rootfs: string, isRoot: boolean, command: readonly string[]): string[] {
  const bound = ['setpriv', '--pdeathsig', 'KILL'];
  if (!isRoot) return [...bound, '--', ...command];
  const user = [`--reuid=${ids.uid}`, `--regid=${ids.gid}`, '--clear-groups'];
  return [...bound, '--', 'chroot', rootfs, ...bound, ...user, '--', ...command];
}

async function certificatesOf(server: PostgresServer): Promise<Record<string, string>> {
  const authority = await server.authority();
  const validity = { now: new Date(), lifetime: 3_600_000 };
  const [served, client] = await Promise.all([
    issueCertificate(authority, {
      commonName: 'web-pooler',
      dnsNames: poolerServerNames('web', 'store'),
      usage: 'server',
      ...validity,
    }),
    issueCertificate(authority, { commonName: poolerRole, usage: 'client', ...validity }),
  ]);
  return {
    'ca.crt': server.ca,
    'tls.crt': served.certificate,
    'tls.key': served.key,
    'client.crt': client.certificate,
    'client.key': client.key,
  };
}

/** All are held open until all are found, so that no two are the same. */
async function freePorts(count: number): Promise<number[]> {
  const listeners = Array.from({ length: count }, () => createServer().listen(0, host));
  await Promise.all(listeners.map((listener) => once(listener, 'listening')));
  const ports = listeners.map((listener) => {
    const address = listener.address();
    if (typeof address !== 'object' || address === null) throw new Error('no free port');
    return address.port;
  });
  await Promise.all(listeners.map((listener) => new Promise((resolve) => listener.close(resolve))));
  return ports;
}
