import { describe, expect, test } from 'vitest';
import type { PatroniApi } from '../../postgres/patroni-api.ts';
import type { KubernetesObject } from '../../runtime/kubernetes-object.ts';
import { configMapType, podType, serviceType, statefulSetType } from '../../runtime/kubernetes-types.ts';
import type { Reading } from '../../runtime/reading.ts';
import { executeSet, type SetExecution, type SetPass } from './execute.ts';
import { withFailedActions } from './failed-actions.ts';
import { workOf } from './member-work.ts';
import { emptyMemory } from './memory.ts';
import type { SetAction } from './model.ts';
import { plan } from './plan.ts';
import { input, member, readers, shard } from './test-support/world.ts';

test('a pass begins the restart of a member, and a later one sees its end', async () => {
  const set = readers();
  const { observed } = input(set, [shard([member(set, 0)])]);
  const memory = emptyMemory(0);
  const { promise, resolve } = Promise.withResolvers<string>();
  const told: string[] = [];
  const context: Partial<SetExecution> = {
    monotonicMs: () => 0,
    events: { record: (_, { reason }) => told.push(reason) as never, flush: async () => undefined },
  };
  const patroni: Partial<PatroniApi> = { restart: () => promise };
  const access = { patroni: () => patroni } as unknown as SetPass['access'];
  const pass: SetPass = { set, observed, access, memory, signal: AbortSignal.abort() };
  const restart = { kind: 'restart', shard: 's0', member: 'readers-s0-replicas-0' } as const;
  const failures = await executeSet(context as SetExecution, pass, [restart]);
  expect(failures).toEqual([]);
  const state = () => workOf(memory.work, 'uid-of-readers-s0-replicas-0', 0).get('restart')?.state;
  expect(state()).toBe('running');
  expect(told).toEqual([]);
  resolve('restarted');
  await expect.poll(state).toBe('done');
  expect(told).toEqual(['MemberRestarted']);
});

test.each([
  { what: 'the primary', streamsFrom: undefined, slots: ['10.0.0.1'] },
  {
    what: 'a standby',
    streamsFrom: { name: 'shop-s0-1', address: '10.0.0.2' },
    slots: ['10.0.0.1', '10.0.0.2'],
  },
  {
    what: 'a standby that was promoted',
    streamsFrom: { name: 'shop-s0-0', address: '10.0.0.1' },
    slots: ['10.0.0.1'],
  },
])(
  'a follower of $what is copied anew when its slots are gone, which may keep nothing any more',
  async (row) => {
    const { streamsFrom, slots } = row;
    const set = readers();
    const { observed } = input(set, [shard([member(set, 0, { streamsFrom })])]);
    const done: unknown[] = [];
    const memory = emptyMemory(0);
    const context = {
      monotonicMs: () => 0,
      events: { record: () => undefined },
      connections: {
        use: async (options: object, work: (connection: unknown) => unknown) =>
          work({ query: async ({ values }: { values: unknown }) => done.push({ ...options, values }) }),
      },
    } as unknown as SetExecution;
    const access = {
      asOperator: (_: string, host: string) => ({ host }),
      patroni: (_: string, host: string) => ({ reinitialize: async () => done.push({ host }) }),
    } as unknown as SetPass['access'];
    const pass: SetPass = { set, observed, access, memory, signal: AbortSignal.abort() };
    const name = 'readers-s0-replicas-0';
    await executeSet(context, pass, [{ kind: 'reinitialize', shard: 's0', member: name, evidence: 'so' }]);
    await expect.poll(() => workOf(memory.work, `uid-of-${name}`, 0).get('reinitialize')?.state).toBe('done');
    const dropped = slots.map((host) => ({ host, values: ['readers_s0_replicas_0'] }));
    expect(done).toEqual([...dropped, { host: '10.0.1.1' }]);
  },
);

test('what one shard refuses keeps its own later objects back, and no other shard', async () => {
  const object = (kind: string, name: string) => ({
    apiVersion: 'v1',
    kind,
    metadata: { name: `readers-${name}`, labels: { 'herdsman.dev/shard': name } },
  });
  const applied: string[] = [];
  const context = {
    client: {
      read: async () => ({ state: 'absent' }),
      apply: async (_: unknown, { kind, metadata }: KubernetesObject) => {
        if (kind === 'ConfigMap' && metadata.name === 'readers-s0') throw new Error('refused');
        applied.push(`${kind}/${metadata.name}`);
        return object(kind, metadata.name);
      },
    },
    replicas: { plain: [], ...Object.fromEntries(['statefulSets', 'pods', 'claims'].map(nobody)) },
  } as unknown as SetExecution;
  const set = readers();
  const { observed } = input(set, []);
  const pass = { set, observed, access: undefined, memory: emptyMemory(0), signal: AbortSignal.abort() };
  const actions = ['s0', 's1'].flatMap((name) =>
    [configMapType, statefulSetType].map(
      (type): SetAction => ({ kind: 'apply', type, object: object(type.kind, name) }),
    ),
  );
  const failures = await executeSet(context, pass, actions);
  expect(failures.map(({ error }) => error.message)).toEqual(['refused']);
  expect(applied).toEqual(['ConfigMap/readers-s1', 'StatefulSet/readers-s1']);
});

describe('an object that the set is about to make', () => {
  const set = readers();
  const service = (fields: object = {}): KubernetesObject => ({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'readers-s0-read', namespace: 'store', ...fields },
  });

  const there = (fields: object = {}) => ({ state: 'present' as const, value: service(fields) });
  const made = { applied: ['readers-s0-read'], progress: [], amiss: [] };

  async function make(found: Reading<KubernetesObject>, objects = new Map<string, KubernetesObject>()) {
    const applied: string[] = [];
    const context = {
      client: {
        read: async () => found,
        apply: async (_: unknown, object: KubernetesObject) => {
          applied.push(object.metadata.name);
          return object;
        },
      },
      replicas: { plain: [], ...Object.fromEntries(['statefulSets', 'pods', 'claims'].map(nobody)) },
    } as unknown as SetExecution;
    const { observed } = input(set, [], { objects });
    const pass = { set, observed, access: undefined, memory: emptyMemory(0), signal: AbortSignal.abort() };
    const failures = await executeSet(context, pass, [
      { kind: 'apply', type: serviceType, object: service() },
    ]);
    const { progress, failures: amiss } = withFailedActions(plan(input(set, [])), failures);
    return { applied, progress, amiss };
  }

  test('is not made where somebody else has one of its name, and that is told', async () => {
    const { applied, amiss } = await make(there({ labels: { app: 'mine' } }));
    expect(applied).toEqual([]);
    expect(amiss).toEqual([
      {
        reason: 'NameTaken',
        message:
          'Service readers-s0-read is there and is not of this set: delete it, or give the set another name',
      },
    ]);
  });

  const owner = { apiVersion: 'herdsman.dev/v1alpha1', kind: 'ReadReplicaSet', name: 'readers' };
  test.each([
    ['has lost its labels', there({ ownerReferences: [{ ...owner, uid: set.metadata.uid }] })],
    ['was left by a set of the same name', there({ labels: { 'herdsman.dev/replica-set': 'readers' } })],
  ])('is made again from one that %s', async (_, present) => {
    expect(await make(present)).toEqual(made);
  });

  test('is looked for only while it has not been seen', async () => {
    const seen = new Map([['Service/readers-s0-read', service()]]);
    expect(await make(there(), seen)).toEqual(made);
  });

  test('is tried again while nobody says whether it is there', async () => {
    const { applied, progress, amiss } = await make({ state: 'unknown', error: new Error('silence') });
    expect([applied, amiss]).toEqual([[], []]);
    expect(progress).toEqual([{ reason: 'Retrying', message: 'silence' }]);
  });
});

/** An informer of a type that no test here writes. */
function nobody(name: string) {
  return [name, { type: podType }];
}
