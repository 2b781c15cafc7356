import { describe, expect, it } from 'vitest';
import { createCache } from '../runtime/cache.ts';
import type { KubernetesObject } from '../runtime/kubernetes-object.ts';
import { shardedClusterType } from './sharded-cluster/kinds.ts';
import type { ShardedCluster } from './sharded-cluster/model.ts';
import { shardedCluster } from './sharded-cluster/test-support/world.ts';
import { suspended, type Telling, tellSuspended } from './suspension.ts';

const now = new Date('2026-01-02T03:04:05Z');
const earlier = '2026-01-01T00:00:00Z';
const ready = {
  type: 'Ready',
  status: 'True',
  reason: 'AllShardsReady',
  message: '2 of 2 shards take writes',
  lastTransitionTime: earlier,
  observedGeneration: 3,
} as const;
const progressing = {
  type: 'Progressing',
  status: 'True',
  reason: 'RollingOut',
  message: 'it is being renewed',
  lastTransitionTime: earlier,
  observedGeneration: 3,
} as const;

describe('the status of what is suspended', () => {
  it('says why nothing happens, and keeps what was found before with its generation', () => {
    const before = { observedGeneration: 3, phase: 'Updating', conditions: [ready, progressing] };
    expect(suspended(before, 4, now)).toEqual({
      observedGeneration: 4,
      phase: 'Suspended',
      conditions: [
        ready,
        {
          type: 'Progressing',
          status: 'False',
          reason: 'Suspended',
          message: 'spec.suspend is true: nothing is changed until it is false again',
          lastTransitionTime: '2026-01-02T03:04:05Z',
          observedGeneration: 4,
        },
      ],
    });
  });

  it('is written once', () => {
    const first = suspended({ conditions: [ready] }, 4, now);
    expect(suspended(first, 4, new Date('2026-02-02T00:00:00Z'))).toEqual(first);
  });

  it('is there for what was made suspended', () => {
    expect(suspended(undefined, 1, now)).toMatchObject({
      observedGeneration: 1,
      phase: 'Suspended',
      conditions: [{ type: 'Progressing', reason: 'Suspended' }],
    });
  });

  it('is told once, and waited for by its owner', async () => {
    const type = shardedClusterType;
    const cache = createCache<ShardedCluster>();
    const sent: KubernetesObject[] = [];
    const owners: string[] = [];
    const telling: Telling = {
      client: {
        applyStatus: async (_, object) => {
          sent.push(object);
          return object;
        },
        updateStatus: () => Promise.reject(new Error('it is applied')),
      },
      clock: { now: () => now },
      expectations: { expectWritten: (owner) => owners.push(owner) },
    };
    const { signal } = new AbortController();
    const members = { desired: 3, ready: 3, summary: '3/3' };
    const cluster = shardedCluster({ suspend: true }, { members });
    await tellSuspended(telling, { type, cache }, cluster, signal);
    expect(sent).toMatchObject([{ metadata: { name: 'shop' }, status: { phase: 'Suspended', members } }]);
    expect(owners).toEqual(['shop/shop']);
    const told = { ...cluster, status: sent[0]?.status as NonNullable<ShardedCluster['status']> };
    await tellSuspended(telling, { type, cache }, told, signal);
    expect(sent).toHaveLength(1);
  });
});
