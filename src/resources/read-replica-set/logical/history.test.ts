import { describe, expect, it } from 'vitest';
import { isUntold, parseHistory, type TimelineEnd, whyNoWayOn } from './history.ts';

const end = (timeline: number, position: number, leader?: string): TimelineEnd => ({
  timeline,
  position,
  leader,
});
const stopped = { source: 'shop-s0-0', timeline: 1, applied: 100 };

describe('the history of a shard', () => {
  it('is read as Patroni has it', () => {
    const rows = [
      [1, 25165984, 'no recovery target specified', '2026-01-01T00:00:00+00:00', 'shop-s0-1'],
      [2, 30, 'reason'],
      ['nonsense'],
    ];
    expect(parseHistory(rows)).toEqual([end(1, 25165984, 'shop-s0-1'), end(2, 30)]);
  });

  it.each<[string, number, readonly TimelineEnd[], number | undefined, boolean]>([
    ['has not changed', 1, [], 1, true],
    ['went on from where the stream was', 2, [end(1, 100, 'shop-s0-1')], 1, true],
    ['went on from further', 2, [end(1, 200, 'shop-s0-1')], 1, true],
    ['went on from before', 2, [end(1, 99, 'shop-s0-1')], 1, false],
    ['went on from before, on the same server', 2, [end(1, 99, 'shop-s0-0')], 1, true],
    ['went to another server and back', 3, [end(1, 99, 'shop-s0-1'), end(2, 150, 'shop-s0-0')], 1, false],
    [
      'went there and back, and the stream had less',
      3,
      [end(1, 120, 'shop-s0-1'), end(2, 150, 'shop-s0-0')],
      1,
      true,
    ],
    ['is told of in part, on the same server', 3, [end(1, 99, 'shop-s0-0')], 1, false],
    ['has lost its beginning', 3, [end(2, 500, 'shop-s0-1')], 1, false],
    ['has gone back', 1, [end(1, 500, 'x')], 2, false],
    ['is unknown for the stream', 2, [end(1, 500, 'x')], undefined, false],
  ])('that %s', (_, now, history, timeline, goesOn) => {
    expect(whyNoWayOn({ ...stopped, timeline }, now, history) === undefined).toBe(goesOn);
  });

  it.each<[string, number, readonly TimelineEnd[], number | undefined, boolean]>([
    ['was promoted a moment ago', 2, [], 1, true],
    ['was promoted a moment ago, once more', 3, [end(1, 100)], 2, true],
    ['has not changed', 1, [], 1, false],
    ['is told of', 2, [end(1, 100)], 1, false],
    ['has lost its beginning', 3, [end(2, 100)], 1, false],
    ['is unknown for the stream', 2, [], undefined, false],
  ])('that %s is waited for: %s', (_, now, history, timeline, isWaitedFor) => {
    expect(isUntold({ ...stopped, timeline }, now, history)).toBe(isWaitedFor);
  });
});
