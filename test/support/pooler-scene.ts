import pg from 'pg';
import { type Connection, connect } from '../../src/postgres/connection.ts';
import { ensureSchema } from '../../src/postgres/herdsman-schema.ts';
import { type Console, openConsole } from '../../src/postgres/pgbouncer-console.ts';
import { applyRoles, ensurePasswords, planRoles, readRoles } from '../../src/postgres/roles.ts';
import { scramVerifier } from '../../src/postgres/scram.ts';
import { createPoolerGate } from '../../src/resources/pooler-config/gate.ts';
import { type GatedShards, noGatedShards } from '../../src/resources/pooler-config/gated-shards.ts';
import { untilNoLogin } from '../../src/resources/pooler-config/hold.ts';
import type { PoolerSources } from '../../src/resources/pooler-config/sources.ts';
import { poolerConfig } from '../../src/resources/pooler-config/test-support/world.ts';
import type { Pod } from '../../src/resources/sharded-cluster/kubernetes.ts';
import type { GatedShard, PoolerGate } from '../../src/resources/sharded-cluster/pooler-gate.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { silentLogger } from '../../src/runtime/logger.ts';
import { type PoolerServerOptions, type PoolerServers, startPoolers } from './pooler-server.ts';
import { type PostgresServer, startPostgres } from './postgres-server.ts';

/** The application's login. */
export const login = { name: 'app', password: 'application secret' };

/** That of monitoring. */
export const monitoring = { name: 'monitoring', password: 'watch' };

/** What is different about a client, and to which instance it goes. */
export type ClientChanges = Partial<pg.ClientConfig> & { readonly instance?: number };

/** What a gate knows of its poolers: their spec, their instances, and which of these are about to go. */
export interface GateOptions {
  readonly gated?: GatedShards;
  readonly spec?: Record<string, unknown>;
  readonly instances?: readonly number[];
  readonly going?: readonly number[];
}

/** A shard in the database `one`, poolers in front of it, and those who use them. */
export interface PoolerScene {
  readonly server: PostgresServer;
  /** The operator's connection to the shard. */
  readonly operator: Connection;
  /** The poolers that clients come to; others may take their place. */
  poolers: PoolerServers;
  config(changes?: ClientChanges): pg.ClientConfig;
  client(changes?: ClientChanges): Promise<pg.Client>;
  withConsole<T>(instance: number, work: (console: Console) => Promise<T>): Promise<T>;
  /** Has the first instance connect anew, as the operator does: not while it logs in. */
  reconnect(database: string): Promise<void>;
  gate(options?: GateOptions): PoolerGate;
  /** Puts one instance with another spec in their place meanwhile. */
  withInstance(spec: Record<string, unknown>, work: () => Promise<void>): Promise<void>;
  end(): Promise<void>;
}

/** The shard as it passes the gate. */
export const gatedShard: GatedShard = {
  namespace: 'store',
  cluster: 'shop',
  shard: 's0',
  database: 'app',
  role: 'rw',
  servedBy: async () => ({ id: 'the primary' }),
};

/** Nobody ends what waits for this. */
export const never = new AbortController().signal;

/** How the poolers are, if not as a new PoolerConfig has them. */
export interface PoolerSceneOptions extends Pick<PoolerServerOptions, 'instances' | 'spec'> {
  /** The port by which poolers reach the server, made from its own. */
  readonly way?: (port: number) => Promise<number>;
}

/** Starts a server, and poolers in front of it. */
export async function startPoolerScene({
  way = async (port) => port,
  ...options
}: PoolerSceneOptions = {}): Promise<PoolerScene> {
  const server = await startPostgres({ ssl: true });
  await makeShard('one', server);
  const shards = { s0: { server: { ...server, port: await way(server.port) }, database: 'one' } };
  const config = ({ instance = 0, ...rest }: ClientChanges = {}): pg.ClientConfig => ({
    host: '127.0.0.1',
    port: scene.poolers.ports[instance] ?? 0,
    user: login.name,
    password: login.password,
    database: 'app',
    ssl: { ca: scene.poolers.ca, servername: scene.poolers.servername },
    ...rest,
  });
  const scene: PoolerScene = {
    server,
    operator: await asOperator('one', server),
    poolers: await startPoolers({ monitoring: monitoring.name, shards, maxConnections: 60, ...options }),
    config,
    async client(changes) {
      const made = new pg.Client(config(changes));
      made.on('error', () => undefined);
      await made.connect();
      return made;
    },
    async withConsole(instance, work) {
      const console = await openConsole(scene.poolers.console(instance));
      try {
        return await work(console);
      } finally {
        await console.close();
      }
    },
    reconnect: (database) =>
      scene.withConsole(0, async (console) => {
        await untilNoLogin(console, database, systemClock, 'reconnect');
        await console.reconnect(database);
      }),
    gate: (options) => gateTo(scene, options),
    async withInstance(spec, work) {
      const before = scene.poolers;
      scene.poolers = await startPoolers({ monitoring: monitoring.name, shards, instances: 1, spec });
      try {
        await work();
      } finally {
        await scene.poolers.stop();
        scene.poolers = before;
      }
    },
    async end() {
      await scene.operator.close();
      await scene.poolers.stop();
      await server.stop();
    },
  };
  return scene;
}

function asOperator(database: string, { host, port, certificate }: PostgresServer): Promise<Connection> {
  return certificate('herdsman').then(({ ca, cert, key }) =>
    connect({
      host,
      port,
      database,
      user: 'herdsman',
      tls: { ca, servername: 'localhost', clientCertificate: { cert, key } },
    }),
  );
}

/** Makes a shard's database as the operator makes one; the verifiers differ from server to server. */
export async function makeShard(database: string, server: PostgresServer): Promise<void> {
  const maintenance = await asOperator('postgres', server);
  const spec = {
    operator: 'herdsman',
    database,
    application: { name: login.name, verifier: scramVerifier(login.password) },
    monitoring: { name: monitoring.name, verifier: scramVerifier(monitoring.password) },
  };
  await applyRoles(maintenance, planRoles(spec, await readRoles(maintenance)));
  await maintenance.close();
  const inside = await asOperator(database, server);
  await ensureSchema(inside, { application: login.name, monitoring: monitoring.name });
  await ensurePasswords(inside, [login, monitoring]);
  await inside.close();
}

/** The instances are pods that are ready, some of which are about to go. */
function gateTo(
  scene: PoolerScene,
  { gated = noGatedShards(), spec = {}, instances = [0, 1], going = [] }: GateOptions = {},
): PoolerGate {
  const pooler = poolerConfig(spec, {
    databases: [{ name: 'app', shard: 's0', poolSize: 1, maxConnections: 3 }],
  });
  const ready = { type: 'Ready', status: 'True' };
  const pods: Pod[] = instances.map((ordinal) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: `web-pooler-${ordinal}`,
      uid: `uid-${ordinal}`,
      ...(going.includes(ordinal) ? { deletionTimestamp: '2026-01-01T00:00:00Z' } : {}),
    },
    status: { podIP: String(ordinal), conditions: [ready] },
  }));
  const poolerSources = {
    poolers: { cache: { byIndex: () => [pooler] } },
    pods: { cache: { byIndex: () => pods } },
  } as unknown as PoolerSources;
  return createPoolerGate({
    poolerSources,
    access: async () => ({ options: (address) => scene.poolers.console(Number(address)) }),
    gated,
    clock: systemClock,
    log: silentLogger,
  });
}
