import pg from 'pg';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { readReplicaSetType } from '../../src/resources/sharded-cluster/kinds.ts';
import { nodeType, persistentVolumeClaimType, podType } from '../../src/runtime/kubernetes-types.ts';
import { startClientPod } from '../support/client-pod.ts';
import { kube } from '../support/cluster.ts';
import { startHeartbeat } from '../support/heartbeat.ts';
import { kubectl } from '../support/kubectl.ts';
import { query } from '../support/pg.ts';
import {
  applySet,
  copiesOf,
  copySource,
  holdReplay,
  inPod,
  patientReplay,
  type ReplicaSpec,
  readConfig,
  readOnce,
  readSet,
  replicaPods,
  waitForSet,
  waitForSetEvent,
  waitUntilServing,
  watchCopy,
} from '../support/read-replica-set.ts';
import { pauseReplay } from '../support/replica-faults.ts';
import { namespaceForFile } from '../support/scene.ts';
import { followEndpoints } from '../support/service-endpoints.ts';
import {
  applyCluster,
  type ClusterKey,
  type MemberPod,
  primaryPod,
  waitUntilReady,
} from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';

const namespace = namespaceForFile('replicas');
const cluster: ClusterKey = { namespace, name: 'shop' };
const set: ClusterKey = { namespace, name: 'readers' };
const target = { namespace, cluster: cluster.name };
const maxSeconds = 4;
/** No read is staler than the limit, and the 3 s within which a change reaches the Service. */
const stalestMs = (maxSeconds + 3) * 1_000;
const spec: ReplicaSpec = {
  cluster: cluster.name,
  replicas: 2,
  maxConcurrentClones: 2,
  lag: { maxBytes: '1Mi', maxSeconds },
  parameters: patientReplay,
};

beforeAll(async () => {
  await applyCluster(cluster, { members: 2 });
  await applySet(set, spec);
  await waitUntilReady(cluster);
  await query(target, 'CREATE TABLE items AS SELECT generate_series(1, 1000) AS id');
});

beforeEach(async () => {
  await applySet(set, spec);
  await waitUntilServing(set, 2);
});

async function connectTo(config: pg.ClientConfig): Promise<pg.Client> {
  const client = new pg.Client(config);
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

function memberState(name: string) {
  return waitForSetState((members) => members.find((member) => member.name === name)?.rotation);
}

async function waitForSetState<T>(pick: (members: { name: string; rotation: string }[]) => T): Promise<T> {
  return pick((await readSet(set)).status?.shards?.[0]?.members ?? []);
}

it('reads through the Service, with its name verified, from members that are never promoted or waited for', async () => {
  const config = await readConfig(set, cluster.name);
  expect(
    await readOnce(config, 'SELECT count(*)::int AS n, pg_is_in_recovery() AS standby FROM items'),
  ).toEqual({
    n: 1000,
    standby: true,
  });
  const primary = await primaryPod(cluster);
  const names = (await replicaPods(set)).map(({ metadata }) => metadata.name);
  expect(names).toEqual(['readers-s0-replicas-0', 'readers-s0-replicas-1']);
  const states = await inPod(
    namespace,
    primary.metadata.name,
    "SELECT DISTINCT sync_state FROM pg_stat_replication WHERE application_name LIKE 'readers-%'",
  );
  expect(states).toBe('async');
});

it('leaves the standbys of the shard to their own Service', async () => {
  const { items } = await (await kube()).list(podType, {
    namespace,
    labelSelector: 'herdsman.dev/component=member',
  });
  expect(items.map(({ metadata }) => metadata.name).toSorted()).toEqual(['shop-s0-0', 'shop-s0-1']);
  expect((await waitUntilReady(cluster)).status?.members).toMatchObject({ desired: 2, ready: 2 });
});

describe('lag', () => {
  it('keeps a member whose replay is paused out of the Service, and no read is staler than the limit', async () => {
    const [late] = await replicaPods(set);
    if (late === undefined) throw new Error('there is no member');
    const { name } = late.metadata;
    const heartbeat = await startHeartbeat(target, await readConfig(set, cluster.name), { staysOn: 2 });
    try {
      const release = await pauseReplay(target, late);
      await waitFor('the member is out', async () => {
        const state = await memberState(name);
        return state === 'out' ? { done: true } : { state };
      });
      await waitForSetEvent(set, new RegExp(`MemberLeftRotation.*${name}.*its lag is`));
      // Reads go on for as long as the member would have been stale for twice the limit.
      const reads = heartbeat.reads();
      await waitFor('more reads', () =>
        heartbeat.reads() > reads + 40 ? { done: true } : { state: [...heartbeat.errors] },
      );
      await release();
      await waitUntilServing(set, 2);
      await waitForSetEvent(set, new RegExp(`MemberJoinedRotation.*${name}`));
    } finally {
      await heartbeat.stop();
    }
    expect([...heartbeat.errors]).toEqual([]);
    expect(heartbeat.ended()).toBeGreaterThan(0);
    expect(heartbeat.stalestMs()).toBeLessThanOrEqual(stalestMs);
  });

  it.each([
    ['keepFreshest', 'freshest', true],
    ['primary', 'primary', false],
  ] as const)(
    'of every member leads the Service to whom %s says',
    async (whenNoneFresh, servedBy, standby) => {
      await applySet(set, { ...spec, whenNoneFresh });
      const heartbeat = await startHeartbeat(target, await readConfig(set, cluster.name));
      try {
        const release = await holdReplay(target, await replicaPods(set));
        await waitForSet(set, `served by ${servedBy}`, ({ shards }) => shards?.[0]?.servedBy === servedBy);
        const config = await readConfig(set, cluster.name);
        await waitFor('a read from whom the policy says', async () => {
          const row = await readOnce<{ standby: boolean }>(config, 'SELECT pg_is_in_recovery() AS standby');
          return row.standby === standby ? { done: true } : { state: row };
        });
        await release();
        await waitForSet(set, 'served by members', ({ shards }) => shards?.[0]?.servedBy === 'members');
      } finally {
        await heartbeat.stop();
      }
      // The least late of members that are all late may be as late as it is.
      if (servedBy !== 'freshest') expect(heartbeat.stalestMs()).toBeLessThanOrEqual(stalestMs);
    },
  );
});

it('follows another primary without a new copy', async () => {
  const members = await replicaPods(set);
  const before = await copiesOf(set, members);
  const primary = await primaryPod(cluster);
  await (await kube()).delete(podType, { namespace, name: primary.metadata.name });
  await waitFor('another primary', async () => {
    const now = await primaryPod(cluster);
    return now.metadata.uid !== primary.metadata.uid ? { done: now } : { state: now.metadata.name };
  });
  await waitUntilReady(cluster);
  await query(target, 'INSERT INTO items VALUES (1001)');
  for (const { metadata } of members) {
    await waitFor(`${metadata.name} has the new row`, async () => {
      const found = await inPod(namespace, metadata.name, 'SELECT count(*) FROM items WHERE id = 1001');
      return found === '1' ? { done: true } : { state: found };
    });
  }
  expect(await copiesOf(set, await replicaPods(set))).toEqual(before);
  await waitUntilServing(set, 2);
});

it('copies a member anew whose volume is gone', async () => {
  const client = await kube();
  const name = 'readers-s0-replicas-1';
  const claim = { namespace, name: `data-${name}` };
  const before = await client.get(persistentVolumeClaimType, claim);
  await client.delete(persistentVolumeClaimType, claim);
  await waitFor('another volume', async () => {
    const now = await client.get(persistentVolumeClaimType, claim);
    const isNew = now !== undefined && now.metadata.uid !== before?.metadata.uid;
    return isNew ? { done: true } : { state: now?.metadata };
  });
  await waitUntilServing(set, 2);
});

it('lets a query that runs finish in a member that is taken away', async () => {
  const config = await readConfig(set, cluster.name);
  const sessions = await Promise.all(Array.from({ length: 8 }, () => connectTo(config)));
  try {
    const running = sessions.map((client) => client.query('SELECT pg_sleep(6), inet_server_addr()'));
    await kubectl(['scale', 'readreplicaset', set.name, '-n', namespace, '--replicas=1']);
    const results = await Promise.all(running);
    expect(results.map(({ rows }) => rows.length)).toEqual(sessions.map(() => 1));
  } finally {
    for (const client of sessions) client.end().catch(() => undefined);
  }
  await waitUntilServing(set, 1);
  expect((await replicaPods(set)).map(({ metadata }) => metadata.name)).toEqual(['readers-s0-replicas-0']);
});

it('restarts one member at a time, out of the Service, for a parameter that needs it, and lets its query finish', async () => {
  const startTimes = (pods: readonly MemberPod[]) =>
    Promise.all(
      pods.map(({ metadata }) => inPod(namespace, metadata.name, 'SELECT pg_postmaster_start_time()')),
    );
  const before = await replicaPods(set);
  const started = await startTimes(before);
  const config = await readConfig(set, cluster.name);
  const heartbeat = await startHeartbeat(target, config);
  const endpoints = await followEndpoints(namespace, 'readers-s0-read');
  try {
    await applySet(set, { ...spec, parameters: { ...patientReplay, shared_buffers: '40MB' } });
    const draining = await waitFor('a member leaves', async () => {
      const { status } = await readSet(set);
      const leaving = status?.shards?.[0]?.members.find(({ rotation }) => rotation === 'draining');
      const pod = before.find(({ metadata }) => metadata.name === leaving?.name);
      return pod === undefined ? { state: status } : { done: pod };
    });
    const session = await connectTo({ ...config, host: draining.status?.podIP ?? '', port: 5432 });
    const { rowCount } = await session.query('SELECT pg_sleep(8)');
    session.end().catch(() => undefined);
    expect(rowCount).toBe(1);
    await waitUntilServing(set, 2);
  } finally {
    await heartbeat.stop();
    endpoints.stop();
  }
  expect([...heartbeat.errors]).toEqual([]);
  expect(heartbeat.stalestMs()).toBeLessThanOrEqual(stalestMs);
  const [first = '', second = ''] = before.map(({ status }) => status?.podIP ?? '');
  const both = [first, second].sort();
  const [, left, , leftLater] = endpoints.history();
  expect(endpoints.history()).toEqual([both, left, both, leftLater, both]);
  expect([left, leftLater].sort()).toEqual(both.map((address) => [address]));
  const after = await replicaPods(set);
  expect(after.map(({ metadata }) => metadata.uid)).toEqual(before.map(({ metadata }) => metadata.uid));
  const now = await startTimes(after);
  expect(now.filter((time) => started.includes(time))).toEqual([]);
  for (const { metadata } of after)
    expect(await inPod(namespace, metadata.name, 'SHOW shared_buffers')).toBe('40MB');
});

it('renews one member at a time when their template changes, and says so until it is done', async () => {
  const before = await replicaPods(set);
  const heartbeat = await startHeartbeat(target, await readConfig(set, cluster.name));
  const resources = { requests: { cpu: '30m', memory: '128Mi' }, limits: { memory: '512Mi' } };
  try {
    await applySet(set, { ...spec, resources });
    await waitUntilServing(set, 2);
  } finally {
    await heartbeat.stop();
  }
  expect([...heartbeat.errors]).toEqual([]);
  expect(heartbeat.stalestMs()).toBeLessThanOrEqual(stalestMs);
  const after = await replicaPods(set);
  const uids = new Set(before.map(({ metadata }) => metadata.uid));
  expect(after.filter(({ metadata }) => uids.has(metadata.uid))).toEqual([]);
  const asked = after.map(({ spec: pod }) => pod?.containers?.[0]?.resources);
  expect(asked).toMatchObject([resources, resources]);
});

it('is copied from a standby while there is one, and streams from it when asked to', async () => {
  const copied: ClusterKey = { namespace, name: 'copied' };
  await applySet(copied, { cluster: cluster.name, replicas: 1, source: 'standby', maxCloneRate: '8Mi' });
  const source = (await copySource(cluster)).metadata.name;
  expect(source).not.toBe((await primaryPod(cluster)).metadata.name);
  const { bytes, seconds } = await watchCopy(cluster, source);
  // It may be an eighth of a second ahead of its limit.
  expect(bytes).toBeLessThanOrEqual(8 * 1024 ** 2 * (seconds + 0.25));
  await waitUntilServing(copied, 1);
  const followers = "SELECT application_name FROM pg_stat_replication WHERE application_name LIKE 'copied-%'";
  expect(await inPod(namespace, source, followers)).toBe('copied-s0-replicas-0');
  await (await kube()).delete(readReplicaSetType, copied);
  // Patroni lets go of it on standbys when it is dropped on the primary.
  await waitFor('its slots on the standby are gone', async () => {
    const slots = "SELECT slot_name FROM pg_replication_slots WHERE slot_name LIKE 'copied%'";
    const found = await inPod(namespace, source, slots);
    return found === '' ? { done: true } : { state: found };
  });
});

describe('a workload', () => {
  const settings = `SELECT current_setting('statement_timeout') AS timeout, current_setting('hot_standby_feedback') AS feedback,
    current_setting('recovery_min_apply_delay') AS delay, current_setting('work_mem') AS memory`;

  it('of analysis has its settings on the members', async () => {
    const reports: ClusterKey = { namespace, name: 'reports' };
    await applySet(reports, {
      cluster: cluster.name,
      workload: 'analytics',
      parameters: { work_mem: '32MB' },
    });
    await waitUntilServing(reports, 1);
    const config = await readConfig(reports, cluster.name);
    // Their own settings win over those of the workload.
    expect(await waitFor('it is read', async () => ({ done: await readOnce(config, settings) }))).toEqual({
      ...{ timeout: '0', feedback: 'on', delay: '0', memory: '32MB' },
    });
    await (await kube()).delete(readReplicaSetType, reports);
  });

  it('that is delayed shows the past, and serves', async () => {
    const past: ClusterKey = { namespace, name: 'past' };
    await applySet(past, { cluster: cluster.name, workload: 'delayed', applyDelay: '10s' });
    await waitUntilServing(past, 1);
    const config = await readConfig(past, cluster.name);
    expect(
      await waitFor('it is read', async () => ({ done: await readOnce(config, settings) })),
    ).toMatchObject({ timeout: '0', feedback: 'off', delay: '10s' });
    const [written] = await query<{ at: number }>(
      target,
      'INSERT INTO items VALUES (7000) RETURNING extract(epoch FROM clock_timestamp())::float8 AS at',
    );
    const { shown } = await waitFor('the row is shown', async () => {
      const row = await readOnce<{ shown: number | null }>(
        config,
        `SELECT CASE WHEN EXISTS (SELECT FROM items WHERE id = 7000)
          THEN extract(epoch FROM clock_timestamp())::float8 END AS shown`,
      );
      return row.shown === null ? { state: row } : { done: { shown: row.shown } };
    });
    expect(shown - (written?.at ?? 0)).toBeGreaterThan(9);
    expect((await readSet(past)).status?.shards?.[0]?.members).toMatchObject([{ rotation: 'in' }]);
    await (await kube()).delete(readReplicaSetType, past);
  });
});

it('leads clients to the member in their own zone while there is one', async () => {
  const { items: nodes } = await (await kube()).list(nodeType, {});
  const zoneOf = (node: string | undefined) =>
    nodes.find(({ metadata }) => metadata.name === node)?.metadata.labels?.['topology.kubernetes.io/zone'];
  await applySet(set, { ...spec, distribution: 'nearest' });
  await waitUntilServing(set, 2);
  const members = await replicaPods(set);
  const byZone = new Map(
    members.map(({ spec: pod, status }) => [zoneOf(pod?.nodeName), status?.podIP ?? '']),
  );
  expect(byZone.size).toBe(2);
  const host = `readers-s0-read.${namespace}.svc`;
  const clients = await Promise.all(
    nodes.map(async ({ metadata: { name } }) => {
      const pod = await startClientPod(cluster, `client-${name}`, name);
      const read = `psql -XAtq 'host=${host} dbname=app' -c 'SELECT host(inet_server_addr())'`;
      const readers = async () => {
        const output = await pod.run([
          'sh',
          '-c',
          `for i in 1 2 3 4 5 6 7 8 9 10; do ${read} || exit 1; done`,
        ]);
        return [...new Set(output.trim().split('\n'))];
      };
      return { zone: zoneOf(name), readers };
    }),
  );
  const addresses = [...byZone.values()];
  for (const { zone, readers } of clients) {
    const near = byZone.get(zone);
    await waitFor(`clients in ${zone} are led to ${near ?? 'anybody'}`, async () => {
      const found = await readers();
      const isRight =
        near === undefined ? found.every((address) => addresses.includes(address)) : found.join() === near;
      return isRight ? { done: true } : { state: found };
    });
  }
  await applySet(set, { ...spec, distribution: 'nearest', replicas: 1 });
  await waitUntilServing(set, 1);
  const [left] = await replicaPods(set);
  for (const { readers } of clients) expect(await readers()).toEqual([left?.status?.podIP]);
});

it('gains members in a shard that is added', async () => {
  await applyCluster(cluster, { members: 2, shards: { count: 2 } });
  await waitForSet(set, 'two shards', ({ shards }) => shards?.length === 2);
  await waitUntilServing(set, 2);
  const config = await readConfig(set, cluster.name, 's1');
  expect(await readOnce(config, 'SELECT pg_is_in_recovery() AS standby')).toEqual({ standby: true });
});
