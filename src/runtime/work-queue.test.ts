import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createManualClock } from '../../test/support/manual-clock.ts';
import { createWorkQueue, type WorkQueueObserver } from './work-queue.ts';

function setUp(observer?: WorkQueueObserver) {
  const clock = createManualClock();
  return { clock, queue: createWorkQueue({ clock, random: () => 0.5, observer }) };
}

test('keys come in order, each once however often it was added', async () => {
  const { queue } = setUp();
  for (const key of ['a', 'b', 'a', 'a']) queue.add(key);
  expect(queue.depth).toBe(2);
  expect([await queue.take(), await queue.take()]).toEqual(['a', 'b']);
  expect(queue.depth).toBe(0);
});

test('a waiting taker gets the key at once', async () => {
  const { queue } = setUp();
  const taken = queue.take();
  queue.add('a');
  expect(await taken).toBe('a');
  expect(queue.depth).toBe(0);
});

test('a key added while it is worked on comes again after done, once', async () => {
  const { queue } = setUp();
  queue.add('a');
  await queue.take();
  queue.add('a');
  queue.add('a');
  expect(queue.depth).toBe(0);
  queue.done('a');
  expect(queue.depth).toBe(1);
  await queue.take();
  queue.done('a');
  expect(queue.depth).toBe(0);
});

test.each([
  [10, 20],
  [20, 10],
])('of two delays, %i and %i ms, the earliest wins', (first, second) => {
  const { clock, queue } = setUp();
  queue.addAfter('a', first);
  queue.addAfter('a', second);
  clock.advance(9);
  expect(queue.depth).toBe(0);
  clock.advance(1);
  expect(queue.depth).toBe(1);
  expect(clock.timers).toBe(0);
});

test('add overtakes a delay', () => {
  const { clock, queue } = setUp();
  queue.addAfter('a', 1_000);
  queue.add('a');
  expect(queue.depth).toBe(1);
  expect(clock.timers).toBe(0);
});

test('a delay that ends while the key is worked on waits for done', async () => {
  const { clock, queue } = setUp();
  queue.add('a');
  await queue.take();
  queue.addAfter('a', 10);
  clock.advance(10);
  expect(queue.depth).toBe(0);
  queue.done('a');
  expect(queue.depth).toBe(1);
});

test('the backoff doubles up to its limit, and forget starts it over', async () => {
  const { clock, queue } = setUp();
  const delays: number[] = [];
  async function fail(): Promise<void> {
    const from = clock.monotonicMs();
    queue.addRateLimited('a');
    while (queue.depth === 0) clock.advance(1);
    delays.push(clock.monotonicMs() - from);
    await queue.take();
    queue.done('a');
  }
  for (let failure = 0; failure < 10; failure += 1) await fail();
  expect(delays).toEqual([200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 60_000]);
  expect(queue.failures('a')).toBe(10);
  queue.forget('a');
  await fail();
  expect(delays.at(-1)).toBe(200);
});

test('after shutDown nothing goes in or out, and nobody waits for ever', async () => {
  const { clock, queue } = setUp();
  const waiting = queue.take();
  queue.addAfter('later', 10);
  queue.shutDown();
  queue.add('a');
  queue.addAfter('b', 0);
  queue.addRateLimited('c');
  clock.advance(1_000_000);
  expect(await waiting).toBeUndefined();
  expect(await queue.take()).toBeUndefined();
  expect({ depth: queue.depth, timers: clock.timers }).toEqual({ depth: 0, timers: 0 });
});

test('the observer learns of depth, waiting time and retries', async () => {
  const depths: number[] = [];
  const waits: number[] = [];
  let retries = 0;
  const { clock, queue } = setUp({
    depth: (keys) => depths.push(keys),
    waited: (ms) => waits.push(ms),
    retried: () => {
      retries += 1;
    },
  });
  queue.add('a');
  clock.advance(30);
  await queue.take();
  queue.done('a');
  queue.addRateLimited('a');
  expect({ depths, waits, retries }).toEqual({ depths: [1, 0], waits: [30], retries: 1 });
});

test('law: no key is ever out twice at once, and each added key comes out after its last add', async () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constantFrom('add', 'retry'), key: fc.constantFrom('a', 'b', 'c') }),
    fc.record({
      kind: fc.constant('later'),
      key: fc.constantFrom('a', 'b', 'c'),
      ms: fc.integer({ min: 0, max: 50 }),
    }),
    fc.record({ kind: fc.constantFrom('take', 'done', 'advance') }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const { clock, queue } = setUp();
      const out: string[] = [];
      const owed = new Set<string>();
      async function take(): Promise<void> {
        const key = queue.depth > 0 ? await queue.take() : undefined;
        if (key === undefined) return;
        expect(out).not.toContain(key);
        out.push(key);
        owed.delete(key);
      }
      function finish(): void {
        const key = out.shift();
        if (key !== undefined) queue.done(key);
      }
      for (const one of steps) {
        if ('key' in one) owed.add(one.key);
        if (one.kind === 'add' && 'key' in one) queue.add(one.key);
        if (one.kind === 'retry' && 'key' in one) queue.addRateLimited(one.key);
        if ('ms' in one) queue.addAfter(one.key, one.ms);
        if (one.kind === 'take') await take();
        if (one.kind === 'done') finish();
        if (one.kind === 'advance') clock.advance(20);
      }
      for (let round = 0; round < 20; round += 1) {
        clock.advance(60_000);
        while (queue.depth > 0) await take();
        while (out.length > 0) finish();
      }
      expect([...owed]).toEqual([]);
      expect(queue.depth).toBe(0);
    }),
  );
});
