import type { ReadReplicaSetSpec } from '../../../api/v1alpha1/read-replica-set.ts';
import type { ModelTable } from '../../../postgres/read-model/definition.ts';
import type { ShardedCluster } from '../../sharded-cluster/model.ts';
import type { ModelSource } from './model.ts';

/** The tables of a read model, and those of them of which nobody knows whether shards have the same rows or different ones. */
export function tablesOf(
  logical: ReadReplicaSetSpec['logical'],
  cluster: Pick<ShardedCluster, 'spec'>,
  shards: number,
): { readonly tables: readonly ModelTable[]; readonly undistributed: readonly string[] } {
  const strategies = new Map(cluster.spec.tables.map(({ name, strategy }) => [name, strategy]));
  const tables = (logical?.tables ?? []).map(
    ({ name, columns, where }): ModelTable => ({
      name,
      ...(columns === undefined ? {} : { columns }),
      ...(where === undefined ? {} : { where }),
      reference: strategies.get(name) === 'reference',
    }),
  );
  const undistributed =
    shards < 2 ? [] : tables.map(({ name }) => name).filter((name) => !strategies.has(name));
  return { tables, undistributed };
}

/** What is wrong with the tables, as the shards have them. */
export function tableProblems(
  tables: readonly ModelTable[],
  undistributed: readonly string[],
  sources: readonly ModelSource[],
): string[] {
  const problems = undistributed.map(
    (name) =>
      `table "${name}" is not in spec.tables of the cluster, so that its rows on several shards cannot be one table: ` +
      'distribute it, or make it a reference table',
  );
  for (const { name, columns } of tables) {
    for (const { shard, facts } of sources) {
      if (facts.state !== 'present') continue;
      const source = facts.value.tables.find((table) => table.name === name);
      if (source === undefined) {
        problems.push(
          `table "${name}" is not there on shard ${shard}: create it in spec.schema of the cluster, or remove it here`,
        );
        break;
      }
      if (source.identity.length === 0) {
        problems.push(
          `table "${name}" has no primary key, so that changes cannot be told from one another: give it one in a migration`,
        );
        break;
      }
      const unknown = (columns ?? []).filter((column) => !source.columns.includes(column));
      if (unknown.length > 0) {
        problems.push(
          `table "${name}" has no column ${unknown.join(', ')} that can be copied: correct logical.tables`,
        );
        break;
      }
      const missing =
        columns === undefined ? [] : source.identity.filter((column) => !columns.includes(column));
      if (missing.length > 0) {
        problems.push(
          `table "${name}": the columns of its key (${source.identity.join(', ')}) must be copied: add ${missing.join(', ')}`,
        );
        break;
      }
    }
  }
  return problems;
}
