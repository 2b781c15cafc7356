import { beforeAll, describe, expect, it } from 'vitest';
import type { SecretReading } from '../sharded-cluster/model.ts';
import type { Observed, PoolerConfig } from './model.ts';
import { plan } from './plan.ts';
import { statusOf } from './status.ts';
import { settle } from './test-support/passes.ts';
import { allSecrets, instance, observedWorld, planInput, poolerConfig } from './test-support/world.ts';

let all: Map<string, SecretReading>;

beforeAll(async () => {
  all = await allSecrets();
});

describe('clients that wait', () => {
  const spec = { autoscaling: { maxReplicas: 8 } };
  const [served] = observedWorld().targets;
  const targets = served === undefined ? [] : [served, { ...served, shard: 's1', servedBy: undefined }];

  it.each<{ what: string; changes: Partial<Observed>; replicas: number }>([
    { what: 'ask for another instance', changes: {}, replicas: 3 },
    {
      what: 'ask for none while they are held back everywhere',
      changes: { held: new Set(['uid-0/app', 'uid-1/app']) },
      replicas: 2,
    },
    {
      what: 'ask for one while others are held back',
      changes: { held: new Set(['uid-1/app']) },
      replicas: 3,
    },
    { what: 'ask for none while a server is away', changes: { targets }, replicas: 2 },
  ])('$what', ({ changes, replicas }) => {
    const instances = [0, 1].map((ordinal) => instance(ordinal, { waiting: 500, maxWaitSeconds: 2 }));
    const observed = observedWorld({ secrets: all, instances, ...changes });
    expect(plan(planInput(poolerConfig(spec), observed)).scaling.replicas).toBe(replicas);
  });
});

describe('load that asks for more instances than the servers have room for', () => {
  const spec = { sizing: 'manual', poolSize: 20, replicas: 3, autoscaling: { maxReplicas: 8 } };
  const loaded = (observed: Observed, waiting: number, cpuPercent: number): Observed => ({
    ...observed,
    instances: observed.instances.map(({ ordinal, facts }) => ({
      ...instance(ordinal, { ...(facts.state === 'present' ? facts.value : {}), waiting }),
      cpuPercent,
    })),
  });
  const pass = (observed: Observed, before: PoolerConfig['status']) => {
    const input = planInput(poolerConfig(spec, before), observed);
    const decided = plan(input);
    return { decided, status: statusOf(input, decided, []) };
  };
  let settled: Observed;
  beforeAll(() => {
    settled = settle(poolerConfig(spec), observedWorld({ secrets: all })).observed;
  });

  it('leaves those that are there, and says why, pass after pass', () => {
    const busy = loaded(settled, 100, 100);
    let status: PoolerConfig['status'];
    for (let n = 0; n < 3; n += 1) {
      const next = pass(busy, status);
      status = next.status;
      expect(next.decided).toMatchObject({ actions: [], result: { kind: 'ready' } });
      expect(status.replicas).toMatchObject({
        desired: 3,
        reason: expect.stringMatching(/; a further one does not fit: .* leaves 87 for 4 .* 88 are needed/),
      });
    }
    const quiet = pass(loaded(settled, 0, 1), status);
    expect(quiet.status.replicas).toMatchObject({ desired: 3, enoughSince: expect.any(String) });
  });

  it('gets as many as fit', () => {
    const two = { ...spec, replicas: 2 };
    const { observed } = settle(poolerConfig(two), observedWorld({ secrets: all }));
    const status = pass(loaded(observed, 100, 250), {
      ...pass(observed, undefined).status,
      replicas: { desired: 2, current: 2, ready: 2, updated: 2, summary: '2/2' },
    }).status;
    expect(status.replicas).toMatchObject({ desired: 3 });
  });

  it('is refused where the spec insists on them', () => {
    const least = { ...spec, autoscaling: { minReplicas: 4, maxReplicas: 8 } };
    expect(plan(planInput(poolerConfig(least), settled)).result).toMatchObject({ reason: 'PoolsDoNotFit' });
  });
});

describe('a share of servers that others have too', () => {
  const sharing = (total: number): Partial<Observed> => ({
    sharing: { poolers: 2, taken: { names: ['jobs'], total } },
  });

  it('is waited for by who is new', () => {
    const world = observedWorld({ secrets: all });
    expect(plan(planInput(poolerConfig(), { ...world, ...sharing(86) }))).toMatchObject({
      actions: [],
      result: { kind: 'wait', reason: 'ShareTaken', message: expect.stringContaining('PoolerConfig "jobs"') },
    });
    expect(settle(poolerConfig(), { ...world, ...sharing(42) }).last).toMatchObject({
      result: { kind: 'ready' },
      sizing: { total: 42 },
    });
  });

  it('counts as given up when every instance has given it up', () => {
    const { observed, last } = settle(poolerConfig(), observedWorld({ secrets: all }));
    const before = statusOf(planInput(poolerConfig(), observed), last, []);
    expect(before.sizing?.total).toBe(86);
    const pooler = poolerConfig({}, before);
    const input = planInput(pooler, { ...observed, ...sharing(0) });
    expect(statusOf(input, plan(input), []).sizing?.total).toBe(86);
    const done = settle(pooler, input.observed);
    expect(statusOf(planInput(pooler, done.observed), done.last, []).sizing?.total).toBe(42);
    const instances = done.observed.instances.map((entry) => ({ ...entry, ready: false }));
    const broken = planInput(pooler, { ...done.observed, instances });
    expect(plan(broken).result).toMatchObject({ reason: 'InstancesNotReady' });
    expect(statusOf(broken, plan(broken), []).sizing?.total).toBe(42);
  });
});
