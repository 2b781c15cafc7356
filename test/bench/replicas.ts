import { createNamespace, deleteNamespace } from '../support/namespace.ts';
import { applicationConfig } from '../support/pg.ts';
import { startPgbench } from '../support/pgbench.ts';
import type { ReplicaSpec } from '../support/read-replica-set.ts';
import { applySet, waitUntilServing } from '../support/read-replica-set.ts';
import { applyCluster, type ClusterKey, waitUntilReady } from '../support/sharded-cluster.ts';
import { copies } from './replica-copies.ts';
import { idleMembers } from './replica-idle.ts';
import { lateMembers } from './replica-lag.ts';
import { throughput } from './replica-reads.ts';
import { type Measured, note } from './report.ts';

/** Where a part of the benchmark measures. */
export interface ReplicaScene {
  readonly cluster: ClusterKey;
  readonly set: ClusterKey;
  readonly spec: ReplicaSpec;
}

const parts = { copies, lag: lateMembers, reads: throughput, idle: idleMembers } satisfies Record<
  string,
  (scene: ReplicaScene) => Promise<Measured>
>;

/** Read replicas of a shard of 250 MB: copies, lag, reads, cost at rest; with words, only these parts. */
export async function replicas(words: readonly string[]): Promise<Measured> {
  const namespace = await createNamespace('bench');
  const scene: ReplicaScene = {
    cluster: { namespace, name: 'shop' },
    set: { namespace, name: 'readers' },
    spec: {
      cluster: 'shop',
      resources: { requests: { cpu: '20m', memory: '128Mi' }, limits: { memory: '512Mi' } },
      holdPeriod: '0s',
      deletionPolicy: 'delete',
    },
  };
  const measured: Measured[] = [];
  try {
    await applyCluster(scene.cluster, { members: 1, storage: { size: '2Gi' } });
    await waitUntilReady(scene.cluster);
    const config = await applicationConfig({ namespace, cluster: scene.cluster.name });
    await (await startPgbench(config, ['-i', '-q', '-s', '15'])).output;
    await applySet(scene.set, { ...scene.spec, replicas: 1 });
    await waitUntilServing(scene.set, 1);
    for (const [name, measure] of Object.entries(parts)) {
      if (words.length > 0 && !words.includes(name)) continue;
      note(name);
      measured.push(await measure(scene));
    }
  } finally {
    await deleteNamespace(namespace);
  }
  return {
    reach: measured.flatMap(({ reach }) => reach),
    detail: Object.assign({}, ...measured.map(({ detail }) => detail)) as Measured['detail'],
  };
}
