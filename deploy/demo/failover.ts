import { podType } from '../../src/runtime/kubernetes-types.ts';
import { kube } from '../../test/support/cluster.ts';
import { endpoint } from '../../test/support/endpoint.ts';
import type { StoredRow, Verdict } from '../../test/support/ledger.ts';
import { applicationConfig, query } from '../../test/support/pg.ts';
import { type ClusterKey, primaryPod } from '../../test/support/sharded-cluster.ts';
import { waitUntil } from '../../test/support/wait.ts';
import { type Load, startLoad } from '../../test/support/writer.ts';

/** What the writers of one shard went through. */
export interface ShardOutcome {
  readonly shard: string;
  readonly writeGapMs: number;
  readonly verdict: Verdict;
  readonly errors: ReadonlyMap<string, number>;
}

/** The whole of it. */
export interface FailoverOutcome {
  readonly killed: string;
  readonly promoted: string;
  readonly shards: readonly ShardOutcome[];
}

/**
 * Lets writers write to every shard, kills one shard's primary by force, lets them go on, and compares what they were told
 * with what is there.
 */
export async function failUnderLoad(
  key: ClusterKey,
  tailNumbers: ReadonlyMap<string, readonly string[]>,
  progress: (text: string) => void,
): Promise<FailoverOutcome> {
  const loads = new Map<string, Load>();
  for (const [shard, keys] of tailNumbers) loads.set(shard, await startWriters(key, shard, keys));
  const [victim = ''] = loads.keys();
  const load = loads.get(victim);
  if (load === undefined) throw new Error('there is no shard to break');
  const total = (): number => [...loads.values()].reduce((sum, { ledger }) => sum + ledger.acknowledged, 0);
  await waitUntil(
    'the writers write',
    () => total() > 1000,
    () => [...load.errors],
    { everyMs: 50 },
  );

  const killed = await primaryPod(key, victim);
  progress(`${total()} rows acknowledged; killing ${killed.metadata.name}`);
  const before = load.server();
  const killedMs = performance.now();
  await (await kube()).delete(
    podType,
    { namespace: key.namespace, name: killed.metadata.name },
    { gracePeriodSeconds: 0 },
  );
  await waitUntil(
    'writes go on at a new primary',
    () => load.server() !== before,
    () => [...load.errors],
    { everyMs: 20 },
  );
  const resumed = total();
  progress('writes go on at a new primary');
  await waitUntil(
    'a while longer',
    () => total() > resumed + 1000,
    () => [...load.errors],
    { everyMs: 50 },
  );
  const promoted = await primaryPod(key, victim);
  await Promise.all([...loads.values()].map((each) => each.stop()));

  const shards: ShardOutcome[] = [];
  for (const [shard, { ledger, errors }] of loads) {
    const rows = await query<StoredRow & Record<string, unknown>>(
      { namespace: key.namespace, cluster: key.name, shard },
      'SELECT writer, n FROM sightings',
    );
    shards.push({ shard, writeGapMs: ledger.longestGapMs(killedMs), verdict: ledger.judge(rows), errors });
  }
  return { killed: killed.metadata.name, promoted: promoted.metadata.name, shards };
}

async function startWriters(key: ClusterKey, shard: string, keys: readonly string[]): Promise<Load> {
  const target = { namespace: key.namespace, cluster: key.name, shard };
  await query(target, 'TRUNCATE sightings');
  const known = await applicationConfig(target);
  return startLoad({
    // A forwarded port ends with its pod, so the way there is asked for again.
    config: async () => ({ ...known, ...(await endpoint(key.namespace, `${key.name}-${shard}-rw`)) }),
    insert: (writer, n) => ({
      text: 'INSERT INTO sightings (tailnum, writer, n) VALUES ($1, $2, $3) RETURNING pg_postmaster_start_time()::text AS server',
      values: [keys[(writer * 7919 + n) % keys.length], writer, n],
    }),
  });
}
