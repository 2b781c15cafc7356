import type { Bucket, BucketGroup, ShardMapSpec } from '../api/v1alpha1/shard-map.ts';
import { qualified, quoteIdentifier } from '../postgres/identifier.ts';
import { type Statement, statement } from '../postgres/statement.ts';
import { boundClause, listClause } from './bound-clause.ts';
import { addKey, planForeignKeys } from './foreign-keys.ts';
import type { Group, GroupTable, Layout } from './layout.ts';
import { leafProblems } from './leaf-problems.ts';
import { type Endpoint, planMirror } from './mirror.ts';
import { applicationSchema, defaultName, leafName, leafParent, markerName, regionName } from './names.ts';
import { planPlaces } from './places.ts';
import type { Problem } from './problem.ts';
import { planSequences } from './sequences.ts';
import { type CatalogTable, type ForeignKey, isMoving, type ShardCatalog } from './shard-catalog.ts';
import { plainTables, verifyGroup } from './verify-tables.ts';

/** Leaves made in one transaction: each takes a few locks, and the server has room for some thousands. */
const leavesPerBatch = 96;

/** Statements of one transaction. */
export interface Batch {
  readonly title: string;
  readonly statements: readonly Statement[];
}

/** What planning needs to know. */
export interface LeavesInput {
  /** Name of the shard whose database it is. */
  readonly shard: string;
  /** Its number, from 0. */
  readonly shardIndex: number;
  readonly map: ShardMapSpec;
  readonly layout: Layout;
  readonly catalog: ShardCatalog;
  /** Where clients find each shard. */
  readonly endpoints: Readonly<Record<string, Endpoint>>;
}

/** What has to be done on the shard, in order, and what somebody has to look at. */
export interface LeavesPlan {
  readonly batches: readonly Batch[];
  readonly problems: readonly Problem[];
}

/**
 * Plans what a shard's database lacks: numbers of its own for sequences, partitions between, leaves and markers of the buckets
 * that it owns, place holders for what would fall into a DEFAULT, the parents' foreign keys on the leaves, and the mirror of the
 * map. It drops nothing, and leaves a bucket alone that is on the move.
 */
export function planLeaves(input: LeavesInput): LeavesPlan {
  const { map, layout, catalog, shard } = input;
  const problems = leafProblems(shard, map, layout, catalog);
  if (problems.some((problem) => problem.code === 'map-behind')) return { batches: [], problems };
  const batches: Batch[] = [];
  const relocation = planForeignKeys(layout, catalog);
  problems.push(...relocation.problems);
  if (relocation.statements.length > 0) {
    const owner = ownerOf(layout, catalog);
    batches.push({
      title: 'foreign keys to leaves',
      statements: owner === undefined ? relocation.statements : asOwner(owner, relocation.statements),
    });
  }
  for (const group of layout.groups) {
    const owned = map.groups.find((candidate) => candidate.name === group.name);
    if (owned === undefined || verifyGroup(group, catalog).length > 0) continue;
    if (plainTables(group, catalog).length > 0) continue;
    batches.push(...groupBatches(input, group, owned, relocation.keys));
  }
  const mirror = planMirror(map, layout, catalog, input.endpoints);
  if (mirror.length > 0) batches.push({ title: 'mirror of the map', statements: mirror });
  return { batches, problems };
}

function ownerOf(layout: Layout, catalog: ShardCatalog): string | undefined {
  const names = new Set(layout.groups.flatMap((group) => group.tables.map((table) => table.name)));
  return catalog.tables.find((table) => names.has(table.name))?.owner;
}

/** Runs statements as the owner of the tables, so that what they make is the owner's. */
function asOwner(owner: string, statements: readonly Statement[]): Statement[] {
  return [statement(`SET LOCAL ROLE ${quoteIdentifier(owner)}`), ...statements, statement('RESET ROLE')];
}

interface Work {
  /** Statements as the owner of the tables. */
  readonly tables: readonly Statement[];
  /** Statements as the operator. */
  readonly marker: readonly Statement[];
}

function groupBatches(
  input: LeavesInput,
  group: Group,
  owned: BucketGroup,
  keys: readonly ForeignKey[],
): Batch[] {
  const { catalog, shard } = input;
  const present = new Map(catalog.tables.map((table) => [table.name, table]));
  const settled = owned.buckets.filter(
    (bucket) => bucket.pending === undefined && !isMoving(catalog, owned.name, bucket.id),
  );
  const owner = present.get(group.tables[0]?.name ?? '')?.owner ?? '';
  // Before a leaf takes a row, and before the mirror tells moves that buckets may come.
  const numbers = planSequences(group, input.shardIndex, catalog);
  const sequences =
    numbers.length === 0
      ? []
      : [{ title: `sequences of group ${group.name}`, statements: asOwner(owner, numbers) }];
  // A partition beside a DEFAULT is checked against its rows: places come first, while there is no DEFAULT.
  const { early, late } = planPlaces(group, owned, settled, present);
  const work: Work[] = [
    { tables: early, marker: [] },
    { tables: between(group, owned, present), marker: [] },
    ...settled
      .filter((bucket) => bucket.shard === shard)
      .map((bucket) => bucketWork(catalog, group, owned, bucket, keys, present)),
  ].filter(({ tables, marker }) => tables.length + marker.length > 0);
  // A leaf that a move is about to attach below the DEFAULT lacks the CHECK of a place.
  const isBusy = catalog.moving.some((row) => row.group === owned.name);
  const places = (isBusy ? [] : late).map((statements) => ({
    title: `places beside the DEFAULT of group ${group.name}`,
    statements: asOwner(owner, statements),
  }));
  const batches = inBatches(work, Math.max(1, Math.floor(leavesPerBatch / group.tables.length))).map(
    (part) => {
      const tables = part.flatMap((item) => item.tables);
      const markers = part.flatMap((item) => item.marker);
      return {
        title: `partitions of group ${group.name}`,
        statements: [...(tables.length === 0 ? [] : asOwner(owner, tables)), ...markers],
      };
    },
  );
  return [...sequences, ...places, ...batches];
}

function inBatches<T>(items: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, index) =>
    items.slice(index * size, (index + 1) * size),
  );
}

/** The leaves of an owned bucket with their foreign keys, and its marker: all or nothing. */
function bucketWork(
  catalog: ShardCatalog,
  group: Group,
  owned: BucketGroup,
  bucket: Bucket,
  keys: readonly ForeignKey[],
  present: ReadonlyMap<string, CatalogTable>,
): Work {
  const missing = group.tables.filter((table) => !present.has(leafName(table.name, bucket.id)));
  const made = new Set(missing.map((table) => table.name));
  const tables = [
    ...missing.map((table) => createLeaf(table, bucket, owned)),
    ...keys.filter((key) => made.has(key.table)).map((key) => addKey(key, group, bucket.id)),
  ];
  const name = markerName(group.name, bucket.id);
  const marker = catalog.markers.find((candidate) => candidate.name === name);
  const refused = group.tables.some(
    (table) => present.get(leafName(table.name, bucket.id))?.refuses === true,
  );
  if (refused) return { tables, marker: [] };
  const insert = statement(`INSERT INTO ${qualified('own', name)} VALUES (${bucket.id}, ${bucket.epoch})`);
  if (marker !== undefined) return { tables, marker: marker.epoch === null ? [insert] : [] };
  const create = statement(
    `CREATE TABLE ${qualified('own', name)} (bucket int NOT NULL, epoch bigint NOT NULL)`,
  );
  return { tables, marker: [create, insert] };
}

function createLeaf(
  table: GroupTable,
  bucket: Bucket,
  owned: BucketGroup,
  rootSchema = applicationSchema,
): Statement {
  const parent = leafParent(table.name, bucket, owned);
  const schema = parent === table.name ? rootSchema : applicationSchema;
  return statement(
    `CREATE TABLE ${qualified(applicationSchema, leafName(table.name, bucket.id))} PARTITION OF ` +
      `${qualified(schema, parent)} ${boundClause(bucket)}`,
  );
}

/** All partitions of one table of a group whose buckets are all here; the table itself may wait in another schema. */
export function partitionsOf(
  group: Group,
  table: GroupTable,
  owned: BucketGroup,
  rootSchema: string,
): Statement[] {
  const only = { ...group, tables: [table] };
  return [
    ...planPlaces(only, owned, owned.buckets, new Map(), rootSchema).early,
    ...between(only, owned, new Map(), rootSchema),
    ...owned.buckets.map((bucket) => createLeaf(table, bucket, owned, rootSchema)),
  ];
}

/** The partitioned tables between parent and leaves; on every shard, so that all of them can compute a key's bucket. */
function between(
  group: Group,
  owned: BucketGroup,
  present: ReadonlyMap<string, CatalogTable>,
  rootSchema = applicationSchema,
): Statement[] {
  const statements: Statement[] = [];
  const add = (table: GroupTable, name: string, bound: string, column: string) => {
    if (present.has(name)) return;
    statements.push(
      statement(
        `CREATE TABLE ${qualified(applicationSchema, name)} PARTITION OF ` +
          `${qualified(rootSchema, table.name)} ${bound} PARTITION BY HASH (${quoteIdentifier(column)})`,
      ),
    );
  };
  const first = new Map<string, Bucket>();
  for (const bucket of owned.buckets) {
    if (bucket.hash === undefined) continue;
    const level = bucket.region ?? (bucket.isDefault === true ? '' : undefined);
    if (level !== undefined && !first.has(level)) first.set(level, bucket);
  }
  for (const table of group.tables) {
    for (const bucket of first.values()) {
      if (bucket.region === undefined) add(table, defaultName(table.name), 'DEFAULT', table.key);
      else {
        const name = regionName(table.name, bucket.region);
        add(table, name, listClause(bucket.values ?? []), table.hashKey ?? table.key);
      }
    }
  }
  return statements;
}
