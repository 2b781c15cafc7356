import type { ConnectionOptions } from 'node:tls';
import type { V1NodeStatus, V1ServiceSpec } from '@kubernetes/client-node';
import pg from 'pg';
import { beforeAll, expect, it } from 'vitest';
import { poolerName } from '../../src/resources/pooler-config/names.ts';
import type { KubernetesObject } from '../../src/runtime/kubernetes-object.ts';
import { nodeType, secretType, serviceType } from '../../src/runtime/kubernetes-types.ts';
import { kube } from '../support/cluster.ts';
import {
  applyPooler,
  atWork,
  connectPooler,
  type PoolerKey,
  poolerClientConfig,
  poolerPods,
  readPooler,
  startPoolerLoad,
  waitForPooler,
  waitUntilPooling,
} from '../support/pooler-config.ts';
import { namespaceForFile } from '../support/scene.ts';
import { applyCluster, type ClusterKey, waitUntilReady } from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';

// Passwords and shards change under clients. Instances are in test/chaos/pooler-fleet.test.ts, a primary in pooler.test.ts.

type Service = KubernetesObject & { readonly spec?: V1ServiceSpec };
type Node = KubernetesObject & { readonly status?: V1NodeStatus };

const namespace = namespaceForFile('pooler-changes');
const cluster: ClusterKey = { namespace, name: 'shop' };
const key: PoolerKey = { namespace, name: 'web', cluster: 'shop' };

beforeAll(async () => {
  await applyCluster(cluster);
  await applyPooler(key);
  await waitUntilReady(cluster);
  await waitUntilPooling(key);
});

it('another password is taken at once, and clients with the old one stay', async () => {
  const load = await startPoolerLoad(key, { clients: 5 });
  await atWork(load, 20);
  const old = await poolerClientConfig(key);
  const password = 'the second password';
  await (await kube()).create(secretType, {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'second', namespace },
    ...{ stringData: { username: 'app', password } },
  });
  await applyCluster(cluster, { credentials: { application: 'second' } });
  await waitFor('the new password is taken', async () => {
    const client = new pg.Client({ ...old, password });
    await client.connect();
    await client.end();
    return { done: true };
  });
  await expect(new pg.Client(old).connect()).rejects.toThrow(/authentication failed/);
  await waitUntilReady(cluster);
  await atWork(load, 20);
  await load.stop();
  expect(load.errors.map(({ message }) => message)).toEqual([]);
});

it('clients from outside come by a port of the nodes and a name of their own, as long as the spec says so', async () => {
  const load = await startPoolerLoad(key, { clients: 5 });
  await atWork(load, 20);
  const before = (await poolerPods(key)).map(({ metadata }) => metadata.uid);
  const name = { namespace, name: poolerName(key.name) };
  const readService = async () => await (await kube()).get<Service>(serviceType, name);
  const [node] = (await (await kube()).list<Node>(nodeType)).items;
  const host = node?.status?.addresses?.find(({ type }) => type === 'InternalIP')?.address;
  const config = await poolerClientConfig(key);
  const outside = async (port: number | undefined) => {
    if (port === undefined) throw new Error('the Service has no port of the nodes');
    const ssl = { ...(config.ssl as ConnectionOptions), servername: 'db.example.com' };
    const client = await connectPooler({ ...config, host, port, ssl });
    await client.query('SELECT 1').finally(() => client.end());
  };
  const annotation = 'external-dns.alpha.kubernetes.io/hostname';
  const annotations = { [annotation]: 'db.example.com' };
  await applyPooler(key, { service: { type: 'NodePort', annotations, names: ['db.example.com'] } });
  const port = await waitFor('they are served', async () => {
    const service = await readService();
    await outside(service?.spec?.ports?.[0]?.nodePort);
    return service?.metadata.annotations?.[annotation] === 'db.example.com'
      ? { done: service.spec?.ports?.[0]?.nodePort }
      : { state: service };
  });
  await applyPooler(key);
  await waitFor('the Service is as it was', async () => {
    const service = await readService();
    const { type, ports } = service?.spec ?? {};
    const isBack = type === 'ClusterIP' && ports?.[0]?.nodePort === undefined;
    return isBack && service?.metadata.annotations?.[annotation] === undefined
      ? { done: true }
      : { state: service };
  });
  await waitUntilPooling(key);
  await expect(outside(port)).rejects.toThrow();
  const inside = { ...config, ssl: { ...(config.ssl as ConnectionOptions), servername: 'db.example.com' } };
  await expect(connectPooler(inside)).rejects.toThrow(/altnames/);
  await atWork(load, 20);
  await load.stop();
  expect(load.errors.map(({ message }) => message)).toEqual([]);
  expect((await poolerPods(key)).map(({ metadata }) => metadata.uid)).toEqual(before);
});

it('databases come and go with shards, and no client of the others is dropped', async () => {
  const credentials = { application: 'second' };
  const names = async () => (await readPooler(key)).status?.databases?.map(({ name }) => name);
  const plain = await startPoolerLoad(key, { clients: 5 });
  await applyCluster(cluster, { credentials, shards: { count: 2 } });
  await waitForPooler(key, 'names of two shards', ({ databases = [] }) => databases.length === 3);
  await waitUntilPooling(key);
  expect(await names()).toEqual(['app', 'app_s0', 'app_s1']);
  const first = await startPoolerLoad(key, { clients: 5, database: 'app_s0' });
  const second = await startPoolerLoad(key, {
    clients: 5,
    database: 'app_s1',
    work: async (client) => {
      const { rows } = await client.query<{ shard: string }>('SELECT inet_server_addr()::text AS shard');
      return rows;
    },
  });
  await Promise.all([plain, first, second].map((load) => atWork(load, 20)));
  await second.stop();
  await applyCluster(cluster, { credentials, shards: { count: 1 } });
  await waitForPooler(key, 'the second shard has no name', ({ databases = [] }) => databases.length === 2);
  await waitUntilReady(cluster);
  expect(await names()).toEqual(['app', 'app_s0']);
  await Promise.all([plain, first].map((load) => atWork(load, 20)));
  await first.stop();
  await waitForPooler(key, 'the plain name only', ({ databases = [] }) => databases.length === 1);
  await atWork(plain, 20);
  await plain.stop();
  for (const load of [plain, first, second]) expect(load.errors.map(({ message }) => message)).toEqual([]);
  const gone = new pg.Client(await poolerClientConfig(key, 'app_s1'));
  // To whom asks for what is not there PgBouncer answers as to a wrong password.
  await expect(gone.connect()).rejects.toThrow(/authentication failed|no such database/);
});
