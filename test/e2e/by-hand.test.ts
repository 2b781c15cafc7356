import { beforeAll, describe, expect, it } from 'vitest';
import type { Bucket } from '../../src/api/v1alpha1/shard-map.ts';
import { statefulSetType } from '../../src/runtime/kubernetes-types.ts';
import { kube } from '../support/cluster.ts';
import { kubectl, refusal } from '../support/kubectl.ts';
import {
  applicationOf,
  makeCustomers,
  ordersSpec,
  readMap,
  readOrders,
  remains,
} from '../support/move-scene.ts';
import { startWriters, type Writers } from '../support/move-writers.ts';
import { RowLedger } from '../support/row-ledger.ts';
import { namespaceForFile } from '../support/scene.ts';
import {
  applyCluster,
  type ClusterKey,
  eventsOf,
  readCluster,
  type ShardMap,
  shardMapType,
  waitForCondition,
  waitForEvent,
  waitUntilReady,
} from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';

const namespace = namespaceForFile('by-hand');
const key: ClusterKey = { namespace, name: 'shop' };
const ledger = new RowLedger();
let customers: number[] = [];
let runs = 0;

beforeAll(async () => {
  await applyCluster(key, {
    ...ordersSpec(4),
    members: 1,
    shards: { count: 2 },
    rebalance: { mode: 'off' },
  });
  await waitUntilReady(key, { timeoutMs: 240_000 });
  customers = await makeCustomers(key, 5);
});

/** Writers to every bucket; all of them share one ledger. */
function startWork(): Writers {
  runs += 1;
  return startWriters(applicationOf(key, 2_000), customers, { writers: 2, everyMs: 5, ledger, run: runs });
}

async function expectAllRows(): Promise<void> {
  expect(ledger.judge(await readOrders(key))).toEqual({ lost: [], stale: [], doubled: [], strange: [] });
}

describe('a ShardMap that somebody edits', () => {
  const edit = (id: number, change: (bucket: Bucket, epoch: number) => Bucket[]) => (map: ShardMap) => {
    const epoch = map.spec.epoch + 1;
    const [group] = map.spec.groups;
    if (group === undefined) throw new Error('the map has no group');
    const buckets = group.buckets.flatMap((bucket) => (bucket.id === id ? change(bucket, epoch) : bucket));
    return { ...map, spec: { ...map.spec, epoch, groups: [{ ...group, buckets }] } };
  };

  it.each<[string, (map: ShardMap) => ShardMap, RegExp]>([
    [
      'gives a bucket to another shard',
      edit(0, (bucket, epoch) => [{ ...bucket, shard: bucket.shard === 's0' ? 's1' : 's0', epoch }]),
      /MapRepaired .*bucket 0 of group "customer" from shard/,
    ],
    ['loses a bucket', edit(3, () => []), /MapRepaired .*bucket 3 of group "customer" put back/],
    [
      'says other keys',
      edit(1, (bucket) => [{ ...bucket, hash: { modulus: 8, remainder: 1 } }]),
      /MapRepaired .*bucket 1 of group "customer" from .*remainder 1 of 8/,
    ],
    [
      'has a bucket twice',
      edit(2, (bucket, epoch) => [
        bucket,
        { ...bucket, id: 9, epoch, shard: bucket.shard === 's0' ? 's1' : 's0' },
      ]),
      /MapRepaired .*bucket 9 of group "customer" .*taken out/,
    ],
    ['has no group', (map) => ({ ...map, spec: { ...map.spec, groups: [] } }), /MapRepaired .*put back/],
  ])('so that it %s is put right, and writers see nothing of it', async (_, change, told) => {
    const before = (await readMap(key)).spec.groups;
    const work = startWork();
    await (await kube()).update<ShardMap>(shardMapType, change(await readMap(key)));
    await waitFor('the map says what it said', async () => {
      const { groups } = (await readMap(key)).spec;
      return JSON.stringify(groups) === JSON.stringify(before) ? { done: true } : { state: groups };
    });
    await waitForEvent(key, told);
    await waitForCondition(key, { type: 'Ready', status: 'True' });
    const report = await work.stop();
    expect([...report.errors, ...report.violations].slice(0, 5)).toEqual([]);
    expect(await remains(key)).toEqual([]);
    await expectAllRows();
  });

  it.each<[string, (map: ShardMap) => ShardMap, string]>([
    [
      'changes an owner at the old epoch',
      edit(0, (bucket) => [{ ...bucket, shard: bucket.shard === 's0' ? 's1' : 's0' }]),
      'a bucket that changes its owner takes the new epoch of the map',
    ],
    [
      'goes back',
      (map) => ({ ...map, spec: { ...map.spec, epoch: 1 } }),
      'the epoch of a map never goes back',
    ],
    [
      'leaps',
      (map) => ({ ...map, spec: { ...map.spec, epoch: map.spec.epoch + 2_000_000 } }),
      'the epoch of a map does not leap',
    ],
  ])('so that it %s is refused', async (_, change, says) => {
    const { metadata, ...map } = change(await readMap(key));
    expect(await refusal({ ...map, metadata: { name: metadata.name, namespace } })).toContain(says);
  });
});

describe('a shard', () => {
  const sets = (name: string) => async () => (await kube()).get(statefulSetType, { namespace, name });

  it.each([
    [
      'is scaled to nothing',
      ['scale', 'statefulset/shop-s1', '--replicas=0'],
      /PutBack .*had been scaled to 0/,
    ],
    ['is deleted', ['delete', 'statefulset/shop-s1'], /PutBack .*is made again on the volumes/],
  ])('whose StatefulSet %s comes back with all its rows, and that is told', async (_, command, told) => {
    const work = startWork();
    const acknowledged = work.acknowledged();
    await waitFor('writers are at work', async () =>
      work.acknowledged() > acknowledged + 20 ? { done: true } : { state: work.acknowledged() },
    );
    await kubectl([...command, '-n', namespace]);
    await waitForEvent(key, told);
    await waitFor('it has its member again', async () => {
      const found = (await sets('shop-s1')()) as { status?: { readyReplicas?: number } } | undefined;
      const { status } = await readCluster(key);
      const isBack = found?.status?.readyReplicas === 1 && status?.phase === 'Ready';
      return isBack ? { done: true } : { state: [found, status?.conditions] };
    });
    const since = work.acknowledged();
    await waitFor('writers go on', async () =>
      work.acknowledged() > since + 50 ? { done: true } : { state: work.acknowledged() },
    );
    expect((await work.stop()).violations).toEqual([]);
    await expectAllRows();
  });

  it('that is scaled away while nothing may be moved stays, and that is told', async () => {
    await kubectl(['scale', '-n', namespace, 'shardedcluster/shop', '--replicas=1']);
    await waitForCondition(key, { type: 'Degraded', status: 'True' });
    const { status } = await readCluster(key);
    expect(JSON.stringify(status?.conditions)).toContain('ShardOwnsBuckets');
    expect(await sets('shop-s1')()).toBeDefined();
    await expectAllRows();
    await kubectl(['scale', '-n', namespace, 'shardedcluster/shop', '--replicas=2']);
    await waitForCondition(key, { type: 'Degraded', status: 'False' });
    expect((await eventsOf(key)).map(({ reason }) => reason)).not.toContain('ShardRemoved');
    await expectAllRows();
  });
});
