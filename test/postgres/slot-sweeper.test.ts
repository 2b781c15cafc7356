import { afterAll, beforeAll, expect, it } from 'vitest';
import { shardedClusterSpec } from '../../src/api/v1alpha1/sharded-cluster.ts';
import type { ConnectOptions } from '../../src/postgres/connection.ts';
import { createConnections } from '../../src/postgres/connections.ts';
import { readMemberSlots, renewMemberSlot } from '../../src/postgres/member-slots.ts';
import { slotSweeper } from '../../src/resources/retention/slot-sweeper.ts';
import { shardedClusterType } from '../../src/resources/sharded-cluster/kinds.ts';
import type { Pod } from '../../src/resources/sharded-cluster/kubernetes.ts';
import type { ShardedCluster } from '../../src/resources/sharded-cluster/model.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import type { EventInput } from '../../src/runtime/events.ts';
import type { KubernetesObject } from '../../src/runtime/kubernetes-object.ts';
import { podType, statefulSetType } from '../../src/runtime/kubernetes-types.ts';
import { memoryApi } from '../support/memory-api.ts';
import { sharedPostgres } from '../support/shared-postgres.ts';
import { waitFor } from '../support/wait.ts';
import { makeWorld, rows, type World } from './world.ts';

const namespace = 'test';
const made = [
  'shop_s0_0',
  'shop_s0_1',
  'readers_s0_replicas_0',
  'readers_s0_replicas_1',
  'gone_s0_replicas_0',
];

let world: World;
beforeAll(async () => {
  world = await makeWorld('slots', 1);
  for (const name of [...made, 'warehouse'])
    await rows(world.shard(0).operator, 'SELECT pg_create_physical_replication_slot($1)', name);
});
afterAll(async () => {
  const { operator } = world.shard(0);
  for (const { name } of await readMemberSlots(operator))
    await rows(operator, 'SELECT pg_drop_replication_slot($1)', name);
  await world.close();
});

async function slots(): Promise<string[]> {
  return (await readMemberSlots(world.shard(0).operator)).map(({ name }) => name);
}

it('tells for how long nobody has used a slot', async () => {
  const idle = async () =>
    (await readMemberSlots(world.shard(0).operator)).find(({ name }) => name === 'shop_s0_0')?.idleMs ?? 0;
  const before = await idle();
  expect(before).toBeGreaterThan(0);
  expect(await idle()).toBeGreaterThan(before);
});

it('drops the slot of a member that is copied anew', async () => {
  const { operator } = world.shard(0);
  await rows(operator, 'SELECT pg_create_physical_replication_slot($1)', 'copied_s0_replicas_0');
  const others = (await slots()).filter((name) => name !== 'copied_s0_replicas_0');
  await renewMemberSlot(operator, 'copied-s0-replicas-0');
  expect(await slots()).toEqual(others);
});

it('drops the slots of members that were taken away, and of no other', async () => {
  const api = memoryApi();
  const metadata = (name: string) => ({
    name,
    namespace,
    labels: { 'herdsman.dev/cluster': 'shop' },
  });
  api.create<KubernetesObject>(shardedClusterType, {
    apiVersion: 'herdsman.dev/v1alpha1',
    kind: 'ShardedCluster',
    metadata: metadata('shop'),
    spec: shardedClusterSpec.parse({ storage: { size: '1Gi' } }),
  });
  // A member of the shard restarts, and one of the readers ends while its set already wants only one.
  const sized = { 'shop-s0': 2, 'readers-s0-replicas': 1 };
  for (const [name, replicas] of Object.entries(sized)) {
    const object = {
      apiVersion: 'apps/v1',
      kind: 'StatefulSet',
      metadata: metadata(name),
      spec: { replicas },
    };
    api.create<KubernetesObject>(statefulSetType, object);
  }
  for (const name of ['shop-s0-0', 'readers-s0-replicas-0', 'readers-s0-replicas-1'])
    api.create<KubernetesObject>(podType, { apiVersion: 'v1', kind: 'Pod', metadata: metadata(name) });

  const { host, port, password } = sharedPostgres();
  const options: ConnectOptions = {
    host,
    port,
    database: world.shard(0).database,
    user: 'herdsman',
    password,
    tls: 'off',
  };
  const connections = createConnections();
  const events: EventInput[] = [];
  const pods = api.informer<Pod>(podType, {});
  const controller = slotSweeper({
    client: api.client,
    sources: { clusters: api.informer<ShardedCluster>(shardedClusterType, {}), pods },
    replicas: { pods },
    connections,
    events: { record: (_, event) => void events.push(event), flush: async () => undefined },
    findPrimaries: async () => new Map([['s0', options]]),
    clock: systemClock,
    patienceMs: 50,
  }).start({ signal: new AbortController().signal });
  try {
    const kept = ['readers_s0_replicas_0', 'readers_s0_replicas_1', 'shop_s0_0', 'shop_s0_1', 'warehouse'];
    await waitFor('the slot of a set that is gone is dropped', async () => {
      const found = await slots();
      return found.includes('gone_s0_replicas_0') ? { state: found } : { done: found };
    });
    expect(await slots()).toEqual(kept);
    api.delete(podType, { namespace, name: 'readers-s0-replicas-1' });
    api.delete(podType, { namespace, name: 'shop-s0-0' });
    await waitFor('the slot of the member is dropped', async () => {
      const found = await slots();
      return found.includes('readers_s0_replicas_1') ? { state: found } : { done: found };
    });
    expect(await slots()).toEqual(kept.filter((name) => name !== 'readers_s0_replicas_1'));
    expect(events).toMatchObject([{ reason: 'SlotDropped' }, { reason: 'SlotDropped' }]);
  } finally {
    await controller.stop(5_000);
    await connections.close();
  }
});
