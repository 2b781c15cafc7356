import { beforeAll, describe, expect, it } from 'vitest';
import { applicationConfig } from '../support/pg.ts';
import { startPgbench } from '../support/pgbench.ts';
import { applyPodAutoscaler } from '../support/pod-autoscaler.ts';
import {
  applySet,
  type ReplicaSpec,
  readConfig,
  readSet,
  waitForSet,
  waitForSetEvent,
  waitUntilServing,
} from '../support/read-replica-set.ts';
import { namespaceForFile } from '../support/scene.ts';
import { applyCluster, type ClusterKey, waitUntilReady } from '../support/sharded-cluster.ts';

// Read capacity follows the load of pgbench: by a stock HorizontalPodAutoscaler, and by the set's own autoscaling.

describe('the number of read replicas follows the load', () => {
  const namespace = namespaceForFile('replica-scaling');
  const cluster: ClusterKey = { namespace, name: 'shop' };
  const set: ClusterKey = { namespace, name: 'readers' };
  const spec: ReplicaSpec = {
    cluster: cluster.name,
    maxConcurrentClones: 2,
    resources: { requests: { cpu: '50m', memory: '128Mi' }, limits: { cpu: '200m', memory: '512Mi' } },
  };
  const slow = { timeoutMs: 240_000 };
  /** A connection for each transaction, so that new members get their share. */
  const reading = async () =>
    startPgbench(await readConfig(set, cluster.name), ['-n', '-S', '-C', '-c', '8', '-T', '600']);

  beforeAll(async () => {
    await applyCluster(cluster, { members: 1 });
    await applySet(set, { ...spec, replicas: 1 });
    await waitUntilReady(cluster);
    const init = await startPgbench(await applicationConfig({ namespace, cluster: cluster.name }), [
      '-i',
      '-q',
      '-s',
      '5',
    ]);
    await init.output;
    await waitUntilServing(set, 1);
  });

  it('of CPU, by a HorizontalPodAutoscaler', async () => {
    // The number is the autoscaler's from here on: who applies the set leaves it out.
    const scaling = { ...set, kind: 'ReadReplicaSet', maxReplicas: 3, cpuPercent: 100 } as const;
    const removeAutoscaler = await applyPodAutoscaler(scaling);
    const load = await reading();
    try {
      await waitForSet(set, 'three members serve', ({ replicas }) => replicas?.inRotation === 3, slow);
    } finally {
      await load.stop();
    }
    await waitForSet(set, 'one member serves', ({ replicas }) => replicas?.summary === '1/1', slow);
    expect(await readSet(set)).toMatchObject({ spec: { replicas: 1 } });
    await removeAutoscaler();
  });

  it('of queries, by its own autoscaling, which tells its numbers', async () => {
    await applySet(set, {
      ...spec,
      autoscaling: {
        maxReplicas: 3,
        metrics: [
          { type: 'QPS', target: 10 },
          { type: 'CPU', target: 100_000 },
        ],
        behavior: { scaleUpWindow: '15s', scaleDownWindow: '15s', quietBeforeScaleDown: '15s' },
      },
    });
    await waitUntilServing(set, 1);
    const load = await reading();
    try {
      const { status } = await waitForSet(
        set,
        'three members serve',
        ({ replicas }) => replicas?.inRotation === 3,
        slow,
      );
      console.log(JSON.stringify(status?.autoscaling));
      expect(status?.autoscaling).toMatchObject({
        desired: 3,
        metrics: [
          { type: 'QPS', target: 10, measured: expect.any(Number), proposed: expect.any(Number) },
          { type: 'CPU', target: 100_000, measured: expect.any(Number), proposed: 1 },
        ],
      });
      // What a user wrote is never written over.
      expect((await readSet(set)).spec.replicas).toBe(1);
      await waitForSetEvent(set, /Scaled.*scales from 2 to 3 members per shard: QPS \([0-9.]+ of 10\)/);
    } finally {
      await load.stop();
    }
    await waitForSet(set, 'one member serves', ({ replicas }) => replicas?.summary === '1/1', slow);
    await waitForSetEvent(set, /Scaled.*scales from 2 to 1 members per shard/);
  });
});
