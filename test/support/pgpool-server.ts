import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmod,
  chown,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { issueCertificate } from '../../src/pki/certificate.ts';
import { runScript } from '../../src/resources/pooler-config/desired/pgpool-objects.ts';
import {
  type PgpoolFiles,
  pgpoolDirectory,
  pgpoolFiles,
  pgpoolKeyDirectory,
} from '../../src/resources/pooler-config/desired/pgpool-settings.ts';
import { settingsDirectory } from '../../src/resources/pooler-config/desired/settings.ts';
import { poolerPort, poolerServerNames } from '../../src/resources/pooler-config/names.ts';
import { backendsOf } from '../../src/resources/pooler-config/pgpool/backends.ts';
import type { PgpoolLogin } from '../../src/resources/pooler-config/pgpool/passwords.ts';
import {
  type Member,
  member,
  pgpoolConfig,
  readers,
} from '../../src/resources/pooler-config/test-support/pgpool-world.ts';
import { besideServers, findRootfs, type PostgresServer } from './postgres-server.ts';

/** What an instance stands in front of. */
export interface PgpoolServerOptions {
  readonly primary: PostgresServer;
  /** In the order of the members `readers-s0-replicas-0`, …; a port that nobody listens on is a member that is not there. */
  readonly members: readonly { readonly port: number }[];
  readonly database: string;
  readonly logins: readonly PgpoolLogin[];
  readonly monitoring: string;
  readonly clients?: number;
}

/** What its settings are made from beside that. */
export interface PgpoolWish {
  readonly pgpool?: Record<string, unknown>;
  readonly spec?: Record<string, unknown>;
  /** How members are; all are in rotation when left out. */
  readonly members?: readonly Member[];
  readonly logins?: readonly PgpoolLogin[];
}

/** An instance of Pgpool-II with the very settings and script that its pod has; only addresses and paths are the machine's own. */
export interface PgpoolServer {
  readonly port: number;
  /** PEM of the authority that signed its certificate. */
  readonly ca: string;
  readonly servername: string;
  /** Writes settings anew, as a Secret's volume changes: all files at once. Answers their revision. */
  write(wish: PgpoolWish): Promise<string>;
  log(): string;
  /** What is in each of its files, but for the key. */
  files(): Promise<string[]>;
  stop(): Promise<void>;
}

const host = '127.0.0.1';
const ids = { uid: 100, gid: 102 };
const key = 'key of the passwords';

/** Starts one. It ends with the process that started it. */
export async function startPgpool(
  options: PgpoolServerOptions,
  wish: PgpoolWish = {},
): Promise<PgpoolServer> {
  const rootfs = await findRootfs();
  const isRoot = process.getuid?.() === 0;
  const parent = join(rootfs, isRoot ? '/var/cache/herdsman-test' : '/tmp');
  await mkdir(parent, { recursive: true });
  const outside = await mkdtemp(join(parent, 'pgpool-'));
  const inside = isRoot && rootfs !== '/' ? outside.slice(rootfs.length) : outside;
  const port = await freePort();
  const authority = await options.primary.authority();
  const served = await issueCertificate(authority, {
    commonName: 'web-pooler',
    dnsNames: poolerServerNames('web', 'store'),
    usage: 'server',
    now: new Date(),
    lifetime: 3_600_000,
  });
  const certificates = {
    'ca.crt': options.primary.ca,
    'tls.crt': served.certificate,
    'tls.key': served.key,
  };
  const own = async (path: string) => {
    if (isRoot) await chown(path, ids.uid, ids.gid);
  };
  const put = async (path: string, text: string) => {
    await writeFile(path, text);
    await chmod(path, 0o640);
    await own(path);
  };

  function filesOf({ pgpool, spec, members, logins = options.logins }: PgpoolWish): PgpoolFiles {
    const pooler = pgpoolConfig(pgpool, spec);
    if (pooler.spec.pgpool === undefined) throw new Error('no pgpool');
    const [read] = pooler.spec.pgpool.readReplicaSets;
    const backends = backendsOf({
      cluster: 'shop',
      shard: 's0',
      primaryWeight: pooler.spec.pgpool.primaryWeight,
      sets: [
        {
          set: readers({}, [...(members ?? options.members.map((_, ordinal) => member(ordinal)))]),
          weight: read?.weight ?? 1,
        },
      ],
      slots: { readers: options.members.length },
    });
    const { database, monitoring, clients = 20 } = options;
    return pgpoolFiles({
      spec: pooler.spec,
      pgpool: pooler.spec.pgpool,
      database,
      backends,
      clients,
      monitoring,
      logins,
      key,
      certificates,
    });
  }

  /** Puts the machine's addresses and paths in the place of a cluster's. */
  function localized(text: string): string {
    const ports = [options.primary.port, ...options.members.map((one) => one.port)];
    return text
      .replaceAll(`${settingsDirectory}/`, `${inside}/settings/`)
      .replaceAll(`${settingsDirectory} `, `${inside}/settings `)
      .replaceAll(pgpoolKeyDirectory, `${inside}/key`)
      .replaceAll(pgpoolDirectory, `${inside}/run`)
      .replaceAll(`port = ${poolerPort}`, `port = ${port}`)
      .replaceAll(/^(backend_hostname\d+) = .*$/gm, `$1 = '${host}'`)
      .replaceAll(
        /^backend_port(\d+) = .*$/gm,
        (_, index) => `backend_port${index} = ${ports[Number(index)]}`,
      );
  }

  let versions = 0;
  async function write(next: PgpoolWish): Promise<string> {
    const { files, revision } = filesOf(next);
    const version = join(outside, `version-${versions}`);
    versions += 1;
    await mkdir(version);
    await own(version);
    for (const [name, text] of Object.entries({ ...certificates, ...files }))
      await put(join(version, name), localized(text));
    await rm(join(outside, 'next'), { force: true });
    await symlink(version.slice(outside.length + 1), join(outside, 'next'));
    await rename(join(outside, 'next'), join(outside, 'settings'));
    return revision;
  }

  await chmod(outside, 0o755);
  for (const name of ['run', 'key']) {
    await mkdir(join(outside, name));
    await own(join(outside, name));
  }
  await put(join(outside, 'key', 'key'), key);
  await write(wish);
  const { start } = filesOf(wish);
  const [program = '', ...words] = await besideServers(['sh', '-c', localized(runScript)]);
  const child = spawn(program, words, {
    cwd: '/',
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', START: start },
  });
  const exited = once(child, 'exit');
  let logged = '';
  child.stderr.on('data', (chunk: Buffer) => {
    logged += chunk;
  });
  const stop = async () => {
    child.kill('SIGKILL');
    await exited;
    await rm(outside, { recursive: true, force: true });
  };
  const files = async () => {
    const found = await readdir(outside, { recursive: true, withFileTypes: true });
    const own = found.filter((entry) => entry.isFile() && entry.name !== 'key');
    return Promise.all(own.map((entry) => readFile(join(entry.parentPath, entry.name), 'utf8')));
  };
  const servername = 'web-pooler.store.svc';
  return { port, ca: options.primary.ca, servername, write, log: () => logged, files, stop };
}

async function freePort(): Promise<number> {
  const listener = createServer().listen(0, host);
  await once(listener, 'listening');
  const address = listener.address();
  await new Promise((resolve) => listener.close(resolve));
  if (typeof address !== 'object' || address === null) throw new Error('no free port');
  return address.port;
}
