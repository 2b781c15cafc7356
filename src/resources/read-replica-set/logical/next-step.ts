import type { Bucket, ShardMapSpec } from '../../../api/v1alpha1/shard-map.ts';
import { planMigrations, type ResolvedMigration } from '../../../postgres/migration-plan.ts';
import { definitionOf } from '../../../postgres/read-model/definition.ts';
import { publicationName } from '../../../postgres/read-model/names.ts';
import type { SourceFacts } from '../../../postgres/read-model/publisher.ts';
import type { BucketEpochs, ModelFacts, ModelStream } from '../../../postgres/read-model/subscriber.ts';
import type { LedgerEntry } from '../../../sharding/shard-catalog.ts';
import type { ModelMember, ModelStep, ModelWorld } from './model.ts';
import { tableProblems } from './tables.ts';

/** Migrations of the read model alone are in the same ledger, behind all others, under names that no other has. */
const ownPrefix = 'model:';
/** The first place of theirs in the ledger. */
export const ownPosition = 1_000_000;

/** So often a copy fails for a reason that does not pass by itself. */
const manyFailures = 5;

type Live = NonNullable<ModelFacts['copy']>;

/** What a member does next: total and pure, from what it and the shards say. */
export function nextStep(world: ModelWorld, member: ModelMember): ModelStep {
  const { replica, isSetUp, facts } = member;
  if (!replica.ready) return wait('Starting', 'its server starts');
  if (!isSetUp) return { kind: 'set-up' };
  if (facts.state !== 'present') return wait('Silent', 'it does not answer');
  const { copy, streams } = facts.value;
  if (copy === undefined) {
    if (streams.length > 0) return { kind: 'reset', reason: 'it follows shards, and knows of no copy' };
    return startCopy(world, member, facts.value);
  }
  const broken = whyBroken(world, facts.value, copy);
  if (broken !== undefined) return { kind: 'reset', reason: broken };
  const lost = whyLost(world, facts.value, copy) ?? whyMigrationNeedsNoRows(member);
  if (lost !== undefined) return copyLostAnew(world, copy, lost);
  return copy.live ? goOn(world, member, facts.value, copy) : copyOn(world, facts.value, copy);
}

function wait(reason: string, message: string): ModelStep {
  return { kind: 'wait', reason, message };
}

/** Whether what is copied can no longer become, or stay, what the shards have. */
function whyBroken(world: ModelWorld, { streams, ledger }: ModelFacts, copy: Live): string | undefined {
  if (streams.some(({ name }) => !name.startsWith(`${copy.name}_`)))
    return 'it follows shards for another copy';
  const truncated = streams.find((stream) => stream.truncated);
  if (truncated !== undefined)
    return `shard ${truncated.shard} has emptied a table of which others have rows too`;
  const isOther = copy.definition !== definitionOf(world.tables);
  // One member after the other, so that others serve meanwhile.
  if (isOther && (world.othersServe || !copy.live) && problemsOf(world).length === 0)
    return 'the tables of the set are others now';
  if (copy.live) return undefined;
  if (hasChanged(copy.buckets, world.map?.spec)) return 'a bucket has moved while it was copied';
  const behind = world.sources.find(
    ({ facts }) => facts.state === 'present' && facts.value.ledger.length !== clusterLedger(ledger).length,
  );
  return behind === undefined ? undefined : `shard ${behind.shard} has had a migration while it was copied`;
}

/** Whether what is copied stays as it is, since a shard no longer has what the stream goes on from. */
function whyLost(world: ModelWorld, { streams }: ModelFacts, copy: Live): string | undefined {
  const publication = publicationName(world.set, copy.definition);
  for (const { shard, facts } of world.sources) {
    const isFollowed = streams.some((stream) => stream.shard === shard);
    if (!isFollowed || facts.state !== 'present') continue;
    const slot = facts.value.slots.find(({ name }) => name === copy.name);
    if (slot === undefined) return `shard ${shard} no longer has its replication slot`;
    if (slot.lost) return `shard ${shard} no longer has the WAL that it needs`;
    if (!facts.value.publications.includes(publication))
      return `shard ${shard} no longer publishes its tables`;
  }
  return undefined;
}

/**
 * A failover takes the slots of all members at once if no standby had them, and a migration is refused by the rows of all: they are
 * copied one after the other, and the last one serves what it has until another has a copy. Its lag says how late that is.
 */
function copyLostAnew({ copying, maxCopies, isLast }: ModelWorld, { live }: Live, lost: string): ModelStep {
  if (!live || (!isLast && copying < maxCopies)) return { kind: 'reset', reason: lost };
  return wait('WaitingForCopies', `${lost}; it is copied anew when others have been`);
}

/** A migration that failed on rows is tried again on empty tables, which are then copied with it. */
function whyMigrationNeedsNoRows({ failed }: ModelMember): string | undefined {
  if (failed?.hadRows !== true) return undefined;
  return `migration "${failed.name}" cannot be applied to its rows: ${failed.message}`;
}

function startCopy(world: ModelWorld, member: ModelMember, facts: ModelFacts): ModelStep {
  const sources = presentSources(world);
  if (sources === undefined) return wait('SourceUnknown', silent(world));
  const [first, ...others] = sources;
  if (first === undefined) return wait('NoShards', 'the cluster has no shard yet');
  if (others.some(({ ledger }) => ledger.length !== first.ledger.length))
    return wait('Migrating', 'a migration is being applied on the shards');
  const migrated = nextMigration(world, member, facts, first.ledger.length, false);
  if (migrated !== undefined) return migrated;
  const problems = problemsOf(world);
  if (problems.length > 0) return { kind: 'fail', reason: 'TablesInvalid', message: problems.join('; ') };
  const own = nextOwnMigration(world, member, facts, false);
  if (own !== undefined) return own;
  if (world.copying >= world.maxCopies)
    return wait('WaitingForCopies', `${world.maxCopies} members are copied at a time`);
  if (world.map === undefined) return wait('MapUnknown', 'the ShardMap is not there yet');
  if (
    sources.some(({ moving }) => moving) ||
    bucketsOf(world.map.spec).some(({ pending }) => pending !== undefined)
  )
    return wait('WaitingForMoves', 'buckets are on the move; the copy begins when they have arrived');
  return { kind: 'begin' };
}

function copyOn(world: ModelWorld, { streams }: ModelFacts, copy: Live): ModelStep {
  const stopped = streams.find(({ enabled }) => !enabled);
  if (stopped !== undefined)
    return {
      kind: 'reset',
      reason: `its stream from shard ${stopped.shard} was stopped while it was copied`,
    };
  const elsewhere = streamElsewhere(world, streams);
  // What copies single tables has slots of its own, which nobody keeps in a failover.
  if (elsewhere !== undefined)
    return { kind: 'reset', reason: `shard ${elsewhere.shard} has got another primary while it was copied` };
  const next = world.sources.find(({ shard }) => !streams.some((stream) => stream.shard === shard));
  if (next !== undefined) {
    if (next.facts.state !== 'present') return wait('SourceUnknown', silent(world));
    if (copy.definition !== definitionOf(world.tables))
      return wait('TablesInvalid', problemsOf(world).join('; '));
    return { kind: 'follow', shard: next.shard, copyData: true };
  }
  const copying = [...new Set(streams.flatMap((stream) => stream.copying))];
  const failures = streams.reduce((sum, { syncErrors }) => sum + syncErrors, 0);
  if (copying.length > 0 && failures >= manyFailures) {
    const message = `the copy of ${copying.join(', ')} has failed ${failures} times: the log of the member says at what`;
    return { kind: 'fail', reason: 'CopyFails', message };
  }
  if (copying.length > 0) return wait('Copying', `tables are copied: ${copying.join(', ')}`);
  if (presentSources(world) === undefined) return wait('SourceUnknown', silent(world));
  return { kind: 'go-live' };
}

function goOn(world: ModelWorld, member: ModelMember, facts: ModelFacts, copy: Live): ModelStep {
  const { streams } = facts;
  const redirected = streamElsewhere(world, streams);
  if (redirected !== undefined) return redirected;
  const added = world.sources.find(({ shard }) => !streams.some((stream) => stream.shard === shard));
  const isAsWanted = copy.definition === definitionOf(world.tables);
  if (added !== undefined && isAsWanted && world.map !== undefined && added.facts.state === 'present') {
    const buckets = bucketsOf(world.map.spec);
    if (buckets.some(({ shard }) => shard === added.shard))
      return { kind: 'reset', reason: `shard ${added.shard} has got buckets before it was followed` };
    if (buckets.some(({ pending }) => pending !== undefined))
      return wait('WaitingForMoves', `shard ${added.shard} is followed when no bucket moves`);
    return { kind: 'follow', shard: added.shard, copyData: false };
  }
  // A cluster that was deleted and has come back tells of no shard at first.
  if (world.sources.length === 0) return wait('NoShards', 'the cluster has not told of its shards yet');
  const gone = streams.find(({ shard }) => !world.sources.some((source) => source.shard === shard));
  if (gone !== undefined) return { kind: 'unfollow', shard: gone.shard };
  const places = new Set(streams.map(({ waitsFor }) => waitsFor));
  const [place] = places;
  if (places.size === 1 && place !== undefined && clusterLedger(facts.ledger).length < place) {
    return (
      nextMigration(world, member, facts, place, true) ?? wait('Migrating', 'streams wait at a migration')
    );
  }
  if (member.failed !== undefined && !member.failed.hadRows) return failure(member.failed.message);
  const own = nextOwnMigration(world, member, facts, true);
  if (own !== undefined) return own;
  if (streams.some(({ waitsFor }) => waitsFor !== undefined))
    return wait('Migrating', 'streams of other shards have not come to a migration yet');
  if (isAsWanted) return { kind: 'none' };
  const problems = problemsOf(world);
  return problems.length === 0
    ? wait(
        'WaitingForCopies',
        'the tables of the set are others now; its turn comes when the other members serve',
      )
    : { kind: 'fail', reason: 'TablesInvalid', message: problems.join('; ') };
}

/**
 * A stream follows a pod, so that it is known whether what it has is of the primary's history; after a failover another one. One
 * that was stopped, and of which nobody knows any more what for, goes on in the same way.
 */
function streamElsewhere(
  world: ModelWorld,
  streams: readonly ModelStream[],
): Extract<ModelStep, { kind: 'redirect' }> | undefined {
  for (const { shard, member, facts } of world.sources) {
    const stream = streams.find((candidate) => candidate.shard === shard);
    if (stream === undefined || member === undefined || facts.state !== 'present') continue;
    if (!stream.enabled || stream.source !== member || stream.timeline !== facts.value.timeline)
      return { kind: 'redirect', shard };
  }
  return undefined;
}

function nextMigration(
  world: ModelWorld,
  { failed }: ModelMember,
  { ledger }: ModelFacts,
  upTo: number,
  hasRows: boolean,
): ModelStep | undefined {
  if (world.migrations.kind !== 'known') return wait('MigrationUnknown', world.migrations.message);
  const plan = planMigrations(world.migrations.list.slice(0, upTo), clusterLedger(ledger));
  if (plan.kind === 'done') return undefined;
  if (plan.kind !== 'apply') return { kind: 'fail', reason: 'MigrationChanged', message: plan.message };
  const { migration, position } = plan;
  const replacement = world.replacements.get(migration.name);
  if (failed?.name === migration.name && failed.sql === (replacement ?? migration.sql)) {
    return failure(
      `${failed.message}. Write other SQL for it in logical.replace; the cluster goes on meanwhile`,
    );
  }
  return { kind: 'migrate', migration, position, replacement, own: false, hasRows };
}

function nextOwnMigration(
  world: ModelWorld,
  { failed }: ModelMember,
  { ledger }: ModelFacts,
  hasRows: boolean,
): ModelStep | undefined {
  if (world.extras.kind !== 'known') {
    return world.extras.kind === 'unknown'
      ? wait('MigrationUnknown', world.extras.message)
      : { kind: 'fail', reason: 'MigrationMissing', message: world.extras.message };
  }
  const applied = ledger
    .filter(({ name }) => name.startsWith(ownPrefix))
    .map((entry) => ({ ...entry, name: entry.name.slice(ownPrefix.length) }));
  const plan = planMigrations(world.extras.list, applied);
  if (plan.kind === 'done') return undefined;
  if (plan.kind !== 'apply') {
    const message = plan.message.replaceAll('spec.schema', 'logical.schema');
    return { kind: 'fail', reason: 'MigrationChanged', message };
  }
  const { migration, position } = plan;
  if (failed?.name === `${ownPrefix}${migration.name}` && failed.sql === migration.sql)
    return failure(`${failed.message}. Correct it in logical.schema`);
  const named: ResolvedMigration = { ...migration, name: `${ownPrefix}${migration.name}` };
  return {
    kind: 'migrate',
    migration: named,
    position: ownPosition + position,
    replacement: undefined,
    own: true,
    hasRows,
  };
}

function failure(message: string): ModelStep {
  return { kind: 'fail', reason: 'MigrationFailed', message };
}

/** The migrations of the cluster that a member has applied. */
export function clusterLedger(ledger: readonly LedgerEntry[]): LedgerEntry[] {
  return ledger.filter(({ name }) => !name.startsWith(ownPrefix));
}

function presentSources({ sources }: ModelWorld): SourceFacts[] | undefined {
  const present = sources.flatMap(({ facts }) => (facts.state === 'present' ? [facts.value] : []));
  return present.length === sources.length ? present : undefined;
}

function silent({ sources }: ModelWorld): string {
  const names = sources.filter(({ facts }) => facts.state !== 'present').map(({ shard }) => shard);
  return `no primary of ${names.join(', ')} answers`;
}

function problemsOf(world: ModelWorld): string[] {
  return tableProblems(world.tables, world.undistributed, world.sources);
}

function bucketsOf(map: ShardMapSpec): Bucket[] {
  return map.groups.flatMap(({ buckets }) => buckets);
}

/** The epoch of every bucket, by which a later look tells whether one has moved. */
export function epochsOf(map: ShardMapSpec): BucketEpochs {
  return Object.fromEntries(
    map.groups.map(({ name, buckets }) => [
      name,
      Object.fromEntries(buckets.map(({ id, epoch }) => [String(id), epoch])),
    ]),
  );
}

/** Whether a bucket has moved since, or is about to. New groups have no rows yet. */
export function hasChanged(before: BucketEpochs, map: ShardMapSpec | undefined): boolean {
  if (map === undefined) return false;
  return map.groups.some(({ name, buckets }) => {
    const known = before[name];
    if (known === undefined) return false;
    return (
      buckets.length !== Object.keys(known).length ||
      buckets.some(({ id, epoch, pending }) => pending !== undefined || known[String(id)] !== epoch)
    );
  });
}
