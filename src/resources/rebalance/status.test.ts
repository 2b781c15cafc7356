import { describe, expect, it } from 'vitest';
import { shardedClusterStatus } from '../../api/v1alpha1/sharded-cluster.ts';
import { readRates } from '../../sharding/rebalance/load-text.ts';
import { desiredShards } from '../sharded-cluster/desired-shards.ts';
import { clusterPart, rebalancePart } from '../sharded-cluster/status-parts.ts';
import type { RebalanceView } from './model.ts';
import { decideRebalance } from './plan.ts';
import { sketchCluster, sketchMap, sketchMeasurements, sketchView } from './sketch.ts';
import { statusOf, unmeasuredStatus } from './status.ts';

function status(view: RebalanceView) {
  const made = statusOf(view, decideRebalance(view, view.cluster.status?.autoscaling));
  expect(shardedClusterStatus.parse(made)).toEqual(made);
  return made;
}

describe('the status of the rebalancer', () => {
  it('shows each shard now and after the plan, and the moves', () => {
    const { rebalance, load, conditions } = status(
      sketchView(
        { owners: 2, shards: { count: 4 } },
        {
          moves: [
            {
              name: 'done',
              group: 'customer',
              buckets: [],
              isRunning: false,
              bytesPerSecond: 20 * 1024 ** 2,
            },
          ],
        },
      ),
    );
    expect(rebalance).toMatchObject({
      phase: 'Planned',
      totalMoves: 8,
      runningMoves: 0,
      etaSeconds: expect.any(Number),
      shards: [
        { name: 's0', utilisation: 200, utilisationAfter: 100, buckets: 8, bucketsAfter: 4 },
        { name: 's1' },
        { name: 's2', utilisation: 0, utilisationAfter: 100, buckets: 0, bucketsAfter: 4 },
        { name: 's3' },
      ],
    });
    expect(rebalance?.moves[0]).toMatchObject({ group: 'customer', bucket: 0, from: 's0', to: 's3' });
    expect(load?.shards[0]).toEqual({
      name: 's0',
      utilisation: 50,
      connections: 10,
      transactionsPerSecond: 50,
    });
    expect(conditions).toMatchObject([
      { type: 'Balanced', status: 'False', reason: 'Planned', observedGeneration: 3 },
      { type: 'Hot', status: 'False' },
    ]);
  });

  it('tells how long a plan will take before anything has ever moved', () => {
    const { rebalance } = status(sketchView({ owners: 2, shards: { count: 4 } }));
    expect(rebalance).toMatchObject({ phase: 'Planned', etaSeconds: expect.any(Number) });
  });

  it('keeps the load of buckets, so that another process can go on with it', () => {
    const view = sketchView();
    const rates = readRates(status(view).load?.groups ?? []);
    expect(Object.keys(rates)).toHaveLength(16);
    expect(rates['customer/3']).toBeCloseTo(140, -1);
  });

  it('does not change with noise, nor with time', () => {
    const view = sketchView({ owners: 2, shards: { count: 4 } });
    const before = status(view);
    const cluster = { ...view.cluster, status: { ...view.cluster.status, ...before } };
    const later = { ...view, cluster, now: new Date('2026-01-10T00:00:00Z') };
    expect(status(later)).toEqual(before);
  });

  it('tells what is hot', () => {
    const cluster = sketchCluster({ shards: { count: 3 }, owners: 3 });
    const map = sketchMap(cluster, 3);
    const measurements = sketchMeasurements(map, { s0: 0.95, s1: 0.2, s2: 0.2 }, 5, 0);
    const made = status(sketchView({ shards: { count: 3 }, owners: 3 }, { map, measurements }));
    expect(made.conditions?.[1]).toMatchObject({ type: 'Hot', status: 'True', reason: 'HotShard' });
    expect(made.load?.hot[1]).toContain('bucket customer/0 has 90 % of the load of shard s0: split it');
  });

  it('keeps the number of shards while it cannot be decided', () => {
    const autoscaling = { maxShards: 4, metrics: [{ type: 'CPU', target: 60 }] };
    const decided = { base: 2, desired: 3, recommended: 3, reason: 'AboveTarget', message: '', metrics: [] };
    const view = sketchView({ shards: { count: 2, autoscaling } });
    const cluster = { ...view.cluster, status: { ...view.cluster.status, autoscaling: decided } };
    const silent = { ...view, cluster, measurements: sketchMeasurements(view.map, {}) };
    expect(status(silent)).toMatchObject({ rebalance: { phase: 'Unknown' }, autoscaling: decided });
  });

  it.each([
    ['the mode is off', { rebalance: { mode: 'off' } }, 'spec.rebalance.mode is off'],
    ['there are no tables', { tables: [] }, 'there are no tables'],
  ])('keeps the number of shards that was decided while %s', (_, more, why) => {
    const autoscaling = { maxShards: 4, metrics: [{ type: 'CPU', target: 60 }] };
    const base = { base: 2, desired: 4, recommended: 4, reason: 'BelowTarget', message: '', metrics: [] };
    const long = '2026-01-01T00:00:00Z';
    const decided = { ...base, overSince: long, quietSince: long };
    const { spec } = sketchCluster({ shards: { count: 2, autoscaling }, ...more });
    const made = unmeasuredStatus({ spec, status: { autoscaling: decided } });
    expect(shardedClusterStatus.parse(made)).toEqual(made);
    const message = `nothing is measured, for ${why}: the number of shards stays`;
    expect(made).toEqual({ autoscaling: { ...base, reason: 'MetricsMissing', message } });
    expect(desiredShards(spec, made)).toBe(4);
    expect(unmeasuredStatus({ spec, status: made })).toEqual(made);
  });

  it('tells nothing of a number that autoscaling has not decided, or does not decide any more', () => {
    const decided = { base: 2, desired: 4, recommended: 4, reason: '', message: '', metrics: [] };
    const { spec } = sketchCluster({});
    expect(unmeasuredStatus({ spec, status: { autoscaling: decided } })).toEqual({});
    expect(unmeasuredStatus({ spec })).toEqual({});
  });

  it('is divided from that of the cluster without rest', () => {
    const view = sketchView();
    const ours = status(view);
    const date = '2026-01-01T00:00:00Z';
    const ready = {
      type: 'Ready',
      status: 'True' as const,
      reason: 'r',
      message: 'm',
      lastTransitionTime: date,
    };
    const theirs = { ...view.cluster.status, conditions: [ready] };
    const both = { ...theirs, ...ours, conditions: [...(ours.conditions ?? []), ready] };
    expect(rebalancePart(both)).toEqual(ours);
    expect(clusterPart(both)).toEqual(theirs);
    expect(rebalancePart(undefined)).toEqual({});
  });
});

describe('the number of shards', () => {
  const autoscaling = { minShards: 1, maxShards: 4, metrics: [{ type: 'CPU', target: 60 }] };
  const dry = { ...autoscaling, dryRun: true };
  const decided = { base: 2, desired: 3, recommended: 3, reason: '', message: '', metrics: [] };

  it.each([
    ['as the spec says', {}, undefined, 2],
    ['as the spec says before a decision', { autoscaling }, undefined, 2],
    ['as decided', { autoscaling }, decided, 3],
    ['as the spec says once that has changed', { autoscaling }, { ...decided, base: 5 }, 2],
    ['as decided before a dry run', { autoscaling: dry }, decided, 3],
    ['as it was in a dry run, whatever its limits', { autoscaling: { ...dry, maxShards: 2 } }, decided, 3],
    ['as the spec says in a dry run once that has changed', { autoscaling: dry }, { ...decided, base: 5 }, 2],
    ['as the spec says in a dry run before a decision', { autoscaling: dry }, undefined, 2],
    ['within its limits', { autoscaling: { ...autoscaling, maxShards: 2 } }, decided, 2],
    ['as the spec says without autoscaling', {}, decided, 2],
  ])('is %s', (_, shards, status_, expected) => {
    const { spec } = sketchCluster({ shards: { count: 2, ...shards } });
    expect(desiredShards(spec, status_ === undefined ? undefined : { autoscaling: status_ })).toBe(expected);
  });
});
