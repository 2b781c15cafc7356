import { beforeAll, describe, expect, it } from 'vitest';
import { authorityLifetime, createAuthority } from '../../pki/authority.ts';
import { succeedingAuthority } from '../../pki/rotation.ts';
import type { SecretReading } from '../sharded-cluster/model.ts';
import { contentOf } from '../sharded-cluster/steps/identity.ts';
import { objectId, withAppliedHash } from '../sharded-cluster/steps/objects.ts';
import type { Action, Observed, PlanInput, PoolerConfig } from './model.ts';
import { type Plan, plan } from './plan.ts';
import { statusOf } from './status.ts';
import { readers } from './test-support/pgpool-world.ts';
import {
  allSecrets,
  instance,
  now,
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

const kinds = ({ actions }: Plan) => actions.map((action) => action.kind);

/** Carries out what a plan wants as far as the world goes, until it wants nothing more. */
function settle(pooler: PoolerConfig, start: Observed): { observed: Observed; last: Plan } {
  let observed = start;
  for (let pass = 0; pass < 20; pass += 1) {
    const decided = plan(planInput(pooler, observed));
    if (decided.actions.length === 0) return { observed, last: decided };
    observed = decided.actions.reduce((world, action) => after(world, action, decided), observed);
  }
  throw new Error('the plan never comes to rest');
}

function after(observed: Observed, action: Action, decided: Plan): Observed {
  switch (action.kind) {
    case 'write-secret': {
      const value = { data: action.secret.data, resourceVersion: '2' };
      return {
        ...observed,
        secrets: new Map([...observed.secrets, [action.secret.metadata.name, { state: 'present', value }]]),
      };
    }
    case 'apply': {
      const objects = new Map([...observed.objects, [objectId(action.object), action.object]]);
      if (action.object.kind !== 'StatefulSet') return { ...observed, objects };
      const replicas = (action.object.spec as { replicas: number }).replicas;
      const revision = decided.revision;
      return {
        ...observed,
        objects,
        statefulSet: { ...action.object, spec: { replicas }, status: {} } as Observed['statefulSet'],
        instances: Array.from(
          { length: replicas },
          (_, ordinal) => observed.instances[ordinal] ?? instance(ordinal, { revision }),
        ),
      };
    }
    case 'reload':
      return {
        ...observed,
        instances: observed.instances.map((entry) =>
          entry.name === action.pod ? instance(entry.ordinal, { revision: decided.revision }) : entry,
        ),
      };
    default:
      return observed;
  }
}

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

  it('a Secret without a key is said', () => {
    const secrets = new Map([...all, ['shop-app', secret({ password: 'x' })] as const]);
    const decided = plan(planInput(poolerConfig(), observedWorld({ secrets })));
    expect(decided.result).toMatchObject({
      reason: 'SecretIncomplete',
      message: expect.stringContaining('"shop-app"'),
    });
  });

  it.each(['stats', 'pgbouncer', 'herdsman'])('a login %s, which poolers turn away, is said', (username) => {
    const secrets = new Map([...all, ['shop-app', secret({ username, password: 'x' })] as const]);
    const decided = plan(planInput(poolerConfig(), observedWorld({ secrets })));
    expect(decided).toMatchObject({
      actions: [],
      result: {
        reason: 'LoginUnfit',
        message: expect.stringContaining(`"shop-app" has the username "${username}"`),
      },
    });
  });

  it('a Secret that cannot be read makes nothing new', () => {
    const unknown: SecretReading = { state: 'unknown', error: new Error('no answer') };
    const secrets = new Map([...all, ['web-pooler-admin', unknown] as const]);
    const decided = plan(planInput(poolerConfig(), observedWorld({ secrets })));
    expect(decided).toMatchObject({ actions: [], result: { kind: 'wait', reason: 'SecretUnknown' } });
  });
});

describe('certificates beside a spec that is refused', () => {
  const refusedSpec = { parameters: { server_check_delay: 'abc' } };
  const later = new Date(now.getTime() + 80 * 86_400_000);
  let settled: Observed;
  let renewedSecrets: Map<string, SecretReading>;
  beforeAll(async () => {
    settled = settle(poolerConfig(), observedWorld({ secrets: all })).observed;
    renewedSecrets = await allSecrets();
  });
  const content = (observed: Observed) => contentOf(observed.secrets.get('web-pooler')) ?? {};

  it('are issued when it is time', () => {
    const decided = plan({ ...planInput(poolerConfig(refusedSpec), settled), now: later });
    expect(kinds(decided)).toEqual(['issue']);
    expect(decided.result).toMatchObject({ kind: 'fail', reason: 'InvalidParameter' });
  });

  it('are, too, when a Secret has no key', () => {
    const secrets = new Map([...settled.secrets, ['shop-app', secret({ password: 'x' })] as const]);
    const decided = plan({ ...planInput(poolerConfig(), { ...settled, secrets }), now: later });
    expect(kinds(decided)).toEqual(['issue']);
    expect(decided.result).toMatchObject({ kind: 'fail', reason: 'SecretIncomplete' });
  });

  it('reach instances with the settings that they go on with', () => {
    const pair = { ...content(settled), ...content({ ...settled, secrets: renewedSecrets }) };
    const secrets = new Map([...renewedSecrets, ['web-pooler', secret(pair)] as const]);
    const observed: Observed = { ...settled, secrets };
    const decided = plan(planInput(poolerConfig(refusedSpec), observed));
    expect(kinds(decided)).toEqual(['write-secret']);
    const written = decided.actions.reduce((world, action) => after(world, action, decided), observed);
    expect(content(written)['pgbouncer.ini']).toBe(content(settled)['pgbouncer.ini']);
    expect(content(written)['tls.crt']).toBe(pair['tls.crt']);
    expect(kinds(plan(planInput(poolerConfig(refusedSpec), written)))).toEqual([
      'deliver',
      'reload',
      'deliver',
      'reload',
    ]);
    // It is the revision that the same settings have once nothing is refused any more.
    expect(plan(planInput(poolerConfig(), written)).actions).toEqual(
      plan(planInput(poolerConfig(refusedSpec), written)).actions,
    );
  });

  it('are none where there are no settings yet', () => {
    const observed = observedWorld({ secrets: target });
    expect(plan(planInput(poolerConfig(refusedSpec), observed)).actions).toEqual([]);
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

describe('an authority whose key was lost', () => {
  /** The cluster has another one since `now`, and peers trust both. */
  async function replaced(): Promise<Map<string, SecretReading>> {
    const pair = await createAuthority({ commonName: 'store/shop', now, lifetime: authorityLifetime });
    const { current, bundle } = succeedingAuthority(
      pair,
      [contentOf(all.get('shop-ca'))?.['ca.crt'] ?? ''],
      now,
    );
    const content = { 'ca.crt': current.certificate, 'ca.key': current.key, 'ca-bundle.crt': bundle };
    return new Map([...all, ['shop-ca', secret(content)] as const]);
  }

  it('signed certificates that are good until everybody trusts the next one', async () => {
    const input = planInput(poolerConfig(), observedWorld({ secrets: await replaced() }));
    expect(kinds(plan(input))).toEqual(['write-secret']);
    const later = new Date(now.getTime() + 25 * 3_600_000);
    expect(plan({ ...input, now: later }).actions).toEqual([{ kind: 'issue', reason: 'other-authority' }]);
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

  it('never have it where there has been one shard only', () => {
    expect(names([instance(0, { databases: ['app_s0'] })], undefined)).toEqual(['app']);
  });
});

describe('clients that wait', () => {
  const databases = [{ name: 'app', shard: 's0', poolSize: 1, maxConnections: 3 }];
  const paused = (held: readonly string[], more: Partial<Observed> = {}): PlanInput =>
    planInput(
      poolerConfig({}, { databases }),
      observedWorld({
        secrets: all,
        instances: [instance(0, { paused: ['app'] })],
        held: new Set(held),
        ...more,
      }),
    );
  const resume = { kind: 'resume', pod: 'web-pooler-0', database: 'app' };

  it('go on when nobody holds them', () => {
    expect(plan(paused([])).actions).toContainEqual(resume);
  });

  it('go on whatever else is wrong', () => {
    expect(plan(paused([], { cluster: undefined })).actions).toEqual([resume]);
  });

  it('wait on while nobody serves them, until their pod lets them go on', () => {
    const targets = observedWorld().targets.map((target) => ({ ...target, servedBy: undefined }));
    expect(plan(paused([], { targets })).actions).not.toContainEqual(resume);
  });

  it('wait on while a switchover holds them', () => {
    expect(plan(paused(['uid-0/app'])).actions).not.toContainEqual(resume);
  });
});

describe('an instance that was left without the connections that it keeps open', () => {
  const reloads = (left: number, held: readonly string[] = []) => {
    const pooler = poolerConfig({ minPoolSize: 2 });
    const { observed, last } = settle(pooler, observedWorld({ secrets: all }));
    const instances = [instance(0, { revision: last.revision, minPoolSize: left })];
    const { actions } = plan(planInput(pooler, { ...observed, instances, held: new Set(held) }));
    return actions.filter(({ kind }) => kind === 'reload');
  };

  it('reads its settings anew, once nobody holds its clients back', () => {
    expect(reloads(0)).toEqual([{ kind: 'reload', pod: 'web-pooler-0' }]);
    expect(reloads(0, ['uid-0/app'])).toEqual([]);
    expect(reloads(2)).toEqual([]);
  });
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
});
