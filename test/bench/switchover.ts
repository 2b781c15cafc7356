import { ledgerMigration, loadShard } from '../support/endurance.ts';
import { createNamespace, deleteNamespace } from '../support/namespace.ts';
import { applyCluster, type ClusterKey, waitUntilReady } from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';
import { type Measured, median, note, reached, runCount } from './report.ts';
import { targets } from './targets.ts';

/** Write gap of a planned switchover, as the operator does one for a parameter that needs a restart. */
export async function switchover(): Promise<Measured> {
  const runs = runCount(20);
  const key: ClusterKey = { namespace: await createNamespace('bench'), name: 'planned' };
  const gapsMs: number[] = [];
  const errors = new Map<string, number>();
  let lost = 0;
  const apply = (locks: number) =>
    applyCluster(key, {
      members: 3,
      schema: [ledgerMigration],
      postgres: { parameters: { max_locks_per_transaction: String(locks) } },
    });
  try {
    await apply(64);
    await waitUntilReady(key);
    for (let run = 1; run <= runs; run++) {
      const { load, finish } = await loadShard(key);
      const before = load.server();
      const begun = performance.now();
      await apply(64 + run);
      await waitFor('another server takes the writes', () =>
        load.server() === before ? { state: [...load.errors] } : { done: true },
      );
      await waitUntilReady(key);
      const verdict = await finish();
      for (const [message, count] of load.errors) errors.set(message, (errors.get(message) ?? 0) + count);
      lost += verdict.lost.length;
      gapsMs.push(load.ledger.longestGapMs(begun));
      note(`${run}/${runs}: ${Math.round(gapsMs.at(-1) ?? 0)} ms, ${verdict.lost.length} lost`);
    }
  } finally {
    await deleteNamespace(key.namespace);
  }
  return {
    reach: [
      reached(targets.switchover.gap, median(gapsMs), runs),
      reached(targets.switchover.lost, lost, runs),
    ],
    detail: { gapsMs: gapsMs.map(Math.round), errors: Object.fromEntries(errors) },
  };
}
