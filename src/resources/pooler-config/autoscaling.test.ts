import { expect, it } from 'vitest';
import { decideReplicas, type ScalingInput } from './autoscaling.ts';
import { now, poolerSpec } from './test-support/world.ts';

const idle = { waiting: 0, maxWaitSeconds: 0, waitsForServer: false, cpuPercent: 5 };

function decide(changes: Partial<ScalingInput> = {}, autoscaling: Record<string, unknown> = {}) {
  const spec = poolerSpec({ autoscaling: { minReplicas: 1, maxReplicas: 6, ...autoscaling } });
  return decideReplicas({ spec, current: 2, enoughSince: undefined, loads: [idle, idle], now, ...changes });
}

it('is spec.replicas without autoscaling', () => {
  const spec = poolerSpec({ replicas: 3 });
  expect(decideReplicas({ spec, current: 7, enoughSince: undefined, loads: [], now }).replicas).toBe(3);
});

it.each([
  ['processor time', { cpuPercent: 95 }, 3, /190 % of a core/],
  ['waiting clients', { waiting: 80 }, 3, /160 clients wait/],
  ['a long wait', { maxWaitSeconds: 4 }, 3, /waits for 4 s/],
])('adds instances for %s', (_what, load, replicas, reason) => {
  const loads = [
    { ...idle, ...load },
    { ...idle, ...load },
  ];
  const decision = decide({ loads });
  expect(decision.replicas).toBe(replicas);
  expect(decision.reason).toMatch(reason);
});

it('never goes beyond its bounds', () => {
  const loads = [{ ...idle, cpuPercent: 900 }, idle];
  expect(decide({ loads }).replicas).toBe(6);
  expect(decide({ current: 1, loads: [] }, { minReplicas: 2 }).replicas).toBe(2);
});

it('takes one away at a time, and only after it was not needed for a while', () => {
  const first = decide({ current: 4, loads: [idle, idle, idle, idle] });
  expect(first).toMatchObject({ replicas: 4, enoughSince: '2026-01-01T00:00:00Z' });
  const later = new Date(now.getTime() + 300_000);
  const second = decide({
    current: 4,
    loads: [idle, idle, idle, idle],
    enoughSince: first.enoughSince,
    now: later,
  });
  expect(second).toMatchObject({ replicas: 3, enoughSince: undefined });
});

it('adds none while one that was added does not answer yet', () => {
  const loads = [
    { ...idle, waiting: 500 },
    { ...idle, waiting: 500 },
  ];
  expect(decide({ loads }).replicas).toBe(3);
  const decision = decide({ current: 3, loads });
  expect(decision.replicas).toBe(3);
  expect(decision.reason).toBe('1000 clients wait; 1 instances do not answer yet');
});

it('takes none away on what it does not know', () => {
  const unknown = { ...idle, cpuPercent: undefined };
  expect(decide({ loads: [unknown, idle], enoughSince: '2025-01-01T00:00:00Z' }).replicas).toBe(2);
  expect(decide({ loads: [idle], enoughSince: '2025-01-01T00:00:00Z' }).replicas).toBe(2);
});

it('takes none away while clients wait for a server, and not at once when they have one', () => {
  const enoughSince = '2025-01-01T00:00:00Z';
  const decision = decide({ loads: [{ ...idle, waitsForServer: true }, idle], enoughSince });
  expect(decision).toMatchObject({ replicas: 2, enoughSince: undefined });
  expect(decision.reason).toMatch(/; none is taken away while clients wait for a server$/);
  expect(decide({ loads: [idle, idle], enoughSince }).replicas).toBe(1);
});

it('adds instances for processor time while clients wait for a server', () => {
  const busy = { ...idle, cpuPercent: 95, waitsForServer: true };
  expect(decide({ loads: [busy, busy] }).replicas).toBe(3);
});

it('only says what it would do in a dry run', () => {
  const loads = [{ ...idle, cpuPercent: 200 }, idle];
  const decision = decide({ loads }, { dryRun: true });
  expect(decision.replicas).toBe(2);
  expect(decision.reason).toMatch(/dry run: 3/);
});
