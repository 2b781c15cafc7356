import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { sketchShard } from '../test-support/sketch-shard.ts';
import { decideMembers } from './members.ts';

describe('decideMembers', () => {
  it('adds all members at once', () => {
    expect(decideMembers(sketchShard([{}]), 3)).toEqual({ kind: 'replicas', replicas: 3 });
  });

  it('takes one member away at a time, the last ordinal first', () => {
    expect(decideMembers(sketchShard([{}, {}, {}, {}, {}]), 3)).toEqual({ kind: 'replicas', replicas: 4 });
  });

  it('switches over before it takes the leader away', () => {
    expect(decideMembers(sketchShard([{}, {}, {}], { leader: 2 }), 1)).toEqual({
      kind: 'switchover',
      leader: 'shop-s0-2',
      candidate: 'shop-s0-0',
      replicas: 3,
    });
  });

  it('keeps the number while a member that stays is not well', () => {
    expect(decideMembers(sketchShard([{}, { ready: false }, {}]), 2)).toMatchObject({
      kind: 'wait',
      replicas: 3,
    });
  });

  it('keeps the number while a member that stays does not stream', () => {
    expect(decideMembers(sketchShard([{}, { facts: { state: 'starting' } }, {}]), 2)).toMatchObject({
      kind: 'wait',
      reason: 'MemberNotStreaming',
      replicas: 3,
    });
    expect(decideMembers(sketchShard([{}, { facts: 'unknown' }, {}]), 2)).toMatchObject({
      kind: 'wait',
      replicas: 3,
    });
  });

  it('makes a StatefulSet that is gone around the members that run, however few are wanted', () => {
    const orphaned = { ...sketchShard([{}, {}, {}, {}, {}], { settled: false }), statefulSet: undefined };
    expect(decideMembers(orphaned, 3)).toMatchObject({ kind: 'wait', replicas: 5 });
    const going = sketchShard([{}, {}, {}, { deleting: true }, { missing: true }], { settled: false });
    expect(decideMembers({ ...going, statefulSet: undefined }, 3)).toEqual({ kind: 'replicas', replicas: 3 });
    const fresh = { ...sketchShard([], { settled: false }), statefulSet: undefined };
    expect(decideMembers(fresh, 3)).toEqual({ kind: 'replicas', replicas: 3 });
  });

  it('takes at most one member away, never the leader, and only when all that stay are well', () => {
    const member = fc.record({
      ready: fc.boolean(),
      deleting: fc.boolean(),
      facts: fc.constantFrom(undefined, { state: 'starting' }, 'unknown' as const),
    });
    fc.assert(
      fc.property(
        fc.array(member, { minLength: 1, maxLength: 6 }),
        fc.nat({ max: 6 }),
        fc.integer({ min: 1, max: 6 }),
        fc.constantFrom(undefined, 'unknown' as const, 'absent' as const),
        (members, leader, wanted, group) => {
          const sketches = members.map(({ facts, ...rest }) =>
            facts === undefined ? rest : { ...rest, facts },
          );
          const shard = sketchShard(sketches, { leader, ...(group === undefined ? {} : { group }) });
          const { replicas } = decideMembers(shard, wanted);
          if (replicas >= members.length) return;
          expect(replicas).toBe(members.length - 1);
          expect(group).toBeUndefined();
          expect(leader).toBeLessThan(replicas);
          const staying = members.slice(0, wanted);
          expect(staying.every(({ ready, deleting }) => ready && !deleting)).toBe(true);
          expect(staying.every(({ facts }, ordinal) => facts === undefined || ordinal === leader)).toBe(true);
        },
      ),
    );
  });

  it('keeps the number while nothing is known', () => {
    expect(decideMembers(sketchShard([{}, {}, {}], { group: 'unknown' }), 1)).toMatchObject({
      kind: 'wait',
      replicas: 3,
    });
    expect(decideMembers(sketchShard([{}, {}, {}], { settled: false }), 1)).toMatchObject({
      kind: 'wait',
      replicas: 3,
    });
  });
});
