import { describe, expect, test } from 'vitest';
import type { PrimaryFacts, TakenByOthers } from '../model.ts';
import { plan } from '../plan.ts';
import { cluster, input, member, membersApplied, primary, readers, shard } from '../test-support/world.ts';
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

describe('members are added', () => {
  const nobody = { senders: 0, slots: 0 };

  test.each<{ what: string; source: string; slots?: number; others?: TakenByOthers; most: number }>([
    { what: 'the primary', source: 'primary', slots: 60, most: 14 },
    { what: 'the primary with fewer slots', source: 'primary', slots: 18, most: 12 },
    {
      what: 'the primary beside another set',
      source: 'primary',
      slots: 60,
      others: { senders: 4, slots: 4 },
      most: 10,
    },
    { what: 'a standby', source: 'standby', slots: 60, most: 16 },
    { what: 'a standby with fewer slots', source: 'standby', most: 14 },
    { what: 'a standby beside another set', source: 'standby', others: { senders: 0, slots: 4 }, most: 10 },
    { what: 'the first of a cascade', source: 'cascade', slots: 60, most: 17 },
    { what: 'the first of a cascade with fewer slots', source: 'cascade', most: 14 },
    {
      what: 'the first of a cascade that finds no sender',
      source: 'cascade',
      slots: 60,
      others: { senders: 14, slots: 14 },
      most: 0,
    },
  ])('up to what $what can feed', ({ source, slots = 20, others = nobody, most }) => {
    const set = readers({ replicas: 32, source, maxConcurrentClones: 16 });
    const present = Array.from({ length: most }, (_, ordinal) => member(set, ordinal));
    const value: PrimaryFacts = { ...primary, maxReplicationSlots: slots };
    const decided = plan(
      input(set, [shard(present, { primary: { state: 'present', value }, takenByOthers: others })]),
    );
    expect(membersApplied(decided.actions)).toBe(most);
    expect(decided.failures).toMatchObject([
      { reason: 'TooManyMembers', message: expect.stringContaining(`room for ${most} of 32 members`) },
    ]);
  });

  test.each([
    { slots: 20, isAdvised: false },
    { slots: 60, isAdvised: true },
  ])(
    'by a cascade where $slots slots leave room for more than senders do: $isAdvised',
    ({ slots, isAdvised }) => {
      const value: PrimaryFacts = { ...primary, maxReplicationSlots: slots };
      const decided = plan(
        input(readers({ replicas: 32 }), [shard([], { primary: { state: 'present', value } })]),
      );
      const [{ message = '' } = {}] = decided.failures;
      expect(message).toContain(`max_wal_senders is 20 and max_replication_slots ${slots}`);
      expect(message.includes('or set spec.source to cascade')).toBe(isAdvised);
    },
  );

  test('up to what the primary can feed where no standby streams', () => {
    const set = readers({ replicas: 32, source: 'standby' });
    const present = Array.from({ length: 14 }, (_, ordinal) => member(set, ordinal));
    const decided = plan(input(set, [shard(present, { standbys: [] })]));
    expect(decided.failures).toMatchObject([
      { reason: 'TooManyMembers', message: expect.stringContaining('room for 14 of 32 members') },
    ]);
  });

  test.each<{ what: string; bytes: number; maxWalBytes: number; message: RegExp }>([
    {
      what: 'the data',
      bytes: 2 * 1024 ** 3,
      maxWalBytes: 0,
      message: /has 2048 MiB of data.*needs 2253 MiB.*would have 1024 MiB: raise spec\.storage\.size/,
    },
    {
      what: 'the data and its growth',
      bytes: 1000 * 1024 ** 2,
      maxWalBytes: 0,
      message: /has 1000 MiB of data.*needs 1100 MiB.*would have 1024 MiB/,
    },
    {
      what: 'the data and its WAL',
      bytes: 800 * 1024 ** 2,
      maxWalBytes: 200 * 1024 ** 2,
      message: /has 800 MiB of data.*needs 1080 MiB.*max_wal_size is 200 MiB.*would have 1024 MiB/,
    },
  ])('not on volumes that are smaller than $what', ({ bytes, maxWalBytes, message }) => {
    const full: PrimaryFacts = { ...primary, bytes, maxWalBytes };
    const decided = plan(input(readers(), [shard([], { primary: { state: 'present', value: full } })]));
    expect(membersApplied(decided.actions)).toBe(0);
    expect(decided.failures).toMatchObject([
      { reason: 'StorageTooSmall', message: expect.stringMatching(message) },
    ]);
  });

  test('on volumes that have room for both', () => {
    const value: PrimaryFacts = { ...primary, bytes: 800 * 1024 ** 2, maxWalBytes: 144 * 1024 ** 2 };
    const decided = plan(input(readers(), [shard([], { primary: { state: 'present', value } })]));
    expect(membersApplied(decided.actions)).toBe(1);
    expect(decided.failures).toEqual([]);
  });
});
