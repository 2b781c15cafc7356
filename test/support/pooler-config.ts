import pg from 'pg';
import type { z } from 'zod';
import { apiVersion } from '../../src/api/v1alpha1/common.ts';
import type { PoolerConfigStatus, poolerConfigSpec } from '../../src/api/v1alpha1/pooler-config.ts';
import { poolerConfigType } from '../../src/resources/pooler-config/kinds.ts';
import { poolerName } from '../../src/resources/pooler-config/names.ts';
import type { KubernetesObject } from '../../src/runtime/kubernetes-object.ts';
import { kube } from './cluster.ts';
import { endpoint } from './endpoint.ts';
import { readSecret } from './pg.ts';
import { type WaitOptions, waitFor } from './wait.ts';

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

async function readPooler({ namespace, name }: PoolerKey): Promise<PoolerConfig> {
  const found = await (await kube()).get<PoolerConfig>(poolerConfigType, { namespace, name });
  if (found === undefined) throw new Error(`PoolerConfig ${namespace}/${name} is not there`);
  return found;
}

/** Waits until all instances are ready and run the settings of the present spec. */
export function waitUntilPooling(key: PoolerKey, options?: WaitOptions): Promise<PoolerConfig> {
  return waitFor(
    `${key.namespace}/${key.name} is Ready`,
    async () => {
      const pooler = await readPooler(key);
      const { status } = pooler;
      const replicas = status?.replicas;
      const isDone =
        status?.observedGeneration === pooler.metadata.generation &&
        status?.phase === 'Ready' &&
        replicas?.ready === replicas?.desired &&
        replicas?.updated === replicas?.desired &&
        replicas?.current === replicas?.desired;
      return isDone ? { done: pooler } : { state: status };
    },
    options,
  );
}

/** Everything that `pg` needs to connect as the application through the poolers, with their certificate verified. */
async function poolerClientConfig(key: PoolerKey, database = 'app'): Promise<pg.ClientConfig> {
  const secret = await readSecret(key.namespace, `${key.cluster}-app`);
  const service = poolerName(key.name);
  return {
    ...(await endpoint(key.namespace, service)),
    user: secret.username,
    password: secret.password,
    database,
    ssl: { ca: secret['ca.crt'], servername: `${service}.${key.namespace}.svc` },
    application_name: 'herdsman-tests',
  };
}

/** Clients at work through poolers. */
export interface PoolerLoad {
  /** Errors by message. */
  readonly errors: ReadonlyMap<string, number>;
  /** Transactions that were done. */
  done(): number;
  /** The longest that a client waited for one, in milliseconds. */
  longestMs(): number;
  stop(): Promise<void>;
}

/** Starts clients that run one short transaction after the other on a connection of their own, which they keep. */
export async function startPoolerLoad(
  key: PoolerKey,
  clients: number,
  work: (client: pg.Client) => Promise<unknown> = (client) => client.query('SELECT 1'),
): Promise<PoolerLoad> {
  const config = await poolerClientConfig(key);
  const errors = new Map<string, number>();
  let done = 0;
  let longestMs = 0;
  let stopping = false;
  const note = (error: unknown): void => {
    const message = error instanceof Error ? error.message : String(error);
    errors.set(message, (errors.get(message) ?? 0) + 1);
  };
  const connected = await Promise.all(
    Array.from({ length: clients }, async () => {
      const client = new pg.Client(config);
      client.on('error', note);
      await client.connect();
      return client;
    }),
  );
  const running = connected.map(async (client) => {
    while (!stopping) {
      const begun = performance.now();
      try {
        await work(client);
        done += 1;
      } catch (error) {
        note(error);
        break;
      }
      longestMs = Math.max(longestMs, performance.now() - begun);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await client.end().catch(() => undefined);
  });
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
