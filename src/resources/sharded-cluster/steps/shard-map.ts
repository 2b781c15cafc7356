import type { ShardMapSpec } from '../../../api/v1alpha1/shard-map.ts';
import { type Layout, layoutOf, placementProblems } from '../../../sharding/layout.ts';
import { initialMap, type MarkerOwner, reconcileMap } from '../../../sharding/map.ts';
import { type Rebuilt, rebuildFromMarkers, type ShardAnswer } from '../../../sharding/rebuild.ts';
import { repairMap, type Testimony } from '../../../sharding/repair.ts';
import {
  type Action,
  type Observed,
  type ObservedShard,
  type PlanInput,
  proceed,
  type ShardedCluster,
  type ShardMapObject,
  type StepResult,
} from '../model.ts';
import { fail, messagesOf, wait } from './result.ts';
import { catalogOf, wantedShards } from './shards.ts';

/** Whether map and layout agree; a map that was lost is rebuilt from the markers. */
export function map({ cluster, observed }: PlanInput): StepResult {
  const layout = layoutOf(cluster.spec.tables);
  const shards = wantedShards(cluster);
  const problem = layout.problems[0] ?? placementProblems(layout, shards)[0];
  if (problem !== undefined) return fail('TablesInvalid', problem.message);
  if (observed.map.state === 'unknown') {
    return wait('MapUnknown', `the ShardMap could not be read: ${observed.map.error.message}`, 2_000);
  }
  if (observed.map.state === 'absent') return lostMap(cluster, observed.shards);
  const { spec } = observed.map.value;
  const edited = editedMap(observed, observed.map.value, layout);
  if (edited !== undefined) return edited;
  const leaving = groupsLeaving(observed.shards, spec, layout);
  const staying = { ...spec, groups: spec.groups.filter(({ name }) => !leaving.includes(name)) };
  const conflict = reconcileMap(staying, layout, shards).problems[0];
  if (conflict !== undefined) return fail('MapConflict', conflict.message);
  if (leaving.length === 0) return proceed;
  return wait(
    'Reverting',
    `tables become plain again (group ${leaving.join(', ')}): see status.conversions`,
    1_000,
  );
}

/** Most changes of which an event tells. */
const mostTold = 5;

/** Puts right what somebody has written into the map, or says why that cannot be done. */
function editedMap(
  { shards, switching = [], isMapNewer = false }: Observed,
  map: ShardMapObject,
  layout: Layout,
): StepResult | undefined {
  const answers = new Map(
    shards.map((shard): [string, Testimony] => [shard.name, catalogOf(shard) ?? 'unknown']),
  );
  const repair = (spec: ShardMapSpec) => repairMap({ map: spec, layout, answers, moving: switching });
  const verdict = repair(map.spec);
  if (verdict.kind === 'sound') return undefined;
  if (isMapNewer) return wait('MapPending', 'the ShardMap has changed: the shards are asked again', 200);
  if (verdict.kind === 'waiting') return wait('MapUnknown', verdict.message, 2_000);
  if (verdict.kind === 'contradicted') return fail('MapConflict', messagesOf(verdict.problems));
  const { changes } = verdict;
  // A bucket that was given back has its marker's epoch only then: one edit is told of once.
  const second = repair(verdict.map);
  const next = second.kind === 'repaired' ? { next: second.map } : {};
  const more = changes.length > mostTold ? `; and ${changes.length - mostTold} more` : '';
  return wait('MapPending', 'the ShardMap was edited, and is put right by what the shards hold', 0, [
    { kind: 'update-map', map, spec: verdict.map, ...next },
    {
      kind: 'event',
      type: 'Warning',
      reason: 'MapRepaired',
      note:
        'the ShardMap was not what the shards hold, as after an edit by hand: ' +
        `${changes.slice(0, mostTold).join('; ')}${more}. To move a bucket, write a ShardMove`,
    },
  ]);
}

/** Groups that are no longer in the spec, and whose conversion can be taken back. */
function groupsLeaving(shards: readonly ObservedShard[], map: ShardMapSpec, layout: Layout): string[] {
  const conversions = shards.flatMap((shard) => catalogOf(shard)?.conversions ?? []);
  return map.groups
    .map(({ name }) => name)
    .filter((name) => !layout.groups.some((group) => group.name === name))
    .filter((name) => conversions.some(({ group }) => group === name));
}

function lostMap(cluster: ShardedCluster, shards: readonly ObservedShard[]): StepResult {
  const rebuilt = rebuild(cluster, shards);
  switch (rebuilt.kind) {
    case 'empty':
      return proceed;
    case 'rebuilt':
      return wait('MapPending', 'the ShardMap was lost and is rebuilt from the markers', 0, [
        { kind: 'create-map', spec: rebuilt.map },
        {
          kind: 'event',
          type: 'Warning',
          reason: 'MapRebuilt',
          note: `the ShardMap was missing; it was rebuilt from the markers on ${shards.length} shards`,
        },
      ]);
    case 'refused': {
      const message = `the ShardMap is missing and cannot be rebuilt: ${messagesOf(rebuilt.problems)}`;
      const isSilent = rebuilt.problems.some((problem) => problem.code === 'shard-silent');
      return isSilent ? wait('MapUnknown', message, 2_000) : fail('MapConflict', message);
    }
  }
}

/** A map without groups, for tables that are converted before they have buckets; none if there was a map before. */
export function firstMap({ cluster, observed }: PlanInput): Action[] {
  const isFirst = observed.map.state === 'absent' && rebuild(cluster, observed.shards).kind === 'empty';
  const layout = { groups: [], references: [], problems: [] };
  return isFirst
    ? [{ kind: 'create-map', spec: initialMap(cluster.metadata.name, layout, wantedShards(cluster)) }]
    : [];
}

function rebuild(cluster: ShardedCluster, shards: readonly ObservedShard[]): Rebuilt {
  const answers = new Map(
    shards.map((shard): [string, ShardAnswer] => [shard.name, catalogOf(shard) ?? 'unknown']),
  );
  const names = shards.map((shard) => shard.name);
  return rebuildFromMarkers(cluster.metadata.name, names, answers);
}

/** Markers that are on the shards, with their owners: of tables that were converted where they were. */
function ownersByMarker(shards: readonly ObservedShard[]): ReadonlyMap<string, MarkerOwner> {
  return new Map(
    shards.flatMap((shard) =>
      (catalogOf(shard)?.markers ?? []).flatMap(({ name, epoch }): [string, MarkerOwner][] =>
        epoch === null ? [] : [[name, { shard: shard.name, epoch }]],
      ),
    ),
  );
}

/**
 * Owners for buckets that have none: all of them at first, later those that the layout gained. Only now, since a bucket is
 * never taken back: its tables were found to be as described, and its owner has the reference tables that its rows refer to.
 */
export function buckets({ cluster, observed }: PlanInput): StepResult {
  const layout = layoutOf(cluster.spec.tables);
  const shards = wantedShards(cluster);
  const { map: known } = observed;
  if (known.state === 'unknown') {
    return wait('MapUnknown', `the ShardMap could not be read: ${known.error.message}`, 2_000);
  }
  if (known.state === 'absent') {
    if (rebuild(cluster, observed.shards).kind !== 'empty')
      return wait('MapUnknown', 'the ShardMap is missing', 2_000);
    const spec = initialMap(cluster.metadata.name, layout, shards);
    return wait('MapPending', 'the ShardMap is being made', 0, [{ kind: 'create-map', spec }]);
  }
  const { changed, map: extended } = reconcileMap(
    known.value.spec,
    layout,
    shards,
    ownersByMarker(observed.shards),
  );
  if (!changed) return proceed;
  return wait('MapPending', 'the ShardMap gains buckets', 0, [
    { kind: 'update-map', map: known.value, spec: extended },
  ]);
}
