import { describe, expect, test } from 'vitest';
import type { Pod } from '../../sharded-cluster/kubernetes.ts';
import type { ObservedReplicaShard } from '../model.ts';
import { input, member, now, primary, readers, shard, statefulSet } from '../test-support/world.ts';
import { brakeOf } from './brake.ts';
import { copiesUnderWay } from './size.ts';

describe('the number of members is left alone', () => {
  const set = readers({ replicas: 2 });
  const other = member(set, 1);

  test.each<{ what: string; shard: ObservedReplicaShard; brake: RegExp | undefined }>([
    { what: 'not while all is well', shard: shard([member(set, 0), other]), brake: undefined },
    {
      what: 'while a primary does not answer',
      shard: shard([member(set, 0), other], { primary: { state: 'unknown', error: new Error('silence') } }),
      brake: /does not answer/,
    },
    {
      what: 'while a copy is under way',
      shard: shard([member(set, 0, { ready: false }), other]),
      brake: /copied/,
    },
    {
      what: 'while the last change is under way',
      shard: shard([member(set, 0), other], { statefulSet: statefulSet(1) }),
      brake: /missing/,
    },
    {
      what: 'while a member is late, also if it serves as the freshest',
      shard: shard([member(set, 0, { lag: { bytes: 1e9, seconds: 0, exact: true } }), other]),
      brake: /readers-s0-replicas-0/,
    },
    {
      what: 'while a member is out',
      shard: shard([member(set, 0, { rotation: 'out' }), other]),
      brake: /not all/,
    },
    {
      what: 'while a member is about to be stopped',
      shard: shard([member(set, 0, { rotation: 'draining' }), other]),
      brake: /stopped/,
    },
  ])('$what', ({ shard: found, brake }) => {
    const reasons = brakeOf(input(set, [found]));
    for (const reason of [reasons.up, reasons.down]) {
      if (brake === undefined) expect(reason).toBeUndefined();
      else expect(reason).toMatch(brake);
    }
  });
});

describe('a step down takes away', () => {
  const set = readers({ replicas: 2 });
  const pending = (ordinal: number, createdAt = '2026-01-01T11:00:00Z') => {
    const { pod } = member(set, ordinal);
    return member(set, ordinal, {
      ready: false,
      rotation: undefined,
      pod: {
        ...pod,
        metadata: { ...pod?.metadata, creationTimestamp: createdAt },
        status: {
          conditions: [
            { type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: 'no node has room' },
          ],
        },
      } as Pod,
    });
  };
  const brakes = (...shards: readonly ObservedReplicaShard[]) => brakeOf(input(set, shards));

  test('a last member that cannot run, which holds every step up', () => {
    expect(brakes(shard([member(set, 0), pending(1)]))).toEqual({
      up: expect.stringContaining('readers-s0-replicas-1 cannot run'),
      down: undefined,
    });
  });

  test('it also for the shards in which copies wait for it', () => {
    const waiting = shard([member(set, 0)], { name: 's1' });
    expect(brakes(shard([member(set, 0), pending(1)]), waiting).down).toBeUndefined();
  });

  test('no member that serves while an earlier one cannot run', () => {
    expect(brakes(shard([pending(0), member(set, 1)])).down).toMatch(/readers-s0-replicas-0 cannot run/);
  });

  test('nobody while a pod is only just made', () => {
    expect(brakes(shard([member(set, 0), pending(1, '2026-01-01T11:59:55Z')])).down).toMatch(/copied/);
  });

  test('what a shard has no room for, and so has not', () => {
    const small = { ...primary, maxWalSenders: 7 };
    const full = shard([member(set, 0)], { primary: { state: 'present', value: small } });
    expect(brakes(full)).toEqual({ up: 'shard s0 has room for 1 members', down: undefined });
  });
});

test('nobody is added while one starts again and again, though others do not wait for it to be copied', () => {
  const set = readers({ replicas: 2 });
  const { pod } = member(set, 1);
  const containerStatuses = [{ name: 'postgres', ready: false, restartCount: 5, state: { running: {} } }];
  const restarting = member(set, 1, {
    ready: false,
    rotation: undefined,
    pod: { ...pod, status: { ...pod?.status, containerStatuses } } as Pod,
  });
  const shards = [shard([member(set, 0), restarting])];
  expect(copiesUnderWay(shards, now)).toBe(0);
  expect(brakeOf(input(set, shards)).up).toMatch(/copied/);
});

test('nobody is added for whom a shard has no room', () => {
  const set = readers({ replicas: 2 });
  const small = { ...primary, maxWalSenders: 8 };
  const full = shard([member(set, 0), member(set, 1)], { primary: { state: 'present', value: small } });
  expect(brakeOf(input(set, [full]))).toEqual({ up: 'shard s0 has room for 2 members', down: undefined });
});
