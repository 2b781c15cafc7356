import { expect, it } from 'vitest';
import { shardMoveSpec } from '../../api/v1alpha1/shard-move.ts';
import { sketchCluster } from '../rebalance/sketch.ts';
import { managedByLabel } from '../sharded-cluster/names.ts';
import type { ShardMove } from './model.ts';
import { closedWindow } from './window.ts';

const window = { start: '22:00', end: '04:00' };
const noon = new Date('2026-03-01T12:00:00Z');
const night = new Date('2026-03-01T23:00:00Z');
const cluster = sketchCluster({});

function sketch(spec: object, status: ShardMove['status'] = {}): ShardMove {
  return {
    apiVersion: 'herdsman.dev/v1alpha1',
    kind: 'ShardMove',
    metadata: { name: 'm', namespace: 'test', uid: 'm' },
    spec: shardMoveSpec.parse({ cluster: 'shop', group: 'customer', buckets: [0], to: 's1', ...spec }),
    status,
  };
}

it.each([
  ['that has not begun', {}],
  ['that begins again', { phase: 'preflight' as const, copy: 2 }],
])('a move %s waits for its window', (_, status) => {
  expect(closedWindow(sketch({ window }, status), cluster, noon)).toContain('from 22:00 to 04:00 UTC');
  expect(closedWindow(sketch({ window }, status), cluster, night)).toBeUndefined();
});

it.each([
  ['without a window', sketch({})],
  ['that has begun', sketch({ window }, { phase: 'copy' })],
  ['that is cancelled', sketch({ window, cancel: true })],
  [
    'that is being rolled back',
    sketch({ window }, { phase: 'preflight', ending: { reason: 'A', message: 'b', next: 'failed' } }),
  ],
])('a move %s goes on', (_, move) => {
  expect(closedWindow(move, cluster, noon)).toBeUndefined();
});

it('a move that the rebalancer wrote, and no other, keeps to the window of the cluster as it is by now', () => {
  const nightly = sketchCluster({ rebalance: { window } });
  const move = sketch({});
  const ours = { ...move, metadata: { ...move.metadata, labels: { [managedByLabel]: 'herdsman' } } };
  expect(closedWindow(ours, nightly, noon)).toBe(
    'spec.rebalance.window of the cluster lets it start from 22:00 to 04:00 UTC',
  );
  expect(closedWindow(ours, nightly, night)).toBeUndefined();
  expect(closedWindow(ours, cluster, noon)).toBeUndefined();
  expect(closedWindow(move, nightly, noon)).toBeUndefined();
  const own = { ...ours, spec: { ...ours.spec, window: { start: '11:00', end: '13:00' } } };
  expect(closedWindow(own, nightly, noon)).toBeUndefined();
});
