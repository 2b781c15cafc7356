import { beforeAll, describe, expect, it } from 'vitest';
import { readReplicaSetType } from '../../src/resources/sharded-cluster/kinds.ts';
import { persistentVolumeClaimType, serviceType } from '../../src/runtime/kubernetes-types.ts';
import { kube } from '../support/cluster.ts';
import { apply } from '../support/kubectl.ts';
import { query } from '../support/pg.ts';
import { applyPodAutoscaler } from '../support/pod-autoscaler.ts';
import {
  applySet,
  inPod,
  readConfig,
  readOnce,
  readSet,
  replicaPods,
  waitForSet,
  waitForSetEvent,
  waitUntilServing,
} from '../support/read-replica-set.ts';
import { namespaceForFile } from '../support/scene.ts';
import {
  applyCluster,
  type ClusterKey,
  primaryPod,
  shardedClusterType,
  waitForEvent,
  waitUntilReady,
} from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';

// What the object alone tells is refused at admission: see api.test.ts.

const namespace = namespaceForFile('replica-limits');
const cluster: ClusterKey = { namespace, name: 'shop' };
const set: ClusterKey = { namespace, name: 'readers' };
/** It streams from a standby, and takes no sender of the primary's. */
const scaled: ClusterKey = { namespace, name: 'scaled' };
const fleeting = { cluster: cluster.name, deletionPolicy: 'delete', holdPeriod: '1s' } as const;
let removeAutoscaler: () => Promise<void>;

beforeAll(async () => {
  await applyCluster(cluster, { members: 2 });
  await applySet(set, { ...fleeting, replicas: 2, maxConcurrentClones: 2 });
  await waitUntilReady(cluster);
  await waitUntilServing(set, 2);
  await applySet(scaled, { cluster: cluster.name, source: 'standby' });
  // An idle member uses more than that. It takes its time, since what pods use is measured now and then.
  const scaling = { ...scaled, kind: 'ReadReplicaSet', maxReplicas: 2, cpuPercent: 1 } as const;
  removeAutoscaler = await applyPodAutoscaler(scaling);
});

/** Waits until the set says what is amiss. */
async function expectDegraded(key: ClusterKey, reason: string, message: RegExp): Promise<void> {
  await waitForSet(key, `Degraded because of ${reason}`, ({ conditions = [] }) =>
    conditions.some(
      (condition) =>
        condition.type === 'Degraded' &&
        condition.status === 'True' &&
        condition.reason === reason &&
        message.test(condition.message),
    ),
  );
  await waitForSetEvent(key, message);
}

async function deleteSet(key: ClusterKey): Promise<void> {
  await (await kube()).delete(readReplicaSetType, key);
}

describe('a condition and an event tell of', () => {
  it('a cluster that is not there', async () => {
    const lost: ClusterKey = { namespace, name: 'lost' };
    await applySet(lost, { cluster: 'nowhere' });
    await expectDegraded(lost, 'ClusterNotFound', /no ShardedCluster "nowhere"/);
    await deleteSet(lost);
  });

  it('a shard that is not there', async () => {
    const astray: ClusterKey = { namespace, name: 'astray' };
    await applySet(astray, { cluster: cluster.name, shards: ['s7'] });
    await expectDegraded(astray, 'ShardNotFound', /no shard s7/);
    await deleteSet(astray);
  });

  it('more members than servers can feed, with the number', async () => {
    const many: ClusterKey = { namespace, name: 'many' };
    await applySet(many, { cluster: cluster.name, replicas: 32 });
    // 20 slots, of which one is for the standby, two for the readers, four are kept for moves, and up to two for the scaled set.
    await expectDegraded(many, 'TooManyMembers', /room for 1[1-3] of 32 members.*max_replication_slots 20/);
    await deleteSet(many);
  });

  it('volumes that are smaller than the data', async () => {
    const narrow: ClusterKey = { namespace, name: 'narrow' };
    await applySet(narrow, { cluster: cluster.name, storage: { size: '8Mi' } });
    await expectDegraded(
      narrow,
      'StorageTooSmall',
      /a member's volume would have 8 MiB: raise spec.storage.size/,
    );
    expect(await replicaPods(narrow)).toEqual([]);
    await deleteSet(narrow);
  });

  it('an object of somebody else that has the name of one of its own', async () => {
    const taken: ClusterKey = { namespace, name: 'taken' };
    const service = {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'taken-s0-read', namespace },
      spec: { selector: { app: 'mine' }, ports: [{ port: 80 }] },
    };
    await apply(service);
    await applySet(taken, { cluster: cluster.name, source: 'standby' });
    await expectDegraded(taken, 'NameTaken', /Service taken-s0-read is there and is not of this set/);
    const key = { namespace, name: 'taken-s0-read' };
    const left = await (await kube()).get(serviceType, key);
    expect(left).toMatchObject({ spec: { selector: { app: 'mine' } } });
    await (await kube()).delete(serviceType, key);
    await waitUntilServing(taken, 1);
    await deleteSet(taken);
  });

  it('a volume that a set of the same name left, with the data of another cluster', async () => {
    const again: ClusterKey = { namespace, name: 'again' };
    const name = 'data-again-s0-replicas-0';
    const labels = {
      'app.kubernetes.io/managed-by': 'herdsman',
      'herdsman.dev/cluster': 'former',
      'herdsman.dev/replica-set': again.name,
      'herdsman.dev/shard': 's0',
    };
    await apply({
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name, namespace, labels },
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
    });
    await applySet(again, { cluster: cluster.name, source: 'standby' });
    await expectDegraded(again, 'VolumeOfOtherData', /holds data of ShardedCluster "former"/);
    expect(await replicaPods(again)).toEqual([]);
    await (await kube()).delete(persistentVolumeClaimType, { namespace, name });
    await waitUntilServing(again, 1);
    await deleteSet(again);
  });
});

it('is scaled by a HorizontalPodAutoscaler', async () => {
  await waitUntilServing(scaled, 2);
  expect((await readSet(scaled)).spec.replicas).toBe(2);
  await removeAutoscaler();
  await deleteSet(scaled);
});

describe('a member that is taken away', () => {
  async function expectSlots(names: readonly string[]): Promise<void> {
    const { metadata } = await primaryPod(cluster);
    await waitFor('the slots of members that are there, and no other', async () => {
      const found = await inPod(
        namespace,
        metadata.name,
        "SELECT slot_name FROM pg_replication_slots WHERE slot_name LIKE 'readers%' ORDER BY 1",
      );
      return found === names.join('\n') ? { done: true } : { state: found };
    });
  }

  async function expectClaims(names: readonly string[]): Promise<void> {
    await waitFor('the volumes of members that are there', async () => {
      const { items } = await (await kube()).list(persistentVolumeClaimType, {
        namespace,
        labelSelector: `herdsman.dev/replica-set=${set.name}`,
      });
      const found = items.map(({ metadata }) => metadata.name).toSorted();
      return found.join() === names.join() ? { done: true } : { state: found };
    });
  }

  it('takes its slot along, and after the hold period its volume', async () => {
    await expectSlots(['readers_s0_replicas_0', 'readers_s0_replicas_1']);
    await applySet(set, { ...fleeting, replicas: 1 });
    await waitUntilServing(set, 1);
    await expectSlots(['readers_s0_replicas_0']);
    await waitForEvent(cluster, /SlotDropped.*readers_s0_replicas_1/);
    await expectClaims(['data-readers-s0-replicas-0']);
  });

  it('does not go when its cluster does, and follows it again', async () => {
    await (await kube()).delete(shardedClusterType, cluster);
    await expectDegraded(set, 'ClusterNotFound', /no ShardedCluster "shop"/);
    await waitForSet(set, 'the member stays', ({ shards }) => shards?.[0]?.members[0]?.rotation === 'in');
    const [before] = await replicaPods(set);
    await applyCluster(cluster, { members: 2 });
    await waitUntilReady(cluster);
    await waitUntilServing(set, 1);
    await query({ namespace, cluster: cluster.name }, 'CREATE TABLE late (id int)');
    const config = await readConfig(set, cluster.name);
    await waitFor('it has the new table', async () => {
      const row = await readOnce<{ name: string | null }>(config, "SELECT to_regclass('late') AS name");
      return row.name === 'late' ? { done: true } : { state: row };
    });
    expect((await replicaPods(set))[0]?.metadata.uid).toBe(before?.metadata.uid);
    await waitForSet(set, 'served by members', ({ shards }) => shards?.[0]?.servedBy === 'members');
  });

  it('takes them along with the whole set', async () => {
    await deleteSet(set);
    await expectSlots([]);
    await expectClaims([]);
  });
});
