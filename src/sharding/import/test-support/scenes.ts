import type { ImportSpec } from '../../../api/v1alpha1/import.ts';
import type { ShardFacts, ShardTable, SourceFacts, SourceTable } from '../model.ts';
import type { ImportView } from '../plan.ts';

/** What a user wants. */
export const wanted: ImportSpec = {
  host: 'old',
  port: 5432,
  database: 'shop',
  credentials: 'old',
  tls: { mode: 'require' },
  cutover: 'auto',
  verify: 'full',
};
/** Of both tables. */
export const columns = [
  { name: 'id', type: 'bigint', optional: false },
  { name: 'note', type: 'text', optional: true },
];

/** A table at the other server. */
export function there(rest: Partial<SourceTable> = {}): SourceTable {
  return {
    name: 'orders',
    kind: 'plain',
    owned: true,
    filtered: false,
    columns,
    identity: ['id'],
    bytes: 100,
    ...rest,
  };
}

/** The same on the shard. */
export function here(rest: Partial<ShardTable> = {}): ShardTable {
  return {
    name: 'orders',
    partitioned: false,
    owner: 'app',
    columns,
    generated: [],
    primaryKey: ['id'],
    refersTo: [],
    hasRows: false,
    bytes: 0,
    ...rest,
  };
}

/** The other server, from which nothing keeps an import. */
export function server(rest: Partial<SourceFacts> = {}): SourceFacts {
  return {
    version: 15_00_04,
    walLevel: 'logical',
    inRecovery: false,
    lsn: '0/1000',
    freeSlots: 10,
    freeSenders: 10,
    mayReplicate: true,
    mayCreate: true,
    hiddenSequences: [],
    confirmedLsn: '0/1000',
    tables: [there()],
    isPublished: true,
    slot: 'present',
    isFenced: false,
    fenceToken: null,
    ...rest,
  };
}

/** A subscription that has everything. */
export const inStep = { ready: ['orders'], total: 1, receivedLsn: '0/1000', errors: 0 };

/** A shard before an import. */
export function shard(rest: Partial<ShardFacts> = {}): ShardFacts {
  return { record: undefined, tables: [here()], databaseBytes: 50, subscription: inStep, ...rest };
}

/** What the next step is decided on. */
export function view(rest: Partial<ImportView> = {}, facts: Partial<SourceFacts> = {}): ImportView {
  return {
    wanted,
    shard: shard(),
    source: { state: 'known', facts: server(facts) },
    connection: 'hash',
    volume: { bytes: 200 },
    nowMs: 2_000,
    ...rest,
  };
}
