import { beforeAll, expect, it } from 'vitest';
import { startHeartbeat } from '../support/heartbeat.ts';
import {
  applyPooler,
  atWork,
  type PoolerKey,
  poolerClientConfig,
  startPoolerLoad,
  waitUntilPooling,
} from '../support/pooler-config.ts';
import { applySet, replicaPods, waitForSet, waitUntilServing } from '../support/read-replica-set.ts';
import { pauseReplay } from '../support/replica-faults.ts';
import { namespaceForFile } from '../support/scene.ts';
import { applyCluster, type ClusterKey, waitUntilReady } from '../support/sharded-cluster.ts';
import { waitUntil } from '../support/wait.ts';

// PgBouncer before a ReadReplicaSet whose members leave rotation and come back.

const namespace = namespaceForFile('pooler-replicas');
const cluster: ClusterKey = { namespace, name: 'shop' };
const set: ClusterKey = { namespace, name: 'readers' };
const key: PoolerKey = { namespace, name: 'reads', cluster: 'shop' };
const shard = { namespace, cluster: 'shop' };
const maxSeconds = 4;

beforeAll(async () => {
  await applyCluster(cluster);
  await applySet(set, {
    cluster: 'shop',
    replicas: 2,
    maxConcurrentClones: 2,
    lag: { maxBytes: '1Mi', maxSeconds },
  });
  await applyPooler(key, { target: { cluster: 'shop', role: 'ro', readReplicaSet: 'readers' } });
  await waitUntilReady(cluster);
  await waitUntilServing(set, 2);
  await waitUntilPooling(key);
});

it('a late member leaves and comes back: no read fails, none is too stale, whoever stays connected', async () => {
  const database = 'app_ro';
  const heartbeat = await startHeartbeat(shard, await poolerClientConfig(key, database));
  const load = await startPoolerLoad(key, {
    clients: 20,
    database,
    // Those that take a while need more than one connection, so that these lead to every member.
    work: async (client) => {
      const begunMs = performance.now();
      const text = 'SELECT beat FROM heartbeat, pg_sleep(0.05)';
      heartbeat.judge((await client.query<{ beat: number }>(text)).rows[0]?.beat ?? 0, begunMs);
    },
  });
  const moreReads = async () => {
    const before = heartbeat.reads();
    await atWork(load, 1_000);
    await waitUntil('more reads', () => heartbeat.reads() > before + 40);
  };
  try {
    await moreReads();
    for (const pod of await replicaPods(set)) {
      const { name } = pod.metadata;
      const mend = await pauseReplay(shard, pod);
      try {
        await waitForSet(set, `${name} is out`, ({ shards }) =>
          (shards?.[0]?.members ?? []).some((member) => member.name === name && member.rotation === 'out'),
        );
        await moreReads();
      } finally {
        await mend();
      }
      await waitUntilServing(set, 2);
      await moreReads();
    }
  } finally {
    await load.stop();
    await heartbeat.stop();
  }
  console.log(`stalest read ${Math.round(heartbeat.stalestMs())} ms of ${heartbeat.reads()}`);
  expect([...heartbeat.errors]).toEqual([]);
  expect(load.errors.map(({ message }) => message)).toEqual([]);
  expect(heartbeat.stalestMs()).toBeLessThanOrEqual((maxSeconds + 3) * 1_000);
});
