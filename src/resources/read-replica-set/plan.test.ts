import { describe, expect, test } from 'vitest';
import type { KubernetesObject } from '../../runtime/kubernetes-object.ts';
import type { StatefulSet } from '../sharded-cluster/kubernetes.ts';
import { objectId } from '../sharded-cluster/steps/objects.ts';
import type { WorkState } from './member-work.ts';
import type { ObservedReplica, ObservedReplicaShard, PrimaryFacts, SetInput } from './model.ts';
import { plan } from './plan.ts';
import {
  cluster,
  input,
  kinds,
  member,
  membersApplied,
  primary,
  readers,
  settled,
  shard,
  statefulSet,
  stats,
} from './test-support/world.ts';

test('a set that is as it shall be asks for nothing', () => {
  const set = readers({ replicas: 2 });
  const given = settled(input(set, [shard([member(set, 0), member(set, 1)])]));
  expect(plan(given)).toMatchObject({ actions: [], progress: [], failures: [] });
});

describe('members are added', () => {
  test('as many at a time as may be copied, over all shards', () => {
    const set = readers({ replicas: 3, maxConcurrentClones: 2 });
    const empty = { statefulSet: undefined };
    const decided = plan(input(set, [shard([], empty), shard([], { ...empty, name: 's1' })]));
    const sizes = decided.actions.flatMap((action) =>
      action.kind === 'apply' && action.object.kind === 'StatefulSet'
        ? [(action.object as StatefulSet).spec?.replicas]
        : [],
    );
    expect(sizes).toEqual([2, 0]);
    expect(decided.progress.map(({ reason }) => reason)).toContain('WaitingForCopies');
  });

  test('not before those under way are ready', () => {
    const set = readers({ replicas: 3 });
    const copying = member(set, 0, {
      ready: false,
      rotation: undefined,
      lag: undefined,
      stats: { state: 'absent' },
    });
    expect(membersApplied(plan(input(set, [shard([copying])])).actions)).toBe(1);
    expect(membersApplied(plan(input(set, [shard([member(set, 0)])])).actions)).toBe(2);
  });

  test.each<{ what: string; fields: Partial<ObservedReplicaShard>; reason: string }>([
    {
      what: 'a primary',
      fields: { primary: { state: 'unknown', error: new Error('silence') } },
      reason: 'NoPrimary',
    },
    {
      what: 'knowing how large it is',
      fields: { primary: { state: 'present', value: { ...primary, bytes: undefined } } },
      reason: 'CountingData',
    },
    { what: 'a certificate with the name', fields: { isCertified: false }, reason: 'WaitingForCertificate' },
  ])('not without $what', ({ fields, reason }) => {
    const decided = plan(input(readers(), [shard([], { statefulSet: undefined, ...fields })]));
    expect(membersApplied(decided.actions)).toBeUndefined();
    expect(decided.progress).toMatchObject([{ reason }]);
  });

  test.each<{ what: string; source: string; others: number; most: number }>([
    { what: 'the primary', source: 'primary', others: 0, most: 14 },
    { what: 'the primary beside another set', source: 'primary', others: 4, most: 10 },
    { what: 'a standby', source: 'standby', others: 0, most: 16 },
    { what: 'the first of a cascade', source: 'cascade', others: 0, most: 17 },
  ])('up to what $what can feed', ({ source, others, most }) => {
    const set = readers({ replicas: 32, source, maxConcurrentClones: 16 });
    const present = Array.from({ length: most }, (_, ordinal) => member(set, ordinal));
    const decided = plan(input(set, [shard(present, { othersOnPrimary: others })]));
    expect(membersApplied(decided.actions)).toBe(most);
    expect(decided.failures).toMatchObject([
      { reason: 'TooManyMembers', message: expect.stringContaining(`room for ${most} of 32 members`) },
    ]);
  });

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

describe('something is under way', () => {
  const set = readers({ replicas: 1 });
  const reasons = (given: SetInput) => plan(given).progress.map(({ reason }) => reason);

  test('from the moment a template changes until the StatefulSet controller has seen it', () => {
    const present = settled(input(set, [shard([member(set, 0)])]));
    const larger = readers({ replicas: 1, resources: { requests: { cpu: '1' } }, parameters: {} });
    const changed = { ...present, set: larger };
    expect(reasons(present)).toEqual([]);
    expect(reasons(changed)).toContain('StatefulSetUnsettled');
    const unseen = input(set, [shard([member(set, 0)], { settled: false })]);
    expect(reasons(settled(unseen))).toEqual(['StatefulSetUnsettled']);
  });

  test('until a server has judged what was changed, but not when an operator asks again', () => {
    const { spec } = set;
    const at = (generation: number, observedGeneration: number) => ({
      ...set,
      spec,
      metadata: { ...set.metadata, generation },
      status: { observedGeneration },
    });
    const unjudged = { parameterProblems: undefined };
    expect(reasons(settled(input(at(2, 1), [shard([member(set, 0)])], unjudged)))).toEqual([
      'CheckingParameters',
    ]);
    expect(reasons(settled(input(at(2, 2), [shard([member(set, 0)])], unjudged)))).toEqual([]);
  });

  test('until members have read a changed configuration', () => {
    const old = member(set, 0, { stats: { state: 'present', value: stats(set, { config: 'another' }) } });
    expect(reasons(settled(input(set, [shard([old])])))).toEqual(['ReadingConfiguration']);
  });
});

describe('members are taken away', () => {
  const set = readers({ replicas: 1 });

  test('when nothing new reaches them any more', () => {
    const first = plan(input(set, [shard([member(set, 0), member(set, 1)])]));
    expect(first.actions).toContainEqual(expect.objectContaining({ kind: 'rotate', rotation: 'draining' }));
    expect(membersApplied(first.actions)).toBe(2);
    const draining = (ms: number) => member(set, 1, { rotation: 'draining', drainingMs: ms });
    expect(membersApplied(plan(input(set, [shard([member(set, 0), draining(1_000)])])).actions)).toBe(2);
    expect(membersApplied(plan(input(set, [shard([member(set, 0), draining(2_000)])])).actions)).toBe(1);
  });

  test('not while those that stay would leave the Service empty', () => {
    const late = member(set, 0, { rotation: 'out', lag: { bytes: 1e9, seconds: 60, exact: true } });
    const decided = plan(settled(input(set, [shard([late, member(set, 1)])])));
    expect(membersApplied(decided.actions)).toBeUndefined();
    expect(decided.progress).toMatchObject([{ reason: 'WaitingForFreshMember' }]);
  });

  test('with everything else in a shard that the set left, the StatefulSet last', () => {
    const gone = shard([], { isWanted: false, statefulSet: statefulSet(0) });
    const service: KubernetesObject = {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'readers-s0-read', uid: 's', labels: { 'herdsman.dev/shard': 's0' } },
    };
    const set0 = statefulSet(0);
    const both = new Map([service, set0].map((object) => [objectId(object), object as KubernetesObject]));
    expect(plan(input(set, [gone], { objects: both })).actions).toMatchObject([
      { kind: 'delete', object: { kind: 'Service' } },
    ]);
    const last = new Map([[objectId(set0), set0 as KubernetesObject]]);
    expect(plan(input(set, [gone], { objects: last })).actions).toMatchObject([
      { kind: 'delete', object: { kind: 'StatefulSet' }, evidence: expect.stringContaining('volumes stay') },
    ]);
  });
});

describe('members are renewed', () => {
  const set = readers({ replicas: 2 });

  test('one at a time, out of the Service first', () => {
    const first = plan(
      input(set, [shard([member(set, 0, { outdated: true }), member(set, 1, { outdated: true })])]),
    );
    expect(kinds(first.actions)).toEqual(['rotate']);
    const drained = member(set, 0, { outdated: true, rotation: 'draining', drainingMs: 2_000 });
    const second = plan(input(set, [shard([drained, member(set, 1, { outdated: true })])]));
    expect(second.actions).toContainEqual(
      expect.objectContaining({
        kind: 'delete',
        uid: 'uid-of-readers-s0-replicas-0',
        evidence: 'its template is outdated',
      }),
    );
  });

  test('those first that do not serve, and none while the Service would be empty without it', () => {
    const lag = { bytes: 1e9, seconds: 60, exact: true };
    const serving = member(set, 0, { outdated: true });
    const late = (fields = {}) => member(set, 1, { rotation: 'out', lag, ...fields });
    const waits = plan(input(set, [shard([serving, late()])]));
    expect(kinds(waits.actions)).not.toContain('rotate');
    expect(waits.progress.map(({ reason }) => reason)).toContain('WaitingForFreshMember');
    const both = plan(input(set, [shard([serving, late({ outdated: true })])]));
    expect(both.rotations.get('s0')?.members.map(({ rotation }) => rotation)).toEqual(['in', 'draining']);
    const alone = plan(input(readers({ replicas: 1 }), [shard([serving])]));
    expect(kinds(alone.actions)).toEqual(['rotate']);
  });

  test('not while another is not ready', () => {
    const starting = member(set, 1, { ready: false, rotation: undefined });
    const decided = plan(input(set, [shard([member(set, 0, { outdated: true }), starting])]));
    expect(kinds(decided.actions)).toEqual([]);
    expect(decided.progress.map(({ reason }) => reason)).toContain('MemberNotReady');
  });

  test.each([
    { what: 'where only a parameter needs it', busy: 0, drainingMs: 2_000, expected: ['restart'] },
    { what: 'not while its queries run', busy: 1, drainingMs: 29_000, expected: [] },
    { what: 'when its queries have had their grace', busy: 1, drainingMs: 30_000, expected: ['restart'] },
  ])('by a restart $what', ({ busy, drainingMs, expected }) => {
    const waiting = member(set, 0, {
      pendingRestart: true,
      rotation: 'draining',
      drainingMs,
      stats: { state: 'present', value: stats(set, { busy }) },
    });
    expect(kinds(plan(input(set, [shard([waiting, member(set, 1)])])).actions)).toEqual(expected);
  });

  test.each([
    ['that has begun', member(set, 0, { pendingRestart: true, rotation: 'draining', drainingMs: 2_000 })],
    ['of which Patroni no longer says that it is needed', member(set, 0, { rotation: 'draining' })],
  ])('by one restart at a time, out of the Service: one %s goes on', (_, restarting) => {
    const busy = { ...restarting, work: new Map([['restart', { state: 'running' }]] as const) };
    const waiting = member(set, 1, { pendingRestart: true });
    const decided = plan(settled(input(set, [shard([busy, waiting])])));
    expect(kinds(decided.actions)).toEqual([]);
    expect(decided.rotations.get('s0')?.members.map(({ rotation }) => rotation)).toEqual(['draining', 'in']);
    expect(decided.progress).toMatchObject([{ reason: 'RollingOut' }]);
  });

  test('by another restart when one has failed, which is told', () => {
    const failed = { state: 'failed', message: 'Patroni refused /restart' } as const;
    const waiting = member(set, 0, {
      pendingRestart: true,
      rotation: 'draining',
      drainingMs: 2_000,
      work: new Map([['restart', failed]] as const),
    });
    const { actions, progress } = plan(input(set, [shard([waiting, member(set, 1)])]));
    expect(kinds(actions)).toEqual([]);
    expect(progress).toContainEqual({
      reason: 'Retrying',
      message: 'member readers-s0-replicas-0: Patroni refused /restart',
    });
  });
});

describe('running members', () => {
  const set = readers({ replicas: 2 });
  const other = member(set, 1);

  test('read a configuration again that is not theirs yet', () => {
    const old = member(set, 0, { stats: { state: 'present', value: stats(set, { config: 'another' }) } });
    expect(kinds(plan(input(set, [shard([old, other])])).actions)).toEqual(['reload']);
  });

  test('are told once, while they are at it', () => {
    const work = new Map([
      ['reload', { state: 'running' }],
      ['reinitialize', { state: 'done' }],
    ] as const);
    const old = stats(set, { config: 'another' });
    const busy = member(set, 0, { isLost: true, stats: { state: 'present', value: old }, work });
    expect(kinds(plan(input(set, [shard([busy, other])])).actions)).toEqual([]);
  });

  test('are not added before their parameters are judged: pods would start without a configuration', () => {
    const more = settled(
      input(readers({ replicas: 3 }), [shard([member(set, 0), other])], { parameterProblems: undefined }),
    );
    expect(membersApplied(plan(more).actions)).toBeUndefined();
    expect(plan(more).progress).toMatchObject([{ reason: 'CheckingParameters' }]);
    const first = input(set, [shard([], { statefulSet: undefined })], { parameterProblems: undefined });
    expect(membersApplied(plan(first).actions)).toBeUndefined();
  });

  test('keep their configuration while no server has judged the parameters', () => {
    const old = member(set, 0, { stats: { state: 'present', value: stats(set, { config: 'another' }) } });
    const { actions } = plan(input(set, [shard([old, other])], { parameterProblems: undefined }));
    expect(kinds(actions)).toEqual([]);
    expect(actions.some((action) => action.kind === 'apply' && action.object.kind === 'ConfigMap')).toBe(
      false,
    );
  });

  test('lose the sessions that would go on reading old data when they are late', () => {
    const lag = { bytes: 1e9, seconds: 0, exact: true };
    const busy = stats(set, { connections: 3, active: 3, busy: 3 });
    const late = member(set, 0, { lag, stats: { state: 'present', value: busy } });
    expect(kinds(plan(input(set, [shard([late, other])])).actions)).toEqual(['rotate', 'end-sessions']);
    const out = { ...late, rotation: 'out', outMs: 7_000 } as const;
    expect(plan(input(set, [shard([out, other])])).actions).toContainEqual({
      kind: 'end-sessions',
      shard: 's0',
      member: 'readers-s0-replicas-0',
      outMs: 7_000,
      graceMs: 30_000,
    });
  });

  test('keep them when all are late and they are the freshest', () => {
    const late = (ordinal: number, bytes: number) =>
      member(set, ordinal, { lag: { bytes, seconds: 0, exact: true } });
    const { actions } = plan(input(set, [shard([late(0, 1e9), late(1, 2e9)])]));
    const ended = actions.filter(({ kind }) => kind === 'end-sessions');
    expect(ended).toMatchObject([{ member: 'readers-s0-replicas-1' }]);
  });

  test('are copied anew when their WAL is gone, unless they show the past on purpose', () => {
    const lost = member(set, 0, { isLost: true });
    expect(kinds(plan(input(set, [shard([lost, other])])).actions)).toEqual(['reinitialize']);
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

  test('are named while they wait', () => {
    const waiting = settled(input(set, [shard([member(set, 0), lost(1), lost(2)])]));
    expect(plan(waiting).progress).toContainEqual({
      reason: 'WaitingForCopies',
      message: 'members wait to be copied anew, since 1 may be copied at a time: readers-s0-replicas-2',
    });
  });

  test('are as many as may be copied over all shards', () => {
    const two = readers({ replicas: 3, maxConcurrentClones: 2 });
    const shards = ['s0', 's1'].map((name) => shard([lost(0), lost(1), member(set, 2)], { name }));
    const actions = plan(input(two, shards)).actions.filter(({ kind }) => kind === 'reinitialize');
    expect(actions).toMatchObject([{ shard: 's0' }, { shard: 's1' }]);
  });
});

describe('a standby to stream from', () => {
  const set = readers({ source: 'standby' });
  function upstream(fields: Partial<ObservedReplicaShard>): string | undefined {
    for (const action of plan(input(set, [shard([member(set, 0)], fields)])).actions) {
      if (action.kind !== 'apply' || action.object.kind !== 'ConfigMap') continue;
      const { data } = action.object as KubernetesObject & { data: Record<string, string> };
      return /replicatefrom: (\S+)/.exec(data['patroni.yml'] ?? '')?.[1];
    }
    return undefined;
  }

  test.each<{ what: string; fields: Partial<ObservedReplicaShard>; expected: string | undefined }>([
    { what: 'is the first that streams', fields: {}, expected: 'shop-s0-1' },
    { what: 'stays while it streams', fields: { upstream: 'shop-s0-2' }, expected: 'shop-s0-2' },
    { what: 'is another when it does not', fields: { upstream: 'shop-s0-0' }, expected: 'shop-s0-1' },
    {
      what: 'is nobody when none streams',
      fields: { upstream: 'shop-s0-0', standbys: [] },
      expected: undefined,
    },
    {
      what: 'stays while Patroni has not been heard',
      fields: { upstream: 'shop-s0-2', standbys: undefined },
      expected: 'shop-s0-2',
    },
    {
      what: 'stays while nobody says who streams',
      fields: {
        upstream: 'shop-s0-2',
        standbys: [],
        primary: { state: 'unknown', error: new Error('silence') },
      },
      expected: 'shop-s0-2',
    },
  ])('$what', ({ fields, expected }) => {
    expect(upstream(fields)).toBe(expected);
  });
});

describe('bad input', () => {
  test('a cluster that is not there leaves everything as it is', () => {
    const set = readers();
    const decided = plan(input(set, [shard([member(set, 0)])], { cluster: undefined }));
    expect(decided.actions).toEqual([]);
    expect(decided.failures).toMatchObject([{ reason: 'ClusterNotFound' }]);
  });

  test('a shard that is not there is named, and the others go on', () => {
    const set = readers({ shards: ['s0', 's7'] });
    const decided = plan(input(set, [shard([member(set, 0)])]));
    expect(decided.failures).toMatchObject([
      { reason: 'ShardNotFound', message: expect.stringContaining('s7') },
    ]);
    expect(membersApplied(decided.actions)).toBe(1);
  });

  test('a shard that is still being made is not missing', () => {
    const more = { ...cluster, spec: { ...cluster.spec, shards: { count: 2, zones: [] } } };
    const set = readers({ shards: ['s0', 's1'] });
    expect(plan(input(set, [shard([member(set, 0)])], { cluster: more })).failures).toEqual([]);
  });

  test('refused parameters are left out, and said', () => {
    const set = readers({ parameters: { work_mem: 'much' } });
    const decided = plan(
      input(set, [shard([member(set, 0)])], { parameterProblems: ['work_mem: "much" is no number'] }),
    );
    expect(decided.failures).toMatchObject([{ reason: 'ParametersRefused' }]);
    const config = decided.actions.find(
      (action) => action.kind === 'apply' && action.object.kind === 'ConfigMap',
    );
    expect(JSON.stringify(config)).not.toContain('much');
  });
});
