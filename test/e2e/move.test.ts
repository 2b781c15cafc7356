import { beforeAll, describe, expect, it } from 'vitest';
import { apiVersion } from '../../src/api/v1alpha1/common.ts';
import type { ShardMove } from '../../src/resources/shard-move/model.ts';
import { shardMoveType } from '../../src/resources/sharded-cluster/kinds.ts';
import { kube } from '../support/cluster.ts';
import { refusal } from '../support/kubectl.ts';
import {
  applicationOf,
  bucketOf,
  createMove,
  makeCustomers,
  ordersSpec,
  readMap,
  readOrders,
  remains,
  waitForEnd,
} from '../support/move-scene.ts';
import { startWriters } from '../support/move-writers.ts';
import { namespaceForFile } from '../support/scene.ts';
import { applyCluster, type ClusterKey, waitUntilReady } from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';

const namespace = namespaceForFile('move');
const key: ClusterKey = { namespace, name: 'shop' };
let customers: number[] = [];

/** Three members: every commit, and each half of the switch, waits for a standby. */
beforeAll(async () => {
  await applyCluster(key, {
    ...ordersSpec(4),
    members: 3,
    shards: { count: 2 },
    rebalance: { mode: 'off' },
  });
  await waitUntilReady(key, { timeoutMs: 240_000 });
  customers = await makeCustomers(key, 50);
});

describe('a ShardMove', () => {
  it('moves a bucket there and back under writers, which see no error', async () => {
    const writers = startWriters(applicationOf(key, 5_000), customers, { writers: 8, everyMs: 10 });
    for (const [name, to] of [
      ['there', 's1'],
      ['back', 's0'],
    ] as const) {
      await createMove(key, name, { bucket: 0, to });
      const status = await waitForEnd(key, name);
      expect(status, JSON.stringify(status)).toMatchObject({
        ...{ phase: 'done', failures: 0, fenceMs: expect.any(Number) },
      });
      const { shard, pending } = await bucketOf(key, 0);
      expect([shard, pending]).toEqual([to, undefined]);
      // The decision, for which writers wait, is spared the record of who wrote which field.
      expect((await readMap(key)).metadata.managedFields).toBeUndefined();
      console.log(`move ${name}: fenced for ${status.fenceMs} ms`);
    }
    const report = await writers.stop();
    console.log(`${report.acknowledged} commits, longest gap ${Math.round(report.longestGapMs)} ms`);
    expect([...report.errors, ...report.violations].slice(0, 5)).toEqual([]);
    expect(report.redirected).toBeGreaterThan(0);
    expect(report.ledger.judge(await readOrders(key))).toEqual({
      lost: [],
      stale: [],
      doubled: [],
      strange: [],
    });
    expect(await remains(key)).toEqual([]);
  });

  it('that is deleted ends without a trace, or when it is done', async () => {
    await createMove(key, 'dropped', { bucket: 0, to: 's1' });
    await (await kube()).delete(shardMoveType, { namespace, name: 'dropped' });
    await waitFor('it is gone', async () => {
      const found = await (await kube()).get<ShardMove>(shardMoveType, { namespace, name: 'dropped' });
      return found === undefined ? { done: true } : { state: found.status };
    });
    expect(await remains(key)).toEqual([]);
  });

  it.each([
    ['onto the shard that it comes from', { from: 's1', to: 's1' }, '"to" is where the bucket is already'],
    ['of no bucket', { to: 's1', buckets: [] }, 'buckets'],
    ['of a bucket twice', { to: 's1', buckets: [0, 0] }, 'buckets'],
    ['slower than can be', { to: 's1', maxBytesPerSecond: 1 }, 'maxBytesPerSecond'],
  ])('%s is refused by the API server', async (_, spec, says) => {
    const object = {
      apiVersion,
      kind: 'ShardMove',
      metadata: { namespace, name: 'wrong' },
      spec: { cluster: 'shop', group: 'customer', buckets: [0], ...spec },
    };
    expect(await refusal(object)).toContain(says);
  });
});
