import { expect, it } from 'vitest';
import { createManualClock } from '../../../test/support/manual-clock.ts';
import { createLongWork, type Piece, UnderWay } from './long-work.ts';

const piece: Piece = { line: 'migrate', what: 'migration "001"', identity: 'a' };

function begin() {
  const clock = createManualClock();
  const work = createLongWork(clock);
  const begun: PromiseWithResolvers<void>[] = [];
  const start = () => {
    const ends = Promise.withResolvers<void>();
    begun.push(ends);
    return ends.promise;
  };
  /** What a pass is told that waits as long as passes do. */
  const ask = async (wanted: Piece = piece): Promise<unknown> => {
    const answer = work.run(wanted, start).then(
      () => 'done',
      (error: unknown) => error,
    );
    await clock.advance(2_000);
    return answer;
  };
  return { work, begun, ask };
}

it('is waited for to its end when that comes soon', async () => {
  const { work, begun } = begin();
  const asked = work.run(piece, async () => undefined);
  await expect(asked).resolves.toBeUndefined();
  expect(work.underWay).toBeUndefined();
  expect(begun).toEqual([]);
});

it('is begun once, and told of at its end', async () => {
  const { work, begun, ask } = begin();
  expect(await ask()).toBeInstanceOf(UnderWay);
  expect(await ask()).toMatchObject({ message: 'migration "001" is under way' });
  expect(work.underWay).toBe('migration "001"');
  expect(begun).toHaveLength(1);
  begun[0]?.resolve();
  expect(await ask()).toBe('done');
  expect(begun).toHaveLength(1);
  expect(work.underWay).toBeUndefined();
});

it('tells a failure once, and is begun again after it', async () => {
  const { begun, ask } = begin();
  await ask();
  const failure = new Error('relation exists');
  begun[0]?.reject(failure);
  expect(await ask()).toBe(failure);
  expect(await ask()).toBeInstanceOf(UnderWay);
  expect(begun).toHaveLength(2);
});

it('comes after another one of its line, whose end is then no news', async () => {
  const { begun, ask } = begin();
  await ask();
  const corrected = { ...piece, identity: 'b' };
  expect(await ask(corrected)).toBeInstanceOf(UnderWay);
  expect(begun).toHaveLength(1);
  begun[0]?.reject(new Error('cut off'));
  await Promise.resolve();
  expect(await ask(corrected)).toBeInstanceOf(UnderWay);
  expect(begun).toHaveLength(2);
  begun[1]?.resolve();
  expect(await ask(corrected)).toBe('done');
});

it('does not wait for what is of another line', async () => {
  const { begun, ask } = begin();
  await ask();
  await ask({ ...piece, line: 'copy' });
  expect(begun).toHaveLength(2);
});

it('waits for all else when nothing else may be under way with it', async () => {
  const { begun, ask } = begin();
  await ask({ ...piece, line: 'copy', what: 'the copy' });
  const alone = { ...piece, isAlone: true };
  expect(await ask(alone)).toMatchObject({ message: 'the copy is under way' });
  expect(begun).toHaveLength(1);
  begun[0]?.resolve();
  await Promise.resolve();
  expect(await ask(alone)).toBeInstanceOf(UnderWay);
  expect(begun).toHaveLength(2);
  expect(await ask({ ...piece, line: 'other copy' })).toMatchObject({
    message: 'migration "001" is under way',
  });
  expect(begun).toHaveLength(2);
});
