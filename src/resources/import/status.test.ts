import { describe, expect, it } from 'vitest';
import type { ImportSpec } from '../../api/v1alpha1/import.ts';
import type { ImportPhase, ImportRecord, ShardFacts, SourceFacts } from '../../sharding/import/model.ts';
import { type ImportReport, statusOf } from './status.ts';

const now = new Date('2026-01-01T00:01:00Z');
const source: ImportSpec = {
  host: 'old',
  port: 5432,
  database: 'shop',
  credentials: 'old',
  tls: { mode: 'require' },
  cutover: 'manual',
  verify: 'full',
};
const cluster = { metadata: { name: 'shop', namespace: 'n', uid: 'u', generation: 3 } };

function record(phase: ImportPhase, rest: Partial<ImportRecord> = {}): ImportRecord {
  return {
    name: 'herdsman_import_1',
    phase,
    tables: ['orders', 'lines'],
    source,
    connection: 'hash',
    subscription: 1,
    attempt: 1,
    startedAtMs: now.getTime() - 30_000,
    fencedAtMs: null,
    switchedAtMs: null,
    fenceLsn: null,
    failure: null,
    ...rest,
  };
}

const facts: SourceFacts = {
  version: 17_00_00,
  walLevel: 'logical',
  inRecovery: false,
  lsn: '0/2345',
  confirmedLsn: '0/2300',
  hiddenSequences: [],
  fenceToken: null,
  freeSlots: 1,
  freeSenders: 1,
  mayReplicate: true,
  mayCreate: true,
  tables: [table('orders', 900), table('lines', 100)],
  isPublished: true,
  slot: 'present',
  isFenced: false,
};

function table(name: string, bytes: number) {
  return { name, kind: 'plain' as const, owned: true, filtered: false, columns: [], identity: ['id'], bytes };
}

function here(name: string, bytes: number) {
  return {
    name,
    partitioned: false,
    owner: 'app',
    columns: [],
    generated: [],
    primaryKey: ['id'],
    refersTo: [],
    hasRows: false,
    bytes,
  };
}

function report(
  shard: Partial<ShardFacts>,
  outcome: ImportReport['outcome'] = { kind: 'going' },
): ImportReport {
  return {
    name: 'herdsman_import_1',
    source,
    view: {
      shard: { record: undefined, tables: [], databaseBytes: 0, subscription: undefined, ...shard },
      source: { state: 'known', facts },
      nowMs: now.getTime(),
    },
    outcome,
  };
}

describe('the status of an import', () => {
  it('is nothing without one', () => {
    expect(statusOf(cluster, undefined, now)).toEqual({});
  });

  it('tells how much is copied, and when the rest will be', () => {
    const shard = {
      record: record('copying'),
      tables: [here('orders', 150), here('lines', 100), here('other', 10_000)],
      subscription: { ready: ['lines'], total: 2, receivedLsn: '0/2300', errors: 0 },
    };
    expect(statusOf(cluster, report(shard), now).import).toEqual({
      phase: 'copying',
      source: 'old:5432/shop',
      slot: 'herdsman_import_1',
      tables: '1/2',
      progress: '25 %',
      eta: '2026-01-01T00:03:00.000Z',
      lagBytes: 69,
      attempt: 1,
    });
  });

  it('says what is refused, in a condition of the generation', () => {
    const refused = report({}, { kind: 'refused', reason: 'WalLevel', message: 'wal_level is replica' });
    const status = statusOf(cluster, refused, now);
    expect(status.import).toMatchObject({ phase: 'refused', reason: 'WalLevel' });
    expect(status.conditions).toMatchObject([
      {
        type: 'Imported',
        status: 'False',
        reason: 'WalLevel',
        message: 'wal_level is replica',
        observedGeneration: 3,
      },
    ]);
  });

  it('tells how long nobody took writes, and what is left behind', () => {
    const shard = { record: record('switched', { fencedAtMs: 1_000, switchedAtMs: 1_450 }) };
    const left = report(shard, { kind: 'waiting', reason: 'LeftBehind', message: 'a slot is left' });
    const status = statusOf(cluster, left, now);
    expect(status.import).toMatchObject({
      phase: 'switched',
      fenceMs: 450,
      switchedAt: '1970-01-01T00:00:01.450Z',
    });
    expect(status.conditions).toMatchObject([
      { status: 'True', reason: 'LeftBehind', message: expect.stringContaining('a slot is left') },
    ]);
  });
});
