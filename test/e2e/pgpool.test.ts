import type pg from 'pg';
import { beforeAll, beforeEach, expect, it } from 'vitest';
import { kubectl } from '../support/kubectl.ts';
import { query } from '../support/pg.ts';
import {
  applyPooler,
  connectPooler,
  type PoolerKey,
  poolerClientConfig,
  poolerPods,
  waitForPooler,
  waitUntilPooling,
} from '../support/pooler-config.ts';
import {
  applySet,
  holdReplay,
  patientReplay,
  readOnce,
  replicaPods,
  waitUntilServing,
} from '../support/read-replica-set.ts';
import { namespaceForFile } from '../support/scene.ts';
import { applyCluster, type ClusterKey, primaryPod, waitUntilReady } from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';

const namespace = namespaceForFile('pgpool');
const cluster: ClusterKey = { namespace, name: 'shop' };
const set: ClusterKey = { namespace, name: 'readers' };
const pooler: PoolerKey = { namespace, name: 'split', cluster: cluster.name };
const target = { namespace, cluster: cluster.name };

const wish = (pgpool: Record<string, unknown> = {}) => ({
  engine: 'pgpool' as const,
  pgpool: { primaryWeight: 0, maxLag: '2s', readReplicaSets: [{ name: set.name }], ...pgpool },
});

let config: pg.ClientConfig;

beforeAll(async () => {
  await Promise.all([
    applyCluster(cluster, { members: 2 }),
    applySet(set, {
      cluster: cluster.name,
      replicas: 2,
      maxConcurrentClones: 2,
      lag: { maxBytes: '1Gi', maxSeconds: 3600 },
      parameters: patientReplay,
    }),
    applyPooler(pooler, wish()),
  ]);
  await waitUntilReady(cluster);
  await query(target, 'CREATE TABLE items AS SELECT generate_series(1, 10) AS id');
  await waitUntilServing(set, 2);
  await waitUntilPooling(pooler);
  config = { ...(await poolerClientConfig(pooler)), connectionTimeoutMillis: 3_000 };
});

beforeEach(async () => {
  await applyPooler(pooler, wish());
  await waitForBackends(
    'both members are read',
    ({ weight, instances, lagSeconds }) => weight === 1 && instances === 2 && lagSeconds === 0,
  );
});

function waitForBackends(
  what: string,
  holds: (member: { name: string; weight: number; instances: number; lagSeconds: number }) => boolean,
) {
  return waitForPooler(pooler, what, ({ phase, backends = [] }) => {
    const members = backends.filter(({ name }) => name.startsWith('readers-'));
    return phase === 'Ready' && members.length === 2 && members.every(holds);
  });
}

async function addresses(): Promise<string[]> {
  return (await replicaPods(set)).map(({ status }) => status?.podIP ?? '').toSorted();
}

/** Which servers sessions of their own read, so many times each. */
async function readsOf(sessions: number): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  for (let n = 0; n < sessions; n += 1) {
    const { at } = await readOnce<{ at: string }>(
      config,
      'SELECT host(inet_server_addr()) AS at FROM items LIMIT 1',
    );
    counts.set(at, (counts.get(at) ?? 0) + 1);
  }
  return counts;
}

async function instances(): Promise<(string | undefined)[]> {
  return (await poolerPods(pooler)).map(({ metadata }) => metadata.uid);
}

it('sends writes to the primary and reads to the members, by weight; a new weight restarts nothing', async () => {
  const before = await instances();
  const primary = (await primaryPod(cluster)).status?.podIP;
  const write = 'INSERT INTO items VALUES (11) RETURNING host(inet_server_addr()) AS at';
  expect(await readOnce(config, write)).toEqual({ at: primary });
  expect([...(await readsOf(12)).keys()].toSorted()).toEqual(await addresses());
  await applyPooler(pooler, wish({ primaryWeight: 1, readReplicaSets: [{ name: set.name, weight: 0 }] }));
  await waitForBackends('no member has a weight', ({ weight }) => weight === 0);
  await waitUntilPooling(pooler);
  expect([...(await readsOf(4)).keys()]).toEqual([primary]);
  expect(await instances()).toEqual(before);
});

it('shows a transaction what it has written', async () => {
  const client = await connectPooler(config);
  try {
    for (let n = 100; n < 110; n += 1) {
      await client.query('BEGIN');
      await client.query('INSERT INTO items VALUES ($1)', [n]);
      const { rows } = await client.query('SELECT count(*)::int AS n FROM items WHERE id = $1', [n]);
      expect(rows).toEqual([{ n: 1 }]);
      await client.query('COMMIT');
    }
  } finally {
    await client.end();
  }
});

it('reads nothing from a member that lags, though it is in rotation', async () => {
  const [late] = await replicaPods(set);
  if (late === undefined) throw new Error('no member');
  const release = await holdReplay(target, [late]);
  try {
    await waitFor('new sessions read the other', async () => {
      await query(target, 'INSERT INTO items VALUES (2000)');
      const counts = await readsOf(8);
      return counts.has(late.status?.podIP ?? '') ? { state: [...counts] } : { done: counts };
    });
    expect(await readOnce(config, 'SELECT count(*) > 0 AS fresh FROM items WHERE id = 2000')).toEqual({
      fresh: true,
    });
    await waitForPooler(pooler, 'the lag is shown', ({ backends = [] }) =>
      backends.some(({ name, lagSeconds }) => name === late.metadata.name && lagSeconds > 1),
    );
  } finally {
    await release();
  }
  await waitFor('it is read again', async () => {
    await query(target, 'INSERT INTO items VALUES (2001)');
    const counts = await readsOf(4);
    return counts.has(late.status?.podIP ?? '') ? { done: counts } : { state: [...counts] };
  });
});

it('follows the primary in a failover, and restarts nothing', async () => {
  const before = await instances();
  const primary = await primaryPod(cluster);
  await kubectl(['delete', 'pod', '-n', namespace, primary.metadata.name, '--grace-period=0', '--force']);
  // For a moment the server whose pod is gone already may still answer.
  const at = await waitFor('writes go on elsewhere', async () => {
    const row = await readOnce<{ at: string }>(
      config,
      'INSERT INTO items VALUES (12) RETURNING host(inet_server_addr()) AS at',
    );
    return row.at === primary.status?.podIP ? { state: row } : { done: row.at };
  });
  expect(at).toBe((await primaryPod(cluster)).status?.podIP);
  await waitForBackends('both members are read again', ({ instances }) => instances === 2);
  // A process that kept a connection to the one before takes a second for a new one, more on a node that hears of it late.
  const reads = await waitFor('all sessions are served again', async () => ({ done: await readsOf(8) }));
  expect([...reads.keys()].every((address) => address !== at)).toBe(true);
  expect(await instances()).toEqual(before);
});

it.each([
  ['a pool mode', { ...wish(), poolMode: 'session' as const }, /remove "poolMode"/],
  ['a role', { ...wish(), target: { cluster: 'shop', role: 'ro' as const } }, /write "role: rw"/],
  ['no pgpool', { engine: 'pgpool' as const }, /write both \(with pgpool.readReplicaSets\)/],
  ['pgpool without its engine', { pgpool: wish().pgpool }, /belongs to engine "pgpool"/],
  ['a setting of ours', wish({ parameters: { failover_command: 'x' } }), /Patroni alone decides/],
])('refuses %s', async (_, spec, message) => {
  await expect(applyPooler({ ...pooler, name: 'refused' }, spec)).rejects.toThrow(message);
});

it('says what is wrong, and goes on as it is', async () => {
  await applyPooler(pooler, wish({ readReplicaSets: [{ name: 'nobody' }] }));
  await waitForPooler(pooler, 'it is Degraded', ({ conditions = [] }) =>
    conditions.some(
      ({ reason, message }) => reason === 'TargetNotFound' && /no ReadReplicaSet "nobody"/.test(message),
    ),
  );
  expect((await readsOf(2)).size).toBeGreaterThan(0);
});
