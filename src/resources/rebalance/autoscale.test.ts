import { describe, expect, it } from 'vitest';
import { decideRebalance } from './plan.ts';
import { sketchCluster, sketchMap, sketchMeasurements, sketchView } from './sketch.ts';

describe('autoscaling of shards', () => {
  const autoscaling = {
    minShards: 2,
    maxShards: 4,
    metrics: [{ type: 'CPU', target: 40 }],
    behavior: { scaleOut: { stabilization: '1m' } },
  };
  const sketch = { shards: { count: 2, autoscaling } };
  const status = { base: 2, desired: 2, recommended: 2, reason: '', message: '', metrics: [] };

  it('adds a shard when both are over their target for the stabilisation time', () => {
    const view = sketchView(sketch);
    const over = { ...status, overSince: '2026-01-09T11:58:00Z' };
    const decision = decideRebalance(view, over).autoscaling;
    expect(decision).toMatchObject({
      desired: 3,
      reason: 'AboveTarget',
      metrics: [{ type: 'CPU', target: 40 }],
    });
    expect(decision?.metrics[0]?.peakAfter).toBeCloseTo(50);
    expect(decision?.metrics[0]?.peakWithMore).toBeLessThan(40);
  });

  it('does not add one for a bucket that is too hot for any shard', () => {
    const cluster = sketchCluster(sketch);
    const map = sketchMap(cluster);
    const measurements = sketchMeasurements(map, { s0: 0.9, s1: 0.05 }, 5, 0);
    const over = { ...status, overSince: '2026-01-09T11:58:00Z' };
    const decision = decideRebalance(sketchView(sketch, { map, measurements }), over).autoscaling;
    expect(decision).toMatchObject({ desired: 2, reason: 'OneBucketTooHot' });
  });

  it.each([
    [100, 'AboveTarget', 3],
    [300, 'WithinTarget', 2],
    [null, 'MetricsMissing', 2],
  ])('adds none for the %s MiB that moves leave behind for a while', (left, reason, desired) => {
    const ofSize = { ...autoscaling, metrics: [{ type: 'Size', target: '200Mi' }] };
    const view = sketchView({ shards: { count: 2, autoscaling: ofSize } });
    const leftBytes = left === null ? null : left * 2 ** 20;
    const latest = new Map(
      [...view.measurements.latest].map(([name, measure]) => {
        return [name, { ...measure, stats: { ...measure.stats, leftBytes } }] as const;
      }),
    );
    const over = { ...status, overSince: '2026-01-09T11:58:00Z' };
    const measured = { ...view, measurements: { ...view.measurements, latest } };
    expect(decideRebalance(measured, over).autoscaling).toMatchObject({ reason, desired });
  });

  it.each([
    [['s1', 's2'], { desired: 3, reason: 'AtMinimum' }],
    [
      ['s2'],
      {
        desired: 2,
        message: expect.stringMatching(/shard s1 is taken away, for it owns .* MB in \d+ buckets/),
      },
    ],
  ])('never takes away shards %s that the spec pins something to', (pinned, expected) => {
    const tenants = pinned.map((shard) => ({ value: shard, shard }));
    const tables = [{ name: 'accounts', strategy: 'directory', key: 'tenant', buckets: 8, tenants }];
    const quiet = { shards: { count: 3, autoscaling }, tables, owners: 3 };
    const cluster = sketchCluster(quiet);
    const map = sketchMap(cluster, 3);
    const measurements = sketchMeasurements(map, { s0: 0.01, s1: 0.01, s2: 0.01 });
    const before = { ...status, base: 3, desired: 3, quietSince: '2026-01-01T00:00:00Z' };
    const { autoscaling: decided } = decideRebalance(sketchView(quiet, { map, measurements }), before);
    expect(decided).toMatchObject(expected);
  });

  it('is left alone without a setting', () => {
    const view = sketchView();
    expect(decideRebalance(view, view.cluster.status?.autoscaling).autoscaling).toBeUndefined();
  });
});
