import { beforeAll, beforeEach, expect, it } from 'vitest';
import {
  persistentVolumeClaimType,
  podType,
  serviceType,
  statefulSetType,
} from '../../src/runtime/kubernetes-types.ts';
import { kube } from '../support/cluster.ts';
import { freeze } from '../support/faults.ts';
import { query } from '../support/pg.ts';
import { inPod } from '../support/read-replica-set.ts';
import { namespaceForFile } from '../support/scene.ts';
import {
  applyCluster,
  type ClusterKey,
  memberPods,
  primaryPod,
  type ShardMap,
  shardMapType,
  waitForAnotherPrimary,
  waitForEvent,
  waitUntilReady,
} from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';

const namespace = namespaceForFile('healing');
const key: ClusterKey = { namespace, name: 'tough' };
const target = { namespace, cluster: key.name };

beforeAll(async () => {
  await applyCluster(key, {
    members: 2,
    schema: [{ name: 'items', sql: 'CREATE TABLE items (id int PRIMARY KEY) PARTITION BY HASH (id)' }],
    tables: [{ name: 'items', strategy: 'hash', key: 'id', buckets: 4 }],
  });
  await waitUntilReady(key);
  await query(target, 'INSERT INTO items SELECT generate_series(1, 1000)');
});

beforeEach(async () => {
  await waitUntilReady(key);
});

async function expectAllRows(): Promise<void> {
  await waitFor('all rows are there', async () => {
    const [row] = await query<{ n: number }>(target, 'SELECT count(*)::int AS n FROM items');
    return row?.n === 1000 ? { done: true } : { state: row };
  });
}

it.each(['tough-s0-rw', 'tough-s0-ro', 'tough-s0'])('makes Service %s again', async (name) => {
  const client = await kube();
  const before = await client.get(serviceType, { namespace, name });
  await client.delete(serviceType, { namespace, name });
  await waitFor('another Service of that name', async () => {
    const now = await client.get(serviceType, { namespace, name });
    return now !== undefined && now.metadata.uid !== before?.metadata.uid ? { done: now } : { state: now };
  });
  await waitUntilReady(key);
  await expectAllRows();
});

it('makes a StatefulSet again, on the same volumes', async () => {
  const client = await kube();
  const name = { namespace, name: 'tough-s0' };
  const before = await client.get(statefulSetType, name);
  await client.delete(statefulSetType, name);
  await waitFor('another StatefulSet', async () => {
    const now = await client.get(statefulSetType, name);
    return now !== undefined && now.metadata.uid !== before?.metadata.uid
      ? { done: now }
      : { state: now?.metadata };
  });
  await waitUntilReady(key);
  await expectAllRows();
});

it('rebuilds a lost ShardMap from the markers, and says so', async () => {
  const client = await kube();
  const before = await client.get<ShardMap>(shardMapType, key);
  await client.delete(shardMapType, key);
  const after = await waitFor('another ShardMap', async () => {
    const now = await client.get<ShardMap>(shardMapType, key);
    return now !== undefined && now.metadata.uid !== before?.metadata.uid
      ? { done: now }
      : { state: now?.metadata };
  });
  const owners = (map: ShardMap | undefined) =>
    map?.spec.groups.map(({ name, buckets }) => [
      name,
      buckets.map(({ id, shard, hash }) => ({ id, shard, hash })),
    ]);
  expect(owners(after)).toEqual(owners(before));
  expect(after.spec.epoch).toBeGreaterThanOrEqual(before?.spec.epoch ?? 1);
  await waitForEvent(key, /MapRebuilt/);
  await expectAllRows();
});

it('fails over when the pod of the primary is deleted', async () => {
  const primary = await primaryPod(key);
  await (await kube()).delete(podType, { namespace, name: primary.metadata.name });
  await waitForAnotherPrimary(key, primary);
  await waitUntilReady(key);
  await expectAllRows();
});

it('copies a standby anew whose volume is gone', async () => {
  const client = await kube();
  const primary = await primaryPod(key);
  const standby = (await memberPods(key)).find((pod) => pod.metadata.uid !== primary.metadata.uid);
  const name = standby?.metadata.name ?? '';
  const claimKey = { namespace, name: `data-${name}` };
  const claim = await client.get(persistentVolumeClaimType, claimKey);
  await client.delete(persistentVolumeClaimType, claimKey);
  await client.delete(podType, { namespace, name });
  await waitFor('another volume', async () => {
    const now = await client.get(persistentVolumeClaimType, claimKey);
    return now !== undefined &&
      now.metadata.uid !== claim?.metadata.uid &&
      now.metadata.deletionTimestamp === undefined
      ? { done: true }
      : { state: now?.metadata };
  });
  await waitUntilReady(key);
  await expectAllRows();
  await waitFor('the standby has all rows', async () => {
    const [row] = await query<{ n: number }>(
      { ...target, service: 'ro' },
      'SELECT count(*)::int AS n FROM items WHERE pg_is_in_recovery()',
    );
    return row?.n === 1000 ? { done: true } : { state: row };
  });
});

it('copies a standby anew whose primary no longer has the WAL that it needs', async () => {
  const primary = await primaryPod(key);
  const standby = (await memberPods(key)).find((pod) => pod.metadata.uid !== primary.metadata.uid);
  if (standby === undefined) throw new Error('there is no standby');
  const { name } = standby.metadata;
  const onPrimary = (sql: string) => inPod(namespace, primary.metadata.name, sql);
  const thaw = freeze(standby);
  try {
    // Its place goes first: a sender of WAL with much to send to nobody does not end.
    const slot = name.replaceAll('-', '_');
    const nextSegment = "SELECT pg_logical_emit_message(false, 'test', ''); SELECT pg_switch_wal()";
    await onPrimary(
      `SELECT pg_terminate_backend(active_pid, 10000) FROM pg_replication_slots WHERE slot_name = '${slot}' AND active;
       SELECT pg_drop_replication_slot('${slot}'); ${nextSegment}; CHECKPOINT`,
    );
    // More than the primary keeps for whoever has no slot.
    for (let segment = 0; segment < 12; segment += 1) await onPrimary(nextSegment);
    await onPrimary('CHECKPOINT');
  } finally {
    await thaw();
  }
  await waitForEvent(key, new RegExp(`MemberCopiedAnew.*${name}`));
  await waitFor('the standby follows', async () => {
    const rows = await onPrimary(`SELECT state FROM pg_stat_replication WHERE application_name = '${name}'`);
    return rows.includes('streaming') ? { done: true } : { state: rows };
  });
  await waitUntilReady(key);
  await expectAllRows();
});
