import { expect, it } from 'vitest';
import { systemClock } from '../../runtime/clock.ts';
import type { KubeClient } from '../../runtime/kube-client.ts';
import type { ShardMove } from './model.ts';
import { createTelling, isStart } from './telling.ts';

it('writes what a move waits for once', async () => {
  let stored = {
    metadata: { namespace: 'store', name: 'one', generation: 1 },
    spec: { to: 's1' },
    status: { from: 's0', phases: [{ name: 'preflight', startedAt: '2026-01-01T00:00:00.000Z' }] },
  } as unknown as ShardMove;
  let writes = 0;
  const client = {
    // The API server has fields in the order of their names.
    get: async () => JSON.parse(JSON.stringify(stored, ordered)) as ShardMove,
    updateStatus: async (_: unknown, object: ShardMove) => {
      writes += 1;
      stored = object;
      return object;
    },
  } as unknown as KubeClient;
  const { tell } = createTelling({
    client,
    events: { record: () => undefined } as never,
    clock: systemClock,
  });
  const signal = new AbortController().signal;
  await tell(stored, 'ShardBusy: another move is under way', 7, signal);
  await tell(stored, 'ShardBusy: another move is under way', 7, signal);
  expect(writes).toBe(1);
  await tell(stored, 'ShardBusy: another move is under way', 8, signal);
  expect(writes).toBe(2);
});

it('a move starts with its first tables, and once', () => {
  expect(isStart({ kind: 'stage', copy: 1 })).toBe(true);
  expect(isStart({ kind: 'stage', copy: 2 })).toBe(false);
  expect(isStart({ kind: 'publish', copy: 1 })).toBe(false);
});

function ordered(_: string, value: unknown): unknown {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => a.localeCompare(b)));
}
