import { expect, it } from 'vitest';
import type { ShardedCluster } from '../sharded-cluster/model.ts';
import type { ShardMove } from './model.ts';
import { suspendedText } from './suspended.ts';

const deleted = { metadata: { deletionTimestamp: '2026-01-09T11:00:00Z' } };
const cancelled = { spec: { cancel: true } };
const ending = { reason: 'SlotLost', message: 'the slot is gone', next: 'copy' };
const back = 'spec.suspend of the cluster is true: what was begun is taken back when it is false again';
const away =
  'spec.suspend of the cluster is true: what the old shard still has is taken away when it is false again';

it.each([
  ['waits for all that is not asked to end', {}, { phase: 'copy' }, 'the cluster is suspended'],
  ['brings a switch to its end', {}, { phase: 'switch' }, undefined],
  ['brings a switch that is cancelled to its end', cancelled, { phase: 'switch' }, undefined],
  ['cancels what has not begun', cancelled, { from: 's0' }, undefined],
  ['lets go of what has not begun and is deleted', deleted, { from: 's0', phase: 'preflight' }, undefined],
  ['says when what was begun is taken back', cancelled, { from: 's0', phase: 'copy' }, back],
  ['and of a deleted one', deleted, { from: 's0', phase: 'verify' }, back],
  ['and of one that was rolling back', cancelled, { from: 's0', phase: 'preflight', ending }, back],
  ['says when the rest of a deleted one goes', deleted, { from: 's0', phase: 'retain' }, away],
])('a suspended cluster %s', (_, asked, status, text) => {
  const shardMove = { metadata: {}, spec: {}, ...asked, status } as unknown as ShardMove;
  const cluster = (suspend: boolean) => ({ spec: { suspend } }) as ShardedCluster;
  expect(suspendedText(shardMove, cluster(true))).toBe(text);
  expect(suspendedText(shardMove, cluster(false))).toBeUndefined();
});
