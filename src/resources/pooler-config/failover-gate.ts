import { shardedClusterSpec } from '../../api/v1alpha1/sharded-cluster.ts';
import { type Clock, pause } from '../../runtime/clock.ts';
import type { KubeClient } from '../../runtime/kube-client.ts';
import { secretType } from '../../runtime/kubernetes-types.ts';
import type { Logger } from '../../runtime/logger.ts';
import type { SecretReading } from '../sharded-cluster/model.ts';
import { operatorTlsSecret } from '../sharded-cluster/names.ts';
import type { SecretObject } from '../sharded-cluster/observe.ts';
import type { PoolerGate } from '../sharded-cluster/pooler-gate.ts';
import { type ShardKey, servedBy } from '../sharded-cluster/serving.ts';
import { shardAccess } from '../sharded-cluster/shard-access.ts';
import type { Sources } from '../sharded-cluster/sources.ts';
import { lostPrimary, watchedPrimaries } from './lost-primary.ts';
import { keepSentinels } from './sentinels.ts';
import type { PoolerSources } from './sources.ts';

/** What is worked with. */
export interface FailoverGateDependencies {
  readonly client: Pick<KubeClient, 'read'>;
  readonly sources: Sources;
  readonly poolerSources: Pick<PoolerSources, 'poolers'>;
  readonly gate: PoolerGate;
  readonly clock: Clock;
  readonly log: Logger;
}

/** The node's rules lead to the old primary until they have been changed; before that, an answer says nothing. */
const settleMs = 500;

/**
 * Holds clients of poolers back from the moment a primary is lost until another serves. Without it PgBouncer turns away
 * whoever asks while there is nobody to connect to; what was in a transaction is lost either way.
 */
export function holdInFailovers(
  { client, sources, poolerSources, gate, clock, log }: FailoverGateDependencies,
  signal: AbortSignal,
): void {
  const busy = new Set<string>();

  async function reach({ namespace, cluster: name }: ShardKey) {
    const cluster = sources.clusters.cache.get({ namespace, name });
    if (cluster === undefined) return undefined;
    const secret = operatorTlsSecret(name);
    const reading = await client.read<SecretObject>(
      secretType,
      { namespace, name: secret },
      { signal, timeoutMs: 2_000 },
    );
    const known: SecretReading =
      reading.state === 'present'
        ? { state: 'present', value: { data: reading.value.data ?? {}, resourceVersion: '' } }
        : reading;
    const parsed = { ...cluster, spec: shardedClusterSpec.parse(cluster.spec) };
    const access = shardAccess(parsed, new Map([[secret, known]]));
    return { access, database: parsed.spec.postgres.database };
  }

  async function hold(key: ShardKey): Promise<void> {
    const reached = await reach(key);
    if (reached === undefined) return;
    const { access, database } = reached;
    await gate.whilePaused(
      {
        ...key,
        database,
        role: 'rw',
        isLost: true,
        servedBy: (patienceMs) => servedBy(sources, access, key, 'rw', patienceMs),
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
        return (await reach(shard))?.access?.asOperator(shard.shard, address, 'postgres');
      },
      onLost,
      clock,
    },
    signal,
  );
  signal.addEventListener('abort', unsubscribe, { once: true });
}
