import type { ImportSpec } from '../../api/v1alpha1/import.ts';
import type { Problem } from '../problem.ts';
import { freeRoom, neededRoom, roomFactor, usableVolume, type Volume, wayToRoom } from '../room.ts';
import type { ImportColumn, ShardTable, SourceFacts, SourceTable } from './model.ts';

/** The oldest PostgreSQL that publishes. */
export const firstVersion = 10_00_00;
/** The first that publishes partitioned tables as wholes. */
export const partitionedVersion = 13_00_00;
/** Of the import itself, and one for a table that is being copied. */
const neededSlots = 2;

/** Tables that an import brings in: those that are named, or all of the server's. */
export function importedTables(wanted: ImportSpec, source: SourceFacts): string[] {
  return [...(wanted.tables ?? source.tables.filter(isWhole).map(({ name }) => name))].sort();
}

function isWhole({ kind }: SourceTable): boolean {
  return kind !== 'partition';
}

/** What keeps an import from beginning, with what to do about it; the server's own settings first. */
export function importProblems(
  wanted: ImportSpec,
  source: SourceFacts,
  shard: readonly ShardTable[],
): Problem[] {
  const server = serverProblems(source);
  if (server.length > 0) return server;
  const names = importedTables(wanted, source);
  if (names.length === 0) {
    return [
      { code: 'NoTables', message: `database "${wanted.database}" has no tables in the schema public` },
    ];
  }
  return [
    ...(source.slot === undefined ? roomProblems(source) : []),
    ...tableProblems(names, source, shard),
    ...emptyProblems(names, shard),
  ];
}

function roomProblems({ freeSlots, freeSenders }: SourceFacts): Problem[] {
  const missing = (code: string, free: number, what: string, parameter: string): Problem[] => {
    const message = `the server has ${free} ${what} left, and ${neededSlots} are needed: raise ${parameter} there, and restart it`;
    return free < neededSlots ? [{ code, message }] : [];
  };
  return [
    ...missing('TooFewSlots', freeSlots, 'replication slots', 'max_replication_slots'),
    ...missing('TooFewSenders', freeSenders, 'WAL senders', 'max_wal_senders'),
  ];
}

/** Whether the volume of the shard has room for the tables, whose size on the server is known without indexes. */
export function volumeProblems(
  names: readonly string[],
  source: SourceFacts,
  { volume, databaseBytes }: { readonly volume: Volume; readonly databaseBytes: number },
): Problem[] {
  const tables = source.tables.filter(({ name }) => names.includes(name));
  const needed = roomFactor * tables.reduce((sum, { bytes }) => sum + bytes, 0);
  const free = Math.max(0, usableVolume * volume.bytes - databaseBytes);
  if (needed <= free) return [];
  const message =
    `the tables need ${neededRoom(needed)} (${roomFactor} times what they have on the server, without indexes), and the volume of ` +
    `shard s0 has room for ${freeRoom(free)}: ${wayToRoom(volume)}`;
  return [{ code: 'VolumeTooSmall', message }];
}

function serverProblems(source: SourceFacts): Problem[] {
  if (source.version < firstVersion) {
    const message = `the server is PostgreSQL ${Math.floor(source.version / 10_000)}.${Math.floor(source.version / 100) % 100}, which cannot publish: upgrade it to 10 or newer`;
    return [{ code: 'VersionTooOld', message }];
  }
  const problems: Problem[] = [];
  const add = (code: string, message: string) => problems.push({ code, message });
  if (source.inRecovery) add('IsStandby', 'the server is a standby: give the host of its primary');
  if (source.walLevel !== 'logical') {
    add(
      'WalLevel',
      `the server has wal_level "${source.walLevel}": ALTER SYSTEM SET wal_level = logical there, and restart it`,
    );
  }
  if (!source.mayReplicate) add('MayNotReplicate', 'the role may not replicate: ALTER ROLE … REPLICATION');
  if (!source.mayCreate) {
    add(
      'MayNotCreate',
      'the role may not make a publication: GRANT CREATE ON DATABASE … TO it (and keep it until the end)',
    );
  }
  if (source.hiddenSequences.length > 0) {
    const names = source.hiddenSequences.join(', ');
    const message = `the role may not read sequence ${names}, so that the cluster would count from 1: GRANT SELECT ON SEQUENCE ${names} TO it`;
    add('SequenceHidden', message);
  }
  return problems;
}

/** What has to hold all through the import, table by table. */
export function tableProblems(
  names: readonly string[],
  source: SourceFacts,
  shard: readonly ShardTable[],
): Problem[] {
  const problems: Problem[] = [];
  const absent = names.filter((name) => !shard.some((table) => table.name === name));
  if (absent.length > 0) {
    const message = `the cluster has no table ${absent.join(', ')}: make it in spec.schema, or name in bootstrap.import.tables those to bring in`;
    problems.push({ code: 'TableMissing', message });
  }
  for (const name of names) {
    const from = source.tables.find((table) => table.name === name);
    const to = shard.find((table) => table.name === name);
    if (from === undefined) {
      const message = `the server has no table "${name}" in the schema public: correct the name`;
      problems.push({ code: 'TableMissing', message });
    } else if (to !== undefined) problems.push(...pairProblems(from, to, source.version));
  }
  return [...problems, ...keyProblems(names, shard)];
}

const kinds: Readonly<Record<SourceTable['kind'], string | undefined>> = {
  plain: undefined,
  partitioned: undefined,
  partition: 'is a partition on the server: name the table that it is a partition of',
  inherited: 'has child tables on the server, which are no partitions: end the inheritance by NO INHERIT',
  unlogged: 'is unlogged on the server, so that its changes are not in the WAL: ALTER TABLE … SET LOGGED',
};

function pairProblems(from: SourceTable, to: ShardTable, version: number): Problem[] {
  const problems: Problem[] = [];
  const add = (code: string, message: string) =>
    problems.push({ code, message: `table "${from.name}" ${message}` });
  const kind = kinds[from.kind];
  if (kind !== undefined) add('WrongKind', kind);
  if (from.kind === 'partitioned' && version < partitionedVersion)
    add('WrongKind', 'is partitioned, which only PostgreSQL 13 or newer can publish: upgrade the server');
  if (to.partitioned)
    add(
      'Partitioned',
      'is partitioned on the cluster: write it without PARTITION BY; when it is in spec.tables it is distributed after the import',
    );
  if (!from.owned)
    add('NotTheOwner', 'belongs to another role on the server: GRANT its owner to the role of the Secret');
  else if (from.filtered)
    add(
      'RowsHidden',
      'has row security on the server, which may keep rows from the role of the Secret: ALTER ROLE … BYPASSRLS there, or ' +
        'ALTER TABLE … NO FORCE ROW LEVEL SECURITY',
    );
  if (from.identity !== 'full' && from.identity.length === 0)
    add(
      'NoReplicaIdentity',
      'has no primary key on the server: add one, or ALTER TABLE … REPLICA IDENTITY USING INDEX or FULL',
    );
  if (to.primaryKey.length === 0) add('NoPrimaryKey', 'has no primary key on the cluster: add one');
  else if (from.identity !== 'full' && from.identity.length > 0 && !sameNames(from.identity, to.primaryKey)) {
    add(
      'KeyDiffers',
      `has the key (${from.identity.join(', ')}) on the server and (${to.primaryKey.join(', ')}) on the cluster: make them the same, ` +
        'or ALTER TABLE … REPLICA IDENTITY FULL on the server',
    );
  }
  for (const problem of columnProblems(from.columns, to)) add(problem.code, problem.message);
  return problems;
}

function sameNames(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((name) => other.includes(name));
}

function columnProblems(from: readonly ImportColumn[], to: ShardTable): Problem[] {
  const problems: Problem[] = [];
  const add = (code: string, message: string) => problems.push({ code, message });
  for (const { name, type } of from) {
    const column = to.columns.find((candidate) => candidate.name === name);
    if (column !== undefined) {
      if (column.type !== type)
        add(
          'ColumnDiffers',
          `has "${name}" as ${type} on the server and as ${column.type} on the cluster: write ${type} in spec.schema`,
        );
    } else if (to.generated.includes(name))
      add(
        'ColumnDiffers',
        `has "${name}" on the server, and generates it on the cluster: write it without GENERATED in spec.schema`,
      );
    else add('ColumnDiffers', `has the column "${name}" (${type}) on the server only: add it to spec.schema`);
  }
  for (const { name, optional } of to.columns) {
    if (optional || from.some((candidate) => candidate.name === name)) continue;
    add(
      'ColumnDiffers',
      `has the column "${name}" on the cluster only, and it may not be empty: give it a DEFAULT in spec.schema, or leave out NOT NULL`,
    );
  }
  return problems;
}

/** Foreign keys are not checked while rows come: both their ends have to come, or neither. */
function keyProblems(names: readonly string[], shard: readonly ShardTable[]): Problem[] {
  return shard.flatMap(({ name, refersTo }) =>
    refersTo
      .filter((other) => names.includes(name) !== names.includes(other))
      .map((other) => {
        const absent = names.includes(name) ? other : name;
        const message = `table "${name}" refers to "${other}", and "${absent}" is not brought in: add it to bootstrap.import.tables`;
        return { code: 'ReferenceMissing', message };
      }),
  );
}

function emptyProblems(names: readonly string[], shard: readonly ShardTable[]): Problem[] {
  const filled = shard.filter(({ name, hasRows }) => hasRows && names.includes(name)).map(({ name }) => name);
  if (filled.length === 0) return [];
  const message = `table ${filled.join(', ')} has rows on the cluster already: leave them out of spec.schema, or delete them`;
  return [{ code: 'NotEmpty', message }];
}
