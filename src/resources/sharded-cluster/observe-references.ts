import type { Connections } from '../../postgres/connections.ts';
import { PostgresError } from '../../postgres/postgres-error.ts';
import { printsOf } from '../../postgres/reference-print.ts';
import { type Reading, readingOf } from '../../runtime/reading.ts';
import { layoutOf } from '../../sharding/layout.ts';
import type { ClusterMemory } from './cluster-memory.ts';
import type { Observed, ObservedShard, ShardedCluster } from './model.ts';
import { compared, type ReferenceVerdict, secondLookMs, settled } from './reference-memory.ts';
import type { ShardAccess } from './shard-access.ts';
import { referenceRoles } from './steps/reference-tables.ts';
import { catalogOf, factsOf } from './steps/shards.ts';

/**
 * Compares reference tables of shards that join with those of the shard that they get them from. A shard is asked only until
 * they are the same for once: hashing all rows is not for every pass.
 */
export async function readReferences(
  { connections, monotonicMs }: { readonly connections: Connections; readonly monotonicMs: () => number },
  cluster: ShardedCluster,
  memory: ClusterMemory,
  observed: Pick<Observed, 'map' | 'shards'>,
  access: ShardAccess | undefined,
): Promise<ReadonlyMap<string, ReferenceVerdict>> {
  const verdicts = new Map<string, ReferenceVerdict>();
  const tables = layoutOf(cluster.spec.tables).references;
  const { source, joiners } = referenceRoles({ cluster, observed }, tables);
  if (access === undefined || source === undefined || !hasTables(source, tables)) return verdicts;
  const due = joiners.filter((shard) => {
    const known = memory.references.get(shard.name);
    if (!hasTables(shard, tables) || known?.uid !== uidOf(shard)) return hasTables(shard, tables);
    const isWaiting = !known.isSettled && known.seen !== '[]' && monotonicMs() - known.atMs < secondLookMs;
    if (isWaiting) verdicts.set(shard.name, 'comparing');
    return !known.isSettled && !isWaiting;
  });
  // Until a copy has ended they differ, and hashing them in every pass would only take from it.
  if (memory.longWork.underWay !== undefined)
    for (const { name } of due.splice(0)) verdicts.set(name, 'comparing');
  if (due.length === 0) return verdicts;

  const ask = (shard: ObservedShard): Promise<Reading<Map<string, string>>> =>
    readingOf(async () => {
      const member = shard.members.find(({ name }) => name === factsOf(shard)?.member);
      const address = member?.pod?.status?.podIP;
      if (address === undefined) throw new Error(`shard ${shard.name} has no primary`);
      const options = access.asOperator(shard.name, address, cluster.spec.postgres.database);
      return connections.use(options, (connection) => printsOf(connection, tables));
    });
  const [ofSource, ...ofJoiners] = await Promise.all([source, ...due].map(ask));
  for (const [place, shard] of due.entries()) {
    const target = ofJoiners[place];
    if (ofSource?.state !== 'present' || target?.state !== 'present') {
      const isRefused = [ofSource, target].some(
        (reading) => reading?.state === 'unknown' && reading.error instanceof PostgresError,
      );
      // What cannot be hashed in time is taken as it is; who could not be reached is asked again.
      if (isRefused) memory.references.set(shard.name, settled(uidOf(shard), monotonicMs()));
      continue;
    }
    const prints = { source: ofSource.value, target: target.value };
    const before = memory.references.get(shard.name);
    const result = compared(before, uidOf(shard), prints, monotonicMs());
    memory.references.set(shard.name, result.memory);
    if (result.verdict !== undefined) verdicts.set(shard.name, result.verdict);
  }
  return verdicts;
}

function hasTables(shard: ObservedShard, tables: readonly string[]): boolean {
  const present = new Set(catalogOf(shard)?.tables.map(({ name }) => name));
  return tables.length > 0 && tables.every((table) => present.has(table));
}

function uidOf({ statefulSet }: ObservedShard): string {
  return statefulSet?.metadata.uid ?? '';
}
