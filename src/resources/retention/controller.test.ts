import { expect, test } from 'vitest';
import { memoryApi } from '../../../test/support/memory-api.ts';
import type { EventInput } from '../../runtime/events.ts';
import { keyString, type ObjectKey, type ResourceType } from '../../runtime/kubernetes-object.ts';
import { persistentVolumeClaimType, podType, statefulSetType } from '../../runtime/kubernetes-types.ts';
import { shardedClusterType } from '../sharded-cluster/kinds.ts';
import type { PersistentVolumeClaim, Pod, StatefulSet } from '../sharded-cluster/kubernetes.ts';
import type { ShardedCluster } from '../sharded-cluster/model.ts';
import { type RetentionDependencies, retentionController } from './controller.ts';

const released: PersistentVolumeClaim = {
  apiVersion: 'v1',
  kind: 'PersistentVolumeClaim',
  metadata: {
    name: 'data-shop-s0-2',
    namespace: 'shop',
    labels: { 'herdsman.dev/cluster': 'shop' },
    annotations: {
      'herdsman.dev/released-at': '2026-01-01T00:00:00Z',
      'herdsman.dev/deletion-policy': 'delete',
      'herdsman.dev/hold-period': '7d',
    },
  },
};

/**
 * What one pass over a claim that nobody uses deletes and tells, with a clock of the node and one of the API server, which may
 * show another time once the pass has asked it something.
 */
async function pass(now: string, serverTime: string, laterServerTime = serverTime) {
  const api = memoryApi();
  api.create(persistentVolumeClaimType, released);
  const deleted: string[] = [];
  const told: string[] = [];
  const delaysMs: number[] = [];
  const clock = {
    now: () => new Date(now),
    monotonicMs: () => 0,
    after(ms: number) {
      delaysMs.push(ms);
      return () => undefined;
    },
  };
  let lastServerTime = serverTime;
  const index = 'owner';
  const controller = retentionController({
    client: {
      ...api.client,
      serverTime: () => new Date(lastServerTime),
      async read() {
        lastServerTime = laterServerTime;
        return { state: 'absent' };
      },
      async delete(_: ResourceType, key: ObjectKey) {
        deleted.push(keyString(key));
        return 'gone';
      },
    },
    holder: {
      name: 'retention',
      owners: api.informer<ShardedCluster>(shardedClusterType, {}),
      claims: api.informer<PersistentVolumeClaim>(persistentVolumeClaimType, { [index]: () => [] }),
      statefulSets: api.informer<StatefulSet>(statefulSetType, {}),
      pods: api.informer<Pod>(podType, {}),
      followed: undefined,
      ownerLabel: 'herdsman.dev/cluster',
      index,
      statefulSetOf: () => undefined,
      usageOf: () => 'unused',
    },
    events: {
      record: (_: unknown, { reason, note }: EventInput) => void told.push(`${reason}: ${note}`),
      flush: async () => undefined,
    },
    clock,
  } satisfies RetentionDependencies<ShardedCluster>);
  const stop = new AbortController();
  const outcome = await new Promise((resolve) => {
    controller.start({ signal: stop.signal, clock, onReconciled: resolve });
  });
  stop.abort();
  return { outcome, deleted, told, delaysMs };
}

test('a volume is deleted after its hold period when both clocks say so', async () => {
  const { deleted, told } = await pass('2026-01-09T00:00:00Z', '2026-01-09T00:00:30Z');
  expect(deleted).toEqual(['shop/data-shop-s0-2']);
  expect(told.join()).toContain('VolumeDeleted');
});

test("a node's clock that is weeks ahead deletes nothing", async () => {
  expect(await pass('2026-02-09T00:00:00Z', '2026-01-02T00:00:00Z')).toMatchObject({
    outcome: 'requeue',
    deleted: [],
    told: [],
  });
});

test('one API server whose clock is weeks ahead of that of another deletes nothing', async () => {
  expect(await pass('2026-01-02T00:00:00Z', '2026-02-09T00:00:00Z', '2026-01-02T00:00:00Z')).toMatchObject({
    outcome: 'requeue',
    deleted: [],
    told: [],
  });
});

test('a volume stays while the clocks differ, and an event says why', async () => {
  const { outcome, deleted, told } = await pass('2026-01-02T00:00:00Z', '2026-01-09T00:00:00Z');
  expect({ outcome, deleted }).toEqual({ outcome: 'requeue', deleted: [] });
  expect(told).toEqual([expect.stringMatching(/^VolumeKept: .* 10080 minutes behind/)]);
});

test('a volume is looked at again at once when the last answer was just before the end of its hold period', async () => {
  const due = '2026-01-08T00:00:00.400Z';
  const { outcome, deleted, delaysMs } = await pass(due, due, '2026-01-07T23:59:59.900Z');
  expect({ outcome, deleted }).toEqual({ outcome: 'requeue', deleted: [] });
  expect(delaysMs).toContain(1_000);
});
