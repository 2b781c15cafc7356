import type { BucketBound, BucketGroup } from '../api/v1alpha1/shard-map.ts';
import { qualified, quoteIdentifier, quoteLiteral } from '../postgres/identifier.ts';
import { type Statement, statement } from '../postgres/statement.ts';
import { boundClause } from './bound-clause.ts';
import type { Group, GroupTable } from './layout.ts';
import { applicationSchema, defaultName, hasPlace, placeName } from './names.ts';
import type { CatalogTable } from './shard-catalog.ts';

/** How long an ATTACH beside a DEFAULT waits for it, and keeps its writers waiting. */
const attachLockMs = 200;

/** The places that are missing on a shard. */
export interface Places {
  /** Where there is no DEFAULT yet: one statement each. */
  readonly early: readonly Statement[];
  /** Beside a DEFAULT that is in use: transactions, one after the other. */
  readonly late: readonly (readonly Statement[])[];
}

/** Plans the partitioned tables that hold the places of buckets beside a DEFAULT; every shard has all of them. */
export function planPlaces(
  group: Group,
  owned: BucketGroup,
  buckets: readonly BucketBound[],
  present: ReadonlyMap<string, CatalogTable>,
  rootSchema = applicationSchema,
): Places {
  const missing = buckets
    .filter((bucket) => hasPlace(bucket, owned))
    .flatMap((bucket) => group.tables.map((table) => ({ table, bucket })))
    .filter(({ table, bucket }) => !present.has(placeName(table.name, bucket.id)));
  const isLate = ({ table }: { table: GroupTable }) => present.has(defaultName(table.name));
  return {
    early: missing
      .filter((place) => !isLate(place))
      .map(({ table, bucket }) =>
        statement(
          `CREATE TABLE ${nameOf(table, bucket)} PARTITION OF ${qualified(rootSchema, table.name)} ` +
            `${boundClause(bucket)} ${method(table, bucket)}`,
        ),
      ),
    late: missing.filter(isLate).flatMap(({ table, bucket }) => addPlace(table, bucket)),
  };
}

function nameOf(table: GroupTable, { id }: BucketBound): string {
  return qualified(applicationSchema, placeName(table.name, id));
}

function method({ key }: GroupTable, { range }: BucketBound): string {
  return `PARTITION BY ${range === undefined ? 'LIST' : 'RANGE'} (${quoteIdentifier(key)})`;
}

/**
 * Transactions that put the place of a tenant beside a DEFAULT that is in use. PostgreSQL looks through a DEFAULT, locked against
 * all, for rows that belong to a new partition, unless a valid CHECK says that there are none: so that is validated before, which
 * lets readers and writers pass. Each may be run again.
 */
export function addPlace(table: GroupTable, bucket: BucketBound): Statement[][] {
  const [tenant = ''] = bucket.values ?? [];
  const key = quoteIdentifier(table.key);
  const place = nameOf(table, bucket);
  const root = qualified(applicationSchema, table.name);
  const rest = qualified(applicationSchema, defaultName(table.name));
  const check = quoteIdentifier(`herdsman_${placeName('place', bucket.id)}`);
  const brief = statement(`SET LOCAL lock_timeout = ${attachLockMs}`);
  return [
    [
      brief,
      statement(`ALTER TABLE ${rest} DROP CONSTRAINT IF EXISTS ${check}`),
      statement(
        `ALTER TABLE ${rest} ADD CONSTRAINT ${check} CHECK (${key} IS NULL OR ${key} <> ${quoteLiteral(tenant)}) NOT VALID`,
      ),
    ],
    [
      statement('SET LOCAL statement_timeout = 0'),
      statement(`ALTER TABLE ${rest} VALIDATE CONSTRAINT ${check}`),
    ],
    [
      brief,
      statement(
        `CREATE TABLE ${place} (LIKE ${root} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING GENERATED EXCLUDING IDENTITY) ` +
          method(table, bucket),
      ),
      statement(`ALTER TABLE ${root} ATTACH PARTITION ${place} ${boundClause(bucket)}`),
      statement(`ALTER TABLE ${rest} DROP CONSTRAINT ${check}`),
    ],
  ];
}

/** Takes the place of a tenant away again that has got no leaf. */
export function dropPlace(table: GroupTable, bucket: BucketBound): string[] {
  const check = quoteIdentifier(`herdsman_${placeName('place', bucket.id)}`);
  return [
    `ALTER TABLE ${qualified(applicationSchema, defaultName(table.name))} DROP CONSTRAINT IF EXISTS ${check}`,
    `DROP TABLE IF EXISTS ${nameOf(table, bucket)}`,
  ];
}
