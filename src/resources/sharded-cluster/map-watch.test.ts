import { expect, it } from 'vitest';
import type { Bucket } from '../../api/v1alpha1/shard-map.ts';
import { isMapChanged } from './map-watch.ts';
import type { ShardMapObject } from './model.ts';

const bucket: Bucket = { id: 0, shard: 's0', epoch: 1, hash: { modulus: 1, remainder: 0 } };
const map = (change: Partial<Bucket>, metadata: object = {}): ShardMapObject => ({
  apiVersion: 'herdsman.dev/v1alpha1',
  kind: 'ShardMap',
  metadata: { name: 'shop', namespace: 'shop', uid: 'u', ...metadata },
  spec: {
    cluster: 'shop',
    epoch: 1,
    groups: [{ name: 'orders', strategy: 'hash', buckets: [{ ...bucket, ...change }] }],
  },
});
const pending = { move: 'there.00000000', attempt: 1 };

it.each<[string, ShardMapObject | undefined, ShardMapObject | undefined, boolean]>([
  ['is made', undefined, map({}), true],
  ['is gone', map({}), undefined, true],
  ['is going', map({}), map({}, { deletionTimestamp: '2026-01-01T00:00:00Z' }), true],
  ['gives a bucket away', map({ pending }), map({ shard: 's1', epoch: 2 }), true],
  ['has another bound', map({}), map({ hash: { modulus: 2, remainder: 0 } }), true],
  ['announces a move', map({}), map({ pending }), false],
  ['takes that back', map({ pending }), map({}), false],
  ['is written as it was', map({}), map({}, { resourceVersion: '2' }), false],
])('a map that %s', (_, old, current, isChanged) => {
  expect(isMapChanged({ kind: 'updated', old, current } as never)).toBe(isChanged);
});
