import { expect, test } from 'vitest';
import type { PatroniApi } from '../../postgres/patroni-api.ts';
import type { KubernetesObject } from '../../runtime/kubernetes-object.ts';
import { configMapType, podType, statefulSetType } from '../../runtime/kubernetes-types.ts';
import { executeSet, type SetExecution, type SetPass } from './execute.ts';
import { workOf } from './member-work.ts';
import { emptyMemory } from './memory.ts';
import type { SetAction } from './model.ts';
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

test('what one shard refuses keeps its own later objects back, and no other shard', async () => {
  const object = (kind: string, name: string) => ({
    apiVersion: 'v1',
    kind,
    metadata: { name: `readers-${name}`, labels: { 'herdsman.dev/shard': name } },
  });
  const applied: string[] = [];
  const context = {
    client: {
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

/** An informer of a type that no test here writes. */
function nobody(name: string) {
  return [name, { type: podType }];
}
