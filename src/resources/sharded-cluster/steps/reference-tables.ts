import { layoutOf } from '../../../sharding/layout.ts';
import { ownerCounts } from '../../../sharding/map.ts';
import { type Action, type ObservedShard, type PlanInput, proceed, type StepResult } from '../model.ts';
import { wait } from './result.ts';
import { factsOf } from './shards.ts';

/**
 * A shard that joined later gets the rows of reference tables before it may own a bucket. It is known by owning none, so
 * that nothing is copied into a table that the user is just loading everywhere.
 */
export function referenceTables({ cluster, observed }: PlanInput): StepResult {
  if (observed.map.state !== 'present') return proceed;
  const counts = ownerCounts(observed.map.value.spec);
  const isOwner = (shard: ObservedShard): boolean =>
    Object.values(counts.get(shard.name) ?? {}).some((count) => count > 0);
  const source = observed.shards.find(isOwner);
  const rowsOfSource = source === undefined ? undefined : factsOf(source)?.tablesWithRows;
  if (source === undefined || rowsOfSource === undefined) return proceed;
  const actions: Action[] = [];
  for (const shard of observed.shards.filter((candidate) => !isOwner(candidate))) {
    const rows = factsOf(shard)?.tablesWithRows ?? rowsOfSource;
    const tables = layoutOf(cluster.spec.tables).references.filter(
      (table) => rowsOfSource.includes(table) && !rows.includes(table),
    );
    if (tables.length > 0)
      actions.push({ kind: 'copy-references', tables, from: source.name, to: shard.name });
  }
  return actions.length === 0
    ? proceed
    : wait('CopyingReferences', 'reference tables go to a new shard', 0, actions);
}
