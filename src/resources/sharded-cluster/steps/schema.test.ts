import { createHash } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import type { LedgerEntry } from '../../../sharding/shard-catalog.ts';
import type { PlanInput } from '../model.ts';
import { settled } from '../test-support/advance.ts';
import {
  emptyWorld,
  observing,
  shardedCluster,
  shardOf,
  wanting,
  withFacts,
  withShard,
} from '../test-support/world.ts';
import { schema } from './schema.ts';

const migrations = [
  { name: '001', sql: 'CREATE TABLE a ()' },
  { name: '002', sql: 'CREATE TABLE b ()' },
  { name: '003', sql: 'CREATE TABLE c ()' },
];
const spec = { shards: { count: 3 }, schema: migrations };

let world: PlanInput;
beforeAll(async () => {
  world = wanting(await settled(emptyWorld(shardedCluster({ shards: { count: 3 } }))), spec);
});

const entry = (name: string, position: number, sql: string): LedgerEntry => ({
  name,
  position,
  checksum: createHash('sha256').update(sql).digest('hex'),
});
const ledger = migrations.map(({ name, sql }, index) => entry(name, index + 1, sql));

/** The world in which the shards have so many of the migrations. */
function applied(...counts: readonly number[]): PlanInput {
  return counts.reduce(
    (input, count, index) => withLedger(input, `s${index}`, ledger.slice(0, count)),
    world,
  );
}

function withLedger(input: PlanInput, shard: string, entries: readonly LedgerEntry[]): PlanInput {
  const { database } = shardOf(input, shard);
  if (database.state !== 'present' || database.value.catalog === undefined) throw new Error('no catalog');
  return withFacts(input, shard, { catalog: { ...database.value.catalog, ledger: entries } });
}

describe('migrations', () => {
  it.each([
    ['waiting' as const, 'Migrating'],
    ['refused' as const, 'Migrating'],
    ['copying' as const, 'Importing'],
    ['done' as const, 'Migrating'],
  ])('wait while rows come from another server, but not before they do: %s', (phase, reason) => {
    const input: PlanInput = { ...applied(0, 0, 0), import: { phase, source: 'old', slot: 'slot' } };
    expect(schema(input)).toMatchObject({ kind: 'wait', reason });
  });

  it.each([
    ['none has any', [0, 0, 0], '001', 1, ['s0', 's1', 's2']],
    ['one lacks the last', [3, 2, 3], '003', 3, ['s1']],
    ['the furthest behind goes first', [3, 0, 2], '001', 1, ['s1']],
    ['those that are level go together', [1, 3, 1], '002', 2, ['s0', 's2']],
  ] as const)(
    'are applied one by one, on the shards that lack the next: %s',
    (_, counts, name, position, shards) => {
      expect(schema(applied(...counts))).toMatchObject({
        kind: 'wait',
        actions: [{ kind: 'migrate', migration: { name }, position, shards }],
      });
    },
  );

  it('are done when every shard has them', () => {
    expect(schema(applied(3, 3, 3))).toEqual({ kind: 'continue' });
  });

  it('wait for a shard that does not say what it has, whatever the others lack', () => {
    for (const database of [
      { state: 'absent' },
      { state: 'unknown', error: new Error('timeout') },
    ] as const) {
      const result = schema(withShard(applied(0, 0, 0), 's2', { database }));
      expect(result).toMatchObject({ kind: 'wait', reason: 'PrimaryUnknown', actions: [] });
    }
  });

  it.each([
    ['was edited', [entry('001', 1, 'CREATE TABLE other ()')], /s1: migration "001" was edited/],
    ['was left out', [entry('000', 1, 'SELECT 1')], /s1: migration "000" .* no longer in spec.schema/],
    ['changed its place', [ledger[1] ?? entry('', 0, '')], /s1: migration "002" .* is now number 2/],
  ])('stop everywhere when one that a shard has %s', (_, entries, message) => {
    const result = schema(withLedger(applied(0, 0, 0), 's1', entries));
    expect(result).toMatchObject({ kind: 'fail', reason: 'MigrationChanged' });
    expect(result.kind === 'fail' && result.message).toMatch(message);
    expect(result.actions ?? []).toEqual([]);
  });

  it('come from a ConfigMap, whose absence is said and whose silence is waited for', () => {
    const reference = { name: 'sql', key: 'notes' };
    const fromConfigMap = wanting(applied(3, 3, 3), {
      ...spec,
      schema: [...migrations, { name: '004', configMapKeyRef: reference }],
    });
    expect(schema(fromConfigMap)).toEqual({
      kind: 'fail',
      reason: 'MigrationMissing',
      message: 'migration "004": ConfigMap "sql", key "notes" does not exist: create it',
      actions: [],
    });
    const { migrations: sources } = fromConfigMap.observed;
    const unread = new Map(sources).set('004', { state: 'unknown', error: new Error('timeout') });
    expect(schema(observing(fromConfigMap, { migrations: unread }))).toMatchObject({
      kind: 'wait',
      reason: 'MigrationUnknown',
    });
    const there = new Map(sources).set('004', { state: 'present', value: 'SELECT 4' });
    expect(schema(observing(fromConfigMap, { migrations: there }))).toMatchObject({
      actions: [{ migration: { name: '004', sql: 'SELECT 4' }, position: 4, shards: ['s0', 's1', 's2'] }],
    });
  });

  it('take their time limits from the spec', () => {
    const limited = { name: '001', sql: 'CREATE TABLE a ()', lockTimeout: '500ms', statementTimeout: '2h' };
    expect(schema(wanting(world, { ...spec, schema: [limited] }))).toMatchObject({
      actions: [{ migration: { lockTimeoutMs: 500, statementTimeoutMs: 7_200_000 } }],
    });
  });
});
