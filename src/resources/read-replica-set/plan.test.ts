import { describe, expect, test } from 'vitest';
import type { KubernetesObject } from '../../runtime/kubernetes-object.ts';
import type { ObservedReplicaShard } from './model.ts';
import { plan } from './plan.ts';
import {
  cluster,
  input,
  kinds,
  member,
  membersApplied,
  readers,
  settled,
  shard,
  stats,
} from './test-support/world.ts';

test('a set that is as it shall be asks for nothing', () => {
  const set = readers({ replicas: 2 });
  const given = settled(input(set, [shard([member(set, 0), member(set, 1)])]));
  expect(plan(given)).toMatchObject({ actions: [], progress: [], failures: [] });
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

  test('a shard that shall go is missing when its buckets have gone', () => {
    const set = readers({ shards: ['s1'] });
    const failures = (buckets: number) => {
      const items = [{ name: 's1', phase: 'Ready', members: [], buckets: { orders: buckets } }];
      const less = {
        ...cluster,
        status: { ...cluster.status, shards: { names: ['s0'], items } },
      } as unknown as typeof cluster;
      const given = input(set, [shard([member(set, 0)], { name: 's1' })], { cluster: less });
      return plan(given).failures;
    };
    expect(failures(3)).toEqual([]);
    expect(failures(0)).toMatchObject([
      { reason: 'ShardNotFound', message: expect.stringContaining('no shard s1: name one of s0 in') },
    ]);
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
