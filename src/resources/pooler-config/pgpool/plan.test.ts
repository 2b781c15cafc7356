import { beforeAll, describe, expect, it } from 'vitest';
import type { SecretReading } from '../../sharded-cluster/model.ts';
import { contentOf } from '../../sharded-cluster/steps/identity.ts';
import { objectId } from '../../sharded-cluster/steps/objects.ts';
import { slotsAnnotation, startAnnotation } from '../desired/pgpool-objects.ts';
import type { Action, Observed, ObservedInstance, PoolerConfig } from '../model.ts';
import { revisionAnnotation } from '../names.ts';
import type { Plan } from '../plan.ts';
import { member, pgpoolConfig, pgpoolSecrets, pgpoolWorld, readers } from '../test-support/pgpool-world.ts';
import {
  instance,
  now,
  observedWorld,
  planInput,
  secret,
  targetCluster,
  targetSecrets,
} from '../test-support/world.ts';
import { planPgpool } from './plan.ts';

let target: Map<string, SecretReading>;
let all: Map<string, SecretReading>;

beforeAll(async () => {
  target = await targetSecrets();
  all = await pgpoolSecrets();
});

const decide = (pooler: PoolerConfig, observed: Observed) => planPgpool(planInput(pooler, observed));
const kinds = ({ actions }: Plan) => actions.map((action) => action.kind);

/** Carries out what a plan wants, as the cluster does, until it wants nothing more. */
function settle(pooler: PoolerConfig, start: Observed): { observed: Observed; last: Plan; plans: Plan[] } {
  let observed = start;
  const plans: Plan[] = [];
  for (let pass = 0; pass < 20; pass += 1) {
    const decided = decide(pooler, observed);
    plans.push(decided);
    const next = decided.actions.reduce((world, action) => after(world, action, decided), observed);
    if (decided.actions.length === 0 && decided.result.kind === 'ready')
      return { observed, last: decided, plans };
    observed = replaceOne(next, decided);
  }
  throw new Error('the plan never comes to rest');
}

function after(observed: Observed, action: Action, { revision }: Plan): Observed {
  switch (action.kind) {
    case 'write-secret': {
      const value = { data: action.secret.data, resourceVersion: '2' };
      const name = action.secret.metadata.name;
      return { ...observed, secrets: new Map([...observed.secrets, [name, { state: 'present', value }]]) };
    }
    case 'apply': {
      const objects = new Map([...observed.objects, [objectId(action.object), action.object]]);
      if (action.object.kind !== 'StatefulSet') return { ...observed, objects };
      const { replicas } = action.object.spec as { replicas: number };
      const instances = Array.from(
        { length: replicas },
        (_, ordinal) =>
          observed.instances[ordinal] ?? running(ordinal, templateStart(action.object), revision),
      );
      return { ...observed, objects, statefulSet: action.object as Observed['statefulSet'], instances };
    }
    case 'deliver': {
      const instances = observed.instances.map((entry) =>
        entry.name === action.pod ? running(entry.ordinal, startOf(entry), action.revision) : entry,
      );
      return { ...observed, instances };
    }
    default:
      return observed;
  }
}

/** What the StatefulSet controller does: one instance at a time. */
function replaceOne(observed: Observed, { revision }: Plan): Observed {
  const { statefulSet, instances } = observed;
  if (statefulSet === undefined) return observed;
  const wanted = templateStart(statefulSet);
  const old = instances.findLastIndex((entry) => startOf(entry) !== wanted);
  return {
    ...observed,
    instances: instances.map((entry, index) => (index === old ? running(index, wanted, revision) : entry)),
  };
}

function templateStart(object: { spec?: unknown }): string {
  const { template } = object.spec as { template: { metadata: { annotations: Record<string, string> } } };
  return template.metadata.annotations[startAnnotation] ?? '';
}

function startOf({ pod }: ObservedInstance): string {
  return pod.metadata.annotations?.[startAnnotation] ?? '';
}

function running(ordinal: number, start: string, revision: string | undefined): ObservedInstance {
  const made = instance(ordinal, { revision });
  const annotations = { [startAnnotation]: start, [revisionAnnotation]: revision ?? '' };
  return { ...made, pod: { ...made.pod, metadata: { ...made.pod.metadata, annotations } } };
}

function starts({ observed }: { observed: Observed }): string[] {
  return observed.instances.map(startOf);
}

function weights(plan: Plan): Record<string, number> {
  return Object.fromEntries((plan.backends ?? []).map(({ name, weight }) => [name, weight]));
}

describe('a new PoolerConfig', () => {
  it('gets a key, then a certificate, then settings, then objects', () => {
    expect(kinds(decide(pgpoolConfig(), pgpoolWorld({ secrets: target })))).toEqual(['generate-key']);
    const withKey = new Map([...target, ['web-pooler-key', secret({ key: 'k' })] as const]);
    expect(kinds(decide(pgpoolConfig(), pgpoolWorld({ secrets: withKey })))).toEqual(['issue']);
    expect(kinds(decide(pgpoolConfig(), pgpoolWorld({ secrets: all })))).toEqual(['write-secret']);
  });

  it('comes to rest, and then wants nothing more', () => {
    const { observed, last } = settle(pgpoolConfig(), pgpoolWorld({ secrets: all }));
    expect(last.result).toEqual({ kind: 'ready' });
    expect(observed.instances).toHaveLength(2);
    expect([...observed.objects.keys()]).toEqual([
      'Service/web-pooler-peers',
      'Service/web-pooler',
      'PodDisruptionBudget/web-pooler',
      'StatefulSet/web-pooler',
    ]);
    // 100 - 3 - 10 = 87 for two instances, of which each keeps 2 for its checks.
    expect(last.sizing?.databases).toEqual([{ name: 'app', shard: 's0', poolSize: 41, maxConnections: 43 }]);
  });
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

describe('settings', () => {
  it.each([
    ['a weight', { readReplicaSets: [{ name: 'readers', weight: 5 }] }],
    ['a limit of lag', { maxLag: '3s' }],
    ['what a write does to reads', { disableLoadBalanceOnWrite: 'always' }],
    ['a setting that is read again', { parameters: { log_statement: 'on' } }],
  ])('%s: running instances take it over', (_, pgpool) => {
    const before = settle(pgpoolConfig(), pgpoolWorld({ secrets: all }));
    const after = settle(pgpoolConfig(pgpool), before.observed);
    expect(starts(after)).toEqual(starts(before));
    expect(after.plans.flatMap(kinds)).toEqual(['write-secret', 'deliver', 'deliver']);
  });

  it.each([
    ['a query cache', { queryCache: {} }, {}],
    ['a setting that is read at the start', { parameters: { process_management_mode: 'static' } }, {}],
    ['the number of clients', {}, { sizing: 'manual', poolSize: 5 }],
  ])('%s: instances are replaced', (_, pgpool, spec) => {
    const before = settle(pgpoolConfig(), pgpoolWorld({ secrets: all }));
    const after = settle(pgpoolConfig(pgpool, spec), before.observed);
    expect(new Set([...starts(after), ...starts(before)]).size).toBe(2);
  });

  it('make those that are there smaller before others come', () => {
    const before = settle(pgpoolConfig(), pgpoolWorld({ secrets: all }));
    const { plans, observed } = settle(pgpoolConfig({}, { replicas: 4 }), before.observed);
    const sizes = plans.flatMap(({ actions }) =>
      actions.flatMap((action) =>
        action.kind === 'apply' && action.object.kind === 'StatefulSet'
          ? [(action.object.spec as { replicas: number }).replicas]
          : [],
      ),
    );
    expect(sizes).toEqual([2, 4]);
    expect(observed.instances).toHaveLength(4);
  });

  it('with pools of a given size need no new process for another number of instances', () => {
    const manual = { sizing: 'manual', poolSize: 10 };
    const before = settle(pgpoolConfig({}, manual), pgpoolWorld({ secrets: all }));
    const after = settle(pgpoolConfig({}, { ...manual, replicas: 3 }), before.observed);
    expect(new Set([...starts(before), ...starts(after)]).size).toBe(1);
  });

  it('have every login once, and no password in clear', () => {
    const more = new Map([
      ...all,
      ['shop-reports', secret({ username: 'reports', password: 'quite secret' })] as const,
    ]);
    const [action] = decide(
      pgpoolConfig({ logins: ['shop-reports'] }),
      pgpoolWorld({ secrets: more }),
    ).actions;
    const data = action?.kind === 'write-secret' ? action.secret.data : {};
    const text = Object.values(data).map((value) => Buffer.from(value, 'base64').toString('utf8'));
    expect(text.join('\n')).not.toContain('quite secret');
    const passwords = Buffer.from(data.pool_passwd ?? '', 'base64').toString('utf8');
    expect(passwords.split('\n').map((line) => line.split(':')[0])).toEqual([
      'app',
      'monitoring',
      'reports',
      '',
    ]);
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

describe('certificates beside a spec that is refused', () => {
  const refused = pgpoolConfig({ parameters: { log_statement: 'maybe' } });
  let settled: ReturnType<typeof settle>;
  let renewed: Map<string, SecretReading>;
  beforeAll(async () => {
    settled = settle(pgpoolConfig(), pgpoolWorld({ secrets: all }));
    renewed = await pgpoolSecrets();
  });
  const content = ({ secrets }: Observed) => contentOf(secrets.get('web-pooler')) ?? {};
  /** A new certificate was issued, by a new authority. */
  const issued = (): Observed => {
    const files = { ...content(settled.observed), ...content({ ...settled.observed, secrets: renewed }) };
    return { ...settled.observed, secrets: new Map([...renewed, ['web-pooler', secret(files)] as const]) };
  };

  it.each([
    ['a setting', refused, {}],
    ['the set', pgpoolConfig(), { sets: [] }],
  ])('are issued when it is time, whatever is refused: %s', (_, pooler, changes) => {
    const later = new Date(now.getTime() + 80 * 86_400_000);
    const decided = planPgpool({ ...planInput(pooler, { ...settled.observed, ...changes }), now: later });
    expect(decided.result.kind).toBe('fail');
    expect(kinds(decided)).toEqual(['issue']);
  });

  it('are, too, when a Secret has no key', () => {
    const later = new Date(now.getTime() + 80 * 86_400_000);
    const secrets = new Map([
      ...settled.observed.secrets,
      ['shop-app', secret({ username: 'app' })] as const,
    ]);
    const decided = planPgpool({
      ...planInput(pgpoolConfig(), { ...settled.observed, secrets }),
      now: later,
    });
    expect(decided.result).toMatchObject({ reason: 'SecretIncomplete' });
    expect(kinds(decided)).toEqual(['issue']);
  });

  it('reach instances, which are started anew with the settings and the template that they have', () => {
    const observed = issued();
    const written = decide(refused, observed);
    expect(kinds(written)).toEqual(['write-secret']);
    const world = written.actions.reduce((before, action) => after(before, action, written), observed);
    const [action, ...others] = decide(refused, world).actions;
    expect(others).toEqual([]);
    const { start = '' } = content(world);
    const live = settled.observed.statefulSet;
    const before = content(settled.observed).start?.trim() ?? '';
    expect(action?.kind === 'apply' && action.object).toEqual(
      JSON.parse(JSON.stringify(live).replaceAll(before, start.trim())),
    );
    // It is the very start that the same settings have once nothing is refused any more.
    const mended = settle(pgpoolConfig(), world);
    expect(starts(mended)).toEqual([start.trim(), start.trim()]);
  });

  it('are none where there are no settings yet', () => {
    expect(decide(refused, pgpoolWorld({ secrets: target })).actions).toEqual([]);
  });
});

describe('bad input', () => {
  const login = (content: Record<string, string>) =>
    ({ logins: ['other'], secret: ['other', secret(content)] }) as const;
  const refusals: [string, Record<string, unknown>, Partial<Observed>, string, RegExp][] = [
    ['an unknown cluster', {}, { cluster: undefined }, 'TargetNotFound', /no ShardedCluster "shop"/],
    ['an unknown set', {}, { sets: [] }, 'TargetNotFound', /no ReadReplicaSet "readers"/],
    [
      'a set of another cluster',
      {},
      { sets: [readers({ cluster: 'other' })] },
      'TargetUnfit',
      /"other", not to "shop"/,
    ],
    [
      'a set that cascades',
      {},
      { sets: [readers({ source: 'cascade' })] },
      'TargetUnfit',
      /set its spec.source to "primary"/,
    ],
    [
      'a set that shows the past',
      {},
      { sets: [readers({ workload: 'delayed' })] },
      'TargetUnfit',
      /the past/,
    ],
    [
      'a set that is elsewhere',
      {},
      { sets: [readers({ shards: ['s1'] })] },
      'TargetUnfit',
      /no members in shard s0/,
    ],
    [
      'too many members',
      {},
      { sets: [readers({}, [member(127)])] },
      'TooManyBackends',
      /128 members.*takes 127/,
    ],
    ['an unknown shard', { shard: 's7' }, {}, 'ShardNotFound', /"s7", and there is only s0/],
    [
      'an unknown setting',
      { parameters: { log_statment: 'on' } },
      {},
      'InvalidParameter',
      /did you mean "log_statement"/,
    ],
    [
      'a value that is none',
      { parameters: { log_statement: 'maybe' } },
      {},
      'InvalidParameter',
      /write "on" or "off"/,
    ],
  ];

  it.each(refusals)(
    '%s is said, and running instances are left as they are',
    (_, pgpool, changes, reason, message) => {
      const { observed } = settle(pgpoolConfig(), pgpoolWorld({ secrets: all }));
      const decided = decide(pgpoolConfig(pgpool), { ...observed, ...changes });
      expect(decided.actions).toEqual([]);
      expect(decided.result).toMatchObject({ kind: 'fail', reason, message: expect.stringMatching(message) });
    },
  );

  it.each([
    [
      'no password',
      { username: 'reports' },
      'SecretIncomplete',
      /"other" needs the keys "username" and "password"/,
    ],
    ['a name with a colon', { username: 'a:b', password: 'x' }, 'LoginUnfit', /letters, digits/],
    ['a name that is there', { username: 'app', password: 'x' }, 'LoginTwice', /"app" of another one/],
  ])('a Secret with %s is said', (_, content, reason, message) => {
    const { logins, secret: entry } = login(content as unknown as Record<string, string>);
    const { observed } = settle(pgpoolConfig(), pgpoolWorld({ secrets: all }));
    const secrets = new Map([...observed.secrets, entry]);
    const decided = decide(pgpoolConfig({ logins }), { ...observed, secrets });
    expect(decided).toMatchObject({
      actions: [],
      result: { reason, message: expect.stringMatching(message) },
    });
  });

  it('of a share that others have not given up yet is waited for', () => {
    const sharing = { poolers: 2, taken: { names: ['web'], total: 86 } };
    const decided = decide(pgpoolConfig(), pgpoolWorld({ secrets: all, sharing }));
    expect(decided).toMatchObject({
      actions: [],
      result: { kind: 'wait', reason: 'ShareTaken', message: expect.stringContaining('PoolerConfig "web"') },
    });
  });

  it('of pools that do not fit names the numbers', () => {
    const { observed } = settle(pgpoolConfig(), pgpoolWorld({ secrets: all }));
    const decided = decide(pgpoolConfig({}, { sizing: 'manual', poolSize: 60 }), observed);
    expect(decided.result).toMatchObject({
      reason: 'PoolsDoNotFit',
      message: expect.stringMatching(/leaves 87.*124 are needed/),
    });
    const one = decide(pgpoolConfig(), { ...observed, cluster: targetCluster({ members: 1 }) });
    expect(one.result).toEqual({ kind: 'ready' });
  });
});
