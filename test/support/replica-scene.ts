import { beforeAll, beforeEach } from 'vitest';
import { query } from './pg.ts';
import { applySet, patientReplay, type ReplicaSpec, waitUntilServing } from './read-replica-set.ts';
import { namespaceForFile } from './scene.ts';
import { applyCluster, type ClusterKey, waitUntilReady } from './sharded-cluster.ts';

/** What tests of read replicas work with. */
export interface ReplicaScene {
  readonly namespace: string;
  readonly cluster: ClusterKey;
  readonly set: ClusterKey;
  /** The shard that is written to. */
  readonly target: { readonly namespace: string; readonly cluster: string };
  readonly maxSeconds: number;
  /** What every test begins with. */
  readonly spec: ReplicaSpec;
}

/** A cluster of two members, and two read replicas that serve when a test begins, in a namespace of the file's own. */
export function replicaSceneForFile(file: string): ReplicaScene {
  const namespace = namespaceForFile(file);
  const cluster: ClusterKey = { namespace, name: 'shop' };
  const set: ClusterKey = { namespace, name: 'readers' };
  const target = { namespace, cluster: cluster.name };
  const maxSeconds = 4;
  const spec: ReplicaSpec = {
    cluster: cluster.name,
    replicas: 2,
    maxConcurrentClones: 2,
    lag: { maxBytes: '1Mi', maxSeconds },
    parameters: patientReplay,
  };

  beforeAll(async () => {
    await applyCluster(cluster, { members: 2 });
    await applySet(set, spec);
    await waitUntilReady(cluster);
    await query(target, 'CREATE TABLE items AS SELECT generate_series(1, 1000) AS id');
  });

  beforeEach(async () => {
    await applySet(set, spec);
    await waitUntilServing(set, 2);
  });

  return { namespace, cluster, set, target, maxSeconds, spec };
}
