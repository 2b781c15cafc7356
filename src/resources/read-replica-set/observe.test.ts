import { expect, test } from 'vitest';
import { createConnections } from '../../postgres/connections.ts';
import type { KubeClient } from '../../runtime/kube-client.ts';
import type { ObjectKey } from '../../runtime/kubernetes-object.ts';
import type { PoolerSources } from '../pooler-config/sources.ts';
import type { Sources } from '../sharded-cluster/sources.ts';
import { emptyMemory } from './memory.ts';
import { createSetObserver } from './observe.ts';
import type { ReplicaSources } from './sources.ts';
import { cluster, readers } from './test-support/world.ts';

test('what somebody wrote in place of a certificate is none, and the set is observed all the same', async () => {
  const data = Object.fromEntries(
    ['ca.crt', 'tls.crt', 'tls.key'].map((name) => [name, Buffer.from('none').toString('base64')]),
  );
  const nothing = { cache: { byIndex: () => [], get: () => undefined } };
  const observer = createSetObserver({
    client: {
      read: async (_: unknown, { namespace, name }: ObjectKey) => ({
        state: 'present',
        value: { apiVersion: 'v1', kind: 'Secret', metadata: { namespace, name }, data },
      }),
    } as unknown as KubeClient,
    sources: { pods: nothing, replicaSets: nothing } as unknown as Sources,
    replicas: {
      statefulSets: nothing,
      pods: nothing,
      claims: nothing,
      plain: [],
    } as unknown as ReplicaSources,
    poolerSources: { poolers: nothing } as unknown as PoolerSources,
    connections: createConnections(),
    monotonicMs: () => 0,
  });
  const items = [{ name: 's0' }];
  const present = { ...cluster, status: { shards: { items } } } as unknown as typeof cluster;
  const { signal } = new AbortController();
  const { observed, access } = await observer.observe(readers(), present, emptyMemory(0), signal);
  expect(access).toBeDefined();
  expect(observed.shards).toMatchObject([{ name: 's0', isCertified: false }]);
});
