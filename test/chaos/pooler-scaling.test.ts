import { beforeAll, describe, expect, it } from 'vitest';
import { startPgbench } from '../support/pgbench.ts';
import { applyPodAutoscaler } from '../support/pod-autoscaler.ts';
import {
  applyPooler,
  type PoolerKey,
  poolerClientConfig,
  readPooler,
  waitForPooler,
  waitUntilPooling,
} from '../support/pooler-config.ts';
import { namespaceForFile } from '../support/scene.ts';
import { applyCluster, waitUntilReady } from '../support/sharded-cluster.ts';

// Instances follow the load of pgbench: by a stock HorizontalPodAutoscaler, and by the PoolerConfig's own autoscaling.

describe('the number of poolers follows the load', () => {
  const namespace = namespaceForFile('pooler-scaling');
  const cluster = { namespace, name: 'shop' };
  const key: PoolerKey = { namespace, name: 'web', cluster: cluster.name };
  const resources = { requests: { cpu: '20m', memory: '16Mi' }, limits: { cpu: '200m' } };
  const slow = { timeoutMs: 240_000 };
  const words = ['-n', '-S', '-C', '-c', '8', '-T', '600'];
  /** A connection for each transaction, so that new instances get their share. */
  const working = async () => startPgbench(await poolerClientConfig(key), words);

  beforeAll(async () => {
    await applyCluster(cluster, { members: 1 });
    await applyPooler(key, { resources });
    await waitUntilReady(cluster);
    await waitUntilPooling(key);
    const init = await startPgbench(await poolerClientConfig(key), ['-i', '-q']);
    await init.output;
  });

  it('of CPU, by a HorizontalPodAutoscaler on /scale', async () => {
    // What stands beside PgBouncer in its pod counts for nothing.
    const counted = { container: 'pgbouncer', cpuPercent: 100 };
    const scaling = { ...key, kind: 'PoolerConfig', maxReplicas: 3, ...counted } as const;
    const removeAutoscaler = await applyPodAutoscaler(scaling);
    const load = await working();
    try {
      await waitForPooler(key, 'three instances', ({ replicas }) => replicas?.ready === 3, slow);
    } finally {
      await load.stop();
    }
    await waitForPooler(key, 'one instance', ({ replicas }) => replicas?.current === 1, slow);
    expect(await readPooler(key)).toMatchObject({ spec: { replicas: 1 } });
    await removeAutoscaler();
  });

  it('of CPU, by its own autoscaling, which tells its numbers', async () => {
    const autoscaling = { minReplicas: 1, maxReplicas: 3, cpuPercent: 10, stabilization: '15s' };
    // Nobody waits, so that CPU alone decides.
    await applyPooler(key, {
      resources,
      autoscaling: { ...autoscaling, waitingClients: 1000, maxWait: '1h' },
    });
    await waitUntilPooling(key);
    const load = await working();
    try {
      const { status } = await waitForPooler(
        key,
        'three instances',
        ({ replicas }) => replicas?.desired === 3 && replicas.ready === 3,
        slow,
      );
      expect(status?.replicas?.reason).toMatch(/use \d+ % of a core together/);
    } finally {
      await load.stop();
    }
    await waitForPooler(
      key,
      'one instance',
      ({ replicas }) => replicas?.desired === 1 && replicas.current === 1,
      slow,
    );
  });
});
