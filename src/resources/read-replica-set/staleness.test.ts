import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Look, type Sample, stalenessOf, withLook } from './staleness.ts';

// Looks every second, each answered within 10 ms: at 100 for a second, at 200 for 7 s, at 300 for one look.
const history: readonly Sample[] = [
  { atMs: 1_010, untilMs: 1_000, position: 100 },
  { atMs: 2_010, untilMs: 8_000, position: 200 },
  { atMs: 9_010, untilMs: 9_000, position: 300 },
];

test.each([
  { what: 'has everything', position: 300, expected: { ms: 0, exact: true } },
  { what: 'is ahead of the last look', position: 310, expected: { ms: 0, exact: true } },
  { what: 'lacks what only the last look has seen', position: 200, expected: { ms: 90, exact: true } },
  { what: 'lacks what came 8 s ago or a look earlier', position: 100, expected: { ms: 8_100, exact: true } },
  { what: 'stands between two looks', position: 150, expected: { ms: 8_100, exact: true } },
  { what: 'was behind before anybody looked', position: 50, expected: { ms: 8_090, exact: false } },
])('a standby that $what', ({ position, expected }) => {
  expect(stalenessOf(history, position, 9_100)).toEqual(expected);
});

test.each([
  { what: 'between two looks says when the primary moved on', commitAgeMs: 7_500, ms: 7_500 },
  {
    what: 'that was long ago says nothing: nothing was committed for a while',
    commitAgeMs: 60_000,
    ms: 8_100,
  },
  { what: 'by a clock that is ahead counts for nothing', commitAgeMs: -5_000, ms: 7_090 },
])('a last commit $what', ({ commitAgeMs, ms }) => {
  expect(stalenessOf(history, 150, 9_100, commitAgeMs)).toEqual({ ms, exact: true });
});

test('what was seen twice, and is not shown, is not on its way any more', () => {
  const later = withLook(history, { askedMs: 10_000, answeredMs: 10_010, position: 300 }, 60_000);
  expect(stalenessOf(later, 200, 10_100)).toEqual({ ms: 2_100, exact: true });
});

test('an idle primary makes nobody late', () => {
  const idle = withLook(
    [{ atMs: 0, untilMs: 0, position: 100 }],
    { askedMs: 3_600_000, answeredMs: 3_600_010, position: 100 },
    10_000,
  );
  expect(stalenessOf(idle, 100, 3_600_010)).toEqual({ ms: 0, exact: true });
});

test('nothing is known before the first look', () => {
  expect(stalenessOf([], 100, 0)).toBeUndefined();
});

test('another timeline starts anew', () => {
  const look = { askedMs: 10_000, answeredMs: 10_010, position: 250 };
  const anew = withLook(history, look, 60_000);
  expect(anew).toEqual([{ atMs: 10_010, untilMs: 10_000, position: 250 }]);
  // Whether it is older nobody has seen, neither now nor when the primary has moved on.
  expect(stalenessOf(anew, 240, 11_010)).toEqual({ ms: 1_000, exact: false });
  const later = withLook(anew, { askedMs: 12_000, answeredMs: 12_010, position: 350 }, 60_000);
  expect(stalenessOf(later, 240, 12_010)).toEqual({ ms: 2_000, exact: false });
});

/** What a primary writes, and when it is looked at: each step takes some time, writes or not, and ends with a look or not. */
const steps = fc.array(
  fc.record({
    ms: fc.integer({ min: 1, max: 3_000 }),
    bytes: fc.integer({ min: 0, max: 50 }),
    latencyMs: fc.integer({ min: 0, max: 500 }),
    looks: fc.boolean(),
  }),
  { minLength: 2, maxLength: 60 },
);

interface Watched {
  readonly looks: readonly Look[];
  /** When the primary came to a position. */
  readonly moves: readonly { readonly atMs: number; readonly position: number }[];
}

function watched(
  taken: readonly { ms: number; bytes: number; latencyMs: number; looks: boolean }[],
): Watched {
  const looks: Look[] = [{ askedMs: 0, answeredMs: 0, position: 1 }];
  const moves = [{ atMs: 0, position: 1 }];
  let nowMs = 0;
  let position = 1;
  for (const step of taken) {
    nowMs += step.ms;
    if (step.bytes > 0) {
      position += step.bytes;
      moves.push({ atMs: nowMs, position });
    }
    if (!step.looks) continue;
    looks.push({ askedMs: nowMs, answeredMs: nowMs + step.latencyMs, position });
    nowMs += step.latencyMs;
  }
  return { looks, moves };
}

const historyOf = (looks: readonly Look[], keepMs: number, fineMs?: number) =>
  looks.reduce<readonly Sample[]>((kept, look) => withLook(kept, look, keepMs, fineMs), []);

test('is never less than the truth once a second look has seen it, and at most one look more', () => {
  fc.assert(
    fc.property(steps, fc.nat(), fc.boolean(), (taken, pick, tellsCommit) => {
      const { looks, moves } = watched(taken);
      // A standby that stands still where the primary once was.
      const stopped = moves[pick % moves.length];
      const movedOn = moves.find(({ position }) => position > (stopped?.position ?? 0));
      const nowMs = looks.at(-1)?.answeredMs ?? 0;
      if (stopped === undefined || movedOn === undefined) return;
      const commitAgeMs = tellsCommit ? nowMs - stopped.atMs : undefined;
      const found = stalenessOf(historyOf(looks, 1e9), stopped.position, nowMs, commitAgeMs);
      const truth = nowMs - movedOn.atMs;
      const saw = looks.filter(({ position }) => position > stopped.position);
      const before = looks.findLast(({ position }) => position <= stopped.position);
      if (saw.length >= 2) expect(found?.ms).toBeGreaterThanOrEqual(truth);
      if (saw.length >= 1 && before !== undefined) {
        expect(found?.exact).toBe(true);
        expect(found?.ms).toBeLessThanOrEqual(nowMs - before.askedMs);
      }
    }),
  );
});

test('is the same when old looks are forgotten, as long as it matters, and says so when it may be more', () => {
  fc.assert(
    fc.property(steps, fc.integer({ min: 1, max: 3_000 }), (taken, replayed) => {
      const keepMs = 20_000;
      const { looks } = watched(taken);
      const nowMs = looks.at(-1)?.answeredMs ?? 0;
      const full = stalenessOf(historyOf(looks, 1e9), replayed, nowMs);
      const short = stalenessOf(historyOf(looks, keepMs), replayed, nowMs);
      if (full === undefined || short === undefined) throw new Error('there were looks');
      expect(short.ms).toBeLessThanOrEqual(full.ms);
      if (full.ms <= keepMs || short.exact) expect(short.ms).toBe(full.ms);
    }),
  );
});

test('is nearly the same when old looks are thinned, never less, and the same where they are not', () => {
  fc.assert(
    fc.property(steps, fc.integer({ min: 1, max: 3_000 }), (taken, replayed) => {
      const [keepMs, fineMs, resolutionMs] = [8_000_000, 10_000, 4_000];
      const { looks } = watched(taken);
      const nowMs = looks.at(-1)?.answeredMs ?? 0;
      const histories = [historyOf(looks, keepMs), historyOf(looks, keepMs, fineMs)] as const;
      const [full, thin] = histories.map((kept) => stalenessOf(kept, replayed, nowMs));
      const [sure, thinSure] = histories.map((kept) => stalenessOf(kept, replayed, nowMs, 0));
      if (full === undefined || thin === undefined) throw new Error('there were looks');
      if (sure === undefined || thinSure === undefined) throw new Error('there were looks');
      expect(thin.exact).toBe(full.exact);
      expect(thin.ms).toBeGreaterThanOrEqual(full.ms);
      expect(thin.ms).toBeLessThanOrEqual(full.ms + resolutionMs);
      expect(thinSure.ms).toBeLessThanOrEqual(sure.ms);
      expect(thinSure.ms).toBeGreaterThanOrEqual(sure.ms - resolutionMs);
      if (full.ms <= fineMs) expect(thin).toEqual(full);
    }),
  );
});

test('needs some thousand samples, however long the time that is kept is', () => {
  const looks = Array.from({ length: 12_000 }, (_, at) => ({
    askedMs: at * 10,
    answeredMs: at * 10 + 5,
    position: at,
  }));
  const kept = historyOf(looks, 100_000, 1_000);
  // Of what is old, at most two for each part that is told apart.
  expect(kept.length).toBeLessThanOrEqual(2 * 2_000 + 100 + 2);
  expect(stalenessOf(kept, 7_000, 119_995)?.ms).toBeCloseTo(50_000, -2);
});
