import { describe, expect, test } from 'vitest';
import type { KubernetesObject } from '../../../runtime/kubernetes-object.ts';
import type { StatefulSet } from '../../sharded-cluster/kubernetes.ts';
import { objectId } from '../../sharded-cluster/steps/objects.ts';
import type { ObservedReplicaShard } from '../model.ts';
import { plan } from '../plan.ts';
import {
  input,
  member,
  membersApplied,
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
