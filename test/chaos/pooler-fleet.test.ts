import { beforeAll, describe, expect, it } from 'vitest';
import { metricsPort } from '../../src/resources/pooler-config/names.ts';
import { deleteByForce } from '../support/faults.ts';
import { kubectl } from '../support/kubectl.ts';
import {
  applyPooler,
  atWork,
  connectPooler,
  type PoolerKey,
  poolerClientConfig,
  poolerPods,
  startPoolerLoad,
  waitForPooler,
  waitUntilPooling,
} from '../support/pooler-config.ts';
import { processesOf, signalAll } from '../support/processes.ts';
import { namespaceForFile } from '../support/scene.ts';
import {
  applyCluster,
  type ClusterKey,
  isReady,
  type MemberPod,
  waitUntilReady,
} from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';

// Instances come and go under clients. What else changes is in pooler-changes.test.ts, a primary in pooler.test.ts.

const namespace = namespaceForFile('pooler-fleet');
const cluster: ClusterKey = { namespace, name: 'shop' };
const key: PoolerKey = { namespace, name: 'web', cluster: 'shop' };

beforeAll(async () => {
  await applyCluster(cluster);
  await applyPooler(key);
  await waitUntilReady(cluster);
  await waitUntilPooling(key);
});

/** Transactions that take so long, on connections through all instances, each of them in steps. */
async function startLongTransactions(ms: number): Promise<Promise<void>[]> {
  const config = await poolerClientConfig(key);
  const clients = await Promise.all(Array.from({ length: 8 }, () => connectPooler(config)));
  return clients.map(async (client) => {
    const begunMs = performance.now();
    await client.query('BEGIN');
    while (performance.now() - begunMs < ms) await client.query('SELECT pg_sleep(0.1)');
    await client.query('COMMIT');
    await client.end();
  });
}

it('instances tell of their pools, by the exporter beside each', async () => {
  const load = await startPoolerLoad(key, { clients: 10 });
  await atWork(load, 100);
  for (const { metadata } of await poolerPods(key)) {
    const path = `/api/v1/namespaces/${namespace}/pods/${metadata.name}:${metricsPort}/proxy/metrics`;
    const text = await kubectl(['get', '--raw', path]);
    expect(text).toMatch(/^pgbouncer_up 1$/m);
    expect(text).toMatch(/^pgbouncer_pools_\w+\{.*database="app".*\} \d+$/m);
  }
  await load.stop();
  expect(load.errors.map(({ message }) => message)).toEqual([]);
});

describe('the number of instances', () => {
  it('is set by kubectl scale, and the selector finds them', async () => {
    await kubectl(['scale', 'poolerconfig', key.name, '-n', namespace, '--replicas=3']);
    await waitUntilPooling(key);
    const path = `/apis/herdsman.dev/v1alpha1/namespaces/${namespace}/poolerconfigs/${key.name}/scale`;
    const { status } = JSON.parse(await kubectl(['get', '--raw', path])) as {
      status: { replicas: number; selector: string };
    };
    const selected = await kubectl(['get', 'pods', '-n', namespace, '-l', status.selector, '-o', 'name']);
    expect(selected.trim().split('\n')).toHaveLength(3);
    expect(status.replicas).toBe(3);
  });

  it('goes down with nobody dropped who leaves in time or is in a transaction', async () => {
    const load = await startPoolerLoad(key, { clients: 20, leaveAfter: 20 });
    const transactions = await startLongTransactions(5_000);
    await atWork(load, 100);
    await kubectl(['scale', 'poolerconfig', key.name, '-n', namespace, '--replicas=2']);
    await Promise.all(transactions);
    await waitUntilPooling(key);
    await load.stop();
    expect(load.errors.map(({ message }) => message)).toEqual([]);
    expect((await poolerPods(key)).map(({ metadata }) => metadata.name)).toEqual([
      'web-pooler-0',
      'web-pooler-1',
    ]);
  });
});

it('a new template replaces one instance after the other, with long transactions going on', async () => {
  const before = (await poolerPods(key)).map(({ metadata }) => metadata.uid);
  const load = await startPoolerLoad(key, { clients: 20, leaveAfter: 20 });
  const transactions = await startLongTransactions(5_000);
  await atWork(load, 100);
  await applyPooler(key, { resources: { requests: { cpu: '11m', memory: '16Mi' } } });
  await Promise.all(transactions);
  await waitFor('all are new', async () => {
    const now = await poolerPods(key);
    const isNew = now.length === 2 && now.every(({ metadata }) => !before.includes(metadata.uid));
    return isNew ? { done: true } : { state: now.map(({ metadata }) => metadata.name) };
  });
  await waitUntilPooling(key);
  await load.stop();
  expect(load.errors.map(({ message }) => message)).toEqual([]);
});

describe.each([
  ['processes', killProcess],
  ['pods', deleteByForce],
] as const)('instances whose %s are killed one by one', (_, kill) => {
  it('cost their own clients a connection, and nobody more', async () => {
    /** Address of the instance that each client is connected to, as far as it has answered. */
    const instanceOf = new Map<number, string>();
    const load = await startPoolerLoad(key, {
      clients: 20,
      work: async (client, number) => {
        if (!instanceOf.has(number)) client.once('end', () => instanceOf.delete(number));
        const { rows } = await client.query<{ host: string }>('SELECT host(inet_client_addr()) AS host');
        instanceOf.set(number, rows[0]?.host ?? '');
      },
    });
    for (const pod of await poolerPods(key)) {
      await atWork(load, 100);
      const others = [...instanceOf].flatMap(([client, host]) =>
        host === pod.status?.podIP ? [] : [client],
      );
      expect(others.length).toBeLessThan(instanceOf.size);
      const before = load.errors.length;
      const killed = pgbouncersOf(pod);
      await kill(pod);
      await waitFor('it runs again', async () => {
        const now = (await poolerPods(key)).find(({ metadata }) => metadata.name === pod.metadata.name);
        return now !== undefined && startsOf(now) !== startsOf(pod) && isReady(now)
          ? { done: true }
          : { state: now?.status };
      });
      await waitUntilPooling(key);
      // A pod that is deleted by force is no more, but its node lets it end as any other.
      await waitFor(
        'its clients have lost it',
        async () => {
          const left = pgbouncersOf(pod).filter(({ pid }) => killed.some((each) => each.pid === pid));
          return left.length === 0 ? { done: true } : { state: left };
        },
        { timeoutMs: 120_000 },
      );
      await atWork(load, 100);
      const errors = load.errors.slice(before);
      expect(errors.length).toBeGreaterThan(0);
      expect(errors.filter(({ client }) => others.includes(client))).toEqual([]);
    }
    await load.stop();
  });
});

function pgbouncersOf({ metadata }: MemberPod) {
  return processesOf(metadata.uid ?? '').filter(({ name }) => name === 'pgbouncer');
}

function killProcess(pod: MemberPod): void {
  const processes = pgbouncersOf(pod);
  expect(processes).not.toEqual([]);
  signalAll(processes, 'SIGKILL');
}

/** Another for a pod, and for a container in it, that was started anew. */
function startsOf({ metadata, status }: MemberPod): string {
  const restarts = status?.containerStatuses?.map(({ restartCount }) => restartCount) ?? [];
  return `${metadata.uid} ${restarts}`;
}

it('the number of instances grows while clients wait, with autoscaling', async () => {
  const autoscaling = { minReplicas: 2, maxReplicas: 3, waitingClients: 2 };
  await applyPooler(key, { sizing: 'manual', poolSize: 1, autoscaling });
  await waitUntilPooling(key);
  const load = await startPoolerLoad(key, {
    clients: 30,
    work: (client) => client.query('SELECT pg_sleep(0.2)'),
  });
  await waitForPooler(
    key,
    'a third instance, and why',
    ({ replicas, pools }) =>
      replicas?.desired === 3 &&
      replicas.ready === 3 &&
      pools?.clients === 30 &&
      pools.servers > 0 &&
      pools.waiting > 0,
  );
  await load.stop();
  expect(load.errors.map(({ message }) => message)).toEqual([]);
});
