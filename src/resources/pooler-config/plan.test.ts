import { beforeAll, describe, expect, it } from 'vitest';
import type { SecretReading, ShardedCluster } from '../sharded-cluster/model.ts';
import { withAppliedHash } from '../sharded-cluster/steps/objects.ts';
import type { Observed } from './model.ts';
import { plan } from './plan.ts';
import { after, kinds, settle } from './test-support/passes.ts';
import { readers } from './test-support/pgpool-world.ts';
import {
  allSecrets,
  instance,
  observedWorld,
  planInput,
  poolerConfig,
  secret,
  targetCluster,
  targetSecrets,
} from './test-support/world.ts';

let target: Map<string, SecretReading>;
let all: Map<string, SecretReading>;

beforeAll(async () => {
  target = await targetSecrets();
  all = await allSecrets();
});

describe('a new PoolerConfig', () => {
  it('gets passwords, then certificates, then settings, then objects', () => {
    expect(kinds(plan(planInput(poolerConfig(), observedWorld({ secrets: target }))))).toEqual([
      'generate-admin',
    ]);
    const admin = secret({ 'admin-password': 'x', users: 'x' });
    const withAdmin = new Map([...target, ['web-pooler-admin', admin] as const]);
    expect(kinds(plan(planInput(poolerConfig(), observedWorld({ secrets: withAdmin }))))).toEqual(['issue']);
    expect(kinds(plan(planInput(poolerConfig(), observedWorld({ secrets: all }))))).toEqual(['write-secret']);
  });

  it('comes to rest, and then wants nothing more', () => {
    const { observed, last } = settle(poolerConfig(), observedWorld({ secrets: all }));
    expect(last.result).toEqual({ kind: 'ready' });
    expect(observed.instances).toHaveLength(2);
    expect([...observed.objects.keys()]).toEqual([
      'Service/web-pooler-peers',
      'Service/web-pooler',
      'PodDisruptionBudget/web-pooler',
      'StatefulSet/web-pooler',
    ]);
  });
});

describe('bad input', () => {
  const refusals: [string, Record<string, unknown>, Partial<Observed>, string, RegExp][] = [
    ['an unknown target', {}, { cluster: undefined }, 'TargetNotFound', /no ShardedCluster "shop"/],
    [
      'no standby for ro',
      { target: { cluster: 'shop', role: 'ro' } },
      { cluster: targetCluster({ members: 1 }) },
      'NoStandby',
      /raise its spec.members/,
    ],
    [
      'an unknown ReadReplicaSet',
      { target: { cluster: 'shop', role: 'ro', readReplicaSet: 'readers' } },
      {},
      'TargetNotFound',
      /no ReadReplicaSet "readers"/,
    ],
    [
      'a ReadReplicaSet with no member',
      { target: { cluster: 'shop', role: 'ro', readReplicaSet: 'readers' } },
      { replicaSet: readers({ replicas: 0 }) },
      'NoMember',
      /"readers" has no member.*raise its spec.replicas/,
    ],
    [
      'an unknown database',
      { databases: [{ name: 'app_s7', poolMode: 'session' }] },
      {},
      'UnknownDatabase',
      /"app_s7", and there is only app:/,
    ],
    [
      'a read model of its own',
      { target: { cluster: 'shop', role: 'ro', readReplicaSet: 'readers' } },
      { replicaSet: readers({ mode: 'logical', logical: { tables: [{ name: 'orders' }] } }) },
      'TargetNotFound',
      /"readers" is a read model of its own.*target a physical set/,
    ],
    [
      'a name that is too long with that of its shard',
      { target: { cluster: 'shop', role: 'ro' } },
      { cluster: targetCluster({ postgres: { database: 'd'.repeat(61) } }) },
      'DatabaseNameTooLong',
      /find shard s0 as "d{61}_ro", and PgBouncer takes names of 63 characters/,
    ],
    ['an unknown setting', { parameters: { max_client_con: '5' } }, {}, 'UnknownParameter', /did you mean/],
    [
      'a value that a setting does not take',
      { parameters: { server_check_delay: 'abc' } },
      {},
      'InvalidParameter',
      /"abc" is no value for server_check_delay: write seconds/,
    ],
    [
      'pools that do not fit',
      { sizing: 'manual', poolSize: 60 },
      {},
      'PoolsDoNotFit',
      /leaves 87.*124 are needed/,
    ],
  ];

  it.each(refusals)(
    '%s is said, and running poolers are left as they are',
    (_what, spec, changes, reason, message) => {
      const { observed } = settle(poolerConfig(), observedWorld({ secrets: all }));
      const decided = plan(planInput(poolerConfig(spec), { ...observed, ...changes }));
      expect(decided.actions).toEqual([]);
      expect(decided.result).toMatchObject({ kind: 'fail', reason, message: expect.stringMatching(message) });
    },
  );

  it('a ReadReplicaSet with no member is fine while the primary stands in, or load decides', () => {
    const target = { cluster: 'shop', role: 'ro', readReplicaSet: 'readers' };
    const autoscaling = { maxReplicas: 2, metrics: [{ type: 'Connections', target: 100 }] };
    for (const spec of [{ whenNoneFresh: 'primary' }, { autoscaling }]) {
      const replicaSet = readers({ replicas: 0, ...spec });
      const observed = observedWorld({ secrets: all, replicaSet });
      expect(plan(planInput(poolerConfig({ target }), observed)).result).toMatchObject({ kind: 'wait' });
    }
  });
});

describe('a change', () => {
  let settled: Observed;
  beforeAll(() => {
    settled = settle(poolerConfig(), observedWorld({ secrets: all })).observed;
  });

  it('of settings is delivered and reloaded, with no new pod', () => {
    const changed = poolerConfig({ maxClientConnections: 5 });
    const written = plan(planInput(changed, settled));
    expect(kinds(written)).toEqual(['write-secret']);
    const next = plan(
      planInput(
        changed,
        written.actions.reduce((world, action) => after(world, action, written), settled),
      ),
    );
    expect(kinds(next)).toEqual(['deliver', 'reload', 'deliver', 'reload']);
    expect(settle(changed, settled).last.result).toEqual({ kind: 'ready' });
  });

  it('to more instances makes pools smaller first', () => {
    const changed = poolerConfig({ replicas: 4 });
    const written = plan(planInput(changed, settled));
    const world = written.actions.reduce((before, action) => after(before, action, written), settled);
    const next = plan(planInput(changed, world));
    expect(kinds(next)).not.toContain('apply');
    expect(next.sizing?.total).toBeLessThanOrEqual(87);
    expect(settle(changed, settled).observed.instances).toHaveLength(4);
  });

  it('to more instances waits until busy pools have given up what is over their new share', () => {
    const changed = poolerConfig({ replicas: 4 });
    const { last } = settle(changed, settled);
    const { revision, sizing } = last;
    const written = plan(planInput(changed, settled));
    const world = written.actions.reduce((before, action) => after(before, action, written), settled);
    const most = sizing?.databases[0]?.maxConnections ?? 0;
    const busy = (servers: number, held: readonly string[] = []) =>
      plan(
        planInput(changed, {
          ...world,
          held: new Set(held),
          instances: [
            instance(0, { revision, databaseServers: { app: servers } }),
            instance(1, { revision }),
          ],
        }),
      );
    expect(busy(most + 1)).toMatchObject({
      actions: [{ kind: 'reconnect', pod: 'web-pooler-0', database: 'app' }],
      result: { kind: 'wait', reason: 'SettingsPending' },
    });
    expect(busy(most + 1, ['uid-0/app'])).toMatchObject({
      actions: [],
      result: { reason: 'SettingsPending' },
    });
    expect(kinds(busy(most))).toEqual(['apply']);
  });

  it('to more instances waits for one that does not answer, though its settings were delivered', () => {
    const changed = poolerConfig({ replicas: 4 });
    const { revision } = settle(changed, settled).last;
    const written = plan(planInput(changed, settled));
    const world = written.actions.reduce((before, action) => after(before, action, written), settled);
    const silent = (delivered: string | undefined, ready = true): Observed['instances'][number] => {
      const { pod, ...rest } = instance(1);
      const annotations = { 'herdsman.dev/pooler-revision': delivered ?? '' };
      const facts = { state: 'unknown' as const, error: new Error('no answer') };
      return { ...rest, pod: { ...pod, metadata: { ...pod.metadata, annotations } }, ready, facts };
    };
    const planned = (spec: typeof changed, before: Observed, second: Observed['instances'][number]) => {
      const [first] = settle(spec, before).observed.instances;
      return plan(planInput(spec, { ...before, instances: first === undefined ? [] : [first, second] }));
    };
    expect(planned(changed, world, silent(revision))).toMatchObject({
      actions: [],
      result: { kind: 'wait', reason: 'SettingsPending' },
    });
    expect(kinds(planned(changed, world, silent(revision, false)))).toEqual(['apply']);
    const before = settle(poolerConfig(), settled).last;
    expect(planned(poolerConfig(), settled, silent(before.revision)).result).toEqual({ kind: 'ready' });
  });

  it('to fewer instances lets pools grow when the last one is gone', () => {
    const changed = poolerConfig({ replicas: 1 });
    const decided = plan(planInput(changed, settled));
    expect(decided.sizing?.databases[0]?.maxConnections).toBe(43);
    const applied = decided.actions.flatMap((action) => (action.kind === 'apply' ? [action.object] : []));
    expect(applied).toMatchObject([{ kind: 'StatefulSet', spec: { replicas: 1 } }]);
    expect(settle(changed, settled).last.sizing?.databases[0]?.maxConnections).toBe(87);
  });

  it('of an object by somebody else is left to them', () => {
    const objects = new Map([...settled.objects].map(([id, object]) => [id, { ...object, spec: {} }]));
    expect(plan(planInput(poolerConfig(), { ...settled, objects })).actions).toEqual([]);
    expect(withAppliedHash(poolerConfig()).metadata.annotations).toBeDefined();
  });

  it('keeps a database whose shard is away', () => {
    const away: Observed['targets'] = settled.targets.map((entry) => ({
      ...entry,
      limits: { state: 'unknown', error: new Error('away') },
    }));
    const status = { databases: [{ name: 'app', shard: 's0', poolSize: 1, maxConnections: 3 }] };
    const decided = plan(planInput(poolerConfig({}, status), { ...settled, targets: away }));
    expect(decided).toMatchObject({ actions: [], result: { kind: 'wait', reason: 'ShardUnknown' } });
  });
});

describe('an image', () => {
  it.each([
    ['the cluster', {}, 'registry'],
    ['their own', { imagePullSecrets: [{ name: 'other' }] }, 'other'],
  ])('is pulled by instances with Secrets of %s', (_, spec, name) => {
    const cluster = targetCluster({ imagePullSecrets: [{ name: 'registry' }] });
    const { observed } = settle(poolerConfig(spec), observedWorld({ secrets: all, cluster }));
    expect(observed.objects.get('StatefulSet/web-pooler')?.spec).toMatchObject({
      template: { spec: { imagePullSecrets: [{ name }] } },
    });
  });
});

describe('databases', () => {
  const entry = (name: string, shard: string) => ({ name, shard, poolSize: 1, maxConnections: 3 });
  const two = { databases: [entry('app', 's0'), entry('app_s0', 's0'), entry('app_s1', 's1')] };
  const names = (instances: Observed['instances'], status: typeof two | undefined) =>
    plan(
      planInput(poolerConfig({}, status), observedWorld({ secrets: all, instances })),
    ).sizing?.databases.map(({ name }) => name);

  it('keep the name of the first shard, when it is the only one again, while somebody uses it', () => {
    expect(names([instance(0), instance(1, { databases: ['app_s0'] })], two)).toEqual(['app', 'app_s0']);
    expect(names([instance(0), instance(1)], two)).toEqual(['app']);
  });

  it('keep it while an instance does not say who uses it', () => {
    const silent = { ...instance(1), facts: { state: 'unknown' as const, error: new Error('no answer') } };
    expect(names([instance(0), silent], two)).toEqual(['app', 'app_s0']);
  });

  it('have it where a set is in one shard of two', () => {
    const items = ['s0', 's1'].map((name) => ({ name, members: [] }));
    const cluster = { ...targetCluster(), status: { shards: { items } } } as unknown as ShardedCluster;
    const [first] = observedWorld().targets;
    const targets = first === undefined ? [] : [{ ...first, shard: 's1' }];
    const replicaSet = readers({ shards: ['s1'] });
    const target = { cluster: 'shop', role: 'ro', readReplicaSet: 'readers' };
    const observed = observedWorld({ secrets: all, cluster, targets, replicaSet });
    const { sizing } = plan(planInput(poolerConfig({ target }), observed));
    expect(sizing?.databases).toMatchObject([
      { name: 'app_ro', shard: 's1' },
      { name: 'app_s1_ro', shard: 's1' },
    ]);
  });

  it('never have it where there has been one shard only', () => {
    expect(names([instance(0, { databases: ['app_s0'] })], undefined)).toEqual(['app']);
  });
});
