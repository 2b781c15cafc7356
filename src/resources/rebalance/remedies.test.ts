import { describe, expect, it } from 'vitest';
import type { RebalanceView } from './model.ts';
import { shardMoveFor } from './moves.ts';
import { decideRebalance } from './plan.ts';
import { type Sketch, sketchCluster, sketchMap, sketchMeasurements, sketchView, start } from './sketch.ts';
import { statusOf } from './status.ts';

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
  const reshape = { name: 'm', isReshape: true, isRunning: false };
  const isolation = { ...reshape, group: 'accounts', buckets: [], tenant: 'acme' };
  const failedAgo = (ms: number) => ({ ...isolation, failedAtMs: start.getTime() - ms });
  it.each([
    ['not isolated again while that has not begun', { ...isolation, isRunning: true }, []],
    ['not isolated again when that has just been refused', failedAgo(1_000), []],
    ['not isolated again when that has just been cancelled', { ...failedAgo(1_000), isCancelled: true }, []],
    ['isolated again when the group has rested since that was refused', failedAgo(700_000), ['isolate']],
    ['isolated when another group was not changed', { ...failedAgo(1_000), group: 'other' }, ['isolate']],
  ])('is that of a tenant who is %s', (_, move, operations) => {
    const made = created(view(directory, hotKey('accounts'), { moves: [move] }));
    expect(made.flatMap(({ operation }) => operation ?? [])).toEqual(operations);
  });

  /** So many failures in a row, the last one so long ago. */
  const failures = (count: number, lastAgoMs: number, tenant = 'acme') =>
    Array.from({ length: count }, (_, index) => ({
      ...failedAgo(lastAgoMs + index * 30_000_000),
      name: `m-${count - index}`,
      tenant,
    }));
  const movedAgo = (ms: number) => ({ ...isolation, movedAtMs: start.getTime() - ms });
  const cancelledAgo = (ms: number) => ({ ...failedAgo(ms), isCancelled: true });
  it.each([
    ['the second time', failures(2, 1_190_000), false],
    ['the second time, and has rested', failures(2, 1_210_000), true],
    ['the third time', failures(3, 2_390_000), false],
    ['the third time, and has rested', failures(3, 2_410_000), true],
    ['for the whole day', failures(30, 21_590_000), false],
    ['for the whole day, and has rested', failures(30, 21_610_000), true],
    ['once, and was cancelled since', [failedAgo(30_000_000), cancelledAgo(610_000)], true],
    ['often for another tenant', failures(30, 610_000, 'globex'), true],
    ['often, and then once since it succeeded', [...failures(30, 610_000), movedAgo(620_000)], true],
  ])('is left longer when isolation has failed %s', (_, moves, isIsolated) => {
    const { create, resting } = decideRebalance(view(directory, hotKey('accounts'), { moves }), undefined);
    expect(create.some(({ operation }) => operation === 'isolate')).toBe(isIsolated);
    expect(resting).toHaveLength(isIsolated ? 0 : 1);
  });

  it('is left longer when splits of its bucket fail, too', () => {
    const buckets = [{ ...movedBucket, id: 0 }];
    const failed = [610_000, 30_000_000].map((ms) => {
      return { ...reshape, group: 'customer', buckets, failedAtMs: start.getTime() - ms };
    });
    expect(created(view(hash, {}, { moves: failed.slice(0, 1) }))).toMatchObject([{ operation: 'split' }]);
    expect(created(view(hash, {}, { moves: failed })).map(({ operation }) => operation)).not.toContain(
      'split',
    );
    const merges = failed.map((move) => ({ ...move, isMerge: true }));
    expect(created(view(hash, {}, { moves: merges }))).toMatchObject([{ operation: 'split' }]);
  });

  it('is told of when what would help has failed', () => {
    const world = view(directory, hotKey('accounts'), { moves: failures(2, 600_000) });
    const message =
      'tenant "acme" of bucket accounts/0 on s0 should be isolated: after failed attempt 2 (see ShardMove m-2) it is tried again at ' +
      '2026-01-09T12:10:00Z';
    expect(statusOf(world, decideRebalance(world, undefined)).rebalance?.stuck).toEqual([message]);
  });

  it.each<[string, NonNullable<Sketch['rebalance']>, string]>([
    ['mode is manual', { mode: 'manual' }, 'mode is manual: write the ShardMoves that you want'],
    ['of a dry run', { dryRun: true }, 'dryRun: nothing is moved'],
    ['the window is closed', { window: { start: '02:00', end: '04:00' } }, 'the window opens at 02:00 UTC'],
  ])('is not said to be tried again because %s', (_, rebalance, why) => {
    const world = view({ ...directory, rebalance }, hotKey('accounts'), { moves: failures(2, 600_000) });
    const message =
      'tenant "acme" of bucket accounts/0 on s0 should be isolated: attempt 2 has failed (see ShardMove m-2); ' +
      why;
    expect(statusOf(world, decideRebalance(world, undefined)).rebalance?.stuck).toEqual([message]);
  });

  it('that cannot be mended does not keep other buckets of the group from leaving a shard', () => {
    const moves = [60, 660, 1_260].map((seconds) => failedAgo(seconds * 1_000));
    const draining = { ...directory, shards: { count: 2 } };
    expect(created(view(draining, hotKey('accounts'), { moves }))).toMatchObject([
      { from: 's2', reason: 'drain' },
    ]);
  });
});
