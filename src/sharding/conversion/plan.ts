import { isDeepStrictEqual } from 'node:util';
import type { ShardMapSpec } from '../../api/v1alpha1/shard-map.ts';
import type { Group } from '../layout.ts';
import { type Conversion, isBeforeSwitch } from './model.ts';

/** What one shard has of a group. */
export interface ShardTables {
  readonly name: string;
  /** Tables of the group that are not partitioned yet, those that are, and those that have rows. */
  readonly plain: readonly string[];
  readonly partitioned: readonly string[];
  readonly withRows: readonly string[];
  /** Whether it has markers of the group's buckets. */
  readonly hasMarkers: boolean;
  readonly conversion: Conversion | undefined;
}

/** What the next step of a group's conversion is decided on. */
export interface ConversionView {
  readonly name: string;
  /** As `spec.tables` has it; `undefined` when it has none of its tables. */
  readonly wanted: Group | undefined;
  /** `undefined` when a shard has not answered. */
  readonly shards: readonly ShardTables[] | undefined;
  /** `undefined` while there is no map. */
  readonly map: ShardMapSpec | undefined;
  readonly retentionMs: number;
  readonly nowMs: number;
}

/** What to do next on the shard that has the rows; `until` is when the way back ends. */
export type ConversionStepKind =
  | 'stage'
  | 'note'
  | 'copy'
  | 'build'
  | 'verify'
  | 'switch'
  | 'own'
  | 'settle'
  | 'follow'
  | 'switch-back'
  | 'tidy';

/** What is to be done about a group. */
export type ConversionPlan =
  | { readonly kind: 'none' }
  | {
      readonly kind: 'step';
      readonly step: ConversionStepKind;
      readonly shard: string;
      readonly group: Group;
    }
  | {
      /** Empty tables on other shards. */
      readonly kind: 'replace';
      readonly shards: readonly string[];
      readonly to: 'partitioned' | 'plain';
      readonly group: Group;
    }
  | { readonly kind: 'forget-group' }
  | { readonly kind: 'wait' | 'refuse'; readonly reason: string; readonly message: string };

const none: ConversionPlan = { kind: 'none' };
const forward = {
  staged: 'note',
  copying: 'copy',
  copied: 'build',
  built: 'verify',
  verified: 'switch',
  switched: 'own',
  owned: 'settle',
} as const;

/** Decides the next step of one group. */
export function planConversion(view: ConversionView): ConversionPlan {
  const { shards, name } = view;
  if (shards === undefined)
    return { kind: 'wait', reason: 'PrimaryUnknown', message: 'a shard has not said what it has' };
  const holder = shards.find(({ conversion }) => conversion !== undefined);
  if (holder?.conversion !== undefined) return goOn(view, shards, holder, holder.conversion);
  if (view.wanted === undefined) return none;
  const plain = shards.filter((shard) => shard.plain.length > 0);
  if (plain.length === 0) return none;
  if (view.map === undefined)
    return { kind: 'wait', reason: 'MapUnknown', message: 'there is no ShardMap yet' };
  const filled = plain.filter((shard) => shard.plain.some((table) => shard.withRows.includes(table)));
  if (view.map.groups.some((group) => group.name === name)) {
    const table = filled[0]?.plain.find((candidate) => filled[0]?.withRows.includes(candidate));
    if (table !== undefined) {
      const message = `table "${table}" has rows, and group "${name}" has its buckets already: give the table a group of its own`;
      return { kind: 'refuse', reason: 'GroupHasBuckets', message };
    }
    return {
      kind: 'replace',
      shards: plain.map((shard) => shard.name),
      to: 'partitioned',
      group: view.wanted,
    };
  }
  // Elsewhere its conversion has ended, and the map is about to have it.
  if (shards.some((shard) => shard.hasMarkers)) return notInMap(name);
  if (filled.length > 1) {
    const where = filled.map((shard) => shard.name).join(' and ');
    const message = `the tables of group "${name}" have rows on ${where}: bring all of them to one shard first`;
    return { kind: 'refuse', reason: 'RowsOnTwoShards', message };
  }
  const source = filled[0] ?? plain[0];
  if (source === undefined) return none;
  if (source.partitioned.length > 0) {
    const message =
      `of group "${name}", ${source.plain.join(', ')} is plain and ${source.partitioned.join(', ')} is partitioned: write ` +
      'the latter without PARTITION BY, so that they are converted together';
    return { kind: 'refuse', reason: 'SomePartitioned', message };
  }
  return { kind: 'step', step: 'stage', shard: source.name, group: view.wanted };
}

function goOn(
  view: ConversionView,
  shards: readonly ShardTables[],
  holder: ShardTables,
  conversion: Conversion,
): ConversionPlan {
  const { wanted, map } = view;
  const group = conversion.layout;
  const others = shards.filter((shard) => shard !== holder);
  const step = (kind: ConversionStepKind): ConversionPlan => ({
    kind: 'step',
    step: kind,
    shard: holder.name,
    group,
  });
  const partitioned = others.filter((shard) => shard.partitioned.length > 0).map((shard) => shard.name);
  const unmade: ConversionPlan = { kind: 'replace', shards: partitioned, to: 'plain', group };
  if (conversion.phase === 'reverted') {
    if (partitioned.length > 0) return unmade;
    return map?.groups.some(({ name }) => name === group.name) === true
      ? { kind: 'forget-group' }
      : step('tidy');
  }
  if (isBeforeSwitch(conversion)) {
    if (!isDeepStrictEqual(wanted, group)) {
      // One that has begun again may have been further before.
      return partitioned.length > 0 ? unmade : step('tidy');
    }
    const filled = others.find((shard) => shard.plain.some((table) => shard.withRows.includes(table)));
    if (filled !== undefined) {
      const message = `the tables of group "${group.name}" have rows on ${holder.name} and ${filled.name}: only one may have some`;
      return { kind: 'refuse', reason: 'RowsOnTwoShards', message };
    }
    const plain = others.filter((shard) => shard.plain.length > 0);
    if (conversion.phase === 'verified' && plain.length > 0) {
      return { kind: 'replace', shards: plain.map((shard) => shard.name), to: 'partitioned', group };
    }
  }
  if (conversion.phase !== 'settled') return step(forward[conversion.phase]);
  const missing = group.tables.filter(({ name }) => !wanted?.tables.some((table) => table.name === name));
  if (missing.length > 0 && wanted !== undefined) {
    const names = missing.map((table) => table.name).join(', ');
    const message = `to take the conversion of group "${group.name}" back, take all its tables out of spec.tables; else put ${names} back`;
    return { kind: 'refuse', reason: 'PartOfGroup', message };
  }
  if (wanted === undefined) return step('switch-back');
  if (view.nowMs < reversibleUntilMs(conversion, view.retentionMs)) return step('follow');
  return map?.groups.some(({ name }) => name === group.name) === true ? step('tidy') : notInMap(group.name);
}

function notInMap(group: string): ConversionPlan {
  return { kind: 'wait', reason: 'MapPending', message: `the ShardMap does not have group "${group}" yet` };
}

/** When the way back ends, in ms since 1970. */
export function reversibleUntilMs({ switchedAtMs }: Conversion, retentionMs: number): number {
  return (switchedAtMs ?? 0) + retentionMs;
}
