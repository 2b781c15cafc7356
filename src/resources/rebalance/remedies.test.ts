import { describe, expect, it } from 'vitest';
import type { RebalanceView } from './model.ts';
import { shardMoveFor } from './moves.ts';
import { decideRebalance } from './plan.ts';
import { type Sketch, sketchCluster, sketchMap, sketchMeasurements, sketchView, start } from './sketch.ts';

const hash: Sketch = { owners: 3, shards: { count: 3 } };
const directory: Sketch = {
  ...hash,
  tables: [{ name: 'accounts', strategy: 'directory', key: 'tenant', buckets: 6 }],
};
const hotKey = (group: string) => ({ hotKeys: [{ group, id: 0, value: 'acme', share: 0.7 }] });

/** Bucket 0 has nearly all of the load of shard s0, which is hot; s2 is used least. */
function view(sketch: Sketch = hash, more: object = {}, facts: Partial<RebalanceView> = {}): RebalanceView {
  const cluster = sketchCluster(sketch);
  const map = sketchMap(cluster, 3);
  const measured = sketchMeasurements(map, { s0: 0.95, s1: 0.3, s2: 0.2 }, 5, 0);
  return sketchView(sketch, { map, measurements: { ...measured, ...more }, ...facts });
}

const created = (world: RebalanceView) => decideRebalance(world, undefined).create;

describe('heat that no shard can bear', () => {
  it('has its bucket split on the way to the shard that is used least', () => {
    const [move, ...others] = created(view());
    expect(others).toEqual([]);
    expect(move).toMatchObject({
      group: 'customer',
      id: 0,
      from: 's0',
      to: 's2',
      reason: 'hot',
      operation: 'split',
    });
    if (move === undefined) throw new Error('nothing is made');
    expect(shardMoveFor(sketchCluster(hash), move)).toMatchObject({
      metadata: { annotations: { 'herdsman.dev/reason': 'hot' } },
      spec: { operation: 'split', buckets: [0], from: 's0', to: 's2' },
    });
  });

  it('has its bucket split on the way to a shard that has room', () => {
    const roomy = view();
    const { measurements } = roomy;
    const full = measurements.latest.get('s2');
    if (full === undefined) throw new Error('s2 is not measured');
    const stats = { ...full.stats, usedBytes: 2 ** 40 };
    const latest = new Map([...measurements.latest, ['s2', { ...full, stats }] as const]);
    expect(created(view(hash, { latest }))).toMatchObject([{ operation: 'split', to: 's1' }]);
  });

  it('has its tenant isolated, where there is a default', () => {
    const [move] = created(view(directory, hotKey('accounts')));
    expect(move).toMatchObject({ operation: 'isolate', tenant: 'acme', id: 0, reason: 'hot' });
    if (move === undefined) throw new Error('nothing is made');
    const { spec } = shardMoveFor(sketchCluster(directory), move) as { spec?: object };
    expect(spec).toMatchObject({ operation: 'isolate', tenant: 'acme' });
    expect(spec).not.toHaveProperty('buckets');
  });

  const movedBucket = { group: 'customer', id: 90, from: 's0', to: 's1' };
  const base = { name: 'm', group: 'customer', buckets: [movedBucket], isReshape: true };
  it.each<[string, RebalanceView]>([
    ['its heat is one key, which a split leaves whole', view(hash, hotKey('customer'))],
    ['load is not what is balanced', view({ ...hash, rebalance: { strategy: 'byCount' } })],
    ['nothing may be moved', view({ ...hash, rebalance: { dryRun: true } })],
    [
      'something moves',
      view(hash, {}, { moves: [{ ...base, buckets: [{ ...movedBucket, id: 3 }], isRunning: true }] }),
    ],
    [
      'the group was changed lately',
      view(hash, {}, { moves: [{ ...base, isRunning: false, movedAtMs: start.getTime() - 60_000 }] }),
    ],
    ['there is no other shard', view({ owners: 1, shards: { count: 1 } }, {}, {})],
  ])('is left as it is when %s', (_, world) => {
    expect(created(world).filter(({ operation }) => operation !== undefined)).toEqual([]);
  });

  it('is split again when the group has rested', () => {
    const moves = [{ ...base, isRunning: false, movedAtMs: start.getTime() - 700_000 }];
    expect(created(view(hash, {}, { moves }))).toMatchObject([{ operation: 'split' }]);
  });

  // Which bucket the tenant is in is not known before the move begins, nor when it was refused.
  const isolation = { name: 'm', group: 'accounts', buckets: [], isReshape: true, isRunning: false };
  const failedAgo = (ms: number) => ({ ...isolation, failedAtMs: start.getTime() - ms });
  it.each([
    ['not isolated again while that has not begun', { ...isolation, isRunning: true }, []],
    ['not isolated again when that has just been refused', failedAgo(1_000), []],
    ['isolated again when the group has rested since that was refused', failedAgo(700_000), ['isolate']],
    ['isolated when another group was not changed', { ...failedAgo(1_000), group: 'other' }, ['isolate']],
  ])('is that of a tenant who is %s', (_, move, operations) => {
    const made = created(view(directory, hotKey('accounts'), { moves: [move] }));
    expect(made.flatMap(({ operation }) => operation ?? [])).toEqual(operations);
  });

  it('that cannot be mended does not keep other buckets of the group from leaving a shard', () => {
    const moves = [60, 660, 1_260].map((seconds) => failedAgo(seconds * 1_000));
    const draining = { ...directory, shards: { count: 2 } };
    expect(created(view(draining, hotKey('accounts'), { moves }))).toMatchObject([
      { from: 's2', reason: 'drain' },
    ]);
  });
});
