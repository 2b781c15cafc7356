import { isBeforeSwitch } from '../../../sharding/conversion/model.ts';
import { planForeignKeys } from '../../../sharding/foreign-keys.ts';
import { isImporting } from '../../../sharding/import/model.ts';
import { type Layout, layoutOf } from '../../../sharding/layout.ts';
import { planLeaves } from '../../../sharding/leaves.ts';
import { type Endpoint, planMirror } from '../../../sharding/mirror.ts';
import { plainTables, verifyTables } from '../../../sharding/verify-tables.ts';
import {
  type Action,
  type ObservedShard,
  type PlanInput,
  proceed,
  type ShardedCluster,
  type StepResult,
} from '../model.ts';
import { postgresPort, primaryHost } from '../names.ts';
import { fail, messagesOf, wait } from './result.ts';
import { firstMap } from './shard-map.ts';
import { catalogOf, contentShards } from './shards.ts';

/** Whether the tables that the migrations made are on every shard as `spec.tables` describes them. */
export function tables(input: PlanInput): StepResult {
  const layout = layoutOf(input.cluster.spec.tables);
  for (const shard of contentShards(input)) {
    const catalog = catalogOf(shard);
    if (catalog === undefined)
      return wait('PrimaryUnknown', `shard ${shard.name} has not said what it has`, 1_000);
    const wrong = verifyTables(layout, catalog);
    if (wrong.length > 0) return fail('TablesInvalid', `shard ${shard.name}: ${messagesOf(wrong)}`);
    const bounds = shard.database.state === 'present' ? shard.database.value.boundProblems : [];
    if (bounds.length > 0) return fail('TablesInvalid', `shard ${shard.name}: ${messagesOf(bounds)}`);
    const keys = planForeignKeys(layout, catalog).problems;
    if (keys.length > 0 && layout.groups.some((group) => plainTables(group, catalog).length > 0))
      return fail('TablesInvalid', `shard ${shard.name}: ${messagesOf(keys)}`);
  }
  return importing(input) ?? conversions(input, layout);
}

/** While rows come from another server nothing else is done with tables; a controller of its own sees to that. */
function importing({ cluster, import: status }: PlanInput): StepResult | undefined {
  if (!isImporting(cluster.spec.bootstrap?.import, status?.phase)) return undefined;
  return wait('Importing', 'rows come from another server: see status.import', 2_000);
}

/** Plain tables are converted by a controller of their own, which says in `status.conversions` how far it is. */
function conversions(input: PlanInput, layout: Layout): StepResult {
  const refused = (input.conversions ?? []).filter(({ phase }) => phase === 'refused');
  const open = contentShards(input).flatMap((shard) => {
    const catalog = catalogOf(shard);
    if (catalog === undefined) return [];
    return [
      ...layout.groups.filter((group) => plainTables(group, catalog).length > 0).map(({ name }) => name),
      ...catalog.conversions
        .filter((conversion) => isBeforeSwitch(conversion) || conversion.phase === 'switched')
        .map(({ group }) => group),
    ];
  });
  const problems = refused.filter(({ group }) => open.includes(group));
  if (problems.length > 0)
    return fail('ConversionRefused', problems.map(({ message }) => message ?? '').join('; '));
  if (open.length === 0) return proceed;
  const names = [...new Set(open)].join(', ');
  return wait(
    'Converting',
    `plain tables become distributed (group ${names}): see status.conversions`,
    1_000,
    firstMap(input),
  );
}

/** Leaves, markers and the mirror of the map, on every shard; of one that is about to go the mirror only, so that it sends clients on. */
export function leaves(input: PlanInput): StepResult {
  const { cluster, observed } = input;
  if (observed.map.state !== 'present') return wait('MapUnknown', 'the ShardMap is not there yet', 1_000);
  const layout = layoutOf(cluster.spec.tables);
  const map = observed.map.value.spec;
  const endpoints = endpointsOf(cluster, observed.shards);
  const actions: Action[] = [];
  for (const shard of contentShards(input)) {
    const catalog = catalogOf(shard);
    if (catalog === undefined)
      return wait('PrimaryUnknown', `shard ${shard.name} has not said what it has`, 1_000);
    const plan = planLeaves({
      shard: shard.name,
      shardIndex: shard.index,
      map,
      layout,
      catalog,
      endpoints,
    });
    if (plan.problems.length > 0)
      return fail('TablesInvalid', `shard ${shard.name}: ${messagesOf(plan.problems)}`);
    if (plan.batches.length > 0) actions.push({ kind: 'sql', shard: shard.name, batches: plan.batches });
  }
  const content = new Set(contentShards(input));
  for (const shard of observed.shards.filter((other) => !content.has(other))) {
    const catalog = catalogOf(shard);
    if (catalog?.installed !== true) continue;
    const statements = planMirror(map, layout, catalog, endpoints);
    if (statements.length === 0) continue;
    const batches = [{ title: 'mirror of the map', statements }];
    actions.push({ kind: 'sql', shard: shard.name, batches });
  }
  return actions.length === 0 ? proceed : wait('MakingBuckets', 'buckets are being made', 0, actions);
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
