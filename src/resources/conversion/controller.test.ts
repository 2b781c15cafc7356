import { expect, it } from 'vitest';
import type { Clock } from '../../runtime/clock.ts';
import type { Outcome } from '../../runtime/controller.ts';
import { shardedCluster } from '../sharded-cluster/test-support/world.ts';
import { type ConversionDependencies, conversionController } from './controller.ts';

const table = { name: 'orders', strategy: 'hash' as const, key: 'id' };
const shards = { desired: 1, current: 1, ready: 1, summary: '1/1', items: [] };

it.each([
  ['soon when no shard has a primary, which comes back by itself', [table], 1_000],
  ['seldom when its tables are wrong, since only another spec helps', [table, table], 5_000],
])('a cluster is looked at again %s', async (_, tables, expected) => {
  const cluster = shardedCluster({ tables }, { shards });
  const delays: number[] = [];
  const clock: Clock = {
    now: () => new Date(0),
    monotonicMs: () => 0,
    after(delayMs) {
      delays.push(delayMs);
      return () => delays.splice(delays.indexOf(delayMs), 1);
    },
  };
  const clusters = {
    cache: { get: () => cluster },
    hasSynced: () => true,
    onChange(handler: (change: object) => void) {
      handler({ kind: 'added', current: cluster });
      return () => undefined;
    },
  };
  const controller = conversionController({
    sources: { clusters },
    clock,
    findPrimaries: async () => new Map(),
  } as unknown as ConversionDependencies);
  const { signal } = new AbortController();
  const outcome = await new Promise<Outcome>((resolve) => {
    controller.start({ signal, clock, onReconciled: resolve });
  });
  expect(outcome).toBe('requeue');
  expect(delays).toEqual([expected]);
});
