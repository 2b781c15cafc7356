import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decideRotation, type Lag, type RotationMember, type WhenNoneFresh } from './rotation.ts';

const limits = { maxBytes: 1_000, maxSeconds: 10 };
const fresh: Lag = { bytes: 0, seconds: 0, exact: true };

function member(name: string, fields: Partial<RotationMember> = {}): RotationMember {
  return { name, ready: true, rotation: 'in', drain: undefined, lag: fresh, ...fields };
}

function rotations(
  members: readonly RotationMember[],
  policy: WhenNoneFresh = 'none',
): (string | undefined)[] {
  return decideRotation(members, limits, policy).members.map(({ rotation }) => rotation);
}

describe('one member of two', () => {
  const other = member('b');
  test.each<{ what: string; fields: Partial<RotationMember>; becomes: string | undefined }>([
    { what: 'fresh and in', fields: {}, becomes: 'in' },
    {
      what: 'just under the limits and in',
      fields: { lag: { bytes: 999, seconds: 9.9, exact: true } },
      becomes: 'in',
    },
    {
      what: 'at the limit of bytes',
      fields: { lag: { bytes: 1_000, seconds: 0, exact: true } },
      becomes: 'out',
    },
    {
      what: 'at the limit of seconds',
      fields: { lag: { bytes: 1, seconds: 10, exact: true } },
      becomes: 'out',
    },
    {
      what: 'surely over the limit of seconds, if not more',
      fields: { lag: { bytes: 1, seconds: 11, exact: false } },
      becomes: 'out',
    },
    {
      what: 'out, and over half of the bytes',
      fields: { rotation: 'out', lag: { bytes: 501, seconds: 0, exact: true } },
      becomes: 'out',
    },
    {
      what: 'out, and over half of the seconds',
      fields: { rotation: 'out', lag: { bytes: 0, seconds: 5.1, exact: true } },
      becomes: 'out',
    },
    {
      what: 'out, and at half of both',
      fields: { rotation: 'out', lag: { bytes: 500, seconds: 5, exact: true } },
      becomes: 'in',
    },
    {
      what: 'out, and perhaps older than it seems',
      fields: { rotation: 'out', lag: { bytes: 1, seconds: 1, exact: false } },
      becomes: 'out',
    },
    { what: 'unknown and in', fields: { lag: undefined }, becomes: 'in' },
    { what: 'unknown and out', fields: { rotation: 'out', lag: undefined }, becomes: 'out' },
    { what: 'new and fresh', fields: { rotation: undefined }, becomes: 'in' },
    { what: 'new and unknown', fields: { rotation: undefined, lag: undefined }, becomes: undefined },
    {
      what: 'new and late',
      fields: { rotation: undefined, lag: { bytes: 9e9, seconds: 0, exact: true } },
      becomes: undefined,
    },
    { what: 'not ready', fields: { ready: false }, becomes: 'out' },
    { what: 'about to be stopped', fields: { drain: 'it is one too many' }, becomes: 'draining' },
    { what: 'no longer to be stopped', fields: { rotation: 'draining' }, becomes: 'in' },
  ])('that is $what becomes $becomes', ({ fields, becomes }) => {
    expect(rotations([member('a', fields), other])).toEqual([becomes, 'in']);
  });
});

describe('when every member is late', () => {
  const late = (bytes: number): Partial<RotationMember> => ({ lag: { bytes, seconds: 60, exact: true } });

  test('the freshest of those that serve stays', () => {
    const decision = decideRotation(
      [member('a', late(5_000)), member('b', late(4_000)), member('c', late(9_000))],
      limits,
      'keepFreshest',
    );
    expect(decision).toMatchObject({ servedBy: 'freshest' });
    expect(decision.members.map(({ rotation }) => rotation)).toEqual(['out', 'in', 'out']);
  });

  test('another takes over only when it is much fresher', () => {
    const serving = member('a', late(5_000));
    expect(rotations([serving, member('b', { ...late(3_000), rotation: 'out' })], 'keepFreshest')).toEqual([
      'in',
      'out',
    ]);
    expect(rotations([serving, member('b', { ...late(2_000), rotation: 'out' })], 'keepFreshest')).toEqual([
      'out',
      'in',
    ]);
  });

  test('one that has never been fresh does not serve', () => {
    const decision = decideRotation(
      [member('a', { ...late(5_000), rotation: undefined })],
      limits,
      'keepFreshest',
    );
    expect(decision.servedBy).toBe('nobody');
  });

  test('the primary serves, or nobody, if the policy says so', () => {
    expect(decideRotation([member('a', late(5_000))], limits, 'primary').servedBy).toBe('primary');
    expect(decideRotation([member('a', late(5_000))], limits, 'none').servedBy).toBe('nobody');
    expect(rotations([member('a', late(5_000))], 'primary')).toEqual(['out']);
  });
});

const anyLag = fc.option(
  fc.record({
    bytes: fc.integer({ min: 0, max: 3_000 }),
    seconds: fc.integer({ min: 0, max: 30 }),
    exact: fc.boolean(),
  }),
  { nil: undefined },
);
const anyMember = fc.record({
  ready: fc.boolean(),
  rotation: fc.constantFrom('in' as const, 'out' as const, 'draining' as const, undefined),
  drain: fc.constantFrom(undefined, 'it is one too many'),
  lag: anyLag,
});
const anyMembers = fc
  .array(anyMember, { maxLength: 5 })
  .map((members) => members.map((fields, index) => ({ name: `m${index}`, ...fields })));
const anyPolicy = fc.constantFrom<WhenNoneFresh>('keepFreshest', 'primary', 'none');

describe('whatever is observed', () => {
  test('deciding again on what was decided changes nothing', () => {
    fc.assert(
      fc.property(anyMembers, anyPolicy, (members, policy) => {
        const first = decideRotation(members, limits, policy);
        const then = members.map((before, index) => ({
          ...before,
          rotation: first.members[index]?.rotation,
        }));
        const second = decideRotation(then, limits, policy);
        expect(second.members.map(({ rotation }) => rotation)).toEqual(
          first.members.map(({ rotation }) => rotation),
        );
      }),
    );
  });

  test('nobody known to be late serves beside one that is fresh, and nobody that drains or is not ready serves', () => {
    fc.assert(
      fc.property(anyMembers, anyPolicy, (members, policy) => {
        const decision = decideRotation(members, limits, policy);
        for (const [index, { rotation }] of decision.members.entries()) {
          const { lag, ready, drain } = members[index] as RotationMember;
          if (rotation !== 'in') continue;
          expect(ready && drain === undefined).toBe(true);
          const isLate =
            lag !== undefined && (lag.bytes >= limits.maxBytes || lag.seconds >= limits.maxSeconds);
          if (isLate) expect(decision.servedBy).toBe('freshest');
        }
        const serving = decision.members.filter(({ rotation }) => rotation === 'in').length;
        if (decision.servedBy === 'members') expect(serving).toBeGreaterThan(0);
        else expect(serving).toBe(decision.servedBy === 'freshest' ? 1 : 0);
      }),
    );
  });

  test('a Service that served by its members is not emptied by lag while the freshest shall stay', () => {
    fc.assert(
      fc.property(anyMembers, (members) => {
        const before = members.some(
          ({ rotation, ready, drain }) => rotation === 'in' && ready && drain === undefined,
        );
        if (before) expect(decideRotation(members, limits, 'keepFreshest').servedBy).not.toBe('nobody');
      }),
    );
  });
});
