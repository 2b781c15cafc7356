import { durationMs } from '../../../api/v1alpha1/duration.ts';
import { planMigrations, type ResolvedMigration } from '../../../postgres/migration-plan.ts';
import { type Layout, layoutOf, placementProblems, type Shard } from '../../../sharding/layout.ts';
import { planLeaves } from '../../../sharding/leaves.ts';
import { initialMap, ownerCounts, reconcileMap } from '../../../sharding/map.ts';
import type { Endpoint } from '../../../sharding/mirror.ts';
import { rebuildFromMarkers, type ShardAnswer } from '../../../sharding/rebuild.ts';
import type { ShardCatalog } from '../../../sharding/shard-catalog.ts';
import { verifyTables } from '../../../sharding/verify-tables.ts';
import type { DatabaseFacts } from '../database-facts.ts';
import {
  type Action,
  type ObservedShard,
  type PlanInput,
  proceed,
  type ShardedCluster,
  type StepResult,
} from '../model.ts';
import { postgresPort, primaryHost, shardName } from '../names.ts';

/** Shards that are wanted, with their home zones. */
export function wantedShards({ spec }: Pick<ShardedCluster, 'spec'>): Shard[] {
  const { count, zones } = spec.shards;
  return Array.from({ length: count }, (_, index) => {
    const zone = zones.length === 0 ? undefined : zones[index % zones.length];
    return { name: shardName(index), zone };
  });
}

/** Roles, the database and Herdsman's own schemas on every shard whose primary answers. */
export function setUp({ observed }: PlanInput): StepResult {
  const actions = observed.shards.flatMap((shard): Action[] =>
    shard.database.state === 'present' && !shard.database.value.isSetUp
      ? [{ kind: 'set-up-database', shard: shard.name }]
      : [],
  );
  if (actions.length > 0) return wait('SettingUp', 'roles and databases are being made', 0, actions);
  const silent = observed.shards.find((shard) => shard.database.state !== 'present');
  if (silent === undefined) return proceed;
  const message =
    silent.database.state === 'unknown'
      ? `shard ${silent.name}: ${silent.database.error.message}`
      : `shard ${silent.name} has no primary yet`;
  return wait('PrimaryUnknown', message, 1_000);
}

/** The ShardMap: made once, rebuilt from the markers if it is lost, and extended when the layout gains buckets. */
export function map({ cluster, observed }: PlanInput): StepResult {
  const layout = layoutOf(cluster.spec.tables);
  const shards = wantedShards(cluster);
  const problem = layout.problems[0] ?? placementProblems(layout, shards)[0];
  if (problem !== undefined) return fail('TablesInvalid', problem.message);
  if (observed.map.state === 'unknown') {
    return wait('MapUnknown', `the ShardMap could not be read: ${observed.map.error.message}`, 2_000);
  }
  if (observed.map.state === 'absent') return missingMap(cluster, observed.shards, layout, shards);
  const reconciled = reconcileMap(observed.map.value.spec, layout, shards);
  const conflict = reconciled.problems[0];
  if (conflict !== undefined) return fail('MapConflict', conflict.message);
  if (!reconciled.changed) return proceed;
  return wait('MapPending', 'the ShardMap gains buckets', 0, [
    { kind: 'update-map', map: observed.map.value, spec: reconciled.map },
  ]);
}

function missingMap(
  cluster: ShardedCluster,
  observed: readonly ObservedShard[],
  layout: Layout,
  shards: readonly Shard[],
): StepResult {
  const answers = new Map(
    observed.map((shard): [string, ShardAnswer] => [shard.name, catalogOf(shard) ?? 'unknown']),
  );
  const rebuilt = rebuildFromMarkers(
    cluster.metadata.name,
    observed.map((shard) => shard.name),
    answers,
  );
  switch (rebuilt.kind) {
    case 'empty': {
      const spec = initialMap(cluster.metadata.name, layout, shards);
      return wait('MapPending', 'the ShardMap is being made', 0, [{ kind: 'create-map', spec }]);
    }
    case 'rebuilt':
      return wait('MapPending', 'the ShardMap was lost and is rebuilt from the markers', 0, [
        { kind: 'create-map', spec: rebuilt.map },
        {
          kind: 'event',
          type: 'Warning',
          reason: 'MapRebuilt',
          note: `the ShardMap was missing; it was rebuilt from the markers on ${observed.length} shards`,
        },
      ]);
    case 'refused': {
      const message = `the ShardMap is missing and cannot be rebuilt: ${messagesOf(rebuilt.problems)}`;
      const isSilent = rebuilt.problems.some((problem) => problem.code === 'shard-silent');
      return isSilent ? wait('MapUnknown', message, 2_000) : fail('MapConflict', message);
    }
  }
}

/** The next migration, on all shards that lack it at once: all of them commit it, or none. */
export function schema({ cluster, observed }: PlanInput): StepResult {
  const resolved: ResolvedMigration[] = [];
  for (const { name, lockTimeout, statementTimeout, configMapKeyRef } of cluster.spec.schema) {
    const source = observed.migrations.get(name);
    if (source?.state === 'present') {
      resolved.push({
        name,
        sql: source.value,
        ...(lockTimeout === undefined ? {} : { lockTimeoutMs: durationMs(lockTimeout) ?? 3_000 }),
        ...(statementTimeout === undefined
          ? {}
          : { statementTimeoutMs: durationMs(statementTimeout) ?? 600_000 }),
      });
      continue;
    }
    const place = `ConfigMap "${configMapKeyRef?.name}", key "${configMapKeyRef?.key}"`;
    if (source?.state === 'unknown')
      return wait('MigrationUnknown', `${place}: ${source.error.message}`, 2_000);
    return fail('MigrationMissing', `migration "${name}": ${place} does not exist: create it`);
  }
  let next: { migration: ResolvedMigration; position: number } | undefined;
  const lacking: string[] = [];
  for (const shard of observed.shards) {
    const catalog = catalogOf(shard);
    if (catalog === undefined)
      return wait('PrimaryUnknown', `shard ${shard.name} has not said what it has`, 1_000);
    const plan = planMigrations(resolved, catalog.ledger);
    if (plan.kind === 'done') continue;
    if (plan.kind !== 'apply') return fail('MigrationChanged', `shard ${shard.name}: ${plan.message}`);
    if (next === undefined || plan.position < next.position) {
      next = { migration: plan.migration, position: plan.position };
      lacking.length = 0;
    }
    if (plan.position === next.position) lacking.push(shard.name);
  }
  if (next === undefined) return proceed;
  return wait('Migrating', `migration "${next.migration.name}" is being applied`, 0, [
    { kind: 'migrate', ...next, shards: lacking },
  ]);
}

/** Leaves, markers and the mirror of the map, on every shard; and the tables as `spec.tables` describes them. */
export function tables({ cluster, observed }: PlanInput): StepResult {
  if (observed.map.state !== 'present') return wait('MapUnknown', 'the ShardMap is not there yet', 1_000);
  const layout = layoutOf(cluster.spec.tables);
  const shardMap = observed.map.value.spec;
  const endpoints = endpointsOf(cluster, observed.shards);
  const actions: Action[] = [];
  for (const shard of observed.shards) {
    const catalog = catalogOf(shard);
    if (catalog === undefined)
      return wait('PrimaryUnknown', `shard ${shard.name} has not said what it has`, 1_000);
    const wrong = verifyTables(layout, catalog);
    if (wrong.length > 0) return fail('TablesInvalid', `shard ${shard.name}: ${messagesOf(wrong)}`);
    const plan = planLeaves({ shard: shard.name, map: shardMap, layout, catalog, endpoints });
    if (plan.problems.length > 0)
      return fail('TablesInvalid', `shard ${shard.name}: ${messagesOf(plan.problems)}`);
    if (plan.batches.length > 0) actions.push({ kind: 'sql', shard: shard.name, batches: plan.batches });
  }
  return actions.length === 0 ? proceed : wait('MakingBuckets', 'buckets are being made', 0, actions);
}

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

function endpointsOf(cluster: ShardedCluster, shards: readonly ObservedShard[]): Record<string, Endpoint> {
  const { name, namespace } = cluster.metadata;
  const dbname = cluster.spec.postgres.database;
  return Object.fromEntries(
    shards.map((shard) => [
      shard.name,
      { host: primaryHost(name, shard.name, namespace), port: postgresPort, dbname },
    ]),
  );
}

/** The catalog of a shard's application database, if its primary answered. */
export function catalogOf(shard: ObservedShard): ShardCatalog | undefined {
  return factsOf(shard)?.catalog;
}

/** What a shard's primary said, if it did. */
export function factsOf(shard: ObservedShard): DatabaseFacts | undefined {
  return shard.database.state === 'present' ? shard.database.value : undefined;
}

function messagesOf(problems: readonly { message: string }[]): string {
  return problems.map((problem) => problem.message).join('; ');
}

function wait(reason: string, message: string, afterMs: number, actions: readonly Action[] = []): StepResult {
  return { kind: 'wait', reason, message, afterMs, actions };
}

function fail(reason: string, message: string): StepResult {
  return { kind: 'fail', reason, message };
}
