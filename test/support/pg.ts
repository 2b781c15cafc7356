import pg from 'pg';
import { decoded } from '../../src/resources/sharded-cluster/desired/secrets.ts';
import type { KubernetesObject } from '../../src/runtime/kubernetes-object.ts';
import { secretType } from '../../src/runtime/kubernetes-types.ts';
import { kube } from './cluster.ts';
import { endpoint } from './endpoint.ts';

/** Names one Service of one shard. */
export interface ShardService {
  readonly namespace: string;
  readonly cluster: string;
  /** `s0` by default. */
  readonly shard?: string;
  /** `rw` by default. */
  readonly service?: 'rw' | 'ro';
}

interface Secret extends KubernetesObject {
  data?: Record<string, string>;
}

/** The values of a Secret as text; throws when it is not there. */
export async function readSecret(namespace: string, name: string): Promise<Record<string, string>> {
  const secret = await (await kube()).get<Secret>(secretType, { namespace, name });
  if (secret === undefined) throw new Error(`Secret ${namespace}/${name} is not there`);
  return decoded(secret.data ?? {});
}

/** Everything that `pg` needs to connect as the application, with the server's certificate verified against its name. */
export async function applicationConfig(
  target: ShardService,
  secretName = `${target.cluster}-app`,
): Promise<pg.ClientConfig> {
  const { namespace, cluster, shard = 's0', service = 'rw' } = target;
  const secret = await readSecret(namespace, secretName);
  const name = `${cluster}-${shard}-${service}`;
  return {
    ...(await endpoint(namespace, name)),
    user: secret.username,
    password: secret.password,
    database: secret.dbname,
    ssl: { ca: secret['ca.crt'], servername: `${name}.${namespace}.svc` },
    connectionTimeoutMillis: 5000,
    application_name: 'herdsman-tests',
  };
}

/** A connection as the application; the caller ends it. */
export async function connectApplication(target: ShardService): Promise<pg.Client> {
  return openClient(await applicationConfig(target));
}

/** A connection of any kind; the caller ends it. */
export async function openClient(config: pg.ClientConfig): Promise<pg.Client> {
  const client = new pg.Client(config);
  // A connection that its server ends while nothing runs reports here; the next query fails and tells.
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

/** Runs statements on one connection as the application, and returns the last result's rows. */
export async function query<Row extends pg.QueryResultRow = pg.QueryResultRow>(
  target: ShardService,
  text: string,
  values: readonly unknown[] = [],
): Promise<Row[]> {
  const client = await connectApplication(target);
  try {
    return (await client.query<Row>(text, [...values])).rows;
  } finally {
    await client.end();
  }
}
