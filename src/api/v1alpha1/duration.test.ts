import { expect, test } from 'vitest';
import { durationMs } from './duration.ts';

test.each([
  ['250ms', 250],
  ['30s', 30_000],
  ['10m', 600_000],
  ['24h', 86_400_000],
  ['7d', 604_800_000],
  ['0s', 0],
])('%s are %d milliseconds', (text, ms) => {
  expect(durationMs(text)).toBe(ms);
});

test.each(['', 's', '1', '1.5h', '-1s', '1w', '1h30m'])('"%s" is no duration', (text) => {
  expect(durationMs(text)).toBeUndefined();
});

test('the longest that can be written still ends at a date', () => {
  const end = new Date(Date.parse('2026-01-01T00:00:00Z') + (durationMs('999999999999999d') ?? 0));
  expect(end.toISOString()).toMatch(/^3026-/);
});
