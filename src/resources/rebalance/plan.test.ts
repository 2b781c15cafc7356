import { describe, expect, it } from 'vitest';
import type { MoveFacts, RebalanceView } from './model.ts';
import { decideRebalance } from './plan.ts';
import { sketchCluster, sketchMap, sketchMeasurements, sketchView, start } from './sketch.ts';

function decide(view: RebalanceView) {
  return decideRebalance(view, view.cluster.status?.autoscaling);
}

/** Two shards own all, and there are four. */
const wider = { owners: 2, shards: { count: 4 } };

describe('the rebalancer', () => {
  it('is at rest when the shards are even', () => {
    const decision = decide(sketchView());
    expect(decision).toMatchObject({ phase: 'Balanced', create: [], running: [], hot: [] });
    expect(decision.message).toBe('every shard is within 10 % of its fair share');
  });

  it('makes ShardMoves onto new shards, one for each pair of shards', () => {
    const { phase, message, create, plan } = decide(sketchView(wider));
    expect({ phase, message }).toEqual({ phase: 'Planned', message: '8 moves planned' });
    expect(create).toEqual([
      { name: 'shop-customer-b0000-e1', group: 'customer', id: 0, from: 's0', to: 's3', reason: 'balance' },
      { name: 'shop-customer-b0001-e1', group: 'customer', id: 1, from: 's1', to: 's2', reason: 'balance' },
    ]);
    expect(plan?.shards.map((shard) => shard.bucketsAfter)).toEqual([4, 4, 4, 4]);
  });

  it('moves nothing onto a shard whose volume has not grown yet', () => {
    const claim = {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name: 'data-shop-s3-0', labels: { 'herdsman.dev/shard': 's3' } },
      status: { capacity: { storage: '100Mi' } },
    };
    const { plan } = decide(sketchView(wider, { claims: [claim] }));
    expect(new Set(plan?.moves.map(({ to }) => to))).toEqual(new Set(['s2']));
  });

  it.each([
    ['dryRun', { dryRun: true }, 'dryRun'],
    ['mode manual', { mode: 'manual' }, 'mode is manual'],
    ['a closed window', { window: { start: '22:00', end: '04:00' } }, 'the window opens at 22:00 UTC'],
  ])('only plans with %s', (_, rebalance, message) => {
    const decision = decide(sketchView({ ...wider, rebalance }));
    expect(decision).toMatchObject({
      phase: 'Planned',
      create: [],
      message: expect.stringContaining(message),
    });
    expect(decision.plan?.moves).toHaveLength(8);
  });

  it('waits for the shards of a move, and names the next attempt of one that failed', () => {
    const move = { group: 'customer', id: 0, from: 's0', to: 's3' };
    const running = { name: 'shop-customer-b0000-e1', group: 'customer', buckets: [move], isRunning: true };
    const during = decide(sketchView(wider, { moves: [running] }));
    expect(during).toMatchObject({ phase: 'Moving', message: '1 move under way, 7 to come' });
    expect(during.create.map(({ from, to }) => [from, to])).toEqual([['s1', 's2']]);
    const failed = { ...running, isRunning: false, failedAtMs: start.getTime() - 60_000 };
    const after = decide(sketchView(wider, { moves: [failed] }));
    expect(after.plan?.moves.map(({ id }) => id)).not.toContain(0);
    const later = decide(
      sketchView(wider, { moves: [{ ...failed, failedAtMs: start.getTime() - 3_600_000 }] }),
    );
    expect(later.create[0]?.name).toBe('shop-customer-b0000-e1-2');
  });

  it('waits, and does not move, while all moves wait for a window', () => {
    const move = { group: 'customer', id: 0, from: 's0', to: 's3' };
    const running = { name: 'a', group: 'customer', buckets: [move], isRunning: true };
    const waiting = { ...running, closedWindow: 'spec.window lets it start from 22:00 to 04:00 UTC' };
    expect(decide(sketchView(wider, { moves: [waiting] }))).toMatchObject({
      phase: 'Waiting',
      message: '1 move waits: spec.window lets it start from 22:00 to 04:00 UTC; 7 to come',
    });
    const other = { ...running, name: 'b', buckets: [{ ...move, id: 1, from: 's1', to: 's2' }] };
    expect(decide(sketchView(wider, { moves: [waiting, other] }))).toMatchObject({ phase: 'Moving' });
  });

  it('never names an attempt like one that is there, whichever are gone', () => {
    const move = { group: 'customer', id: 0, from: 's0', to: 's3' };
    const failedAtMs = start.getTime() - 3_600_000;
    const second = {
      name: 'shop-customer-b0000-e1-2',
      group: 'customer',
      buckets: [move],
      isRunning: false,
      failedAtMs,
    };
    const { create } = decide(sketchView(wider, { moves: [second] }));
    expect(create[0]?.name).toBe('shop-customer-b0000-e1-3');
  });

  it.each([
    ['twice as long as it took', 4_000, 7_999, true],
    ['no longer', 4_000, 8_000, false],
    ['a minute at most', 3_600_000, 60_000, false],
  ])('lets shards rest after a move: %s', (_, tookMs, agoMs, isResting) => {
    const bucket = { group: 'customer', id: 0, from: 's0', to: 's3' };
    const moved = {
      name: 'm',
      group: 'customer',
      buckets: [bucket],
      isRunning: false,
      tookMs,
      movedAtMs: start.getTime() - agoMs,
    };
    const { create } = decide(sketchView(wider, { moves: [moved] }));
    expect(create.map(({ from, to }) => [from, to])).toEqual(
      isResting
        ? [['s1', 's2']]
        : [
            ['s0', 's3'],
            ['s1', 's2'],
          ],
    );
  });

  it('moves for mere balance when that has been lacking for a while, and a bucket that has just come not at all', () => {
    const view = sketchView();
    // Busy, and not yet hot.
    const busy = sketchMeasurements(view.map, { s0: 0.68, s1: 0.17 }, 5, 0);
    const since = (lastTransitionTime: string) => {
      const balanced = {
        type: 'Balanced',
        status: 'False' as const,
        reason: 'r',
        message: '',
        lastTransitionTime,
      };
      const cluster = { ...view.cluster, status: { ...view.cluster.status, conditions: [balanced] } };
      return { ...view, cluster, measurements: busy };
    };
    expect(decide(since('2026-01-09T11:59:00Z'))).toMatchObject({ phase: 'Planned', create: [] });
    const lasting = since('2026-01-09T11:58:30Z');
    expect(decide(lasting).create).toMatchObject([{ id: 2, from: 's0', to: 's1', reason: 'balance' }]);
    const move = { group: 'customer', id: 2, from: 's1', to: 's0' };
    const moved = {
      name: 'm',
      group: 'customer',
      buckets: [move],
      isRunning: false,
      movedAtMs: start.getTime() - 60_000,
    };
    expect(decide({ ...lasting, moves: [moved] }).create).toMatchObject([{ id: 4, from: 's0' }]);
  });

  it('moves nothing for the few rows that are touched on servers that something else keeps busy', () => {
    const view = sketchView();
    const busy = sketchMeasurements(view.map, { s0: 0.9, s1: 0.9 });
    const measurements = { ...busy, load: { rates: { 'customer/4': 0.5 }, baselines: {} } };
    expect(decide({ ...view, measurements })).toMatchObject({ phase: 'Balanced', create: [] });
  });

  it('lets a bucket keep its load when it has moved to a shard that was at rest', () => {
    const view = sketchView(wider);
    const moved = {
      ...view.map,
      groups: view.map.groups.map((group) => ({
        ...group,
        buckets: group.buckets.map((bucket) => ({ ...bucket, shard: `s${bucket.id % 4}` })),
      })),
    };
    const busy = sketchMeasurements(view.map, { s0: 0.8, s1: 0.8, s2: 0, s3: 0 });
    expect(decide({ ...view, map: moved, measurements: busy })).toMatchObject({
      phase: 'Balanced',
      create: [],
    });
  });

  it('drains a shard that is not wanted any more', () => {
    const { create, plan } = decide(sketchView({ owners: 3, shards: { count: 2 } }));
    expect(create[0]).toMatchObject({ from: 's2', reason: 'drain' });
    expect(plan?.shards.map((shard) => shard.bucketsAfter)).toEqual([8, 8, 0]);
  });

  it('drains the one that was chosen, and not the last', () => {
    const sketched = sketchCluster({ owners: 3, shards: { count: 2 } });
    const shards = {
      desired: 2,
      current: 3,
      ready: 3,
      summary: '',
      items: sketched.status?.shards?.items ?? [],
    };
    const cluster = { ...sketched, status: { shards: { ...shards, names: ['s0', 's2'] } } };
    const { create, plan } = decide(sketchView({ owners: 3, shards: { count: 2 } }, { cluster }));
    expect(create[0]).toMatchObject({ from: 's1', reason: 'drain' });
    expect(plan?.shards.map((shard) => shard.bucketsAfter)).toEqual([8, 0, 8]);
  });

  it('plans nothing before every owner has answered, and moves nothing to or from one that is silent', () => {
    const view = sketchView(wider);
    const partly = sketchMeasurements(view.map, { s0: 0.5 });
    expect(decide({ ...view, measurements: partly })).toMatchObject({
      phase: 'Unknown',
      message: 'no plan is made until every shard has answered: s1',
      create: [],
    });
    const silent = { ...view.measurements, silent: new Set(['s3']) };
    const { plan } = decide({ ...view, measurements: silent });
    expect(plan?.moves.every(({ to }) => to === 's2')).toBe(true);
    const both = { ...view.measurements, silent: new Set(['s2', 's3']) };
    expect(decide({ ...view, measurements: both })).toMatchObject({
      phase: 'Waiting',
      message: 'not ready to give or take buckets: s2, s3',
    });
  });

  it('leaves a bucket alone that the map says is on its way', () => {
    const view = sketchView(wider);
    const pending = {
      ...view.map,
      groups: view.map.groups.map((group) => ({
        ...group,
        buckets: group.buckets.map((bucket) =>
          bucket.id < 2 ? { ...bucket, pending: { move: 'mine', attempt: 1 } } : bucket,
        ),
      })),
    };
    expect(decide({ ...view, map: pending }).create.map(({ id }) => id)).toEqual([2, 3]);
  });

  it('leaves a group alone whose moves keep failing, and says so', () => {
    const failed = [0, 1, 2].map((id) => ({
      name: `m${id}`,
      group: 'customer',
      buckets: [{ group: 'customer', id, from: 's0', to: 's3' }],
      isRunning: false,
      failedAtMs: start.getTime() - 1_200_000,
    }));
    expect(decide(sketchView(wider, { moves: failed }))).toMatchObject({
      phase: 'Stuck',
      create: [],
      message: 'moves of group customer fail (see ShardMove m2); they are tried again after half an hour',
    });
    const manual = { ...wider, rebalance: { mode: 'manual' } } as const;
    expect(decide(sketchView(manual, { moves: failed }))).toMatchObject({
      message: expect.stringMatching(
        /^moves of group customer fail \(see ShardMove m2\); mode is manual: write the ShardMoves/,
      ),
    });
    const cancelled = failed.map((move) => ({ ...move, isCancelled: true }));
    expect(decide(sketchView(wider, { moves: [...failed.slice(1), ...cancelled] })).create).not.toEqual([]);
    const moved = {
      ...failed[0],
      name: 'm',
      group: 'customer',
      buckets: [{ group: 'customer', id: 9, from: 's1', to: 's3' }],
      isRunning: false,
    };
    const since = { ...moved, failedAtMs: undefined, movedAtMs: start.getTime() - 700_000 };
    const { failedAtMs: _, ...succeeded } = since;
    expect(decide(sketchView(wider, { moves: [...failed, succeeded] })).create).not.toEqual([]);
  });

  it('is stuck, and not balanced, while a bucket stays on a shard that shall go since its move failed', () => {
    const drained = { owners: 3, shards: { count: 2 } };
    const { map } = sketchView(drained);
    const emptied = {
      ...map,
      groups: map.groups.map((group) => ({
        ...group,
        buckets: group.buckets.map((bucket) =>
          bucket.id === 2 ? bucket : { ...bucket, shard: `s${bucket.id % 2}` },
        ),
      })),
    };
    const ended = (
      name: string,
      minutes: number,
      more: Partial<MoveFacts> = { failure: 'no room on s0' },
    ) => ({
      name,
      group: 'customer',
      buckets: [{ group: 'customer', id: 2, from: 's2', to: 's0' }],
      isRunning: false,
      failedAtMs: start.getTime() - minutes * 60_000,
      ...more,
    });
    const decided = (moves: readonly MoveFacts[], rebalance = {}) =>
      decide(sketchView({ ...drained, rebalance }, { map: emptied, moves }));
    const bucket = 'bucket customer/2 should leave s2:';
    expect(decided([ended('m2', 5), ended('m1', 20)])).toMatchObject({
      phase: 'Stuck',
      message: `${bucket} its move failed (ShardMove m2: no room on s0); it is tried again ten minutes after that`,
      plan: { isBalanced: false },
      create: [],
    });
    expect(decided([ended('m1', 5, { isCancelled: true })], { mode: 'manual' }).message).toBe(
      `${bucket} its move was cancelled (see ShardMove m1); mode is manual: write the ShardMoves that you want`,
    );
    const failing = decided([ended('m3', 20), ended('m1', 29), ended('m2', 25)]);
    expect(failing).toMatchObject({
      phase: 'Stuck',
      message:
        'moves of group customer fail (ShardMove m3: no room on s0); they are tried again after half an hour',
      plan: {
        isBalanced: false,
        stuck: [{ id: 2, message: expect.stringContaining('moves of its group fail') }],
      },
    });
    const again = decided([ended('m2', 11)]);
    expect(again).toMatchObject({ phase: 'Planned', create: [{ id: 2, from: 's2', reason: 'drain' }] });
  });

  it('ends the retention of its own moves from a shard that shall go', () => {
    const kept = (name: string, from: string, isRetained: boolean) => ({
      name,
      group: 'customer',
      buckets: [{ group: 'customer', id: 0, from, to: 's0' }],
      isRunning: false,
      movedAtMs: start.getTime() - 3_600_000,
      ...(isRetained ? { isRetained } : {}),
    });
    const moves = [kept('ours', 's2', true), kept('a-users', 's2', false), kept('elsewhere', 's1', true)];
    const sketch = { owners: 2, shards: { count: 2 } };
    const cluster = sketchCluster({ owners: 3, shards: { count: 2 } });
    const view = sketchView(sketch, { moves });
    expect(decide({ ...view, cluster }).release).toEqual(['ours']);
    expect(decide(sketchView(sketch, { moves })).release).toEqual([]);
  });

  it('moves nothing onto a shard without the newest migration', () => {
    const view = sketchView(wider);
    const schema = [{ name: '001', sql: 'SELECT 1' }];
    const items = (view.cluster.status?.shards?.items ?? []).map((item) =>
      item.name === 's3' ? item : { ...item, schemaVersion: '001' },
    );
    const shards = { desired: 4, current: 4, ready: 4, summary: '', items };
    const cluster = { ...view.cluster, spec: { ...view.cluster.spec, schema }, status: { shards } };
    expect(decide({ ...view, cluster }).plan?.moves.map(({ to }) => to)).not.toContain('s3');
  });

  it('takes a region to the shards that may hold it', () => {
    const regions = [{ name: 'east', values: ['JFK'], shards: ['s1'] }];
    const sketch = { tables: [{ name: 'weather', strategy: 'geographic', key: 'origin', regions }] };
    const placed = sketchMap(sketchCluster(sketch));
    const astray = {
      ...placed,
      groups: placed.groups.map((group) => ({
        ...group,
        buckets: group.buckets.map((bucket) => ({ ...bucket, shard: 's0' })),
      })),
    };
    const { create } = decide(sketchView(sketch, { map: astray }));
    expect(create).toMatchObject([{ group: 'weather', from: 's0', to: 's1', reason: 'not-allowed' }]);
  });

  it('tells a hot shard and its hot bucket, with the key that has most of it', () => {
    const cluster = sketchCluster({ shards: { count: 3 }, owners: 3 });
    const map = sketchMap(cluster, 3);
    const measured = sketchMeasurements(map, { s0: 0.95, s1: 0.2, s2: 0.2 }, 5, 0);
    const hotKeys = [{ group: 'customer', id: 0, value: '42', share: 0.7 }];
    const view = sketchView(
      { shards: { count: 3 }, owners: 3 },
      { map, measurements: { ...measured, hotKeys } },
    );
    expect(decide(view).hot).toMatchObject([
      { kind: 'shard', shard: 's0' },
      { kind: 'bucket', bucket: { id: 0 }, remedy: 'split' },
      { kind: 'tenant', tenant: '42' },
    ]);
  });
});
