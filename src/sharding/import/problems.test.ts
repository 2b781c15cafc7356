import { describe, expect, it } from 'vitest';
import type { ShardTable, SourceFacts } from './model.ts';
import { planImport } from './plan.ts';
import { importedTables, importProblems } from './problems.ts';
import { columns, here, server, shard, there, view, wanted } from './test-support/scenes.ts';

describe('what keeps an import from beginning', () => {
  const fresh = { slot: undefined, isPublished: false };
  it.each<[string, Partial<SourceFacts>, readonly ShardTable[], RegExp]>([
    ['VersionTooOld', { version: 9_06_24 }, [here()], /PostgreSQL 9\.6.*upgrade/],
    ['IsStandby', { inRecovery: true }, [here()], /host of its primary/],
    ['WalLevel', { walLevel: 'replica' }, [here()], /ALTER SYSTEM SET wal_level = logical/],
    ['MayNotReplicate', { mayReplicate: false }, [here()], /ALTER ROLE … REPLICATION/],
    ['MayNotCreate', { mayCreate: false }, [here()], /GRANT CREATE ON DATABASE/],
    ['TooFewSlots', { freeSlots: 1 }, [here()], /has 1 replication slots left.*max_replication_slots/],
    ['TooFewSenders', { freeSenders: 0 }, [here()], /max_wal_senders/],
    ['NoTables', { tables: [] }, [here()], /has no tables in the schema public/],
    ['TableMissing', {}, [], /make it in spec.schema/],
    ['NotTheOwner', { tables: [there({ owned: false })] }, [here()], /GRANT its owner/],
    ['RowsHidden', { tables: [there({ filtered: true })] }, [here()], /BYPASSRLS/],
    ['SequenceHidden', { hiddenSequences: ['numbers'] }, [here()], /GRANT SELECT ON SEQUENCE numbers/],
    ['WrongKind', { tables: [there({ kind: 'unlogged' })] }, [here()], /SET LOGGED/],
    ['WrongKind', { tables: [there({ kind: 'inherited' })] }, [here()], /NO INHERIT/],
    ['WrongKind', { version: 12_00_00, tables: [there({ kind: 'partitioned' })] }, [here()], /PostgreSQL 13/],
    ['Partitioned', {}, [here({ partitioned: true })], /without PARTITION BY/],
    ['NoReplicaIdentity', { tables: [there({ identity: [] })] }, [here()], /REPLICA IDENTITY/],
    ['NoPrimaryKey', {}, [here({ primaryKey: [] })], /no primary key on the cluster/],
    ['KeyDiffers', {}, [here({ primaryKey: ['note', 'id'] })], /\(id\) on the server and \(note, id\)/],
    ['ColumnDiffers', {}, [here({ columns: columns.slice(0, 1) })], /"note" \(text\) on the server only/],
    [
      'ColumnDiffers',
      {},
      [here({ columns: columns.slice(0, 1), generated: ['note'] })],
      /generates it .*: write it without GENERATED in spec.schema$/,
    ],
    [
      'ColumnDiffers',
      {},
      [here({ columns: columns.map((column) => ({ ...column, type: 'text' })) })],
      /"id" as bigint on the server and as text on the cluster: write bigint in spec.schema$/,
    ],
    [
      'ColumnDiffers',
      {},
      [here({ columns: [...columns, { name: 'x', type: 'int', optional: false }] })],
      /"x" on the cluster only, .*: give it a DEFAULT in spec.schema/,
    ],
    ['ReferenceMissing', {}, [here({ refersTo: ['customers'] })], /"customers" is not brought in/],
    [
      'ReferenceMissing',
      {},
      [here(), here({ name: 'lines', refersTo: ['orders'] })],
      /"lines" is not brought in/,
    ],
    ['NotEmpty', {}, [here({ hasRows: true })], /has rows on the cluster already/],
  ])('%s', (code, facts, tables, message) => {
    const problems = importProblems(wanted, server({ ...fresh, ...facts }), tables);
    expect(problems.map((problem) => problem.code)).toEqual([code]);
    expect(problems[0]?.message).toMatch(message);
    const plan = planImport(view({ shard: shard({ tables }) }, { ...fresh, ...facts }));
    expect(plan).toMatchObject({ kind: 'refuse', reason: code });
  });

  it('is nothing where a column may be empty, an identity is full, or a partitioned table is published as a whole', () => {
    const optional = here({ columns: [...columns, { name: 'x', type: 'int', optional: true }] });
    expect(importProblems(wanted, server(fresh), [optional])).toEqual([]);
    const full = server({ ...fresh, tables: [there({ identity: 'full' })] });
    expect(importProblems(wanted, full, [here({ primaryKey: ['id', 'note'] })])).toEqual([]);
    const parts = [there({ kind: 'partitioned' }), there({ name: 'orders_1', kind: 'partition' })];
    expect(importProblems(wanted, server({ ...fresh, tables: parts }), [here()])).toEqual([]);
    expect(importedTables(wanted, server({ tables: parts }))).toEqual(['orders']);
  });

  it('is a name that the server does not know', () => {
    const named = { ...wanted, tables: ['orders', 'oders'] };
    const [problem] = importProblems(named, server(fresh), [here(), here({ name: 'oders' })]);
    expect(problem?.message).toBe('the server has no table "oders" in the schema public: correct the name');
  });
});
