import { describe, expect, test } from 'vitest';
import type { ReplicaStats } from '../../postgres/replica-stats.ts';
import type { MetricType } from './autoscale.ts';
import { addSample, type CpuUse, type LoadWindow, measure } from './load.ts';

function stats(fields: Partial<ReplicaStats>): ReplicaStats {
  return {
    inRecovery: true,
    replayed: 0,
    received: 0,
    committedMs: null,
    pendingRestart: false,
    waitsForWal: false,
    streaming: true,
    config: null,
    connections: 0,
    active: 0,
    busy: 0,
    transactions: 0,
    activeMs: 0,
    ...fields,
  };
}

function windowOf(
  samples: readonly (readonly [string, string, number, Partial<ReplicaStats>, (number | undefined)?])[],
): LoadWindow {
  const window: LoadWindow = new Map();
  for (const [shard, member, atMs, fields, lagSeconds] of samples)
    addSample(window, shard, member, { stats: stats(fields), lagSeconds, atMs });
  return window;
}

function value(
  window: LoadWindow,
  type: MetricType,
  shards = ['s0'],
  cpu: CpuUse = 'no metrics',
  inRotation: readonly string[] = [],
): number | string | undefined {
  return measure(
    window,
    shards.map((name) => ({ name, inRotation })),
    [type],
    cpu,
  ).get(type);
}

describe('a window', () => {
  const window = windowOf([
    ['s0', 'a', 0, { connections: 10, active: 2, transactions: 100, activeMs: 50 }],
    ['s0', 'a', 10_000, { connections: 20, active: 4, transactions: 300, activeMs: 450 }, 3],
    ['s0', 'b', 0, { connections: 5, active: 0, transactions: 7 }, 0],
    ['s0', 'b', 10_000, { connections: 5, active: 0, transactions: 7 }],
  ]);

  test.each<[MetricType, number]>([
    ['Connections', 10],
    ['ActiveSessions', 1.5],
    ['QPS', 10],
    ['Latency', 1],
    ['Lag', 1.5],
  ])('has %s as the average over members', (type, expected) => {
    expect(value(window, type)).toBe(expected);
  });

  test('has CPU as metrics say it, for each member or not at all', () => {
    const cpu = new Map([
      ['a', 30],
      ['b', 50],
    ]);
    expect(value(window, 'CPU', ['s0'], cpu)).toBe(40);
    expect(value(window, 'CPU', ['s0'], new Map([['a', 30]]))).toMatch(/does not know pod b/);
    expect(value(window, 'CPU', ['s0'], 'no metrics server')).toBe('no metrics server');
  });

  test('is that of the busiest shard, and unknown while one of them is', () => {
    const both = windowOf([
      ['s0', 'a', 0, { connections: 10 }],
      ['s1', 'c', 0, { connections: 90 }],
    ]);
    expect(value(both, 'Connections', ['s0', 's1'])).toBe(90);
    expect(value(both, 'Connections', ['s0', 's1', 's2'])).toMatch(/shard s2/);
  });

  test('is unknown without one that clients are led to: it may be the busiest', () => {
    expect(value(window, 'Connections', ['s0'], 'no metrics', ['a', 'b'])).toBe(10);
    expect(value(window, 'Connections', ['s0'], 'no metrics', ['a', 'b', 'c'])).toMatch(
      /member c is in rotation/,
    );
  });

  test('has no lag that nobody knew all the while', () => {
    const looks = (...lags: readonly (number | undefined)[]) =>
      value(windowOf(lags.map((lag, index) => ['s0', 'a', index, {}, lag] as const)), 'Lag');
    expect(looks(undefined, undefined)).toBe('the lag of member a is not known');
    expect(looks(undefined, 4, undefined, 2)).toBe(4);
  });

  test('has no latency of transactions that do not end', () => {
    const looks = (active: number) =>
      windowOf([
        ['s0', 'a', 0, { active, transactions: 7 }],
        ['s0', 'a', 10_000, { active, transactions: 7, activeMs: 9_000 }],
      ]);
    expect(value(looks(2), 'Latency')).toBe('no transaction of member a has ended');
    expect(value(looks(0), 'Latency')).toBe(0);
  });

  test('needs two looks for a rate, and begins anew with a server that does', () => {
    expect(value(windowOf([['s0', 'a', 0, {}]]), 'QPS')).toMatch(/not been watched long enough/);
    const restarted = windowOf([
      ['s0', 'a', 0, { transactions: 1_000 }],
      ['s0', 'a', 5_000, { transactions: 10 }],
      ['s0', 'a', 10_000, { transactions: 60 }],
    ]);
    expect(value(restarted, 'QPS')).toBe(10);
  });
});
