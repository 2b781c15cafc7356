import { beforeAll, describe, expect, it } from 'vitest';
import type { SecretReading } from '../sharded-cluster/model.ts';
import type { Observed, PoolerConfig } from './model.ts';
import { plan } from './plan.ts';
import { statusOf } from './status.ts';
import { settle } from './test-support/passes.ts';
import { allSecrets, instance, now, observedWorld, planInput, poolerConfig } from './test-support/world.ts';

let all: Map<string, SecretReading>;

beforeAll(async () => {
  all = await allSecrets();
});

describe('clients that wait', () => {
  const spec = { autoscaling: { minReplicas: 1, maxReplicas: 8 } };
  const names = { app: 's0', app_s1: 's1' };
  const databases = Object.entries(names).map(([name, shard]) => ({
    name,
    shard,
    poolSize: 20,
    maxConnections: 20,
  }));
  const long = new Date(now.getTime() - 3_600_000).toISOString();
  const replicas = { desired: 2, current: 2, ready: 2, updated: 2, summary: '2/2', enoughSince: long };
  const status = { replicas, databases };
  const targets = observedWorld().targets.flatMap((served) => [
    served,
    { ...served, shard: 's1', servedBy: undefined },
  ]);

  it.each<{ what: string; database: keyof typeof names; changes: Partial<Observed>; expected: number }>([
    { what: 'ask for another instance', database: 'app', changes: {}, expected: 3 },
    {
      what: 'neither ask for one nor let one go while they are held back everywhere',
      database: 'app',
      changes: { held: new Set(['uid-0/app', 'uid-1/app']) },
      expected: 2,
    },
    {
      what: 'ask for one while others are held back',
      database: 'app',
      changes: { held: new Set(['uid-1/app']) },
      expected: 3,
    },
    {
      what: 'ask for one while those of another database are held back',
      database: 'app',
      changes: { held: new Set(['uid-0/app_s1', 'uid-1/app_s1']) },
      expected: 3,
    },
    {
      what: 'neither ask for one nor let one go while their server is away',
      database: 'app_s1',
      changes: { targets },
      expected: 2,
    },
    {
      what: 'ask for one while the server of another shard is away',
      database: 'app',
      changes: { targets },
      expected: 3,
    },
  ])('$what', ({ database, changes, expected }) => {
    const waits = [{ database, waiting: 500, maxWaitSeconds: 2 }];
    const instances = [0, 1].map((ordinal) => ({ ...instance(ordinal, { waits }), cpuPercent: 5 }));
    const observed = observedWorld({ secrets: all, instances, ...changes });
    expect(plan(planInput(poolerConfig(spec, status), observed)).scaling.replicas).toBe(expected);
  });

  it('let one go when there are none, though a server is away', () => {
    const instances = [0, 1].map((ordinal) => ({ ...instance(ordinal), cpuPercent: 5 }));
    const observed = observedWorld({ secrets: all, instances, targets });
    expect(plan(planInput(poolerConfig(spec, status), observed)).scaling.replicas).toBe(1);
  });
});

describe('load that asks for more instances than the servers have room for', () => {
  const spec = { sizing: 'manual', poolSize: 20, replicas: 3, autoscaling: { maxReplicas: 8 } };
  const loaded = (observed: Observed, waiting: number, cpuPercent: number): Observed => ({
    ...observed,
    instances: observed.instances.map(({ ordinal, facts }) => ({
      ...instance(ordinal, {
        ...(facts.state === 'present' ? facts.value : {}),
        waits: [{ database: 'app', waiting, maxWaitSeconds: 0 }],
      }),
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

  it('grows when what is left of one that was deleted is gone, and is kept meanwhile', () => {
    const world = observedWorld({ secrets: all });
    const leaving: Partial<Observed> = {
      sharing: { poolers: 1, taken: { names: ['old'], total: Number.POSITIVE_INFINITY } },
    };
    expect(plan(planInput(poolerConfig(), { ...world, ...leaving })).result).toMatchObject({
      kind: 'wait',
      reason: 'ShareTaken',
      message: expect.stringContaining('"old" may still open 87 of the 87 connections'),
    });
    const half = settle(poolerConfig(), { ...world, ...sharing(43) });
    const pooler = poolerConfig({}, statusOf(planInput(poolerConfig(), half.observed), half.last, []));
    expect(settle(pooler, { ...half.observed, ...leaving }).last).toMatchObject({
      result: { kind: 'ready' },
      sizing: { total: 42, message: expect.stringContaining('of which old may open 87 still, leaves 42') },
    });
    expect(settle(pooler, { ...half.observed, sharing: world.sharing }).last.sizing?.total).toBe(86);
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
    const facts = { state: 'unknown' as const, error: new Error('no answer') };
    const delivered = { 'herdsman.dev/pooler-revision': done.last.revision ?? '' };
    const silent = done.observed.instances.map((entry) => {
      const { pod } = entry;
      return { ...entry, pod: { ...pod, metadata: { ...pod.metadata, annotations: delivered } }, facts };
    });
    const unsure = planInput(pooler, { ...done.observed, instances: silent });
    expect(statusOf(unsure, plan(unsure), []).sizing?.total).toBe(86);
    const instances = done.observed.instances.map((entry) => ({ ...entry, ready: false }));
    const broken = planInput(pooler, { ...done.observed, instances });
    expect(plan(broken).result).toMatchObject({ reason: 'InstancesNotReady' });
    expect(statusOf(broken, plan(broken), []).sizing?.total).toBe(42);
  });
});
