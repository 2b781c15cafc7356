import { beforeAll, describe, expect, it } from 'vitest';
import { apiVersion } from '../../src/api/v1alpha1/common.ts';
import { apply, kubectl } from '../support/kubectl.ts';
import { applicationConfig } from '../support/pg.ts';
import { startPgbench } from '../support/pgbench.ts';
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
    const policies = [{ type: 'Pods', value: 1, periodSeconds: 15 }];
    const behavior = { stabilizationWindowSeconds: 0, policies };
    const autoscaler = {
      apiVersion: 'autoscaling/v2',
      kind: 'HorizontalPodAutoscaler',
      metadata: { name: set.name, namespace },
      spec: {
        scaleTargetRef: { apiVersion, kind: 'ReadReplicaSet', name: set.name },
        minReplicas: 1,
        maxReplicas: 3,
        metrics: [
          {
            type: 'Resource',
            resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 100 } },
          },
        ],
        behavior: { scaleUp: behavior, scaleDown: behavior },
      },
    };
    // The number is the autoscaler's from here on: who applies the set leaves it out.
    await apply(autoscaler);
    const load = await reading();
    try {
      await waitForSet(set, 'three members serve', ({ replicas }) => replicas?.inRotation === 3, slow);
    } finally {
      await load.stop();
    }
    await waitForSet(set, 'one member serves', ({ replicas }) => replicas?.summary === '1/1', slow);
    expect(await readSet(set)).toMatchObject({ spec: { replicas: 1 } });
    await kubectl(['delete', 'hpa', set.name, '-n', namespace]);
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
