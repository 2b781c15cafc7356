import { expect, it } from 'vitest';
import { shardMoveSpec } from '../../api/v1alpha1/shard-move.ts';
import { managedByLabel } from '../sharded-cluster/names.ts';
import type { ShardMove } from './model.ts';
import { prunable } from './prune.ts';

const now = new Date('2026-03-01T12:00:00Z');
const hourMs = 3_600_000;

function sketch(
  name: string,
  hoursAgo: number,
  phase = 'done',
  labels = { [managedByLabel]: 'herdsman' },
): ShardMove {
  return {
    apiVersion: 'herdsman.dev/v1alpha1',
    kind: 'ShardMove',
    metadata: { name, namespace: 'test', uid: name, labels },
    spec: shardMoveSpec.parse({ cluster: 'shop', group: 'customer', buckets: [0], to: 's1' }),
    status: { phase: phase as 'done', finishedAt: new Date(now.getTime() - hoursAgo * hourMs).toISOString() },
  };
}

const names = (moves: readonly ShardMove[]) => prunable(moves, now).map(({ metadata }) => metadata.name);

it('finished moves of the operator go after a week', () => {
  expect(names([sketch('young', 167), sketch('old', 169), sketch('failed', 169, 'failed')])).toEqual([
    'old',
    'failed',
  ]);
});

it('no more than a hundred are kept once they are an hour old, the newest first', () => {
  const moves = Array.from({ length: 103 }, (_, index) => sketch(`m${index}`, 2 + index / 100));
  expect(names(moves)).toEqual(['m100', 'm101', 'm102']);
  expect(names(Array.from({ length: 103 }, (_, index) => sketch(`m${index}`, index / 200)))).toEqual([]);
});

it('as many are kept beside the splits and isolations that have failed, by which the rebalancer counts its failures', () => {
  const spec = { cluster: 'shop', group: 'accounts', to: 's1' };
  const reshape = (name: string, phase: string, what: object): ShardMove => ({
    ...sketch(name, 6, phase),
    spec: shardMoveSpec.parse({ ...spec, ...what }),
  });
  const isolate = { operation: 'isolate', tenant: 'acme' };
  const split = { operation: 'split', buckets: [0] };
  const reshapes = [
    reshape('isolate', 'failed', isolate),
    reshape('split', 'failed', split),
    reshape('cancelled', 'cancelled', split),
    reshape('isolated', 'done', isolate),
    sketch('failed', 6, 'failed'),
  ];
  const moves = Array.from({ length: 100 }, (_, index) => sketch(`m${index}`, 2 + index / 100));
  expect(names([...reshapes, ...moves])).toEqual(['cancelled', 'isolated', 'failed']);
});

it.each([
  ['whose retention runs', sketch('kept', 1_000, 'retain')],
  ['that goes on', sketch('kept', 1_000, 'copy')],
  ['that a person wrote', sketch('kept', 1_000, 'done', { [managedByLabel]: 'somebody' })],
])('one %s is kept', (_, move) => {
  expect(names([move])).toEqual([]);
});
