import pg from 'pg';
import type { z } from 'zod';
import { apiVersion } from '../../src/api/v1alpha1/common.ts';
import type { PoolerConfigStatus, poolerConfigSpec } from '../../src/api/v1alpha1/pooler-config.ts';
import { poolerConfigType } from '../../src/resources/pooler-config/kinds.ts';
import { poolerLabel, poolerName } from '../../src/resources/pooler-config/names.ts';
import type { KubernetesObject } from '../../src/runtime/kubernetes-object.ts';
import { podType } from '../../src/runtime/kubernetes-types.ts';
import { kube } from './cluster.ts';
import { endpoint } from './endpoint.ts';
import { readSecret } from './pg.ts';
import type { MemberPod } from './sharded-cluster.ts';
import { type WaitOptions, waitFor, waitUntil } from './wait.ts';

/** What a user writes under `spec`. */
export type PoolerSpecInput = z.input<typeof poolerConfigSpec>;

/** A PoolerConfig as the API server sends it. */
export interface PoolerConfig extends KubernetesObject {
  spec: PoolerSpecInput;
  status?: PoolerConfigStatus;
}

/** Where a test's poolers are. */
export interface PoolerKey {
  readonly namespace: string;
  readonly name: string;
  /** The ShardedCluster behind them. */
  readonly cluster: string;
}

/** Applies a PoolerConfig; what the spec leaves out is small and quick. */
export async function applyPooler(key: PoolerKey, spec: Partial<PoolerSpecInput> = {}): Promise<void> {
  const { namespace, name, cluster } = key;
  const object: PoolerConfig = {
    apiVersion,
    kind: 'PoolerConfig',
    metadata: { name, namespace },
    spec: {
      target: { cluster },
      drainTimeout: '5s',
      resources: { requests: { cpu: '10m', memory: '16Mi' } },
      ...spec,
    },
  };
  await (await kube()).apply(poolerConfigType, object, { fieldManager: 'herdsman-tests', force: true });
}

/** Reads the PoolerConfig; throws when it is not there. */
export async function readPooler({ namespace, name }: PoolerKey): Promise<PoolerConfig> {
  const found = await (await kube()).get<PoolerConfig>(poolerConfigType, { namespace, name });
  if (found === undefined) throw new Error(`PoolerConfig ${namespace}/${name} is not there`);
  return found;
}

/** Waits until the status of the present generation is as wanted. */
export function waitForPooler(
  key: PoolerKey,
  description: string,
  holds: (status: PoolerConfigStatus) => boolean,
  options?: WaitOptions,
): Promise<PoolerConfig> {
  return waitFor(
    `${key.namespace}/${key.name}: ${description}`,
    async () => {
      const pooler = await readPooler(key);
      const { status, metadata } = pooler;
      const isCurrent = status?.observedGeneration === metadata.generation;
      return status !== undefined && isCurrent && holds(status) ? { done: pooler } : { state: status };
    },
    options,
  );
}

/** Waits until all instances are ready and run the settings of the present spec. */
export function waitUntilPooling(key: PoolerKey, options?: WaitOptions): Promise<PoolerConfig> {
  return waitForPooler(
    key,
    'all instances are ready and up to date',
    ({ phase, replicas }) =>
      phase === 'Ready' &&
      replicas?.ready === replicas?.desired &&
      replicas?.updated === replicas?.desired &&
      replicas?.current === replicas?.desired,
    options,
  );
}

/** Waits until a condition has the status, and the message matches. */
export function waitForPoolerCondition(
  key: PoolerKey,
  wanted: {
    readonly type: string;
    readonly status: string;
    readonly reason: string;
    readonly message: RegExp;
  },
): Promise<PoolerConfig> {
  return waitForPooler(key, `${wanted.type} is ${wanted.status}: ${wanted.reason}`, ({ conditions = [] }) =>
    conditions.some(
      ({ type, status, reason, message }) =>
        type === wanted.type &&
        status === wanted.status &&
        reason === wanted.reason &&
        wanted.message.test(message),
    ),
  );
}

/** The pods of the instances, by name. */
export async function poolerPods({ namespace, name }: PoolerKey): Promise<MemberPod[]> {
  const { items } = await (await kube()).list<MemberPod>(podType, {
    namespace,
    labelSelector: `${poolerLabel}=${name}`,
  });
  return items.toSorted((a, b) => a.metadata.name.localeCompare(b.metadata.name));
}

/** Everything that `pg` needs to connect as the application through the poolers, with their certificate verified. */
export async function poolerClientConfig(key: PoolerKey, database = 'app'): Promise<pg.ClientConfig> {
  const secret = await readSecret(key.namespace, `${key.cluster}-app`);
  const service = poolerName(key.name);
  return {
    ...(await endpoint(key.namespace, service)),
    user: secret.username,
    password: secret.password,
    database,
    ssl: { ca: secret['ca.crt'], servername: `${service}.${key.namespace}.svc` },
    application_name: 'herdsman-tests',
    // Longer than clients are held back; who dials an address that is just going may never hear anything.
    connectionTimeoutMillis: 15_000,
  };
}

/** A client of the poolers; the caller ends it. */
export async function connectPooler(config: pg.ClientConfig): Promise<pg.Client> {
  const client = new pg.Client(config);
  // A connection that ends while nothing runs reports here; the next query fails and tells.
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

/** What a client of a load saw go wrong. */
export interface LoadError {
  readonly message: string;
  /** The client's number, from 0. */
  readonly client: number;
  /** When what failed was begun (`performance.now()`). */
  readonly begunMs: number;
}

/** Clients at work through poolers. */
export interface PoolerLoad {
  readonly errors: readonly LoadError[];
  /** Transactions that were done. */
  done(): number;
  /** The longest that a client waited for one, in milliseconds. */
  longestMs(): number;
  stop(): Promise<void>;
}

/** Waits until clients have done so many transactions more. */
export async function atWork(load: PoolerLoad, transactions: number): Promise<void> {
  const before = load.done();
  await waitUntil(
    'clients are at work',
    () => load.done() > before + transactions,
    () => load.errors,
  );
}

/** How clients work. */
export interface LoadOptions {
  readonly clients: number;
  /** Name of the database; `app` by default. */
  readonly database?: string;
  /** One short transaction of the client with this number, from 0; `SELECT 1` by default. */
  readonly work?: (client: pg.Client, number: number) => Promise<unknown>;
  /** Transactions after which a client connects anew, as pools of applications do; never by default. */
  readonly leaveAfter?: number;
  /** Pause of a client between two transactions; 50 by default. */
  readonly everyMs?: number;
}

/** Starts clients that run one short transaction after the other, and connect anew after an error. */
export async function startPoolerLoad(key: PoolerKey, options: LoadOptions): Promise<PoolerLoad> {
  const { clients, database, work = (client) => client.query('SELECT 1'), everyMs = 50 } = options;
  const leaveAfter = options.leaveAfter ?? Number.POSITIVE_INFINITY;
  const config = await poolerClientConfig(key, database);
  const errors: LoadError[] = [];
  let done = 0;
  let longestMs = 0;
  let stopping = false;

  async function run(first: pg.Client, number: number): Promise<void> {
    let client: pg.Client | undefined = first;
    for (let left = leaveAfter; !stopping; left -= 1) {
      const begunMs = performance.now();
      try {
        if (left === 0) {
          await client?.end();
          client = undefined;
          left = leaveAfter;
        }
        client ??= await connectPooler(config);
        await work(client, number);
        done += 1;
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        errors.push({ message, client: number, begunMs });
        client?.end().catch(() => undefined);
        client = undefined;
      }
      longestMs = Math.max(longestMs, performance.now() - begunMs);
      await new Promise((resolve) => setTimeout(resolve, everyMs));
    }
    await client?.end().catch(() => undefined);
  }

  const connected = await Promise.all(Array.from({ length: clients }, () => connectPooler(config)));
  const running = connected.map(run);
  return {
    errors,
    done: () => done,
    longestMs: () => longestMs,
    async stop() {
      stopping = true;
      await Promise.all(running);
    },
  };
}
