import pg from 'pg';
import { beforeAll, describe, expect, it } from 'vitest';
import { readReplicaSetType } from '../../src/resources/sharded-cluster/kinds.ts';
import { serviceType, statefulSetType } from '../../src/runtime/kubernetes-types.ts';
import { kube } from '../support/cluster.ts';
import { deleteByForce, switchOver, takeOperatorAway } from '../support/faults.ts';
import { startHeartbeat } from '../support/heartbeat.ts';
import { query } from '../support/pg.ts';
import { postmasterOf, signalAll, walReceiverOf } from '../support/processes.ts';
import {
  applySet,
  copiesOf,
  copySource,
  inPod,
  type ReplicaSpec,
  readConfig,
  readOnce,
  replicaPods,
  waitForSet,
  waitForSetEvent,
  waitUntilServing,
} from '../support/read-replica-set.ts';
import { namespaceForFile } from '../support/scene.ts';
import {
  applyCluster,
  type ClusterKey,
  type MemberPod,
  primaryPod,
  waitUntilReady,
} from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';

// What happens to a shard, to the operator and to members themselves while read replicas serve.

describe('read replicas', () => {
  const namespace = namespaceForFile('replica-changes');
  const cluster: ClusterKey = { namespace, name: 'shop' };
  const set: ClusterKey = { namespace, name: 'readers' };
  const shard = { namespace, cluster: cluster.name };
  const spec: ReplicaSpec = { cluster: cluster.name, replicas: 2, maxConcurrentClones: 2 };

  beforeAll(async () => {
    await applyCluster(cluster, { members: 3 });
    await applySet(set, spec);
    await waitUntilReady(cluster);
    await query(shard, 'CREATE TABLE items AS SELECT generate_series(1, 1000) AS id');
    await waitUntilServing(set, 2);
  });

  it.each([
    ['planned', (primary: MemberPod) => switchOver(cluster, primary)],
    ['unplanned', deleteByForce],
  ] as const)('follow another primary on its timeline without a new copy: %s', async (what, change) => {
    const before = await copiesOf(set, await replicaPods(set));
    const primary = await primaryPod(cluster);
    const heartbeat = await startHeartbeat(shard, await readConfig(set, cluster.name));
    try {
      await change(primary);
      const next = await waitFor('another primary', async () => {
        const now = await primaryPod(cluster);
        return now.metadata.name === primary.metadata.name ? { state: now.metadata.name } : { done: now };
      });
      await waitUntilReady(cluster);
      const timeline = await inPod(
        namespace,
        next.metadata.name,
        "SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int",
      );
      for (const { metadata } of await replicaPods(set)) {
        await waitFor(`${metadata.name} receives timeline ${timeline}`, async () => {
          const found = await inPod(
            namespace,
            metadata.name,
            'SELECT received_tli FROM pg_stat_wal_receiver',
          );
          return found === timeline ? { done: true } : { state: found };
        });
      }
      await waitUntilServing(set, 2);
      const beats = heartbeat.beats();
      await waitFor('rows renewed on the other primary', () =>
        heartbeat.beats() > beats + 20 ? { done: true } : { state: beats },
      );
    } finally {
      await heartbeat.stop();
    }
    console.log(
      `${what}: stalest read ${heartbeat.stalestMs()} ms, errors ${JSON.stringify([...heartbeat.errors])}`,
    );
    expect(await copiesOf(set, await replicaPods(set))).toEqual(before);
    expect([...heartbeat.errors]).toEqual([]);
    expect(heartbeat.stalestMs()).toBeLessThanOrEqual((10 + 3) * 1_000);
  });

  it('lose no query when there are fewer of them under load', async () => {
    const config = await readConfig(set, cluster.name);
    const failures: string[] = [];
    let queries = 0;
    let isRunning = true;
    const clients = Array.from({ length: 12 }, async () => {
      while (isRunning) {
        const client = new pg.Client(config);
        client.on('error', () => undefined);
        try {
          await client.connect();
          await client.query('SELECT pg_sleep(random() * 2)');
          queries += 1;
        } catch (error) {
          failures.push(String(error));
        } finally {
          await client.end().catch(() => undefined);
        }
      }
    });
    const enough = (count: number) =>
      waitFor('queries', () => (queries >= count ? { done: true } : { state: { queries, failures } }));
    await enough(30);
    await applySet(set, { ...spec, replicas: 1 });
    await waitUntilServing(set, 1);
    await enough(queries + 30);
    isRunning = false;
    await Promise.all(clients);
    console.log(`${queries} queries, ${failures.length} failed`);
    expect(failures).toEqual([]);
  });

  it('stream from the first of them, and from the primary without it', async () => {
    const chain: ClusterKey = { namespace, name: 'chain' };
    await applySet(chain, { ...spec, source: 'cascade', replicas: 3, maxConcurrentClones: 3 });
    await waitUntilServing(chain, 3);
    const follow = (pod: string) =>
      inPod(
        namespace,
        pod,
        "SELECT application_name FROM pg_stat_replication WHERE application_name LIKE 'chain-%' ORDER BY 1",
      );
    const expectChain = async () => {
      const { metadata } = await primaryPod(cluster);
      await waitFor('the first follows the primary, the others follow the first', async () => {
        const found = [await follow(metadata.name), await follow('chain-s0-replicas-0')];
        const wanted = ['chain-s0-replicas-0', 'chain-s0-replicas-1\nchain-s0-replicas-2'];
        return found.join() === wanted.join() ? { done: true } : { state: found };
      });
    };
    await expectChain();
    const [first, ...others] = await replicaPods(chain);
    if (first === undefined) throw new Error('there is no first');
    const before = await copiesOf(set, others);
    await deleteByForce(first);
    await query(shard, 'CREATE TABLE links (id int)');
    for (const { metadata } of others) {
      await waitFor(`${metadata.name} has what is new`, async () => {
        const found = await inPod(namespace, metadata.name, "SELECT to_regclass('links')");
        return found === 'links' ? { done: true } : { state: found };
      });
    }
    await waitUntilServing(chain, 3);
    await expectChain();
    expect(await copiesOf(set, others)).toEqual(before);
    await (await kube()).delete(readReplicaSetType, chain);
  });

  it('are copied again when the source of their copy is killed', async () => {
    const slow: ClusterKey = { namespace, name: 'slow' };
    await applySet(slow, { ...spec, replicas: 1, maxCloneRate: '2Mi' });
    const source = await copySource(cluster);
    signalAll([postmasterOf(source.metadata.uid ?? '')], 'SIGKILL');
    await waitUntilServing(slow, 1);
    const config = await readConfig(slow, cluster.name);
    // A node may follow the Service a moment later than the status does.
    const read = await waitFor('the Service leads there', async () => {
      return { done: await readOnce(config, 'SELECT count(*)::int AS n FROM items') };
    });
    expect(read).toEqual({ n: 1000 });
    await (await kube()).delete(readReplicaSetType, slow);
  });

  it('are copied again when their slot has kept all that it may', async () => {
    const postgres = { parameters: { max_slot_wal_keep_size: '32MB' } };
    await applySet(set, spec);
    await waitUntilServing(set, 2);
    await applyCluster(cluster, { members: 3, postgres });
    const { metadata } = await primaryPod(cluster);
    const onPrimary = (text: string) => inPod(namespace, metadata.name, text);
    await waitFor('the primary has the limit', async () => {
      const found = await onPrimary('SHOW max_slot_wal_keep_size');
      return found === '32MB' ? { done: true } : { state: found };
    });
    const slot = "FROM pg_replication_slots WHERE slot_name = 'readers_s0_replicas_0'";
    const heartbeat = await startHeartbeat(shard, await readConfig(set, cluster.name), { staysOn: 2 });
    try {
      const [pod] = await replicaPods(set);
      const receiver = [walReceiverOf(pod?.metadata.uid ?? '')];
      const needed = await onPrimary(`SELECT pg_walfile_name(restart_lsn) ${slot}`);
      signalAll(receiver, 'SIGSTOP');
      try {
        await waitFor('the primary has given it up', async () => {
          const found = await onPrimary(`SELECT active ${slot}`);
          return found === 'f' ? { done: true } : { state: found };
        });
        // More than the 128 MB that Patroni has servers keep in any case (wal_keep_size), and no more at once than the other takes.
        for (let turn = 0; turn < 14; turn += 1) {
          await onPrimary("SELECT pg_logical_emit_message(false, 'noise', repeat('x', 16000000))");
          await waitFor('the other has it', async () => {
            const left = await onPrimary(
              "SELECT pg_current_wal_lsn() - replay_lsn FROM pg_stat_replication WHERE application_name = 'readers-s0-replicas-1'",
            );
            return left !== '' && Number(left) < 1_000_000 ? { done: true } : { state: left };
          });
        }
        await waitFor('the WAL that it needs next is gone', async () => {
          await onPrimary('CHECKPOINT');
          const found = await onPrimary(`SELECT min(name) FROM pg_ls_waldir() WHERE name >= '${needed}'`);
          return found === needed ? { state: await onPrimary(`SELECT wal_status ${slot}`) } : { done: true };
        });
      } finally {
        signalAll(receiver, 'SIGCONT');
      }
      await waitForSetEvent(set, /MemberCopiedAnew.*readers-s0-replicas-0.*no longer has the WAL/);
      await waitUntilServing(set, 2);
    } finally {
      await heartbeat.stop();
    }
    await waitFor('its slot keeps what it needs next', async () => {
      const found = await onPrimary(`SELECT wal_status ${slot}`);
      return found === 'reserved' ? { done: true } : { state: found };
    });
    expect([...heartbeat.errors]).toEqual([]);
    expect(heartbeat.stalestMs()).toBeLessThanOrEqual((10 + 3) * 1_000);
    await applyCluster(cluster, { members: 3 });
  });

  it('go on as they are while the operator is away for two minutes', async () => {
    const client = await kube();
    await waitUntilReady(cluster);
    await applySet(set, { ...spec, replicas: 1, drainGrace: '30s' });
    await waitUntilServing(set, 1);
    await waitForSet(set, 'all is well', ({ phase }) => phase === 'Ready');
    const state = async () => {
      const sets = await client.get(statefulSetType, { namespace, name: 'readers-s0-replicas' });
      const service = await client.get(serviceType, { namespace, name: 'readers-s0-read' });
      const pods = await replicaPods(set);
      const labels = pods.map(({ metadata }) => [metadata.uid, metadata.labels]);
      return [sets?.metadata.generation, service?.metadata.resourceVersion, labels];
    };
    const before = await state();
    const heartbeat = await startHeartbeat(shard, await readConfig(set, cluster.name));
    try {
      const bringBack = await takeOperatorAway();
      const until = performance.now() + 120_000;
      try {
        await waitFor(
          'two minutes are over',
          async () => {
            expect(await state()).toEqual(before);
            return performance.now() > until ? { done: true } : { state: heartbeat.reads() };
          },
          { timeoutMs: 150_000, everyMs: 5_000 },
        );
        expect(await state()).toEqual(before);
      } finally {
        await bringBack();
      }
      await applySet(set, { ...spec, replicas: 1, drainGrace: '30s' });
      await waitUntilServing(set, 1);
    } finally {
      await heartbeat.stop();
    }
    expect(await state()).toEqual(before);
    expect([...heartbeat.errors]).toEqual([]);
    expect(heartbeat.stalestMs()).toBeLessThanOrEqual((10 + 3) * 1_000);
  });
});
