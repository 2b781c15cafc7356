import { expect, it } from 'vitest';
import type { Change } from '../../runtime/informer.ts';
import type { Pod } from '../sharded-cluster/kubernetes.ts';
import { lostPrimary, watchedPrimaries } from './lost-primary.ts';
import { poolerConfig } from './test-support/world.ts';

function pod(role: string, ready: 'True' | 'False' = 'True', uid = 'one'): Pod {
  const labels = { 'herdsman.dev/cluster': 'shop', 'herdsman.dev/shard': 's0', 'herdsman.dev/role': role };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'shop-s0-0', namespace: 'store', uid, labels },
    status: { conditions: [{ type: 'Ready', status: ready }] },
  };
}

const updated = (old: Pod, current: Pod): Change<Pod> => ({ kind: 'updated', old, current });
const shop = { namespace: 'store', cluster: 'shop', shard: 's0' };
const leaving = { ...pod('primary'), metadata: { ...pod('primary').metadata, deletionTimestamp: 'now' } };

it.each([
  ['is deleted', { kind: 'deleted', old: pod('primary'), current: undefined }],
  ['is asked to go', updated(pod('primary'), leaving)],
  ['is no longer ready', updated(pod('primary'), pod('primary', 'False'))],
  ['is replaced by a namesake', updated(pod('primary'), pod('primary', 'True', 'two'))],
] as [string, Change<Pod>][])('a primary that %s is lost', (_what, change) => {
  expect(lostPrimary(change)).toEqual(shop);
});

it.each([
  ['a standby that goes', { kind: 'deleted', old: pod('replica'), current: undefined }],
  ['a primary that hands over and stays', updated(pod('primary'), pod('replica'))],
  ['a primary that was not ready anyway', updated(pod('primary', 'False'), pod('primary', 'False'))],
  ['a new pod', { kind: 'added', old: undefined, current: pod('primary') }],
] as [string, Change<Pod>][])('%s is no loss', (_what, change) => {
  expect(lostPrimary(change)).toBeUndefined();
});

it('primaries are watched for poolers that hold clients back, and for no others', () => {
  const watched = (spec: Record<string, unknown>, led = pod('primary')) =>
    watchedPrimaries([led, pod('replica', 'True', 'two')], [poolerConfig(spec)]);
  expect(watched({})).toEqual([{ shard: shop, uid: 'one' }]);
  expect(watched({}, pod('primary', 'False'))).toEqual([]);
  expect(watched({ maxPause: '0s' })).toEqual([]);
  expect(watched({ target: { cluster: 'shop', role: 'ro' } })).toEqual([]);
  expect(watched({ target: { cluster: 'other' } })).toEqual([]);
});
