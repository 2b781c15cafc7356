import { describe, expect, it } from 'vitest';
import { addMeasures, isBusy, mostCoresPerOperation, startMeasurements } from './measure.ts';
import { sketchCluster, sketchMap, sketchMeasure, sketchMeasurements } from './sketch.ts';

const map = sketchMap(sketchCluster({}));
const settings = { cores: 2, halfLifeMs: 120_000 };
const shards = ['s0', 's1'];

describe('measurements', () => {
  it('tell busy time as a part of the processors, and transactions, from two rounds', () => {
    const first = addMeasures(startMeasurements({}), map, [sketchMeasure(map, 's0', 0, 0)], shards, settings);
    expect(first.rates.size).toBe(0);
    expect(first.windows).toEqual([]);
    const second = addMeasures(first, map, [sketchMeasure(map, 's0', 30, 0.4)], shards, settings);
    expect(second.rates.get('s0')).toEqual({
      utilisation: expect.closeTo(0.4),
      activity: expect.closeTo(0.4),
      transactionsPerSecond: 50,
    });
    expect(second.load.rates['customer/0']).toBeCloseTo(140);
    expect([...second.silent]).toEqual(['s1']);
  });

  it('tell the cores that were used, where a metrics server knows them', () => {
    const first = addMeasures(startMeasurements({}), map, [sketchMeasure(map, 's0', 0, 0)], shards, settings);
    const measure = { ...sketchMeasure(map, 's0', 30, 0.9), cores: 0.5 };
    const second = addMeasures(first, map, [measure], shards, settings);
    expect(second.rates.get('s0')?.utilisation).toBeCloseTo(0.25);
    expect([isBusy(first), isBusy(second)]).toEqual([false, true]);
    // What a server at rest uses is no reason to ask again.
    const resting = { ...sketchMeasure(map, 's0', 30, 0.01), cores: 0.5 };
    expect(isBusy(addMeasures(first, map, [resting], shards, settings))).toBe(false);
  });

  it('keep what a shard said last, when it does not answer or has started anew', () => {
    const before = sketchMeasurements(map, { s0: 0.4, s1: 0.2 });
    const restarted = sketchMeasure(map, 's0', 200, 0.9, { incarnation: 'another' });
    const after = addMeasures(before, map, [restarted], shards, settings);
    expect(after.rates.get('s0')?.utilisation).toBeCloseTo(0.4);
    expect(after.rates.get('s1')).toEqual(before.rates.get('s1'));
    expect(after.latest.get('s1')).toBe(before.latest.get('s1'));
    expect(after.load.rates).toEqual(before.load.rates);
    expect(after.windows).toBe(before.windows);
  });

  it('start from the loads that an earlier process left', () => {
    const kept = startMeasurements({ 'customer/0': 70, 'gone/1': 5 });
    const after = addMeasures(kept, map, [sketchMeasure(map, 's0', 10, 0.1)], shards, settings);
    expect(after.load.rates).toEqual({ 'customer/0': 70 });
  });

  it('do not count what a move copies', () => {
    const moving = {
      ...map,
      groups: map.groups.map((group) => ({
        ...group,
        buckets: group.buckets.map((bucket) =>
          bucket.id === 0 ? { ...bucket, pending: { move: 'm', attempt: 1 } } : bucket,
        ),
      })),
    };
    const measurements = sketchMeasurements(moving, { s0: 0.4, s1: 0.2 });
    expect(measurements.load.rates).not.toHaveProperty('customer/0');
    expect(measurements.load.rates).toHaveProperty('customer/2');
    const before = sketchMeasurements(map, { s0: 0.4, s1: 0.2 });
    const copied = [sketchMeasure(map, 's0', 300, 0.9, {}, 0), sketchMeasure(map, 's1', 300, 0.2)];
    const move = { group: 'customer', id: 0, from: 's0', to: 's9' };
    const after = addMeasures(before, map, copied, shards, { ...settings, moving: [move] });
    expect(after.load.rates['customer/0']).toBe(before.load.rates['customer/0']);
    expect(after.rates.get('s0')).toEqual(before.rates.get('s0'));
  });

  it('hold the loads of all buckets while anything moves, and start anew after', () => {
    const before = sketchMeasurements(map, { s0: 0.4, s1: 0.2 });
    const moving = [{ group: 'customer', id: 0, from: 's0', to: 's1' }];
    const round = (from: typeof before, seconds: number, hot: number, more = {}) => {
      const measures = shards.map((name) => sketchMeasure(map, name, seconds, 0.2, {}, hot));
      return addMeasures(from, map, measures, shards, { ...settings, ...more });
    };
    const during = round(before, 180, 1, { moving });
    const settling = round(during, 190, 1, { isSettling: true });
    const first = round(settling, 200, 1);
    for (const { load } of [during, settling, first]) expect(load.rates).toEqual(before.load.rates);
    const second = round(first, 210, 1);
    expect(second.load.rates['customer/1']).toBeGreaterThan(before.load.rates['customer/1'] ?? 0);
    // Moves may take hours.
    const long = round(round(during, 780, 1, { moving }), 790, 1, { moving });
    expect(long.load.rates['customer/1']).toBeGreaterThan(before.load.rates['customer/1'] ?? 0);
    expect(long.load.rates['customer/0']).toBe(before.load.rates['customer/0']);
  });

  it('tell of buckets that have no load yet, whatever moves', () => {
    const moving = [{ group: 'customer', id: 0, from: 's0', to: 's1' }];
    const round = (from: ReturnType<typeof startMeasurements>, seconds: number) =>
      addMeasures(from, map, [sketchMeasure(map, 's0', seconds, 0.2)], shards, { ...settings, moving });
    const after = round(round(startMeasurements({}), 30), 60);
    expect(after.load.rates['customer/2']).toBeCloseTo(140);
  });

  it('keep five windows, each with the parts of the buckets', () => {
    const { windows } = sketchMeasurements(map, { s0: 0.4, s1: 0.2 }, 8);
    expect(windows).toHaveLength(5);
    const [first] = windows.at(-1) ?? [];
    expect(first?.buckets.reduce((sum, bucket) => sum + bucket.share, 0)).toBeCloseTo(1);
  });

  it('give no bucket what its few rows cannot have used', () => {
    const names = ['s0', 's1'];
    const settings = { cores: 2, halfLifeMs: 120_000 };
    const quiet = (seconds: number) =>
      names.map((name) => sketchMeasure(map, name, seconds, 0.9, { buckets: [counted(seconds)] }));
    const counted = (seconds: number) => ({
      group: 'customer',
      id: 0,
      reads: seconds,
      writes: 0,
      blocks: 0,
      bytes: 0,
      rows: 1,
    });
    const before = addMeasures(startMeasurements({}), map, quiet(0), names, settings);
    const { windows } = addMeasures(before, map, quiet(30), names, settings);
    const [s0] = windows.at(-1) ?? [];
    expect(s0?.buckets.find(({ id }) => id === 0)?.share).toBeCloseTo(mostCoresPerOperation / (0.9 * 2), 5);
  });
});
