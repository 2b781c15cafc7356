import { describe, expect, it } from 'vitest';
import { plan } from './plan.ts';
import { statusOf } from './status.ts';
import { instance, observedWorld, planInput, poolerConfig } from './test-support/world.ts';

describe('sessions that use LISTEN', () => {
  const fits = (spec: Record<string, unknown>, listeners: readonly string[], names = ['app']) => {
    const databases = names.map((name) => ({ name, shard: 's0', poolSize: 1, maxConnections: 3 }));
    const [target] = observedWorld().targets;
    const targets = target === undefined ? [] : [{ ...target, listeners }];
    const input = planInput(
      poolerConfig(spec, { databases }),
      observedWorld({ targets, instances: [instance(0, { databases: names })] }),
    );
    const { conditions = [] } = statusOf(input, plan(input), []);
    return conditions.find(({ type }) => type === 'PoolModeFits');
  };
  const own = { users: [{ name: 'app', poolMode: 'session' }] };
  const database = { databases: [{ name: 'app', poolMode: 'session' }] };

  it.each<[string, Record<string, unknown>, readonly string[], readonly string[], string]>([
    ['nobody', {}, [], ['app'], 'True'],
    ['somebody in transaction mode', {}, ['app'], ['app'], 'False'],
    ['somebody in session mode', { poolMode: 'session' }, ['app'], ['app'], 'True'],
    ['a user with session mode', own, ['app'], ['app'], 'True'],
    ['another user than the one with session mode', own, ['app', 'jobs'], ['app'], 'False'],
    ['a user of a database with session mode', database, ['app'], ['app'], 'True'],
    ['a user of that database or of another one of the shard', database, ['app'], ['app', 'app_s0'], 'False'],
    [
      'a user with transaction mode in session mode',
      { poolMode: 'session', users: [{ name: 'app', poolMode: 'transaction' }] },
      ['app'],
      ['app'],
      'False',
    ],
  ])('%s', (_, spec, listeners, names, status) => {
    expect(fits(spec, listeners, [...names])).toMatchObject({ status });
  });

  it('are not known of as long as there is nobody to ask', () => {
    const input = planInput(poolerConfig(), { ...observedWorld(), cluster: undefined, targets: [] });
    const { conditions = [] } = statusOf(input, plan(input), []);
    expect(conditions.find(({ type }) => type === 'PoolModeFits')).toMatchObject({ status: 'Unknown' });
  });

  it('are counted, and told what to do', () => {
    expect(fits(own, ['app', 'jobs', 'jobs'])?.message).toMatch(
      /^2 sessions .* use LISTEN.*poolMode "session"/,
    );
  });
});

it('tells of the pools of all instances together', () => {
  const wait = (waiting: number, maxWaitSeconds: number) => ({ database: 'app', waiting, maxWaitSeconds });
  const instances = [
    instance(0, { clients: 507, servers: 9, waits: [wait(3, 1), wait(2, 4)] }),
    instance(1, { clients: 498, servers: 11, waits: [wait(4, 2)] }),
  ];
  const input = planInput(poolerConfig(), observedWorld({ instances }));
  expect(statusOf(input, plan(input), []).pools).toEqual({
    clients: 1000,
    servers: 20,
    waiting: 9,
    maxWaitSeconds: 4,
  });
});

it('does not say that nothing is left to do while something has to be put right', () => {
  const input = planInput(poolerConfig(), { ...observedWorld(), cluster: undefined });
  const { conditions = [] } = statusOf(input, plan(input), []);
  expect(conditions.find(({ type }) => type === 'Progressing')).toMatchObject({
    status: 'False',
    reason: 'TargetNotFound',
  });
});
