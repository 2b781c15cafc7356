import { expect, test } from 'vitest';
import type { Connections } from '../../../postgres/connections.ts';
import type { KubeClient } from '../../../runtime/kube-client.ts';
import type { ObjectKey } from '../../../runtime/kubernetes-object.ts';
import type { Sources } from '../../sharded-cluster/sources.ts';
import { emptyMemory } from '../memory.ts';
import type { ReplicaSources } from '../sources.ts';
import { cluster, readers } from '../test-support/world.ts';
import { emptyModelMemory } from './memory.ts';
import { createModelObserver } from './observe.ts';

test('an answer that comes late tells where the primary was when it was asked', async () => {
  const data = Object.fromEntries(
    ['ca.crt', 'tls.crt', 'tls.key'].map((name) => [name, Buffer.from('any').toString('base64')]),
  );
  const labels = { 'herdsman.dev/shard': 's0', 'herdsman.dev/role': 'primary' };
  const primary = { metadata: { name: 'shop-s0-0', uid: 'p', labels }, status: { podIP: '10.0.0.1' } };
  const cacheOf = (objects: readonly unknown[]) => ({
    cache: { byIndex: () => objects, get: () => undefined },
  });
  let nowMs = 1_000;
  const answers: (() => void)[] = [];
  const connection = {
    query: () =>
      new Promise((resolve) => {
        answers.push(() => resolve([{ inRecovery: false, position: 100 }]));
      }),
  };
  const observer = createModelObserver({
    client: {
      read: async (_: unknown, { namespace, name }: ObjectKey) => ({
        state: 'present',
        value: { apiVersion: 'v1', kind: 'Secret', metadata: { namespace, name }, data },
      }),
    } as unknown as KubeClient,
    sources: {
      pods: cacheOf([primary]),
      maps: cacheOf([]),
      replicaSets: cacheOf([]),
    } as unknown as Sources,
    replicas: {
      statefulSets: cacheOf([]),
      pods: cacheOf([]),
      claims: cacheOf([]),
      plain: [],
    } as unknown as ReplicaSources,
    connections: {
      use: (_: unknown, work: (found: typeof connection) => unknown) => work(connection),
    } as unknown as Connections,
    monotonicMs: () => nowMs,
  });
  const set = readers({ mode: 'logical', logical: { tables: [{ name: 'orders' }] } });
  const present = {
    ...cluster,
    status: { shards: { items: [{ name: 's0' }] } },
  } as unknown as typeof cluster;
  const model = emptyModelMemory();
  const { signal } = new AbortController();
  const observe = () => observer.observe(set, present, emptyMemory(0), model, signal);
  await observe();
  expect(model.histories.get('s0')).toBeUndefined();
  nowMs = 2_500;
  answers[0]?.();
  await new Promise((resolve) => setImmediate(resolve));
  nowMs = 3_000;
  await observe();
  expect(model.histories.get('s0')).toEqual([{ atMs: 2_500, untilMs: 1_000, position: 100 }]);
});
