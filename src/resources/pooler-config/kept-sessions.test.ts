import { expect, it, vi } from 'vitest';
import { createManualClock } from '../../../test/support/manual-clock.ts';
import { keepSessions } from './kept-sessions.ts';

function scene() {
  const clock = createManualClock();
  const ending = new AbortController();
  const lost: string[] = [];
  const opened: { readonly uid: string; isClosed: boolean; end(): void }[] = [];
  let wanted = ['one', 'two'];
  let isReachable = true;
  const kept = keepSessions(
    {
      wanted: () => wanted.map((uid) => ({ uid })),
      async open({ uid }) {
        if (!isReachable) return undefined;
        const calls: (() => void)[] = [];
        const session = {
          uid,
          isClosed: false,
          onEnd: (call: () => void) => void calls.push(call),
          async close() {
            session.isClosed = true;
          },
          end() {
            for (const call of calls) call();
          },
        };
        opened.push(session);
        return session;
      },
      onEnd: ({ uid }) => lost.push(uid),
      clock,
    },
    ending.signal,
  );
  return {
    kept,
    opened,
    lost,
    want(uids: string[]) {
      wanted = uids;
    },
    reach(can: boolean) {
      isReachable = can;
    },
    stop: () => ending.abort(),
    async look() {
      clock.advance(2_000);
      await vi.waitFor(() => expect(clock.timers).toBe(1));
    },
  };
}

it('opens one to each that is wanted, and hands it over once', async () => {
  const { kept, opened, look } = scene();
  expect(kept.take('one')).toBeUndefined();
  await look();
  expect(opened.map(({ uid }) => uid)).toEqual(['one', 'two']);
  expect(kept.take('one')).toBe(opened[0]);
  expect(kept.take('one')).toBeUndefined();
  await look();
  expect(kept.take('one')).toBe(opened[2]);
});

it('tells of one that ends by itself, and opens another', async () => {
  const { opened, lost, look } = scene();
  await look();
  opened[0]?.end();
  expect(lost).toEqual(['one']);
  await look();
  expect(opened.map(({ uid }) => uid)).toEqual(['one', 'two', 'one']);
});

it('says nothing of one that was taken, or is wanted no more, when it ends', async () => {
  const { kept, opened, lost, want, look } = scene();
  await look();
  kept.take('one');
  want([]);
  await look();
  for (const session of opened) session.end();
  expect(opened.map(({ isClosed }) => isClosed)).toEqual([false, true]);
  expect(lost).toEqual([]);
});

it('tries again where it could not get in, and closes all in the end', async () => {
  const { opened, reach, look, stop } = scene();
  reach(false);
  await look();
  expect(opened).toEqual([]);
  reach(true);
  await look();
  stop();
  expect(opened.map(({ isClosed }) => isClosed)).toEqual([true, true]);
});
