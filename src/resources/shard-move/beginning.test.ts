import { expect, it } from 'vitest';
import { shardMoveSpec } from '../../api/v1alpha1/shard-move.ts';
import type { ConnectOptions } from '../../postgres/connection.ts';
import type { Connections } from '../../postgres/connections.ts';
import { UnreachableError } from '../../postgres/postgres-error.ts';
import type { KubeClient } from '../../runtime/kube-client.ts';
import { sketchCluster, sketchMap } from '../rebalance/sketch.ts';
import type { ShardMapObject } from '../sharded-cluster/model.ts';
import { afterPostgresError, beginningOf } from './beginning.ts';
import type { ShardMove } from './model.ts';

it.each([
  ['a right that is missing', '42501', { reason: 'NotPermitted', message: 'no' }],
  ['a question that takes too long', '57014', { requeueAfterMs: 60_000 }],
  ['a lock', '55P03', { requeueAfterMs: 5_000 }],
])('of %s comes, before a move has begun, %s: %o', (_, sqlstate, expected) => {
  expect(afterPostgresError({ sqlstate, message: 'no' })).toEqual(expected);
});

/** Begins the split of a bucket whose shard answers so; tells how often the map was written meanwhile. */
async function begin(use: () => Promise<number>) {
  const cluster = sketchCluster({});
  const map = { spec: sketchMap(cluster) } as ShardMapObject;
  const [group] = map.spec.groups;
  const spec = shardMoveSpec.parse({
    cluster: 'shop',
    operation: 'split',
    group: group?.name,
    buckets: [0],
    to: 's1',
  });
  const shardMove = { metadata: { name: 'm', namespace: 'test', uid: 'uid' }, spec } as ShardMove;
  const written: unknown[] = [];
  const beginning = beginningOf(shardMove, {
    client: { update: async (...about: unknown[]) => written.push(about) } as unknown as KubeClient,
    connections: { use } as unknown as Connections,
    cluster,
    map,
    primaries: new Map([['s0', {} as ConnectOptions]]),
    signal: new AbortController().signal,
  });
  const outcome = await beginning.catch((error: unknown) => error);
  return { outcome, writes: written.length };
}

it('a split takes numbers for its buckets when it knows all that its shard has to tell', async () => {
  const { outcome, writes } = await begin(async () => 8_192);
  expect(outcome).toMatchObject({ from: 's0', parents: [{ id: 0 }], bytes: 8_192 });
  expect(writes).toBe(1);
});

it('a split whose shard does not answer uses up no numbers, however often it is tried', async () => {
  const { outcome, writes } = await begin(() => Promise.reject(new UnreachableError('gone')));
  expect(outcome).toBeInstanceOf(UnreachableError);
  expect(writes).toBe(0);
});
