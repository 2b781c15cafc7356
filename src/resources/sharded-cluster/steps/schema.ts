import { durationMs } from '../../../api/v1alpha1/duration.ts';
import { planMigrations, type ResolvedMigration } from '../../../postgres/migration-plan.ts';
import { isBeforeSwitch } from '../../../sharding/conversion/model.ts';
import { isImporting } from '../../../sharding/import/model.ts';
import { type PlanInput, proceed, type StepResult } from '../model.ts';
import { fail, wait } from './result.ts';
import { catalogOf, contentShards } from './shards.ts';

/** Phases of an import in which its tables may still be made as they have to be. */
const beginning: ReadonlySet<string> = new Set(['waiting', 'refused']);

/** The next migration, on all shards that lack it at once: all of them commit it, or none. */
export function schema(input: PlanInput): StepResult {
  const { cluster, observed } = input;
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
  for (const shard of contentShards(input)) {
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
  const converting = contentShards(input)
    .flatMap((shard) => catalogOf(shard)?.conversions ?? [])
    .find(isBeforeSwitch);
  if (converting !== undefined) {
    const message = `migration "${next.migration.name}" waits until the tables of group "${converting.group}" are converted`;
    return wait('Converting', message, 2_000);
  }
  const { phase } = input.import ?? {};
  if (phase !== undefined && isImporting(cluster.spec.bootstrap?.import, phase) && !beginning.has(phase)) {
    const message = `migration "${next.migration.name}" waits until the import has ended`;
    return wait('Importing', message, 2_000);
  }
  return wait('Migrating', `migration "${next.migration.name}" is being applied`, 0, [
    { kind: 'migrate', ...next, shards: lacking },
  ]);
}
