import type { ShardMapSpec } from '../../api/v1alpha1/shard-map.ts';
import { readShardLoad, readTopKeys } from '../../postgres/bucket-stats.ts';
import type { Connections } from '../../postgres/connections.ts';
import type { KubeClient } from '../../runtime/kube-client.ts';
import type { Logger } from '../../runtime/logger.ts';
import { readPodCores } from '../../runtime/pod-metrics.ts';
import { readingOf } from '../../runtime/reading.ts';
import type { HotSpot } from '../../sharding/rebalance/hot.ts';
import type { ShardedCluster } from '../sharded-cluster/model.ts';
import { clusterLabel, componentLabel, roleLabel, shardLabel } from '../sharded-cluster/names.ts';
import type { FindPrimaries } from '../sharded-cluster/primaries.ts';
import { byCluster, clusterIndexValue, type Sources } from '../sharded-cluster/sources.ts';
import type { HotKey, ShardMeasure } from './model.ts';
import { shardsOf } from './world.ts';

/** Asks the primaries of a cluster's shards what they do. */
export interface LoadObserver {
  /** One round: each shard that answered; with the cores that it uses if `withCores`. */
  measure(
    cluster: ShardedCluster,
    map: ShardMapSpec,
    withCores: boolean,
    signal: AbortSignal,
    log: Logger,
  ): Promise<ShardMeasure[]>;
  /** The keys with most rows of hot buckets; a shard that does not answer has none. */
  findKeys(cluster: ShardedCluster, hot: readonly HotSpot[], signal: AbortSignal): Promise<HotKey[]>;
}

/** What an observer works with. */
export interface LoadObserverDependencies {
  readonly client: KubeClient;
  readonly sources: Sources;
  readonly connections: Connections;
  readonly monotonicMs: () => number;
  readonly findPrimaries: FindPrimaries;
}

/** An observer. */
export function createLoadObserver({
  client,
  sources,
  connections,
  monotonicMs,
  findPrimaries,
}: LoadObserverDependencies): LoadObserver {
  /** By shard. */
  async function readPrimaryCores(
    cluster: ShardedCluster,
    signal: AbortSignal,
  ): Promise<Map<string, number>> {
    const { name, namespace } = cluster.metadata;
    const selector = `${clusterLabel}=${name},${componentLabel}=member,${roleLabel}=primary`;
    const reading = await readPodCores(client, namespace, selector, signal);
    if (reading.state !== 'present') return new Map();
    const pods = sources.pods.cache.byIndex(byCluster, clusterIndexValue(namespace, name));
    return new Map(
      pods.flatMap(({ metadata }): [string, number][] => {
        const shard = metadata.labels?.[shardLabel];
        const cores = reading.value.get(metadata.name);
        return shard === undefined || cores === undefined ? [] : [[shard, cores]];
      }),
    );
  }

  return {
    async measure(cluster, map, withCores, signal, log) {
      const used = withCores ? await readPrimaryCores(cluster, signal) : new Map<string, number>();
      const reachable = await findPrimaries(cluster, signal);
      const readings = shardsOf(cluster, map).map(async (name): Promise<ShardMeasure[]> => {
        const options = reachable.get(name);
        if (options === undefined) return [];
        const reading = await readingOf(() => connections.use(options, readShardLoad));
        if (reading.state === 'present' && !reading.value.inRecovery) {
          const cores = used.get(name);
          const measure = { name, atMs: monotonicMs(), stats: reading.value };
          return [cores === undefined ? measure : { ...measure, cores }];
        }
        const { namespace, name: clusterName } = cluster.metadata;
        const error = reading.state === 'unknown' ? reading.error.message : 'not a primary';
        log.info({ cluster: `${namespace}/${clusterName}`, shard: name, error }, 'load not measured');
        return [];
      });
      return (await Promise.all(readings)).flat();
    },
    async findKeys(cluster, hot, signal) {
      const buckets = hot.flatMap((spot) => (spot.kind === 'bucket' ? [spot] : []));
      if (buckets.length === 0) return [];
      const reachable = await findPrimaries(cluster, signal);
      const readings = [...reachable].map(async ([name, options]) => {
        const wanted = buckets.filter((spot) => spot.shard === name).map((spot) => spot.bucket);
        if (wanted.length === 0) return [];
        const reading = await readingOf(() =>
          connections.use(options, (connection) => readTopKeys(connection, wanted)),
        );
        return reading.state === 'present' ? reading.value : [];
      });
      return (await Promise.all(readings)).flat();
    },
  };
}
