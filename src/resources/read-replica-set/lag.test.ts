import { expect, test } from 'vitest';
import { lagOf } from './lag.ts';
import type { Lag } from './rotation.ts';

// The primary was at 0 when it was first seen, at 100 after 10 s and at 300 after 20 s, and was looked at all along; now it is 30 s.
const history = [
  { atMs: 0, untilMs: 10_000, position: 0 },
  { atMs: 10_000, untilMs: 20_000, position: 100 },
  { atMs: 20_000, untilMs: 30_000, position: 300 },
];

test.each<{ what: string; received: number; replayed: number; delayMs?: number; lag: Lag }>([
  { what: 'none', received: 300, replayed: 300, lag: { bytes: 0, seconds: 0, exact: true } },
  { what: 'what is not shown', received: 300, replayed: 100, lag: { bytes: 200, seconds: 10, exact: true } },
  {
    what: 'at least as long as the primary was watched',
    received: 0,
    replayed: -1,
    lag: { bytes: 301, seconds: 30, exact: false },
  },
  {
    what: 'none while it is held back on purpose',
    received: 300,
    replayed: 100,
    delayMs: 15_000,
    lag: { bytes: 0, seconds: 0, exact: true },
  },
  {
    what: 'what is held back for longer than that',
    received: 300,
    replayed: 100,
    delayMs: 4_000,
    lag: { bytes: 0, seconds: 6, exact: true },
  },
  {
    what: 'what was not even received',
    received: 100,
    replayed: 0,
    delayMs: 60_000,
    lag: { bytes: 200, seconds: 10, exact: true },
  },
])('lag is $what', ({ received, replayed, delayMs = 0, lag }) => {
  expect(lagOf({ received, replayed }, history, delayMs, 30_000)).toEqual(lag);
});

test('a delayed member is not late by what nobody has seen', () => {
  // It shows at 40 s what was committed at 10 s; the primary was not looked at before 20 s.
  const unwatched = [
    { atMs: 0, untilMs: 0, position: 0 },
    { atMs: 20_000, untilMs: 40_000, position: 300 },
  ];
  const position = { received: 300, replayed: 100, commitAgeMs: 30_000 };
  expect(lagOf(position, unwatched, 30_000, 40_000)).toEqual({ bytes: 0, seconds: 0, exact: true });
  expect(lagOf(position, unwatched, 0, 40_000)?.seconds).toBe(30);
  const late = { received: 300, replayed: 100, commitAgeMs: 60_000 };
  expect(lagOf(late, unwatched, 30_000, 70_000)?.seconds).toBe(20);
});

test('lag is not known without a position of the member, or a history of the primary', () => {
  const position = { received: 300, replayed: 300 };
  expect(lagOf(undefined, history, 0, 30_000)).toBeUndefined();
  expect(lagOf(position, undefined, 0, 30_000)).toBeUndefined();
  expect(lagOf(position, [], 0, 30_000)).toBeUndefined();
});
