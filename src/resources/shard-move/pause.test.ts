import { describe, expect, it } from 'vitest';
import { systemClock } from '../../runtime/clock.ts';
import type { Step } from '../../sharding/move/model.ts';
import type { ShardMove } from './model.ts';
import { createHold, pauseAnnotation, pausesOf } from './pause.ts';

const fence: Step = { kind: 'fence', attempt: 1, epoch: 2, from: 1 };

function moveWith(annotation: string | undefined, cancel = false): ShardMove {
  const annotations = annotation === undefined ? {} : { [pauseAnnotation]: annotation };
  return { metadata: { namespace: 'n', name: 'm', annotations }, spec: { cancel } } as unknown as ShardMove;
}

describe('pausesOf', () => {
  it.each([
    [undefined, [], []],
    ['', [], []],
    ['fence', ['fence'], []],
    [' fence, open ', ['fence', 'open'], []],
    ['fence,fnord,constructor', ['fence'], ['fnord', 'constructor']],
  ])('%j', (annotation, steps, unknown) => {
    expect(pausesOf(moveWith(annotation))).toEqual({ steps, unknown });
  });
});

/** A clock on which every pause takes as long as it says, at once. */
function quickClock() {
  let nowMs = 0;
  return {
    ...systemClock,
    monotonicMs: () => nowMs,
    after(delayMs: number, callback: () => void) {
      nowMs += delayMs;
      queueMicrotask(callback);
      return () => undefined;
    },
  };
}

describe('a hold', () => {
  async function holdBefore(
    step: Step,
    { begin = 'fence', later = [] as (string | undefined)[], lost = false, cancel = false },
  ) {
    const told: string[] = [];
    const reads = [...later];
    const lease = new AbortController();
    if (lost) lease.abort();
    const hold = createHold(moveWith(begin), {
      clock: quickClock(),
      signal: lease.signal,
      read: async () => moveWith(reads.length > 0 ? reads.shift() : begin, cancel),
      tell: async (_, reason, message) => told.push(`${reason}: ${message}`),
    });
    return { answer: await hold(step), told };
  }

  it('does not touch a step that is not named', async () => {
    expect(await holdBefore({ kind: 'drop-retired' }, {})).toEqual({ answer: 'go-on', told: [] });
  });

  it('lets the step go when the annotation is taken away, or names another', async () => {
    for (const last of [undefined, 'open']) {
      const { answer, told } = await holdBefore(fence, { later: ['fence', 'fence', last] });
      expect(answer).toBe('go-on');
      expect(told).toEqual(['Paused: before fence', 'Paused: before fence']);
    }
  });

  it('has everything looked at again after a while', async () => {
    expect((await holdBefore(fence, {})).answer).toBe('look-again');
  });

  it('has everything looked at again when the move is cancelled', async () => {
    expect(await holdBefore(fence, { cancel: true })).toEqual({ answer: 'look-again', told: [] });
  });

  it('holds nothing for a process that leads no more', async () => {
    expect(await holdBefore(fence, { lost: true })).toEqual({ answer: 'go-on', told: [] });
  });
});
