import { expect, test } from 'vitest';
import { memberOfSlot } from './slots.ts';

test.each<[string, ReturnType<typeof memberOfSlot>]>([
  ['shop_s1_2', { pod: 'shop-s1-2', statefulSet: 'shop-s1', ordinal: 2 }],
  [
    'late_readers_s1_replicas_10',
    { pod: 'late-readers-s1-replicas-10', statefulSet: 'late-readers-s1-replicas', ordinal: 10 },
  ],
  ['shop_s2_2', undefined],
  ['readers_s11_replicas_0', undefined],
  ['readers_s1_replicas_x', undefined],
  ['s1_replicas_0', undefined],
  ['warehouse', undefined],
])('the slot %s on the primary of s1 is that of %o', (slot, member) => {
  expect(memberOfSlot(slot, 'shop', 's1')).toEqual(member);
});
