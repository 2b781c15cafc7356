import { expect, test } from 'vitest';
import type { PatroniApi } from '../../postgres/patroni-api.ts';
import { executeSet, type SetExecution, type SetPass } from './execute.ts';
import { workOf } from './member-work.ts';
import { emptyMemory } from './memory.ts';
import { input, member, readers, shard } from './test-support/world.ts';

test('a pass begins the restart of a member, and a later one sees its end', async () => {
  const set = readers();
  const { observed } = input(set, [shard([member(set, 0)])]);
  const memory = emptyMemory(0);
  const { promise, resolve } = Promise.withResolvers<string>();
  const told: string[] = [];
  const context: Partial<SetExecution> = {
    monotonicMs: () => 0,
    events: { record: (_, { reason }) => told.push(reason) as never, flush: async () => undefined },
  };
  const patroni: Partial<PatroniApi> = { restart: () => promise };
  const access = { patroni: () => patroni } as unknown as SetPass['access'];
  const pass: SetPass = { set, observed, access, memory, signal: AbortSignal.abort() };
  const restart = { kind: 'restart', shard: 's0', member: 'readers-s0-replicas-0' } as const;
  const failures = await executeSet(context as SetExecution, pass, [restart]);
  expect(failures).toEqual([]);
  const state = () => workOf(memory.work, 'uid-of-readers-s0-replicas-0', 0).get('restart')?.state;
  expect(state()).toBe('running');
  expect(told).toEqual([]);
  resolve('restarted');
  await expect.poll(state).toBe('done');
  expect(told).toEqual(['MemberRestarted']);
});
