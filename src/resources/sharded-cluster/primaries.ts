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

/** A ready member that follows its shard's primary, and how the operator reaches it in the application database. */
export interface Standby {
  readonly shard: string;
  /** Name of its pod. */
  readonly member: string;
  readonly options: ConnectOptions;
}

/** Finds the standbys of all shards. */
export type FindStandbys = (cluster: ShardedCluster, signal: AbortSignal) => Promise<readonly Standby[]>;

/** Finds primaries by the label that Patroni keeps; whoever connects must still ask the server whether it is one. */
export function createFindPrimaries(dependencies: PrimariesDependencies): FindPrimaries {
  const find = createFindMembers(dependencies, 'primary');
  return async (cluster, signal) => {
    const found = await find(cluster, signal);
    return new Map(found.map(({ shard, options }) => [shard, options]));
  };
}

/** The same for standbys. */
export function createFindStandbys(dependencies: PrimariesDependencies): FindStandbys {
  return createFindMembers(dependencies, 'replica');
}

function createFindMembers(
  { client, sources, monotonicMs }: PrimariesDependencies,
  role: 'primary' | 'replica',
): FindStandbys {
  const secrets = createNamedReader<SecretObject>(client, secretType, monotonicMs);
  return async (cluster, signal) => {
    const { name, namespace } = cluster.metadata;
    const secret = operatorTlsSecret(name);
    const reading = await secrets.read({ namespace, name: secret }, certificateMs, signal);
    const access = shardAccess(cluster, new Map([[secret, secretReading(reading)]]));
    if (access === undefined) return [];
    const pods = sources.pods.cache.byIndex(byCluster, clusterIndexValue(namespace, name));
    return pods.flatMap((pod): Standby[] => {
      const shard = pod.metadata.labels?.[shardLabel];
      const address = pod.status?.podIP;
      if (pod.metadata.labels?.[roleLabel] !== role || !isPodReady(pod)) return [];
      if (shard === undefined || address === undefined) return [];
      const options = access.asOperator(shard, address, cluster.spec.postgres.database);
      return [{ shard, member: pod.metadata.name, options }];
    });
  };
}
