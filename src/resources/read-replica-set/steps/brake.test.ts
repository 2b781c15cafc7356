import { describe, expect, test } from 'vitest';
import type { ObservedReplicaShard } from '../model.ts';
import { effectiveSettings } from '../settings.ts';
import { cluster, member, readers, shard, statefulSet } from '../test-support/world.ts';
import { brakeOf } from './brake.ts';

describe('the number of members is left alone', () => {
  const set = readers({ replicas: 2 });
  const { limits } = effectiveSettings(set.spec, cluster);
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
    const reason = brakeOf([found], 2, limits);
    if (brake === undefined) expect(reason).toBeUndefined();
    else expect(reason).toMatch(brake);
  });
});
