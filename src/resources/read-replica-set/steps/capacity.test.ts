import { expect, test } from 'vitest';
import { cluster } from '../test-support/world.ts';
import { hasStandby } from './capacity.ts';

test.each([
  { standbys: ['shop-s0-1'], members: 1, expected: true },
  { standbys: [], members: 3, expected: false },
  { standbys: undefined, members: 3, expected: true },
  { standbys: undefined, members: 1, expected: false },
])(
  'with standbys $standbys of $members members a standby is there: $expected',
  ({ standbys, members, expected }) => {
    expect(hasStandby(standbys, { spec: { ...cluster.spec, members } })).toBe(expected);
  },
);
