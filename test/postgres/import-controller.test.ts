import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { shardedClusterSpec } from '../../src/api/v1alpha1/sharded-cluster.ts';
import { type Connection, connect } from '../../src/postgres/connection.ts';
import { createConnections } from '../../src/postgres/connections.ts';
import { importController } from '../../src/resources/import/controller.ts';
import { encoded } from '../../src/resources/sharded-cluster/desired/secrets.ts';
import { shardedClusterType } from '../../src/resources/sharded-cluster/kinds.ts';
import type { PersistentVolumeClaim } from '../../src/resources/sharded-cluster/kubernetes.ts';
import type { ShardedCluster } from '../../src/resources/sharded-cluster/model.ts';
import { clusterLabel, shardLabel } from '../../src/resources/sharded-cluster/names.ts';
import { byCluster, clusterIndexValue } from '../../src/resources/sharded-cluster/sources.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import type { RunningController } from '../../src/runtime/controller.ts';
import { persistentVolumeClaimType, secretType } from '../../src/runtime/kubernetes-types.ts';
import { type MemoryApi, memoryApi } from '../support/memory-api.ts';
import { type PostgresServer, startPostgres } from '../support/postgres-server.ts';
import { sharedPostgres } from '../support/shared-postgres.ts';
import { waitFor } from '../support/wait.ts';
import { makeWorld, rows, type World } from './world.ts';

const namespace = 'test';
const schema = 'CREATE TABLE public.orders (id bigserial PRIMARY KEY, note text)';

let server: PostgresServer;
let world: World;
let api: MemoryApi;
let running: RunningController;
let source: Connection;
let isPrimaryThere = true;
let looks = 0;
const told: string[] = [];
const connections = createConnections();
const abort = new AbortController();

beforeAll(async () => {
  server = await startPostgres();
  world = await makeWorld('imp_ctl', 1);
  await world.shard(0).application.query({ text: schema });
  source = await open('postgres');
  await source.query({
    text: `${schema}; INSERT INTO public.orders (note) SELECT 'x' FROM generate_series(1, 1000)`,
  });
  api = memoryApi();
  const { host, port, password } = sharedPostgres();
  const database = world.shard(0).database;
  running = importController({
    client: api.client,
    sources: {
      clusters: api.informer<ShardedCluster>(shardedClusterType, {}),
      claims: api.informer<PersistentVolumeClaim>(persistentVolumeClaimType, {
        [byCluster]: ({ metadata }) => [clusterIndexValue(namespace, metadata.labels?.[clusterLabel] ?? '')],
      }),
    },
    connections,
    events: {
      record: (_, { reason, note }) => void told.push(`${reason}: ${note}`),
      flush: async () => undefined,
    },
    clock: systemClock,
    findPrimaries: async () => {
      looks += 1;
      const primary = { host, port, database, user: 'herdsman', password, tls: 'off' as const };
      return new Map(isPrimaryThere ? [['s0', primary]] : []);
    },
  }).start({ signal: abort.signal });
});

afterAll(async () => {
  await running?.stop(5_000);
  abort.abort();
  await connections.close();
  await source?.close();
  await world?.close();
  await server?.stop();
});

function open(database: string): Promise<Connection> {
  const { host, port, user, password } = server;
  return connect({ host, port, database, user, password, tls: 'off' });
}

function createSecret(name: string, data: Readonly<Record<string, string>>): void {
  api.create(secretType, {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name, namespace },
    data: encoded(data),
  } as never);
}

function createCluster(name: string, credentials: string): void {
  api.create(shardedClusterType, {
    apiVersion: 'herdsman.dev/v1alpha1',
    kind: 'ShardedCluster',
    metadata: { name, namespace },
    spec: shardedClusterSpec.parse({ storage: { size: '1Gi' }, bootstrap: { import: from(credentials) } }),
    status: { conditions: [condition('Importing')] },
  });
}

const condition = (reason: string) => ({
  type: 'SchemaApplied',
  status: 'False' as const,
  reason,
  message: '',
  lastTransitionTime: '2026-01-01T00:00:00Z',
});

const from = (credentials: string, cutover: 'manual' | 'auto' = 'manual') => ({
  host: server.host,
  port: server.port,
  database: 'postgres',
  credentials,
  tls: { mode: 'disable' as const },
  cutover,
});

const read = (name: string) => api.get<ShardedCluster>(shardedClusterType, { namespace, name });

/** Waits until the condition has the reason. */
function waitForReason(name: string, reason: string): Promise<ShardedCluster> {
  return waitFor(
    `${name} is ${reason}`,
    () => {
      const cluster = read(name);
      const imported = cluster.status?.conditions?.find(({ type }) => type === 'Imported');
      return imported?.reason === reason ? { done: cluster } : { state: cluster.status };
    },
    { timeoutMs: 30_000 },
  );
}

const leftAtSource = () =>
  rows(
    source,
    `SELECT slot_name::text AS name FROM pg_replication_slots UNION ALL SELECT pubname::text FROM pg_publication
      UNION ALL SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 'herdsman_import%'`,
  );

describe('the controller of imports', () => {
  it.each([
    ['no-secret', 'none', undefined, 'SecretMissing', /Secret "none" does not exist: create it/],
    ['no-key', 'half', { username: 'postgres' }, 'SecretIncomplete', /no key "password": add it/],
    [
      'no-login',
      'wrong',
      { username: 'postgres', password: 'wrong' },
      'LoginFailed',
      /correct username and password/,
    ],
  ])('says what is wrong before anything is made: %s', async (name, secret, data, reason, message) => {
    if (data !== undefined) createSecret(secret, data);
    createCluster(name, secret);
    const { status } = await waitForReason(name, reason);
    expect(status?.import).toMatchObject({
      phase: 'refused',
      reason,
      message: expect.stringMatching(message),
    });
    expect(told.filter((note) => note.startsWith(reason))).toHaveLength(1);
    api.delete(shardedClusterType, { namespace, name });
    expect(await leftAtSource()).toEqual([]);
  });

  it('waits for a volume that has not grown yet to what the spec asks for', async () => {
    createSecret('own', { username: 'postgres', password: server.password });
    api.create<PersistentVolumeClaim>(persistentVolumeClaimType, {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: {
        name: 'data-growing-s0-0',
        namespace,
        labels: { [clusterLabel]: 'growing', [shardLabel]: 's0' },
      },
      status: { capacity: { storage: '1Mi' } },
    } as PersistentVolumeClaim);
    createCluster('growing', 'own');
    const { status } = await waitForReason('growing', 'VolumeTooSmall');
    expect(status?.import?.phase).toBe('refused');
    api.delete(shardedClusterType, { namespace, name: 'growing' });
    expect(await leftAtSource()).toEqual([]);
  });

  it('gives up what is removed, and is ready for nothing more', async () => {
    createSecret('old', { username: 'postgres', password: server.password });
    createCluster('given-up', 'old');
    const { metadata } = await waitForReason('given-up', 'AwaitingCutover');
    expect(metadata.finalizers).toEqual(['herdsman.dev/import']);
    expect(await leftAtSource()).toHaveLength(2);
    api.change(shardedClusterType, { namespace, name: 'given-up' }, { bootstrap: undefined });
    await waitFor('nothing is left', () => {
      const { status, metadata: now } = read('given-up');
      const isOver = status?.import === undefined && now.finalizers?.length === 0;
      return isOver ? { done: true } : { state: [status, now] };
    });
    expect(read('given-up').status?.conditions?.map(({ type }) => type)).toEqual(['SchemaApplied']);
    expect(await leftAtSource()).toEqual([]);
    expect(told).toContainEqual(expect.stringMatching(/^ImportWithdrawn: the import of database "postgres"/));
    api.delete(shardedClusterType, { namespace, name: 'given-up' });
  });

  it('gives up what is removed while the shard has no primary when it has one again', async () => {
    createCluster('removed', 'old');
    await waitForReason('removed', 'AwaitingCutover');
    isPrimaryThere = false;
    await waitForReason('removed', 'PrimaryUnknown');
    api.change(shardedClusterType, { namespace, name: 'removed' }, { bootstrap: undefined });
    const before = looks;
    await waitFor('it was looked for twice', () => (looks > before + 1 ? { done: true } : { state: looks }));
    expect(read('removed').metadata.finalizers).toEqual(['herdsman.dev/import']);
    isPrimaryThere = true;
    await waitFor('nothing is left', () => {
      const { status, metadata } = read('removed');
      const isOver = status?.import === undefined && metadata.finalizers?.length === 0;
      return isOver ? { done: true } : { state: [status, metadata] };
    });
    expect(await leftAtSource()).toEqual([]);
    api.delete(shardedClusterType, { namespace, name: 'removed' });
  });

  it('lets a deleted cluster go when nothing is left at the other server', async () => {
    createCluster('deleted', 'old');
    await waitForReason('deleted', 'AwaitingCutover');
    api.delete(shardedClusterType, { namespace, name: 'deleted' });
    await waitFor('the cluster is gone', () => {
      try {
        return { state: read('deleted').metadata };
      } catch {
        return { done: true };
      }
    });
    expect(await leftAtSource()).toEqual([]);
    await source.query({ text: "INSERT INTO public.orders (note) VALUES ('after')" });
  });

  it('lets the cluster take over when it is told to', async () => {
    createCluster('taking', 'old');
    const { status } = await waitForReason('taking', 'AwaitingCutover');
    expect(status?.import).toMatchObject({ phase: 'following', tables: '1/1', attempt: 1 });
    api.change(
      shardedClusterType,
      { namespace, name: 'taking' },
      { bootstrap: { import: from('old', 'auto') } },
    );
    await waitForReason('taking', 'Imported');
    await waitFor('it is done', () => {
      const { status: now, metadata } = read('taking');
      const isDone = now?.import?.phase === 'done' && metadata.finalizers?.length === 0;
      return isDone ? { done: true } : { state: [now, metadata] };
    });
    expect(read('taking').status?.import?.fenceMs).toBeGreaterThan(0);
    expect(await rows(world.shard(0).application, 'SELECT count(*)::int AS n FROM public.orders')).toEqual([
      { n: 1001 },
    ]);
    expect(await leftAtSource()).toHaveLength(1);
    expect(server.log()).not.toContain(server.password);
  });
});
