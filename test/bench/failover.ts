import { endure, type FaultOutcome, ledgerMigration } from '../support/endurance.ts';
import { type FaultName, faultOf } from '../support/faults.ts';
import { createNamespace, deleteNamespace } from '../support/namespace.ts';
import { applyCluster, type ClusterKey, waitUntilReady } from '../support/sharded-cluster.ts';
import { type Measured, median, note, reached, runCount } from './report.ts';
import { targets } from './targets.ts';

const faults = [
  'primary pod deleted by force',
  'primary postgres killed',
  'primary container frozen',
  'primary node partitioned',
] as const satisfies readonly FaultName[];

/** Write gap and lost rows after each fault with quorum commit; with words, only the faults that have them in their name. */
export async function failover(words: readonly string[]): Promise<Measured> {
  const runs = runCount(20);
  const chosen = faults.filter((name) => name.includes(words.join(' ')));
  if (chosen.length === 0) throw new Error(`no fault is called "${words.join(' ')}": ${faults.join(', ')}`);
  const key: ClusterKey = { namespace: await createNamespace('bench'), name: 'hardy' };
  const outcomes = new Map<FaultName, FaultOutcome[]>();
  try {
    await applyCluster(key, { members: 3, schema: [ledgerMigration] });
    await waitUntilReady(key);
    for (const name of chosen) {
      const all: FaultOutcome[] = [];
      outcomes.set(name, all);
      for (let run = 1; run <= runs; run++) {
        const outcome = await endure(key, faultOf(name));
        all.push(outcome);
        note(
          `${name} ${run}/${runs}: ${Math.round(outcome.writeGapMs)} ms, ${outcome.verdict.lost.length} lost`,
        );
      }
    }
  } finally {
    await deleteNamespace(key.namespace);
  }
  const lost = [...outcomes.values()].flat().reduce((sum, { verdict }) => sum + verdict.lost.length, 0);
  return {
    reach: [
      ...chosen.map((name) =>
        reached(
          targets.failover[name],
          median(outcomes.get(name)?.map(({ writeGapMs }) => writeGapMs) ?? []),
          runs,
        ),
      ),
      reached(targets.failover.lost, lost, runs * chosen.length),
    ],
    detail: Object.fromEntries([...outcomes].map(([name, all]) => [name, summary(all)])),
  };
}

function summary(outcomes: readonly FaultOutcome[]): Record<string, unknown> {
  return {
    gapsMs: outcomes.map(({ writeGapMs }) => Math.round(writeGapMs)),
    acknowledged: outcomes.reduce((sum, { verdict }) => sum + verdict.acknowledged, 0),
    unknown: outcomes.reduce((sum, { verdict }) => sum + verdict.unknown, 0),
    lost: outcomes.flatMap(({ verdict }) => verdict.lost),
    doubled: outcomes.flatMap(({ verdict }) => verdict.doubled),
    strange: outcomes.flatMap(({ verdict }) => verdict.strange),
  };
}
