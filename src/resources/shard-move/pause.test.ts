import { describe, expect, it } from 'vitest';
import { systemClock } from '../../runtime/clock.ts';
import type { MoveView, Step } from '../../sharding/move/model.ts';
import type { ShardMove } from './model.ts';
import { createHold, nothingHeld, pauseAnnotation, pausesOf } from './pause.ts';

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

type Seen = Pick<MoveView['record'], 'phase'> & { readonly owner: string; readonly fenced: boolean };

function viewOf({ phase, owner, fenced }: Seen): MoveView {
  const prepared = fenced ? [{ gid: 'fence', since: 0 }] : [];
  const view = { move: { from: 's0', to: 's1' }, record: { phase }, map: { owner }, source: { prepared } };
  return view as unknown as MoveView;
}

const free = viewOf({ phase: 'switch', owner: 's0', fenced: false });
const fenced = viewOf({ phase: 'switch', owner: 's0', fenced: true });
const decided = viewOf({ phase: 'switch', owner: 's1', fenced: true });
const finishing = viewOf({ phase: 'finish', owner: 's1', fenced: false });

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
      held: nothingHeld(),
      read: async () => moveWith(reads.length > 0 ? reads.shift() : begin, cancel),
      tell: async (_, reason, message) => told.push(`${reason}: ${message}`),
    });
    return { answer: await hold(step, free), told };
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

describe('holds of one move', () => {
  /** What comes of holding a step, and how long that takes. */
  function holder(annotation: string, later = annotation, cancel = false) {
    const clock = quickClock();
    const hold = createHold(moveWith(annotation), {
      clock,
      signal: new AbortController().signal,
      held: nothingHeld(),
      read: async () => moveWith(later, cancel),
      tell: async () => undefined,
    });
    return async (kind: Step['kind'], view: MoveView) => {
      const began = clock.monotonicMs();
      return [await hold({ kind } as Step, view), clock.monotonicMs() - began];
    };
  }

  it('last as long as somebody wants them while no writer waits', async () => {
    const hold = holder('announce');
    expect(await hold('announce', free)).toEqual(['look-again', 10_000]);
    expect(await hold('announce', free)).toEqual(['look-again', 10_000]);
  });

  it('keep writers waiting no longer than an attempt may, in all; the next fence waits instead', async () => {
    const hold = holder('drain,open,roll-back-source');
    expect(await hold('fence', free)).toEqual(['go-on', 0]);
    expect(await hold('drain', fenced)).toEqual(['look-again', 10_000]);
    expect(await hold('open', fenced)).toEqual(['go-on', 0]);
    expect(await hold('roll-back-source', fenced)).toEqual(['go-on', 0]);
    expect(await hold('fence', free)).toEqual(['look-again', 10_000]);
    expect(await hold('fence', free)).toEqual(['look-again', 10_000]);
  });

  it('are one each behind the commit point, those that writers wait for no longer than an attempt in all', async () => {
    const hold = holder('commit-target,commit-source,detach');
    expect(await hold('commit-target', decided)).toEqual(['look-again', 10_000]);
    expect(await hold('commit-target', decided)).toEqual(['go-on', 0]);
    expect(await hold('commit-source', decided)).toEqual(['go-on', 0]);
    expect(await hold('detach', finishing)).toEqual(['look-again', 10_000]);
    expect(await hold('detach', finishing)).toEqual(['go-on', 0]);
  });

  it.each(['fence', 'open'] as const)(
    'are none before %s is made anew behind the commit point',
    async (kind) => {
      const lost = viewOf({ phase: 'switch', owner: 's1', fenced: false });
      expect(await holder(kind)(kind, lost)).toEqual(['go-on', 0]);
    },
  );

  it('do not end behind the commit point because the move is cancelled', async () => {
    expect(await holder('detach', 'detach', true)('detach', finishing)).toEqual(['look-again', 10_000]);
    expect(await holder('verify', 'verify', true)('verify', free)).toEqual(['look-again', 0]);
  });
});
