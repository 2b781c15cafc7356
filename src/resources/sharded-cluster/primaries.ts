import type { ConnectOptions } from '../../postgres/connection.ts';
import type { KubeClient } from '../../runtime/kube-client.ts';
import { secretType } from '../../runtime/kubernetes-types.ts';
import { isPodReady } from './kubernetes.ts';
import type { ShardedCluster } from './model.ts';
import { createNamedReader } from './named-reader.ts';
import { operatorTlsSecret, roleLabel, shardLabel } from './names.ts';
import { type SecretObject, secretReading } from './observe.ts';
import { shardAccess } from './shard-access.ts';
import { byCluster, clusterIndexValue, type Sources } from './sources.ts';

/** How the operator reaches the primary of each shard in the application database; a shard without a ready one is left out. */
export type FindPrimaries = (
  cluster: ShardedCluster,
  signal: AbortSignal,
) => Promise<ReadonlyMap<string, ConnectOptions>>;

/** What finding works with. */
export interface PrimariesDependencies {
  readonly client: KubeClient;
  readonly sources: Pick<Sources, 'pods'>;
  readonly monotonicMs: () => number;
}

/** A certificate is renewed long before it ends. */
const certificateMs = 900_000;

/** Finds primaries by the label that Patroni keeps; whoever connects must still ask the server whether it is one. */
export function createFindPrimaries({ client, sources, monotonicMs }: PrimariesDependencies): FindPrimaries {
  const secrets = createNamedReader<SecretObject>(client, secretType, monotonicMs);
  return async (cluster, signal) => {
    const { name, namespace } = cluster.metadata;
    const secret = operatorTlsSecret(name);
    const reading = await secrets.read({ namespace, name: secret }, certificateMs, signal);
    const access = shardAccess(cluster, new Map([[secret, secretReading(reading)]]));
    if (access === undefined) return new Map();
    const pods = sources.pods.cache.byIndex(byCluster, clusterIndexValue(namespace, name));
    return new Map(
      pods.flatMap((pod): [string, ConnectOptions][] => {
        const shard = pod.metadata.labels?.[shardLabel];
        const address = pod.status?.podIP;
        if (pod.metadata.labels?.[roleLabel] !== 'primary' || !isPodReady(pod)) return [];
        if (shard === undefined || address === undefined) return [];
        return [[shard, access.asOperator(shard, address, cluster.spec.postgres.database)]];
      }),
    );
  };
}
