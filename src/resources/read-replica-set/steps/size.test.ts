import { describe, expect, test } from 'vitest';
import type { KubernetesObject } from '../../../runtime/kubernetes-object.ts';
import type { ContainerStatus, ObjectCondition, StatefulSet } from '../../sharded-cluster/kubernetes.ts';
import { objectId } from '../../sharded-cluster/steps/objects.ts';
import type { ObservedReplicaShard, SetPlan } from '../model.ts';
import { plan } from '../plan.ts';
import {
  input,
  member,
  membersApplied,
  now,
  primary,
  readers,
  settled,
  shard,
  statefulSet,
} from '../test-support/world.ts';

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

  describe('beside one that is not ready', () => {
    const set = readers({ replicas: 4 });
    const unready = (
      ordinal: number,
      minutes: number,
      containerStatuses: readonly ContainerStatus[],
      conditions: readonly ObjectCondition[] = [],
    ) => {
      const { pod } = member(set, ordinal);
      if (pod === undefined) throw new Error('it has a pod');
      const creationTimestamp = new Date(now.getTime() - minutes * 60_000).toISOString();
      return member(set, ordinal, {
        ready: false,
        rotation: undefined,
        lag: undefined,
        stats: { state: 'absent' },
        pod: {
          ...pod,
          metadata: { ...pod.metadata, creationTimestamp },
          status: { ...pod.status, conditions, containerStatuses },
        },
      });
    };
    const after = (...seen: [number, readonly ContainerStatus[], (readonly ObjectCondition[])?]) =>
      plan(input(set, [shard([unready(0, ...seen)])]));
    const container = (state: ContainerStatus['state'], restartCount = 0): ContainerStatus[] => [
      { name: 'postgres', ready: false, restartCount, ...(state === undefined ? {} : { state }) },
    ];
    const running = (minutes: number) => ({
      running: { startedAt: new Date(now.getTime() - minutes * 60_000).toISOString() },
    });
    const waiting = (reason: string) => ({ waiting: { reason } });

    test.each<{ what: string; decided: SetPlan; reason: string }>([
      {
        what: 'an image',
        decided: after(10, container(waiting('ImagePullBackOff'))),
        reason: 'ImagePullBackOff',
      },
      {
        what: 'a node',
        decided: after(10, [], [{ type: 'PodScheduled', status: 'False', reason: 'Unschedulable' }]),
        reason: 'Unschedulable',
      },
      {
        what: 'a start that succeeds',
        decided: after(10, container(waiting('CrashLoopBackOff'), 3)),
        reason: 'CrashLoopBackOff',
      },
      { what: 'one, between two starts', decided: after(10, container(running(1), 3)), reason: 'Restarting' },
    ])('the next is copied when that one has lacked $what for long', ({ decided, reason }) => {
      expect(membersApplied(decided.actions)).toBe(2);
      const message = expect.stringMatching(
        /^member readers-s0-replicas-0: .* do not wait for it to be copied$/,
      );
      expect(decided.failures).toEqual([{ reason, message }]);
      expect(decided.progress).not.toContainEqual(expect.objectContaining({ reason: 'MembersStarting' }));
    });

    test.each<{ what: string; decided: SetPlan }>([
      { what: 'has only just been made', decided: after(9, container(waiting('ImagePullBackOff'))) },
      { what: 'is a large copy', decided: after(600, container(running(600))) },
      { what: 'began a large copy after many failures', decided: after(600, container(running(10), 9)) },
      { what: 'has failed once', decided: after(600, container(waiting('CrashLoopBackOff'), 1)) },
    ])('none is while that one $what', ({ decided }) => {
      expect(membersApplied(decided.actions)).toBe(1);
    });

    test('there are never more than are wanted', () => {
      const two = readers({ replicas: 2 });
      const all = [0, 1].map((ordinal) => unready(ordinal, 10, container(waiting('ImagePullBackOff'))));
      expect(membersApplied(plan(input(two, [shard(all)])).actions)).toBe(2);
    });
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

  test.each([
    { what: 'is about to be renewed', fields: { outdated: true } },
    { what: 'is about to be copied anew', fields: { isLost: true } },
    {
      what: 'was told to copy itself',
      fields: { work: new Map([['reinitialize', { state: 'done' }]] as const) },
    },
  ])('not while the one that stays $what', ({ fields }) => {
    const decided = plan(settled(input(set, [shard([member(set, 0, fields), member(set, 1)])])));
    expect(decided.progress).toContainEqual(expect.objectContaining({ reason: 'WaitingForFreshMember' }));
    expect(decided.rotations.get('s0')?.members).toContainEqual(
      expect.objectContaining({ name: 'readers-s0-replicas-1', rotation: 'in' }),
    );
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
