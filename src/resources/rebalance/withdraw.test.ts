import { describe, expect, it } from 'vitest';
import { shardMoveSpec } from '../../api/v1alpha1/shard-move.ts';
import type { ShardMove } from '../shard-move/model.ts';
import { sketchCluster } from './sketch.ts';
import { withdrawalOf } from './withdraw.ts';

const ours = { 'app.kubernetes.io/managed-by': 'herdsman' };

function shardMove(name: string, more: Partial<ShardMove> = {}, metadata: object = {}): ShardMove {
  return {
    apiVersion: 'herdsman.dev/v1alpha1',
    kind: 'ShardMove',
    metadata: { name, namespace: 'test', uid: name, labels: ours, ...metadata },
    spec: shardMoveSpec.parse({ cluster: 'shop', group: 'customer', buckets: [7], to: 's1' }),
    ...more,
  };
}

describe('what is taken back when the rebalancer may move nothing any more', () => {
  const ending = { reason: 'FailedOver', message: 'a new primary', next: 'copy' as const };
  const waiting = [
    shardMove('new'),
    shardMove('waiting', { status: { phase: 'preflight', from: 's0', message: 'ShardBusy: s1' } }),
  ];
  const others = [
    shardMove('under-way', { status: { phase: 'prepare', from: 's0' } }),
    shardMove('rolls-back', { status: { phase: 'preflight', from: 's0', ending } }),
    shardMove('retained', { status: { phase: 'retain', from: 's0' } }),
    shardMove('of-a-user', {}, { labels: {} }),
    shardMove('goes', {}, { deletionTimestamp: '2026-01-09T11:00:00Z' }),
  ];

  it.each([
    [{ dryRun: true }, 'spec.rebalance.dryRun is true'],
    [{ mode: 'manual' }, 'spec.rebalance.mode is manual'],
    [{ mode: 'off' }, 'spec.rebalance.mode is off'],
  ])('%j: its own ShardMoves that have not begun', (rebalance, why) => {
    const cluster = sketchCluster({ rebalance });
    expect(withdrawalOf(cluster, [...waiting, ...others])).toEqual({ moves: waiting, why });
    expect(withdrawalOf(cluster, others)).toBeUndefined();
  });

  it('is nothing while it may', () => {
    const window = { start: '22:00', end: '22:01' };
    expect(withdrawalOf(sketchCluster({}), waiting)).toBeUndefined();
    expect(withdrawalOf(sketchCluster({ rebalance: { window } }), waiting)).toBeUndefined();
  });
});
