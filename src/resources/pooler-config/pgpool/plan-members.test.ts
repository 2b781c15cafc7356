import { beforeAll, describe, expect, it } from 'vitest';
import type { SecretReading } from '../../sharded-cluster/model.ts';
import { slotsAnnotation } from '../desired/pgpool-objects.ts';
import { kinds } from '../test-support/passes.ts';
import { decide, settle, starts, weights } from '../test-support/pgpool-passes.ts';
import { member, pgpoolConfig, pgpoolSecrets, pgpoolWorld, readers } from '../test-support/pgpool-world.ts';
import { observedWorld } from '../test-support/world.ts';

let all: Map<string, SecretReading>;

beforeAll(async () => {
  all = await pgpoolSecrets();
});

describe('members', () => {
  it('have the weight of their set while they are in rotation', () => {
    const late = member(1, { rotation: 'out', reason: 'its lag is at or over the limit of 10 s' });
    const plan = decide(
      pgpoolConfig(),
      pgpoolWorld({ secrets: all, sets: [readers({}, [member(0), late])] }),
    );
    expect(weights(plan)).toEqual({
      'shop-s0-rw': 1,
      'readers-s0-replicas-0': 2,
      'readers-s0-replicas-1': 0,
    });
  });

  it.each([
    ['not ready', member(1, { ready: false })],
    ['late', member(1, { rotation: 'out' })],
    ['about to be stopped', member(1, { rotation: 'draining' })],
  ])('leave and come back by new settings only: %s', (_, changed) => {
    const before = settle(pgpoolConfig(), pgpoolWorld({ secrets: all }));
    const sets = [readers({}, [member(0), changed])];
    const after = settle(pgpoolConfig(), { ...before.observed, sets });
    expect(starts(after)).toEqual(starts(before));
    expect(after.plans.flatMap(kinds)).toEqual(['write-secret', 'deliver', 'deliver']);
  });

  it('are all read from the primary when none is left, whatever its weight', () => {
    const sets = [readers({}, [member(0, { rotation: 'out' })])];
    const plan = decide(pgpoolConfig({ primaryWeight: 0 }), pgpoolWorld({ secrets: all, sets }));
    expect(weights(plan)).toMatchObject({ 'shop-s0-rw': 1, 'readers-s0-replicas-0': 0 });
  });

  it('that autoscaling may add are known beforehand, so that it replaces no instance', () => {
    const autoscaling = { maxReplicas: 4, metrics: [{ type: 'CPU', target: 70 }] };
    const one = [readers({ autoscaling }, [member(0)])];
    const before = settle(pgpoolConfig(), pgpoolWorld({ secrets: all, sets: one }));
    const sets = [readers({ autoscaling }, [member(0), member(1), member(2)])];
    const after = settle(pgpoolConfig(), { ...before.observed, sets });
    expect(starts(after)).toEqual(starts(before));
    expect(weights(after.last)).toMatchObject({ 'readers-s0-replicas-2': 2, 'readers-s0-replicas-3': 0 });
  });

  it('that are added by hand replace instances once; taking them away replaces none', () => {
    const before = settle(pgpoolConfig(), pgpoolWorld({ secrets: all }));
    const three = [readers({ replicas: 3 }, [member(0), member(1), member(2)])];
    const more = settle(pgpoolConfig(), { ...before.observed, sets: three });
    expect(starts(more)).not.toEqual(starts(before));
    const less = settle(pgpoolConfig(), { ...more.observed, sets: [readers()] });
    expect(starts(less)).toEqual(starts(more));
    expect(less.observed.statefulSet?.metadata.annotations?.[slotsAnnotation]).toBe('{"readers":3}');
  });
});

describe('shards', () => {
  const two = () => {
    const [first] = observedWorld().targets;
    if (first === undefined) throw new Error('a world without a shard');
    return [first, { ...first, shard: 's1', primary: 'shop-s1-0/1' }];
  };

  it('are named where there are more than one', () => {
    const plan = decide(pgpoolConfig(), pgpoolWorld({ secrets: all, targets: two() }));
    expect(plan.result).toMatchObject({
      kind: 'fail',
      reason: 'ShardNotNamed',
      message: expect.stringMatching(/s0, s1.*spec.pgpool.shard/),
    });
    const sets = [readers({}, [])];
    const named = decide(pgpoolConfig({ shard: 's1' }), pgpoolWorld({ secrets: all, targets: two(), sets }));
    expect(Object.keys(weights(named))[0]).toBe('shop-s1-rw');
  });

  it('stay behind instances that stood in front of the only one', () => {
    const databases = [{ name: 'app', shard: 's0', poolSize: 1, maxConnections: 1 }];
    const plan = decide(pgpoolConfig({}, {}, { databases }), pgpoolWorld({ secrets: all, targets: two() }));
    expect(Object.keys(weights(plan))[0]).toBe('shop-s0-rw');
  });
});
