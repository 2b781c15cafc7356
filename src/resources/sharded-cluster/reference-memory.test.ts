import { describe, expect, it } from 'vitest';
import { compared, type ReferenceMemory, type ReferenceVerdict, secondLookMs } from './reference-memory.ts';

type Look = readonly [atMs: number, source: Record<string, string>, target: Record<string, string>];

/** The verdicts of looks one after another, and what is remembered at the end. */
function looks(steps: readonly Look[], uid = 'one', before?: ReferenceMemory) {
  let memory = before;
  const verdicts: (ReferenceVerdict | undefined)[] = [];
  for (const [atMs, source, target] of steps) {
    const prints = { source: new Map(Object.entries(source)), target: new Map(Object.entries(target)) };
    const result = compared(memory, uid, prints, atMs);
    memory = result.memory;
    verdicts.push(result.verdict);
  }
  return { verdicts, memory };
}

const source = { countries: '3/17', cities: '9/5' };
const stale = { countries: '2/11', cities: '9/5' };

describe('reference tables of a shard that joins', () => {
  it('are settled when they are the same', () => {
    expect(looks([[0, source, source]])).toMatchObject({
      verdicts: [undefined],
      memory: { isSettled: true },
    });
  });

  it('are of another time when they differ, and are the same at a second look', () => {
    const { verdicts, memory } = looks([
      [0, source, stale],
      [secondLookMs - 1, source, stale],
      [secondLookMs, { ...source, countries: '4/1' }, stale],
      [secondLookMs + 1, source, stale],
      [secondLookMs + 2, source, source],
    ]);
    expect(verdicts).toEqual(['comparing', 'comparing', 'stale', 'stale', undefined]);
    expect(memory?.isSettled).toBe(true);
  });

  it('are left alone when they change between the looks: somebody writes to them', () => {
    const { verdicts, memory } = looks([
      [0, source, stale],
      [secondLookMs, { ...source, countries: '4/1' }, source],
    ]);
    expect(verdicts).toEqual(['comparing', undefined]);
    expect(memory?.isSettled).toBe(true);
  });

  it('are not settled while they have to be filled, and filling is not writing', () => {
    const empty = { countries: '0/0', cities: '0/0' };
    const { verdicts, memory } = looks([[0, source, empty]]);
    expect(verdicts).toEqual([undefined]);
    expect(memory?.isSettled).toBe(false);
    expect(looks([[1, source, { ...source, cities: '8/3' }]], 'one', memory).verdicts).toEqual(['comparing']);
  });

  it('are compared anew when the shard is made anew', () => {
    const { memory } = looks([[0, source, source]]);
    expect(looks([[9, source, stale]], 'two', memory).verdicts).toEqual(['comparing']);
  });
});
