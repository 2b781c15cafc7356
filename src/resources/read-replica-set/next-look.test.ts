import fc from 'fast-check';
import { expect, test } from 'vitest';
import { lagOf } from './lag.ts';
import type { Rotation } from './names.ts';
import { nextLookMs, pollMs } from './next-look.ts';
import { type Sample, withLook } from './staleness.ts';

const limits = { maxBytes: 1_000, maxSeconds: 4 };
const late = (seconds: number, rotation: Rotation = 'in') => ({
  rotation,
  lag: { bytes: 1, seconds, exact: true },
});

test.each([
  { what: 'nobody is there', members: [], sinceMs: 0, ms: 1_000 },
  { what: 'all are fresh', members: [late(0), late(0.1)], sinceMs: 50, ms: 1_000 },
  { what: 'one reaches the limit sooner', members: [late(0), late(3.5)], sinceMs: 0, ms: 500 },
  { what: 'the present look took time', members: [late(3.5)], sinceMs: 200, ms: 300 },
  { what: 'it has reached the limit meanwhile', members: [late(3.9)], sinceMs: 200, ms: 100 },
  { what: 'one that nears the limit is out', members: [late(3.5, 'out')], sinceMs: 0, ms: 1_000 },
  { what: 'one over the limit serves nevertheless', members: [late(9)], sinceMs: 0, ms: 1_000 },
  { what: 'lag is not known', members: [{ rotation: 'in' as const, lag: undefined }], sinceMs: 0, ms: 1_000 },
])('after $ms ms when $what', ({ members, sinceMs, ms }) => {
  expect(nextLookMs(members, limits, sinceMs)).toBeCloseTo(ms);
});

/** Looks at a member that shows nothing after `stopMs`, while the primary commits at these times; answers when it is at its limit. */
function seenLateMs(
  commits: readonly number[],
  stopMs: number,
  { maxSeconds, latencyMs, tellsCommit }: { maxSeconds: number; latencyMs: number; tellsCommit: boolean },
): number {
  const positionAt = (ms: number) => commits.filter((commitMs) => commitMs <= ms).length;
  let history: readonly Sample[] = [];
  for (let askedMs = 0; ; ) {
    const answeredMs = askedMs + latencyMs;
    const atMs = Math.min(answeredMs, stopMs);
    history = withLook(history, { askedMs, answeredMs, position: positionAt(answeredMs) }, 60_000);
    const shown = positionAt(atMs);
    const commitAgeMs = tellsCommit && shown > 0 ? answeredMs - (commits[shown - 1] ?? 0) : undefined;
    const lag = lagOf({ received: shown, replayed: shown, commitAgeMs }, history, 0, answeredMs);
    if (lag !== undefined && lag.seconds >= maxSeconds) return answeredMs;
    askedMs = answeredMs + nextLookMs([{ rotation: 'in', lag }], { ...limits, maxSeconds }, 0);
  }
}

test('a member that stands still is found at its limit, wherever it stopped between two looks', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 900 }), { minLength: 1, maxLength: 30 }),
      fc.nat(),
      fc.record({
        maxSeconds: fc.integer({ min: 2, max: 10 }),
        latencyMs: fc.integer({ min: 0, max: 300 }),
        tellsCommit: fc.boolean(),
      }),
      (pauses, pick, how) => {
        const commits: number[] = [];
        for (const ms of pauses) commits.push((commits.at(-1) ?? 2_000) + ms);
        const movedOnMs = commits[pick % commits.length] ?? 0;
        const overMs = seenLateMs(commits, movedOnMs - 1, how) - (movedOnMs + how.maxSeconds * 1_000);
        // A look that is under way just before the limit is followed by one more.
        expect(overMs).toBeLessThanOrEqual(2 * how.latencyMs + 100);
        expect(overMs).toBeGreaterThanOrEqual(-(pollMs + 2 * how.latencyMs));
      },
    ),
  );
});
