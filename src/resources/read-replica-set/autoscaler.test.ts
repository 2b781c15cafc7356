import { expect, test } from 'vitest';
import { createManualClock } from '../../../test/support/manual-clock.ts';
import { createAutoscaler } from './autoscaler.ts';
import { emptyMemory } from './memory.ts';
import { input, member, readers, shard } from './test-support/world.ts';

const name = 'readers-s0-replicas-0';

test('the metrics server is asked beside the passes, and the next decision waits for what it says', async () => {
  const clock = createManualClock();
  const memory = emptyMemory(clock.monotonicMs());
  const set = readers({
    resources: { requests: { cpu: '100m' } },
    autoscaling: { maxReplicas: 3, metrics: [{ type: 'CPU', target: 50 }] },
  });
  const { observed } = input(set, [shard([member(set, 0)])]);
  const answers: ((answer: unknown) => void)[] = [];
  const autoscaler = createAutoscaler({
    client: { request: () => new Promise((resolve) => answers.push(resolve)) },
    events: { record: () => undefined as never, flush: async () => undefined },
    clock,
  });
  const decide = () => autoscaler.decide(set, observed, memory, new AbortController().signal);
  expect(decide()).toBeUndefined();
  clock.advance(60_000);
  expect(decide()).toBeUndefined();
  expect(answers).toHaveLength(1);
  answers[0]?.({
    items: [{ metadata: { name }, containers: [{ name: 'postgres', usage: { cpu: '95m' } }] }],
  });
  await expect.poll(() => memory.cpuUse).toBeInstanceOf(Map);
  const first = decide();
  expect(first).toMatchObject({ metrics: [{ type: 'CPU', measured: 95, proposed: 2 }] });
  // What it said is good for one decision.
  clock.advance(14_999);
  expect(decide()).toBe(first);
  expect(answers).toHaveLength(1);
  clock.advance(1);
  expect(decide()).toBe(first);
  expect(answers).toHaveLength(2);
});
