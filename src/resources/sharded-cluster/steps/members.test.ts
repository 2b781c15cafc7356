import { describe, expect, it } from 'vitest';
import { decideMembers } from './members.ts';
import { sketchShard } from './world.ts';

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
