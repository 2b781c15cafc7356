import { describe, expect, it } from 'vitest';
import { readReplicaSetType } from '../../src/resources/sharded-cluster/kinds.ts';
import { nodeType } from '../../src/runtime/kubernetes-types.ts';
import { startClientPod } from '../support/client-pod.ts';
import { kube } from '../support/cluster.ts';
import { startHeartbeat } from '../support/heartbeat.ts';
import { openClient, query } from '../support/pg.ts';
import {
  applySet,
  copySource,
  inPod,
  patientReplay,
  readConfig,
  readOnce,
  readSet,
  replicaPods,
  waitUntilServing,
  watchCopy,
} from '../support/read-replica-set.ts';
import { replicaSceneForFile } from '../support/replica-scene.ts';
import { followEndpoints } from '../support/service-endpoints.ts';
import { type ClusterKey, type MemberPod, primaryPod } from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';

// What a user chooses of a set, and changes while it serves.

const { namespace, cluster, set, target, maxSeconds, spec } = replicaSceneForFile('replica-settings');
/** No read is staler than the limit, and the 3 s within which a change reaches the Service. */
const stalestMs = (maxSeconds + 3) * 1_000;
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
    const session = await openClient({ ...config, host: draining.status?.podIP ?? '', port: 5432 });
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
      const pod = await startClientPod(cluster, { name: `client-${name}`, node: name });
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
