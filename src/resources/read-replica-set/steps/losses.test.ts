import { describe, expect, test } from 'vitest';
import type { WorkState } from '../member-work.ts';
import type { ObservedReplica, ObservedReplicaShard, SetInput } from '../model.ts';
import { plan } from '../plan.ts';
import { input, kinds, member, readers, settled, shard, stats } from '../test-support/world.ts';

describe('members whose WAL is gone', () => {
  const set = readers({ replicas: 3, maxConcurrentClones: 1 });
  const lost = (ordinal: number, work: ObservedReplica['work'] = new Map()) =>
    member(set, ordinal, { isLost: true, work });
  const told = (state: WorkState) => new Map([['reinitialize', state]] as const);
  const copied = (given: SetInput) =>
    plan(given).actions.flatMap((action) => (action.kind === 'reinitialize' ? [action.member] : []));

  test.each<{ what: string; shards: readonly ObservedReplicaShard[]; expected: readonly string[] }>([
    {
      what: 'as many at a time as may be copied, the lowest ordinal first',
      shards: [shard([member(set, 0), lost(1), lost(2)])],
      expected: ['readers-s0-replicas-1'],
    },
    {
      what: 'not while another has been told to',
      shards: [shard([member(set, 0), lost(1, told({ state: 'running' })), lost(2)])],
      expected: [],
    },
    {
      what: 'not while another has begun to, and still serves',
      shards: [shard([member(set, 0), lost(1, told({ state: 'done' })), lost(2)])],
      expected: [],
    },
    {
      what: 'after another that could not be told',
      shards: [shard([member(set, 0), lost(1, told({ state: 'failed', message: 'no' })), lost(2)])],
      expected: ['readers-s0-replicas-2'],
    },
    {
      what: 'not while a copy is under way',
      shards: [shard([member(set, 0, { ready: false }), lost(1), lost(2)])],
      expected: [],
    },
    {
      what: 'not beside a member that this pass adds',
      shards: [shard([lost(0), member(set, 1)])],
      expected: [],
    },
  ])('are copied anew $what', ({ shards, expected }) => {
    expect(copied(input(set, shards))).toEqual(expected);
  });

  test.each<{ what: string; whenNoneFresh: 'keepFreshest' | 'primary'; members: number[]; expected: number }>(
    [
      { what: 'but one that serves on', whenNoneFresh: 'keepFreshest', members: [0, 1, 2], expected: 2 },
      { what: 'where there is but one', whenNoneFresh: 'keepFreshest', members: [0], expected: 1 },
      { what: 'where the primary serves', whenNoneFresh: 'primary', members: [0, 1, 2], expected: 3 },
    ],
  )('are copied anew when all are, $what', ({ whenNoneFresh, members, expected }) => {
    const all = readers({ replicas: members.length, maxConcurrentClones: 3, whenNoneFresh });
    const given = input(all, [shard(members.map((ordinal) => member(all, ordinal, { isLost: true })))]);
    expect(copied(given)).toEqual(
      [0, 1, 2].slice(0, expected).map((ordinal) => `readers-s0-replicas-${ordinal}`),
    );
  });

  test.each<{ what: string; first: Partial<ObservedReplica>; second: Partial<ObservedReplica> }>([
    {
      what: 'another that is lost has never served',
      first: {},
      second: { isLost: true, rotation: undefined },
    },
    { what: 'another has never served yet', first: {}, second: { rotation: undefined } },
    { what: 'another is not in rotation yet', first: {}, second: { rotation: 'out' } },
    {
      what: 'another that is lost is out as well',
      first: { rotation: 'out' },
      second: { isLost: true, rotation: undefined },
    },
  ])('are not copied anew where one serves, and $what', ({ first, second }) => {
    const two = readers({ replicas: 2, maxConcurrentClones: 2, whenNoneFresh: 'keepFreshest' });
    const members = [member(two, 0, { isLost: true, ...first }), member(two, 1, second)];
    expect(copied(input(two, [shard(members)]))).not.toContain('readers-s0-replicas-0');
  });

  test('are named while they wait', () => {
    const waiting = settled(input(set, [shard([member(set, 0), lost(1), lost(2)])]));
    expect(plan(waiting).progress).toContainEqual({
      reason: 'WaitingForCopies',
      message:
        'members wait to be copied anew, since 1 may be copied at a time, and the last one that serves a shard waits for ' +
        'another: readers-s0-replicas-2',
    });
  });

  test('are told whose WAL they have missed', () => {
    const streamsFrom = { name: 'shop-s0-1', address: '10.0.0.2' };
    const given = input(set, [
      shard([0, 1, 2].map((ordinal) => member(set, ordinal, { isLost: ordinal === 1, streamsFrom }))),
    ]);
    expect(plan(given).actions.filter(({ kind }) => kind === 'reinitialize')).toMatchObject([
      { evidence: 'it does not stream, and shop-s0-1 no longer has the WAL that it needs next' },
    ]);
  });

  test('are as many as may be copied over all shards', () => {
    const two = readers({ replicas: 3, maxConcurrentClones: 2 });
    const shards = ['s0', 's1'].map((name) => shard([lost(0), lost(1), member(set, 2)], { name }));
    const actions = plan(input(two, shards)).actions.filter(({ kind }) => kind === 'reinitialize');
    expect(actions).toMatchObject([{ shard: 's0' }, { shard: 's1' }]);
  });

  test('are copied anew, unless they show the past on purpose', () => {
    const two = readers({ replicas: 2 });
    const given = input(two, [shard([member(two, 0, { isLost: true }), member(two, 1)])]);
    expect(plan(given).actions).toContainEqual({
      kind: 'reinitialize',
      shard: 's0',
      member: 'readers-s0-replicas-0',
      evidence: 'it does not stream, and its primary no longer has the WAL that it needs next',
    });
    const delayed = readers({ replicas: 2, workload: 'delayed' });
    const past = [0, 1].map((ordinal) =>
      member(delayed, ordinal, { isLost: true, stats: { state: 'present', value: stats(delayed) } }),
    );
    const { actions, failures } = plan(input(delayed, [shard(past)]));
    expect(kinds(actions)).toEqual([]);
    expect(failures).toMatchObject([{ reason: 'MemberLost' }, { reason: 'MemberLost' }]);
    expect(failures[1]?.message).toContain(
      'member readers-s0-replicas-1: it does not stream, and its primary no longer has the WAL that it needs next.',
    );
    expect(failures[1]?.message).toContain('delete its claim data-readers-s0-replicas-1 to copy it anew');
  });
});
