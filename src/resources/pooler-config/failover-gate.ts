import { shardedClusterSpec } from '../../api/v1alpha1/sharded-cluster.ts';
import { type Clock, pause } from '../../runtime/clock.ts';
import type { Logger } from '../../runtime/logger.ts';
import type { ShardedCluster } from '../sharded-cluster/model.ts';
import type { NamedReader } from '../sharded-cluster/named-reader.ts';
import { operatorTlsSecret } from '../sharded-cluster/names.ts';
import { type SecretObject, secretReading } from '../sharded-cluster/observe.ts';
import type { PoolerGate } from '../sharded-cluster/pooler-gate.ts';
import { type ShardKey, servedBy } from '../sharded-cluster/serving.ts';
import { type ShardAccess, shardAccess } from '../sharded-cluster/shard-access.ts';
import type { Sources } from '../sharded-cluster/sources.ts';
import { lostPrimary, watchedPrimaries } from './lost-primary.ts';
import { keepSentinels } from './sentinels.ts';
import type { PoolerSources } from './sources.ts';

/** What is worked with. */
export interface FailoverGateDependencies {
  readonly secrets: NamedReader<SecretObject>;
  readonly sources: Sources;
  readonly poolerSources: Pick<PoolerSources, 'poolers'>;
  readonly gate: PoolerGate;
  readonly clock: Clock;
  readonly log: Logger;
}

/** The node's rules lead to the old primary until they have been changed; before that, an answer says nothing. */
const settleMs = 500;
/** How long the operator's certificate, once read, is good: it is read while there is time. */
const freshMs = 600_000;

/**
 * Holds clients of poolers back from the moment a primary is lost until another serves. Without it PgBouncer turns away
 * whoever asks while there is nobody to connect to; what was in a transaction is lost either way.
 */
export function holdInFailovers(
  { secrets, sources, poolerSources, gate, clock, log }: FailoverGateDependencies,
  signal: AbortSignal,
): void {
  const busy = new Set<string>();

  function clusterOf({ namespace, cluster: name }: ShardKey): ShardedCluster | undefined {
    const cluster = sources.clusters.cache.get({ namespace, name });
    return cluster === undefined ? undefined : { ...cluster, spec: shardedClusterSpec.parse(cluster.spec) };
  }

  async function accessTo(cluster: ShardedCluster): Promise<ShardAccess | undefined> {
    const { namespace } = cluster.metadata;
    const name = operatorTlsSecret(cluster.metadata.name);
    const reading = await secrets.read({ namespace, name }, freshMs, signal);
    return shardAccess(cluster, new Map([[name, secretReading(reading)]]));
  }

  async function hold(key: ShardKey): Promise<void> {
    const cluster = clusterOf(key);
    if (cluster === undefined) return;
    const access = accessTo(cluster);
    // Whoever asks by it is told of its failure; before that nobody listens.
    access.catch(() => undefined);
    await gate.whilePaused(
      {
        ...key,
        database: cluster.spec.postgres.database,
        role: 'rw',
        isLost: true,
        servedBy: async (patienceMs) => servedBy(sources, await access, key, 'rw', patienceMs),
      },
      () => pause(clock, settleMs, signal),
      signal,
    );
  }

  function onLost(key: ShardKey): void {
    const id = JSON.stringify(key);
    if (busy.has(id) || signal.aborted) return;
    busy.add(id);
    hold(key)
      .catch((error: Error) =>
        log.warn({ ...key, error: error.message }, 'clients are not held back in a failover'),
      )
      .finally(() => busy.delete(id));
  }

  const unsubscribe = sources.pods.onChange((change) => {
    const key = lostPrimary(change);
    if (key !== undefined) onLost(key);
  });
  keepSentinels(
    {
      primaries: () => watchedPrimaries(sources.pods.cache.list(), poolerSources.poolers.cache.list()),
      async options({ shard, uid }) {
        const pod = sources.pods.cache.list(shard.namespace).find(({ metadata }) => metadata.uid === uid);
        const address = pod?.status?.podIP;
        if (address === undefined) return undefined;
        const cluster = clusterOf(shard);
        const access = cluster === undefined ? undefined : await accessTo(cluster);
        return access?.asOperator(shard.shard, address, 'postgres');
      },
      onLost,
      clock,
    },
    signal,
  );
  signal.addEventListener('abort', unsubscribe, { once: true });
}
