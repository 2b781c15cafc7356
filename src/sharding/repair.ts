import type { Bucket, BucketGroup, ShardMapSpec } from '../api/v1alpha1/shard-map.ts';
import type { Group, Layout } from './layout.ts';
import { boundKey, describe, isComplete } from './map.ts';
import { leafName, markerName } from './names.ts';
import type { Problem } from './problem.ts';
import { bucketOf, newestRows, withNextId } from './rebuild.ts';
import type { Marker, MirrorRow, MovingBucket, ShardCatalog } from './shard-catalog.ts';

/** What a shard answered when asked for what it holds; `unknown` if it did not. */
export type Testimony =
  | Pick<ShardCatalog, 'markers' | 'mirror' | 'moving' | 'tables' | 'conversions'>
  | 'unknown';

/** What is compared. */
export interface RepairInput {
  readonly map: ShardMapSpec;
  readonly layout: Layout;
  /** By shard; read after the map had its present version. */
  readonly answers: ReadonlyMap<string, Testimony>;
  /** Buckets for which a move may already have changed the map, whatever the shards know of it. */
  readonly moving: readonly MovingBucket[];
}

/** How a map stands beside what the shards hold. */
export type Verdict =
  | { readonly kind: 'sound' }
  /** With what was changed, for people. */
  | { readonly kind: 'repaired'; readonly map: ShardMapSpec; readonly changes: readonly string[] }
  /** It differs, and whoever could tell has not answered. */
  | { readonly kind: 'waiting'; readonly message: string }
  /** It differs, and the shards do not all say the same. */
  | { readonly kind: 'contradicted'; readonly problems: readonly Problem[] };

/**
 * Compares a map with what the shards say of each bucket, and puts right what somebody wrote into it. By the protocol a map changes
 * an owner only when both shards have prepared for it; so where no move is under way, the newest row of the mirrors and the one marker
 * that fits it are right, and a map that says something else was edited. Where they do not fit each other nothing is changed. What
 * no shard has heard of is taken out, if the layout is complete without it. One pass gives a bucket back to its owner under a new
 * epoch, as every change of an owner needs one; the next gives it the epoch of its marker.
 */
export function repairMap(input: RepairInput): Verdict {
  const { map, layout } = input;
  const evidence = new Evidence(input);
  const found = layout.groups
    .filter(({ name }) => !evidence.isConverting(name))
    .map((group) => {
      const known = map.groups.find(({ name }) => name === group.name);
      return known === undefined
        ? lostGroup(evidence, group, map.epoch)
        : repairGroup(evidence, group, known, map.epoch);
    });
  const problems = found.flatMap((group) => group.problems);
  if (problems.length > 0) return { kind: 'contradicted', problems };
  const [wait] = found.flatMap((group) => group.waits);
  if (wait !== undefined) return { kind: 'waiting', message: wait };
  const changes = found.flatMap((group) => group.changes);
  if (changes.length === 0) return { kind: 'sound' };
  const repaired = new Map(found.flatMap(({ group }) => (group === undefined ? [] : [[group.name, group]])));
  const kept = map.groups.map((group) => repaired.get(group.name) ?? group);
  const lost = [...repaired.values()].filter(({ name }) => map.groups.every((group) => group.name !== name));
  const groups = [...kept, ...lost];
  const epoch = Math.max(
    map.epoch,
    ...groups.flatMap(({ buckets }) => buckets.map((bucket) => bucket.epoch)),
  );
  return { kind: 'repaired', map: { ...map, epoch, groups }, changes };
}

/** What is found of one group; without `group` there is nothing to be changed. */
interface GroupFinding {
  readonly group?: BucketGroup;
  readonly changes: readonly string[];
  readonly waits: readonly string[];
  readonly problems: readonly Problem[];
}

const nothing: GroupFinding = { changes: [], waits: [], problems: [] };

function repairGroup(evidence: Evidence, layout: Group, group: BucketGroup, mapEpoch: number): GroupFinding {
  const known = new Map(group.buckets.map((bucket) => [bucket.id, bucket]));
  const buckets = new Map(known);
  const problems: Problem[] = [];
  const changes: string[] = [];
  const waits: string[] = [];
  for (const row of evidence.rowsOf(group.name)) {
    const found = judge(evidence, layout, row, known.get(row.bucket), mapEpoch);
    if (found.kind === 'contradicts') problems.push(found.problem);
    if (found.kind === 'waits') waits.push(found.message);
    if (found.kind !== 'differs') continue;
    const { isMine, bucket, change } = found;
    buckets.set(bucket.id, isMine ? bucket : { ...bucket, epoch: mapEpoch + 1 });
    changes.push(change);
  }
  const strange = [...buckets.values()].filter((bucket) => evidence.isUnheardOf(layout, bucket));
  const rest = { ...group, buckets: [...buckets.values()].filter((bucket) => !strange.includes(bucket)) };
  for (const bucket of strange.length > 0 && isComplete(rest, layout) ? strange : []) {
    if (evidence.silent.length > 0)
      waits.push(evidence.unasked(`no other has heard of ${named(group.name, bucket)}`));
    buckets.delete(bucket.id);
    changes.push(`${named(group.name, bucket)} ${describe(bucket)} taken out: no shard has heard of it`);
  }
  if (changes.length === 0) return { ...nothing, waits, problems };
  const sorted = [...buckets.values()].sort((a, b) => a.id - b.id);
  return { group: { ...group, buckets: sorted }, changes, waits, problems };
}

/** A group of the layout that the map does not have, and whose buckets have their markers. */
function lostGroup(evidence: Evidence, layout: Group, mapEpoch: number): GroupFinding {
  const rows = evidence.rowsOf(layout.name).filter((row) => evidence.ownersOf(row).length > 0);
  const [first] = rows;
  // What is newer than the map was never in it: tables that were converted where they were, and get their buckets later.
  if (first === undefined || rows.every((row) => row.epoch > mapEpoch)) return nothing;
  const found = rows.map((row) => judge(evidence, layout, row, undefined, mapEpoch));
  const problems = found.flatMap((finding) => (finding.kind === 'contradicts' ? [finding.problem] : []));
  const waits = found.flatMap((finding) => (finding.kind === 'waits' ? [finding.message] : []));
  const buckets = rows.map((row) => bucketOf(row, row));
  const group = withNextId({ name: layout.name, strategy: first.strategy, buckets }, evidence.given());
  if (problems.length === 0 && waits.length === 0 && !isComplete(group, layout)) {
    const message = `group "${layout.name}" is not in the ShardMap, and its markers are not those of all its buckets`;
    return { ...nothing, problems: [{ code: 'group-incomplete', message }] };
  }
  return { group, changes: [`group "${layout.name}" put back`], waits, problems };
}

/** What is found of one bucket. */
type Finding =
  | { readonly kind: 'fits' }
  /** `isMine`: the map names the right owner, or does not have the bucket. */
  | { readonly kind: 'differs'; readonly isMine: boolean; readonly bucket: Bucket; readonly change: string }
  | { readonly kind: 'waits'; readonly message: string }
  | { readonly kind: 'contradicts'; readonly problem: Problem };

function judge(
  evidence: Evidence,
  layout: Group,
  row: MirrorRow,
  mapped: Bucket | undefined,
  mapEpoch: number,
): Finding {
  const bucket = bucketOf(row, row);
  const name = named(row.group_name, bucket);
  const owners = evidence.ownersOf(row);
  if (evidence.isMoving(row.group_name, row.bucket)) {
    if (mapped !== undefined || owners.length === 0) return { kind: 'fits' };
    return { kind: 'waits', message: `${name} is on the move, and the ShardMap does not have it` };
  }
  const isSilent = evidence.silent.includes(row.shard);
  if (
    mapped === undefined &&
    owners.length === 0 &&
    !isSilent &&
    !evidence.hasLeaves(layout, row, row.shard)
  ) {
    return { kind: 'fits' };
  }
  // An announcement is the move's; and a map that is older than the data is not repaired by this.
  if (mapped !== undefined && (mapped.pending !== undefined || row.epoch > mapEpoch)) return { kind: 'fits' };
  if (mapped !== undefined && isSame(mapped, bucket)) return { kind: 'fits' };
  const says =
    mapped === undefined ? 'the ShardMap does not have it' : `the ShardMap says ${stateOf(mapped)}`;
  if (evidence.silent.length > 0) {
    return { kind: 'waits', message: evidence.unasked(`${name}: mirrors say ${stateOf(bucket)}, ${says}`) };
  }
  const doubt =
    evidence.doubtOf(layout, row, owners) ?? (row.epoch > mapEpoch ? 'the map is older' : undefined);
  if (doubt !== undefined) {
    const message =
      `${name}: the newest mirror says ${stateOf(bucket)}, ${says}, and ${doubt}: nothing is changed until they agree; ` +
      "write the owner that has the rows into the ShardMap, or restore the shard's newer state";
    return { kind: 'contradicts', problem: { code: 'map-contradicted', message } };
  }
  const isMine = mapped === undefined || mapped.shard === bucket.shard;
  const change =
    mapped === undefined
      ? `${name} put back to shard ${bucket.shard}`
      : `${name} from ${stateOf(mapped)} back to ${stateOf(bucket)}`;
  return { kind: 'differs', isMine, bucket, change };
}

function named(group: string, bucket: Pick<Bucket, 'id'> | undefined): string {
  return `bucket ${bucket?.id} of group "${group}"`;
}

function stateOf(bucket: Bucket): string {
  return `shard ${bucket.shard} at epoch ${bucket.epoch} ${describe(bucket)}`;
}

function isSame(a: Bucket, b: Bucket): boolean {
  return a.shard === b.shard && a.epoch === b.epoch && boundKey(a) === boundKey(b);
}

/** A marker with the shard that has it. */
interface Owner extends Marker {
  readonly shard: string;
}

/** All that the shards say, by bucket. */
class Evidence {
  /** Shards that have not answered. */
  readonly silent: readonly string[];
  readonly #answers: ReadonlyMap<string, Exclude<Testimony, 'unknown'>>;
  readonly #rows: readonly MirrorRow[];
  readonly #owners = new Map<string, Owner[]>();
  /** Leaves that take rows, by name, with the shards that have them. */
  readonly #leaves = new Map<string, string[]>();
  readonly #moving = new Set<string>();

  constructor({ answers, moving }: RepairInput) {
    const given = [...answers];
    this.silent = given.flatMap(([shard, answer]) => (answer === 'unknown' ? [shard] : []));
    this.#answers = new Map(
      given.flatMap(([shard, answer]) => (answer === 'unknown' ? [] : [[shard, answer]])),
    );
    this.#rows = [...this.#answers.values()].flatMap(({ mirror }) => mirror);
    for (const bucket of moving) this.#moving.add(markerName(bucket.group, bucket.bucket));
    for (const [shard, answer] of this.#answers) {
      for (const bucket of answer.moving) this.#moving.add(markerName(bucket.group, bucket.bucket));
      for (const marker of answer.markers)
        this.#owners.set(marker.name, [...(this.#owners.get(marker.name) ?? []), { ...marker, shard }]);
      for (const { name, parent, refuses } of answer.tables)
        if (parent !== null && !refuses) this.#leaves.set(name, [...(this.#leaves.get(name) ?? []), shard]);
    }
  }

  /** The newest row of each bucket of a group. */
  rowsOf(group: string): readonly MirrorRow[] {
    return newestRows(this.#rows.filter((row) => row.group_name === group));
  }

  /** What a message says while a shard is silent. */
  unasked(what: string): string {
    return `the ShardMap may not be what the shards hold (${what}), and ${this.silent.join(', ')} has not answered`;
  }

  /** Every number of a bucket that some shard knows. */
  given(): readonly MovingBucket[] {
    const moving = [...this.#answers.values()].flatMap((answer) => answer.moving);
    return [...moving, ...this.#rows.map(({ group_name: group, bucket }) => ({ group, bucket }))];
  }

  ownersOf({ group_name, bucket }: MirrorRow): readonly Owner[] {
    return this.#owners.get(markerName(group_name, bucket)) ?? [];
  }

  isMoving(group: string, bucket: number): boolean {
    return this.#moving.has(markerName(group, bucket));
  }

  /** Whether a group's tables are becoming partitioned ones, or plain ones again: what shards hold is ahead of the map then. */
  isConverting(group: string): boolean {
    return [...this.#answers.values()].some(({ conversions }) =>
      conversions.some((conversion) => conversion.group === group && conversion.phase !== 'settled'),
    );
  }

  /** Whether a shard has some leaf of a bucket; a table that the group has gained may lack its own. */
  hasLeaves({ tables }: Group, { bucket }: Pick<MirrorRow, 'bucket'>, shard: string): boolean {
    return tables.some(({ name }) => this.#leaves.get(leafName(name, bucket))?.includes(shard) === true);
  }

  /** Whether no shard has anything of a bucket that the map gives somebody. */
  isUnheardOf({ name: group, tables }: Group, { id, pending }: Bucket): boolean {
    const isMirrored = this.#rows.some(({ group_name, bucket }) => group_name === group && bucket === id);
    const isMarked = this.#owners.has(markerName(group, id));
    const hasLeaf = tables.some(({ name }) => this.#leaves.has(leafName(name, id)));
    return pending === undefined && !isMirrored && !isMarked && !hasLeaf && !this.isMoving(group, id);
  }

  /** Why a row of the mirrors is not proved by all else that the shards hold. */
  doubtOf(layout: Group, row: MirrorRow, owners: readonly Owner[]): string | undefined {
    const same = this.#rows.filter(
      (other) =>
        other.group_name === row.group_name && other.bucket === row.bucket && other.epoch === row.epoch,
    );
    if (same.some((other) => !isSame(bucketOf(other, other), bucketOf(row, row))))
      return 'mirrors differ at one epoch';
    const [owner, ...others] = owners;
    if (owner === undefined) return 'no shard has its marker';
    const names = owners.map(({ shard }) => shard).join(' and ');
    if (others.length > 0) return `shards ${names} have its marker`;
    if (owner.shard !== row.shard || owner.epoch !== row.epoch)
      return `its marker is on shard ${owner.shard} at epoch ${owner.epoch ?? 'none'}`;
    if (!this.hasLeaves(layout, row, row.shard)) return `shard ${row.shard} does not have its leaves`;
    const elsewhere = [...this.#answers.keys()].find(
      (shard) => shard !== row.shard && this.hasLeaves(layout, row, shard),
    );
    return elsewhere === undefined ? undefined : `shard ${elsewhere} has a leaf of it`;
  }
}
