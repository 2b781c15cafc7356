import { beforeAll, describe, expect, it } from 'vitest';
import type { SecretReading } from '../sharded-cluster/model.ts';
import type { Observed } from './model.ts';
import { plan } from './plan.ts';
import { statusOf } from './status.ts';
import { readers } from './test-support/pgpool-world.ts';
import { allSecrets, instance, observedWorld, planInput, poolerConfig } from './test-support/world.ts';

let all: Map<string, SecretReading>;

beforeAll(async () => {
  all = await allSecrets();
});

describe('a new primary', () => {
  const moved = (changes: Partial<Observed> = {}, spec = {}) => {
    const pooler = poolerConfig(spec, { primaries: { s0: 'shop-s0-2/1' } });
    return plan(planInput(pooler, observedWorld({ secrets: all, instances: [instance(0)], ...changes })))
      .actions;
  };
  const reconnect = { kind: 'reconnect', pod: 'web-pooler-0', database: 'app' };

  it('is connected to anew after a failover', () => {
    expect(moved()).toContainEqual(reconnect);
  });

  it('is not when all connections are sessions of its own, as after a crash of the old one', () => {
    const afterwards = (theirs: string[], ours: string[], database = 'app') => {
      const present = instance(0);
      const { facts } = present;
      if (facts.state !== 'present') throw new Error('the instance is silent');
      const sessions = ours.map((session) => ({ database, session }));
      const targets = observedWorld().targets.map((entry) => ({ ...entry, sessions: new Set(theirs) }));
      const instances = [
        { ...present, facts: { state: 'present' as const, value: { ...facts.value, sessions } } },
      ];
      return moved({ targets, instances });
    };
    expect(afterwards(['7/4000', '8/4001'], ['7/4000'])).not.toContainEqual(reconnect);
    expect(afterwards([], [])).not.toContainEqual(reconnect);
    expect(afterwards(['7/4000'], ['7/4000', '8/4001'])).toContainEqual(reconnect);
    expect(afterwards(['7/4000'], ['7/4001'])).toContainEqual(reconnect);
    expect(afterwards([], ['8/4001'], 'other')).not.toContainEqual(reconnect);
  });

  it('was a standby, which those that read leave', () => {
    expect(moved({}, { target: { cluster: 'shop', role: 'ro' } })).toContainEqual({
      ...reconnect,
      database: 'app_ro',
    });
  });

  it('is not left while nobody else serves', () => {
    const [target] = observedWorld().targets;
    const targets = target === undefined ? [] : [{ ...target, servedBy: undefined }];
    expect(moved({ targets })).toEqual(moved({ switched: new Set(['s0']) }));
  });

  it('is not after a switchover behind the gate, which left no connection to the old one', () => {
    expect(moved({ switched: new Set(['s0']) })).not.toContainEqual(reconnect);
  });

  it('is connected to anew also by the names that clients know, when its limits cannot be read', () => {
    const targets = observedWorld().targets.map((entry) => ({
      ...entry,
      limits: { state: 'unknown' as const, error: new Error('it does not answer') },
    }));
    const databases = [{ name: 'app', shard: 's0', poolSize: 1, maxConnections: 3 }];
    const pooler = poolerConfig({}, { primaries: { s0: 'shop-s0-2/1' }, databases });
    const world = observedWorld({ secrets: all, instances: [instance(0)], targets });
    expect(plan(planInput(pooler, world)).actions).toContainEqual(reconnect);
  });

  it('is noted when an instance that did not answer has been told of it, or has been silent for long', () => {
    const silent = {
      ...instance(1),
      facts: { state: 'unknown' as const, error: new Error('it does not answer') },
    };
    const notedAfter = (servedMs: number, instances: Observed['instances']) => {
      const targets = observedWorld().targets.map((entry) => ({ ...entry, servedMs }));
      const input = planInput(
        poolerConfig({}, { primaries: { s0: 'shop-s0-2/1' } }),
        observedWorld({ secrets: all, instances, targets }),
      );
      return statusOf(input, plan(input), []).primaries?.s0;
    };
    expect(notedAfter(0, [instance(0), silent])).toBe('shop-s0-2/1');
    expect(notedAfter(14_999, [instance(0), silent])).toBe('shop-s0-2/1');
    expect(notedAfter(15_000, [instance(0), silent])).toBe('shop-s0-0/1');
    expect(notedAfter(0, [instance(0), instance(1)])).toBe('shop-s0-0/1');
  });

  it('is noted at once, and a change of members when they were connected to after every node knew', () => {
    const before = { s0: 'shop-s0-2/1' };
    const set = { cluster: 'shop', role: 'ro', readReplicaSet: 'readers' };
    const notedAfter = (servedMs: number, target: Record<string, string>) => {
      const targets = observedWorld().targets.map((entry) => ({ ...entry, servedMs }));
      const input = planInput(
        poolerConfig({ target }, { primaries: before }),
        observedWorld({ secrets: all, instances: [instance(0)], targets, replicaSet: readers() }),
      );
      const decided = plan(input);
      return [
        decided.actions.some(({ kind }) => kind === 'reconnect'),
        statusOf(input, decided, []).primaries,
      ];
    };
    const after = { s0: 'shop-s0-0/1' };
    expect(notedAfter(0, { cluster: 'shop' })).toEqual([true, after]);
    expect(notedAfter(0, set)).toEqual([true, before]);
    expect(notedAfter(1_999, set)).toEqual([true, before]);
    expect(notedAfter(2_000, set)).toEqual([true, after]);
  });
});
