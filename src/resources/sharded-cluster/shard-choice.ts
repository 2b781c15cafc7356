import { isDeepStrictEqual } from 'node:util';
import type { ShardMapSpec } from '../../api/v1alpha1/shard-map.ts';
import type { ShardedClusterSpec, ShardedClusterStatus } from '../../api/v1alpha1/sharded-cluster.ts';
import { ownerCounts } from '../../sharding/map.ts';
import { compareShards } from '../../sharding/rebalance/model.ts';
import { desiredShards } from './desired-shards.ts';
import { byHolding, emptiestShard, type Holdings, holdingOf, type LeavingShard } from './emptiest-shard.ts';
import { keptShards, neededShards } from './kept-shards.ts';
import type { StepResult } from './model.ts';
import { firstShards } from './wanted-shards.ts';

/** As many as the schema admits. */
const mostShards = 128;

/** What the shards that are wanted are chosen from. */
export interface ChoiceInput {
  readonly spec: ShardedClusterSpec;
  readonly status: ShardedClusterStatus | undefined;
  /** Absent before the first one is made, and while it is lost. */
  readonly map: ShardMapSpec | undefined;
}

/** Which shards are wanted. */
export interface ShardChoice {
  /** By index. */
  readonly names: readonly string[];
  /** Those that go. */
  readonly leaving: readonly LeavingShard[];
  /** Why there are more than were asked for. */
  readonly obstacle?: StepResult;
}

/**
 * Chooses names for the number of shards that is wanted. What was chosen stays: names are only added, those that are still there
 * before new ones, or taken away, the emptiest first.
 */
export function chooseShards(input: ChoiceInput): ShardChoice {
  const count = desiredShards(input.spec, input.status);
  const before = namesBefore(input);
  const choice = before.length > count ? fewer(input, before, count) : more(input, before, count);
  const leaving = [...(input.status?.shards?.leaving ?? []), ...choice.leaving];
  return { ...choice, leaving: leaving.filter(({ name }) => !choice.names.includes(name)) };
}

/** Whether a status has the choice. Before there is one, the first shards are wanted anyway. */
export function isRemembered(
  { spec, status }: Pick<ChoiceInput, 'spec'> & { readonly status?: ShardedClusterStatus | undefined },
  { names }: ShardChoice,
): boolean {
  const known = status?.shards === undefined ? firstShards(spec.shards.count) : status.shards.names;
  return isDeepStrictEqual(known, names);
}

/** A status with the choice. */
export function withChoice(
  status: ShardedClusterStatus | undefined,
  { names, leaving }: ShardChoice,
): ShardedClusterStatus {
  const { current = 0, ready = 0, items = [] } = status?.shards ?? {};
  const desired = names.length;
  const shards = { desired, names: [...names], current, ready, summary: `${ready}/${desired}`, items };
  return { ...status, shards: { ...shards, ...(leaving.length === 0 ? {} : { leaving: [...leaving] }) } };
}

/** Without a memory: those that an operator wanted that kept none, or after the loss of the status those that own something. */
function namesBefore({ status, map }: ChoiceInput): readonly string[] {
  const { shards } = status ?? {};
  if (shards !== undefined) return shards.names ?? firstShards(shards.desired);
  return [...new Set(['s0', ...owners(map)])].toSorted(compareShards);
}

/** Those that the tables need, then those that are there before new ones: a drain that is called off costs no more moves than it must. */
function more(input: ChoiceInput, before: readonly string[], count: number): ShardChoice {
  const { items = [] } = input.status?.shards ?? {};
  const present = new Set([...items.map(({ name }) => name), ...owners(input.map)]);
  const fullestFirst = [...present].toSorted(byHolding(holdingsOf(input) ?? new Map())).reverse();
  const candidates = [...fullestFirst, ...firstShards(mostShards)];
  const names = new Set([...before, ...neededShards(input.spec, before, candidates), ...candidates]);
  return { names: [...names].slice(0, count).toSorted(compareShards), leaving: [] };
}

function fewer(input: ChoiceInput, before: readonly string[], count: number): ShardChoice {
  const holdings = holdingsOf(input);
  const leaving: LeavingShard[] = [];
  let names = before;
  while (names.length > count) {
    const next = holdings === undefined ? undefined : emptiestShard(input.spec, names, holdings);
    const unknown = unknownOf(input, names, holdings, next);
    if (unknown !== undefined) {
      const message = `${names.length - count} of ${names.join(', ')} shall go, the emptiest: ${unknown}`;
      return { names, leaving, obstacle: { kind: 'wait', reason: 'ChoosingShard', message, afterMs: 2_000 } };
    }
    if (next === undefined) return { names, leaving, obstacle: needed(input, names, count) };
    leaving.push(next);
    names = names.filter((name) => name !== next.name);
  }
  return { names, leaving };
}

/** What has to be known before this shard is the emptiest. One that owns nothing is, whatever the others have. */
function unknownOf(
  { spec }: ChoiceInput,
  names: readonly string[],
  holdings: Holdings | undefined,
  next: LeavingShard | undefined,
): string | undefined {
  if (holdings === undefined) return 'the ShardMap is not known yet';
  if (next === undefined || holdingOf(holdings, next.name).buckets === 0) return undefined;
  // Where nobody measures, the number of buckets has to do.
  if (spec.rebalance.mode === 'off' || spec.tables.length === 0) return undefined;
  const kept = keptShards(spec, names);
  const sizeless = names.filter((name) => !kept.has(name) && holdingOf(holdings, name).bytes === undefined);
  return sizeless.length === 0 ? undefined : `the sizes of ${sizeless.join(', ')} are not measured yet`;
}

function needed({ spec }: ChoiceInput, names: readonly string[], count: number): StepResult {
  const reasons = [...keptShards(spec, names)].map(([name, why]) => `${name} (${why})`).join(', ');
  const message =
    `${count} of the shards shall be left, and ${names.length} have to stay: ${reasons}. Raise spec.shards.count to ` +
    `${names.length}, or change spec.tables`;
  return { kind: 'fail', reason: 'ShardsNeeded', message };
}

/** Absent while the map is lost. */
function holdingsOf({ status, map }: ChoiceInput): Holdings | undefined {
  if (map === undefined) return status?.map === undefined ? new Map() : undefined;
  // What was measured before the first bucket came says nothing.
  const measured = (status?.rebalance?.shards ?? []).filter((shard) => shard.buckets > 0);
  const bytes = new Map(measured.map((shard) => [shard.name, shard.bytes]));
  return new Map(
    [...ownerCounts(map)].map(([name, groups]) => {
      const buckets = Object.values(groups).reduce((sum, number) => sum + number, 0);
      const size = bytes.get(name);
      return [name, { buckets, ...(size === undefined ? {} : { bytes: size }) }];
    }),
  );
}

function owners(map: ShardMapSpec | undefined): string[] {
  return map === undefined ? [] : [...ownerCounts(map).keys()];
}
