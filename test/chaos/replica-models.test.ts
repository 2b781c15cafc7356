import type pg from 'pg';
import { beforeAll, describe, expect, it } from 'vitest';
import { apiVersion } from '../../src/api/v1alpha1/common.ts';
import { shardMoveType } from '../../src/resources/sharded-cluster/kinds.ts';
import { kube } from '../support/cluster.ts';
import { deleteByForce, switchOver } from '../support/faults.ts';
import { readMove } from '../support/move-scene.ts';
import { connectApplication, query } from '../support/pg.ts';
import {
  applySet,
  inPod,
  type ReplicaSpec,
  readConfig,
  readOnce,
  readSet,
  waitForSet,
  waitUntilServing,
} from '../support/read-replica-set.ts';
import { namespaceForFile } from '../support/scene.ts';
import {
  applyCluster,
  type ClusterKey,
  type MemberPod,
  memberPods,
  primaryPod,
  readCluster,
  type SpecInput,
  waitUntilReady,
} from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';

// What happens to a cluster of three members a shard while a read model of two members follows it, and clients write.

describe('read models among read replicas', () => {
  const namespace = namespaceForFile('replica-models');
  const cluster: ClusterKey = { namespace, name: 'shop' };
  const set: ClusterKey = { namespace, name: 'reports' };
  const members = ['reports-model-replicas-0', 'reports-model-replicas-1'];
  const at = (shard: string) => ({ namespace, cluster: cluster.name, shard });
  let shards = ['s0'];

  const countries = { name: 'countries', strategy: 'reference' as const };
  const orders = {
    name: 'orders',
    strategy: 'hash' as const,
    key: 'customer',
    group: 'orders',
    buckets: 4,
  };
  const clusterSpec = (tables: SpecInput['tables'], count = 1): Partial<SpecInput> => ({
    members: 3,
    shards: { count },
    rebalance: { mode: 'off' },
    conversion: { retention: '0s' },
    schema: [
      {
        name: '001',
        sql: `CREATE TABLE countries (code text PRIMARY KEY); INSERT INTO countries VALUES ('de');
          CREATE TABLE orders (customer int, id int, amount int NOT NULL, PRIMARY KEY (customer, id))`,
      },
    ],
    tables,
  });
  const spec: ReplicaSpec = {
    cluster: cluster.name,
    mode: 'logical',
    replicas: 2,
    maxConcurrentClones: 2,
    logical: { tables: [{ name: 'orders' }, { name: 'countries' }] },
  };

  beforeAll(async () => {
    await applyCluster(cluster, clusterSpec([countries]));
    await applySet(set, spec);
    await waitUntilReady(cluster);
    await query(at('s0'), 'INSERT INTO orders SELECT n % 100, n, n FROM generate_series(1, 2000) n');
    await waitUntilServing(set, 2);
  });

  /** Writes one row after the other, wherever it belongs; `stop` answers how many were acknowledged. */
  function startInserts(): { stop(): Promise<number> } {
    let stopping = false;
    const run = async (): Promise<number> => {
      const clients = new Map<string, pg.Client>();
      let acknowledged = 0;
      for (let id = 1_000_000; !stopping; id += 1) {
        // The row is written until it is there: an answer that is lost may have been a yes.
        for (let tries = 0, written = false; !written; tries += 1) {
          const shard = shards[tries % shards.length] ?? '';
          try {
            const client = clients.get(shard) ?? (await connectApplication(at(shard)));
            clients.set(shard, client);
            await client.query('INSERT INTO orders VALUES ($1, $2, 1) ON CONFLICT DO NOTHING', [
              id % 100,
              id,
            ]);
            written = true;
            acknowledged += 1;
          } catch (error) {
            const isElsewhere = (error as { code?: string }).code === '23514';
            if (isElsewhere && tries < 2) continue;
            await clients
              .get(shard)
              ?.end()
              .catch(() => undefined);
            clients.delete(shard);
            await new Promise((resolve) => setTimeout(resolve, 50));
          }
        }
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      await Promise.all([...clients.values()].map((client) => client.end()));
      return acknowledged;
    };
    const running = run();
    return {
      stop() {
        stopping = true;
        return running;
      },
    };
  }

  const copies = () =>
    Promise.all(members.map((member) => inPod(namespace, member, 'SELECT copy FROM herdsman.read_model')));

  /** Waits until every member has the rows of all shards, and the Service shows them. */
  async function agree(): Promise<void> {
    const text = 'SELECT count(*)::int AS n, coalesce(sum(amount), 0)::int AS amount FROM orders';
    await waitFor('the read models agree', async () => {
      const there = (
        await Promise.all(shards.map((shard) => query<{ n: number; amount: number }>(at(shard), text)))
      ).flat();
      const sum = (key: 'n' | 'amount') => there.reduce((total, row) => total + row[key], 0);
      const wanted = `${sum('n')}|${sum('amount')}`;
      const found = await Promise.all(members.map((member) => inPod(namespace, member, text)));
      return found.every((each) => each === wanted)
        ? { done: true }
        : { state: { found, wanted, model: (await readSet(set)).status?.model } };
    });
    await waitUntilServing(set, 2);
    const row = await readOnce(await readConfig(set, cluster.name, 'model'), text);
    expect(row).toMatchObject({ n: expect.any(Number) });
  }

  /** Does it while clients write; nothing is lost or doubled, and nothing copied again. */
  async function follows(change: () => Promise<void>): Promise<void> {
    const before = await copies();
    const inserts = startInserts();
    try {
      await change();
    } finally {
      expect(await inserts.stop()).toBeGreaterThan(0);
    }
    await agree();
    expect(await copies()).toEqual(before);
  }

  const moved = async (name: string, body: Record<string, unknown>) => {
    await (await kube()).create(shardMoveType, {
      apiVersion,
      kind: 'ShardMove',
      metadata: { namespace, name },
      spec: { cluster: cluster.name, group: 'orders', retention: '0s', ...body },
    });
    return waitFor(`${name} is done`, async () => {
      const found = await readMove(cluster, name);
      return found.status?.phase === 'done' ? { done: found } : { state: found.status };
    });
  };

  it('go on when a plain table is distributed', () =>
    follows(async () => {
      await applyCluster(cluster, clusterSpec([countries, orders]));
      await waitFor('the table is partitioned', async () => {
        const [row] = await query<{ kind: string }>(
          at('s0'),
          "SELECT relkind::text AS kind FROM pg_class WHERE relname = 'orders' AND relnamespace = 'public'::regnamespace",
        );
        const { status } = await readCluster(cluster);
        const isOver = row?.kind === 'p' && (status?.conversions ?? []).length === 0;
        return isOver ? { done: true } : { state: [row, status?.conversions, status?.conditions] };
      });
    }));

  it('follow a shard that is added, and buckets that are split, moved and merged', () =>
    follows(async () => {
      await applyCluster(cluster, clusterSpec([countries, orders], 2));
      await waitUntilReady(cluster);
      shards = ['s0', 's1'];
      await waitForSet(set, 'both shards are followed', ({ model }) => model?.shards.length === 2);
      const { status } = await moved('split', { operation: 'split', buckets: [0], parts: 2, to: 's1' });
      const children = (status?.children ?? []).map(({ id }) => id);
      expect(children).toHaveLength(2);
      await moved('back', { buckets: children, to: 's0' });
      await moved('merge', { operation: 'merge', buckets: children, to: 's1' });
    }));

  it.each([
    ['planned', (primary: MemberPod) => switchOver(cluster, primary)],
    ['unplanned', deleteByForce],
  ] as const)('follow another primary of a shard: %s', async (_, change) => {
    const primary = await primaryPod(cluster, 's0');
    await waitFor('all standbys have both slots', async () => {
      const standbys = (await memberPods(cluster, 's0')).filter(
        (pod) => pod.metadata.name !== primary.metadata.name,
      );
      const found = await Promise.all(
        standbys.map(({ metadata }) =>
          inPod(
            namespace,
            metadata.name,
            "SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'hr_reports%' AND synced AND NOT temporary",
          ),
        ),
      );
      return found.length === 2 && found.every((count) => count === '2') ? { done: true } : { state: found };
    });
    await follows(async () => {
      await change(primary);
      await waitFor('both members follow another primary', async () => {
        const found = await Promise.all(
          members.map((member) =>
            inPod(namespace, member, "SELECT source FROM herdsman.read_streams WHERE shard = 's0'"),
          ),
        );
        const now = await primaryPod(cluster, 's0');
        const isOther = now.metadata.name !== primary.metadata.name;
        return isOther && found.every((source) => source === now.metadata.name)
          ? { done: true }
          : { state: found };
      });
    });
  });
});
