import { durationMs } from '../../api/v1alpha1/duration.ts';
import type { ConnectOptions } from '../../postgres/connection.ts';
import { type ConversionStep, done, readConversions, refusable } from '../../postgres/conversion/context.ts';
import { lookAtTables } from '../../postgres/conversion/look.ts';
import { findConversionObstacles, measureGroup } from '../../postgres/conversion/obstacles.ts';
import { performConversionStep } from '../../postgres/conversion/perform.ts';
import { replaceEmpty } from '../../postgres/conversion/replace-empty.ts';
import { UnreachableError } from '../../postgres/postgres-error.ts';
import type { ReconcileContext } from '../../runtime/controller.ts';
import { type Conversion, isBeforeSwitch } from '../../sharding/conversion/model.ts';
import {
  type ConversionPlan,
  type ConversionStepKind,
  type ConversionView,
  planConversion,
  type ShardTables,
} from '../../sharding/conversion/plan.ts';
import { type Layout, layoutOf } from '../../sharding/layout.ts';
import { gatheredGroup, ownerCounts } from '../../sharding/map.ts';
import type { Volume } from '../../sharding/room.ts';
import { shardMapType } from '../sharded-cluster/kinds.ts';
import type { ShardedCluster, ShardMapObject } from '../sharded-cluster/model.ts';
import { postgresPort, primaryHost, shardIndex, shardMapName } from '../sharded-cluster/names.ts';
import { byCluster, clusterIndexValue } from '../sharded-cluster/sources.ts';
import { wantedShards } from '../sharded-cluster/steps/shards.ts';
import { volumeOf } from '../sharded-cluster/volume.ts';
import type { ConversionDependencies } from './controller.ts';
import { filledBefore, missingRoom } from './room.ts';
import { sequelOf } from './sequel.ts';
import type { GroupReport } from './status.ts';

/** How long a pass goes from step to step before it tells how far it is. */
const passMs = 5_000;

/** Why nothing can be said of conversions: a shard does not answer, or spec.tables has problems, which only another spec ends. */
export type Unsaid = 'PrimaryUnknown' | 'TablesInvalid';

/** What carries plans of conversions out. */
export interface ConversionWork {
  /**
   * Goes on with every group until it has to wait; where nothing can be said, what was told of conversions, which keeps their buckets
   * where they are, still holds.
   */
  pass(cluster: ShardedCluster, context: ReconcileContext): Promise<readonly GroupReport[] | Unsaid>;
}

interface Scene {
  readonly cluster: ShardedCluster;
  readonly context: ReconcileContext;
  readonly layout: Layout;
  readonly map: ShardMapObject | undefined;
  readonly primaries: ReadonlyMap<string, ConnectOptions>;
  readonly shards: readonly string[];
}

type Outcome = GroupReport['outcome'] | { readonly kind: 'nothing' };
const going: Outcome = { kind: 'going' };

/** Carries out what `planConversion` decides, on the shards of a cluster. */
export function createWork({
  client,
  sources,
  connections,
  events,
  clock,
  findPrimaries,
}: ConversionDependencies): ConversionWork {
  async function sceneOf(cluster: ShardedCluster, context: ReconcileContext): Promise<Scene | undefined> {
    const layout = layoutOf(cluster.spec.tables);
    const { namespace, name } = cluster.metadata;
    const primaries = await findPrimaries(cluster, context.signal);
    if (wantedShards(cluster).some((shard) => !primaries.has(shard.name))) return undefined;
    const map = sources.maps.cache.get({ namespace, name: shardMapName(name) });
    const owners = map === undefined ? [] : [...ownerCounts(map.spec).keys()];
    const shards = [...new Set([...wantedShards(cluster).map((shard) => shard.name), ...owners])];
    if (shards.some((shard) => !primaries.has(shard))) return undefined;
    return { cluster, context, layout, map, primaries, shards };
  }

  const at = <T>(
    scene: Scene,
    shard: string,
    work: Parameters<typeof connections.use<T>>[1],
    isPatient = false,
  ): Promise<T> => {
    const options = scene.primaries.get(shard);
    if (options === undefined) throw new UnreachableError(`shard ${shard} has no primary that is ready`);
    return connections.use(
      isPatient ? { ...options, statementTimeoutMs: 0 } : options,
      work,
      scene.context.leading,
    );
  };

  async function view(scene: Scene, name: string, known: readonly Conversion[]): Promise<ConversionView> {
    const { cluster, layout, map } = scene;
    const wanted = layout.groups.find((group) => group.name === name);
    const tables = [wanted, ...known.filter(({ group }) => group === name).map((row) => row.layout)];
    const names = [...new Set(tables.flatMap((group) => group?.tables.map((table) => table.name) ?? []))];
    const shards: ShardTables[] = [];
    for (const shard of scene.shards)
      shards.push(await at(scene, shard, (connection) => lookAtTables(connection, shard, name, names)));
    return {
      name,
      wanted,
      shards,
      map: map?.spec,
      retentionMs: durationMs(cluster.spec.conversion.retention) ?? 0,
      nowMs: clock.now().getTime(),
    };
  }

  async function step(
    scene: Scene,
    plan: Extract<ConversionPlan, { kind: 'step' }>,
    conversion: Conversion | undefined,
    untilMs: number,
  ): Promise<Outcome> {
    const { group, shard } = plan;
    const { metadata, spec } = scene.cluster;
    const epoch = (scene.map?.spec.epoch ?? 0) + 1;
    const endpoint = {
      host: primaryHost(metadata.name, shard, metadata.namespace),
      port: postgresPort,
      dbname: spec.postgres.database,
    };
    const input = { conversion, epoch, isTimeUp: () => clock.monotonicMs() > untilMs };
    const context = { group, owned: gatheredGroup(group, shard, epoch), endpoint };
    const perform = (kind: ConversionStepKind): Promise<ConversionStep> =>
      at(scene, shard, (connection) => performConversionStep(connection, context, kind, input), true);
    if (plan.step === 'stage') {
      const volume = volumeAt(scene, shard);
      const full = filledBefore(scene.cluster, group.name, shard, volume);
      if (full !== undefined) return full;
      const problems = await at(scene, shard, (connection) => findConversionObstacles(connection, group));
      if (problems.length === 0) {
        const bytes = await at(scene, shard, (connection) => measureGroup(connection, group));
        problems.push(...missingRoom(group.name, bytes, volume));
      }
      const [first] = problems;
      if (first !== undefined) {
        const message = problems.map((problem) => problem.message).join('; ');
        return { kind: 'refused', reason: first.code, message };
      }
    }
    const startedMs = clock.monotonicMs();
    const result = await perform(plan.step);
    const tookMs = Math.round(clock.monotonicMs() - startedMs);
    if (plan.step !== 'follow' || result.kind !== 'done')
      scene.context.log.info(
        { group: group.name, shard, step: plan.step, tookMs, result },
        'step of a conversion',
      );
    if (result.kind === 'done') tellStep(scene.cluster, plan, conversion);
    const tried = { kind: plan.step, group: group.name, shard, volume: volumeAt(scene, shard), conversion };
    const { outcome, tidies, warning } = sequelOf(tried, result);
    if (warning !== undefined) record(scene.cluster, 'Warning', warning.reason, warning.note);
    const tidied = tidies ? await perform('tidy') : done;
    return tidied.kind === 'done' ? outcome : { ...tidied, kind: 'waiting' };
  }

  function volumeAt({ cluster }: Scene, shard: string): Volume {
    const { namespace, name } = cluster.metadata;
    const claims = sources.claims.cache.byIndex(byCluster, clusterIndexValue(namespace, name));
    return volumeOf(cluster, claims, shard);
  }

  function tellStep(
    cluster: ShardedCluster,
    { step: kind, group, shard }: Extract<ConversionPlan, { kind: 'step' }>,
    conversion: Conversion | undefined,
  ): void {
    const names = group.tables.map(({ name }) => name).join(', ');
    if (kind === 'stage') record(cluster, 'Normal', 'Converting', `${names} on ${shard} become distributed`);
    if (kind === 'switch') record(cluster, 'Normal', 'Converted', `${names} on ${shard} are distributed`);
    if (kind === 'switch-back')
      record(cluster, 'Normal', 'ConversionReverted', `${names} on ${shard} are plain again`);
    if (kind === 'tidy' && conversion !== undefined && isBeforeSwitch(conversion))
      record(cluster, 'Normal', 'ConversionWithdrawn', `${names} on ${shard} stay as they are`);
  }

  function record(cluster: ShardedCluster, type: 'Normal' | 'Warning', reason: string, note: string): void {
    events.record(cluster, { type, reason, action: 'Convert', note });
  }

  async function replace(
    scene: Scene,
    { shards, to, group }: Extract<ConversionPlan, { kind: 'replace' }>,
  ): Promise<Outcome> {
    for (const shard of shards) {
      const result = await at(scene, shard, (connection) =>
        refusable(() => replaceEmpty(connection, group, to, shardIndex(shard) ?? 0)),
      );
      if (result.kind !== 'done') return { ...result, kind: 'waiting' };
    }
    return going;
  }

  /** By compare-and-swap: the plain tables serve already. */
  async function forgetGroup({ map, context }: Scene, name: string): Promise<Outcome> {
    if (map === undefined) return { kind: 'waiting', reason: 'MapUnknown', message: 'there is no ShardMap' };
    const groups = map.spec.groups.filter((group) => group.name !== name);
    const spec = { ...map.spec, epoch: map.spec.epoch + 1, groups };
    await client.update(shardMapType, { ...map, spec }, { signal: context.signal });
    return going;
  }

  async function goOn(scene: Scene, seen: ConversionView, untilMs: number): Promise<Outcome> {
    const plan = planConversion(seen);
    const holder = seen.shards?.find(({ conversion }) => conversion !== undefined);
    switch (plan.kind) {
      case 'none':
        return { kind: 'nothing' };
      case 'wait':
        return { ...plan, kind: 'waiting' };
      case 'refuse':
        return { ...plan, kind: 'refused' };
      case 'replace':
        return replace(scene, plan);
      case 'forget-group':
        return forgetGroup(scene, seen.name);
      case 'step':
        return step(scene, plan, holder?.conversion, untilMs);
    }
  }

  async function group(
    cluster: ShardedCluster,
    context: ReconcileContext,
    name: string,
  ): Promise<GroupReport | undefined> {
    const untilMs = clock.monotonicMs() + passMs;
    for (;;) {
      const scene = await sceneOf(cluster, context);
      if (scene === undefined) {
        const message = 'a shard has no primary that is ready';
        return {
          group: name,
          shard: undefined,
          conversion: undefined,
          outcome: { kind: 'waiting', reason: 'PrimaryUnknown', message },
        };
      }
      const seen = await view(scene, name, await conversionsOf(scene));
      const outcome = await goOn(scene, seen, untilMs);
      if (outcome.kind === 'nothing') return undefined;
      if (outcome.kind === 'going' && clock.monotonicMs() < untilMs) continue;
      const holder = seen.shards?.find(({ conversion }) => conversion !== undefined);
      return { group: name, shard: holder?.name, conversion: holder?.conversion, outcome };
    }
  }

  async function conversionsOf(scene: Scene): Promise<Conversion[]> {
    const known: Conversion[] = [];
    for (const shard of scene.shards) known.push(...(await at(scene, shard, readConversions)));
    return known;
  }

  return {
    async pass(cluster, context) {
      if (layoutOf(cluster.spec.tables).problems.length > 0) return 'TablesInvalid';
      const scene = await sceneOf(cluster, context);
      if (scene === undefined) return 'PrimaryUnknown';
      const known = await conversionsOf(scene);
      const names = new Set([
        ...scene.layout.groups.map(({ name }) => name),
        ...known.map((row) => row.group),
      ]);
      const reports: GroupReport[] = [];
      for (const name of names) {
        const report = await group(cluster, context, name);
        if (report !== undefined) reports.push(report);
      }
      return reports;
    },
  };
}
