import { beforeAll, describe, expect, it } from 'vitest';
import { bucketsOf } from '../../../sharding/map.ts';
import { markerName } from '../../../sharding/names.ts';
import type { CatalogTable, Marker, ShardCatalog } from '../../../sharding/shard-catalog.ts';
import type { PlanInput } from '../model.ts';
import { settled } from '../test-support/advance.ts';
import { everyStrategy } from '../test-support/scenes.ts';
import {
  emptyWorld,
  observing,
  shardedCluster,
  shardOf,
  withFacts,
  withShard,
} from '../test-support/world.ts';
import { leaves, tables } from './tables.ts';

let world: PlanInput;
beforeAll(async () => {
  world = await settled(emptyWorld(shardedCluster(everyStrategy)));
});

function catalogOf(input: PlanInput, shard: string): ShardCatalog {
  const { database } = shardOf(input, shard);
  if (database.state !== 'present' || database.value.catalog === undefined) throw new Error('no catalog');
  return database.value.catalog;
}

function withTables(
  input: PlanInput,
  shard: string,
  change: (tables: readonly CatalogTable[]) => readonly CatalogTable[],
): PlanInput {
  const catalog = catalogOf(input, shard);
  return withFacts(input, shard, { catalog: { ...catalog, tables: change(catalog.tables) } });
}

function withMarkers(input: PlanInput, shard: string, markers: readonly Marker[]): PlanInput {
  return withFacts(input, shard, { catalog: { ...catalogOf(input, shard), markers } });
}

const altered =
  (name: string, change: Partial<CatalogTable>) =>
  (all: readonly CatalogTable[]): CatalogTable[] =>
    all.map((table) => (table.name === name ? { ...table, ...change } : table));
const without =
  (name: string) =>
  (all: readonly CatalogTable[]): CatalogTable[] =>
    all.filter((table) => table.name !== name);

describe('tables', () => {
  it('are as they shall be', () => {
    expect(tables(world)).toEqual({ kind: 'continue' });
    expect(leaves(world)).toEqual({ kind: 'continue' });
  });

  it.each([
    ['is missing', without('orders'), /s1: table "orders" .* does not exist/],
    ['is partitioned otherwise', altered('orders', { strategy: 'list' }), /strategy hash needs HASH/],
    ['has another key', altered('orders', { key: ['id'] }), /says key "customer"/],
    ['has no primary key', altered('lines', { primaryKey: [] }), /"lines" has no primary key/],
    [
      'has the key outside its primary key',
      altered('lines', { primaryKey: ['id'] }),
      /not in its primary key/,
    ],
    [
      'has a key of another type than its group',
      altered('lines', { keyTypes: ['uuid'] }),
      /give both one type/,
    ],
    [
      'is a reference table without primary key',
      altered('countries', { primaryKey: [] }),
      /"countries" has no/,
    ],
  ])('stop with the shard and what to write when one %s', (_, change, message) => {
    const result = tables(withTables(world, 's1', change));
    expect(result).toMatchObject({ kind: 'fail', reason: 'TablesInvalid' });
    expect(result.kind === 'fail' && result.message).toMatch(message);
  });

  it('stop at a bound that PostgreSQL knows to be wrong', () => {
    const boundProblems = [{ code: 'overlap', message: 'group "days": ranges overlap' }];
    expect(tables(withFacts(world, 's1', { boundProblems }))).toMatchObject({
      kind: 'fail',
      reason: 'TablesInvalid',
      message: 'shard s1: group "days": ranges overlap',
    });
  });

  it('wait for a shard that does not say what it has', () => {
    const silent = withShard(world, 's1', { database: { state: 'absent' } });
    expect(tables(silent)).toMatchObject({ kind: 'wait', reason: 'PrimaryUnknown' });
    expect(leaves(silent)).toMatchObject({ kind: 'wait', reason: 'PrimaryUnknown', actions: [] });
  });
});

describe('plain tables', () => {
  const plain = (input: PlanInput) =>
    withTables(input, 's1', altered('orders', { partitioned: false, key: [], keyTypes: [] }));

  it('are waited for until they are converted', () => {
    expect(tables(plain(world))).toMatchObject({ kind: 'wait', reason: 'Converting', actions: [] });
    expect(JSON.stringify(leaves(plain(world)))).not.toContain('CREATE TABLE');
  });

  it('stop with what to write when they cannot be', () => {
    const conversions = [{ group: 'customer', phase: 'refused', message: 'drop the view' }];
    expect(tables({ ...plain(world), conversions })).toMatchObject({
      kind: 'fail',
      reason: 'ConversionRefused',
      message: 'drop the view',
    });
  });

  it('need a map, to which they are added later', () => {
    const bare = (input: PlanInput, name: string) => {
      const { database } = shardOf(input, name);
      if (database.state !== 'present' || database.value.catalog === undefined) throw new Error('no catalog');
      return withFacts(input, name, { catalog: { ...database.value.catalog, markers: [], mirror: [] } });
    };
    const without = ['s0', 's1', 's2'].reduce(bare, observing(plain(world), { map: { state: 'absent' } }));
    expect(tables(without)).toMatchObject({
      actions: [{ kind: 'create-map', spec: { epoch: 1, groups: [] } }],
    });
  });
});

describe('leaves', () => {
  it('are made where they are missing, and nowhere else', () => {
    const result = leaves(withTables(world, 's1', without('orders_b0001')));
    expect(result).toMatchObject({ kind: 'wait', actions: [{ kind: 'sql', shard: 's1' }] });
    const text = JSON.stringify(result.actions);
    expect(text).toContain('orders_b0001');
    expect(text).not.toContain('lines_b0001');
    expect(text).not.toMatch(/DROP|DELETE|TRUNCATE|DETACH/);
  });

  it('are made after sequences have got numbers of the shard', () => {
    const missing = withTables(world, 's1', without('orders_b0001'));
    const sequences = [{ table: 'orders', start: 1, maximum: 2 ** 63, unused: true }];
    const counting = (shard: string) =>
      leaves(withFacts(missing, shard, { catalog: { ...catalogOf(missing, shard), sequences } }));
    const titles = (counting('s1').actions ?? []).flatMap((action) =>
      action.kind === 'sql' ? action.batches.map(({ title }) => title) : [],
    );
    expect(titles).toEqual(['sequences of group customer', 'partitions of group customer']);
    expect(JSON.stringify(counting('s2').actions)).toContain('20000000000001');
    expect(JSON.stringify(counting('s0').actions)).not.toContain('SEQUENCE');
  });

  it('are not made on a shard that shall go and owns nothing, whose mirror of the map is kept right', () => {
    if (world.observed.map.state !== 'present') throw new Error('no map');
    const { value } = world.observed.map;
    const emptied = value.spec.groups.map((group) => ({
      ...group,
      buckets: group.buckets.map((bucket) =>
        bucket.shard === 's2' ? { ...bucket, shard: 's0', epoch: bucket.epoch + 1 } : bucket,
      ),
    }));
    const spec = { ...value.spec, epoch: value.spec.epoch + 1, groups: emptied };
    const smaller = observing(world, { map: { state: 'present', value: { ...value, spec } } });
    const { shards } = smaller.cluster.spec;
    const cluster = {
      ...smaller.cluster,
      spec: { ...smaller.cluster.spec, shards: { ...shards, count: 2 } },
    };
    const markers = bucketsOf(spec, 's0').map(({ group, bucket: { id, epoch } }) => {
      return { name: markerName(group.name, id), bucket: id, epoch };
    });
    const arrived = withMarkers({ ...smaller, cluster }, 's0', markers);
    const moved = withTables(withMarkers(arrived, 's2', []), 's2', () => []);
    const ofLeaving = (leaves(moved).actions ?? []).flatMap((action) =>
      action.kind === 'sql' && action.shard === 's2' ? action.batches.map(({ title }) => title) : [],
    );
    expect(ofLeaving).toEqual(['mirror of the map']);
  });

  it('are not made empty in place of a bucket that came to the shard and is lost', () => {
    if (world.observed.map.state !== 'present') throw new Error('no map');
    const { value } = world.observed.map;
    const groups = value.spec.groups.map((group) => ({
      ...group,
      buckets: group.buckets.map((bucket) =>
        bucket.shard === 's2' ? { ...bucket, shard: 's0', epoch: bucket.epoch + 1 } : bucket,
      ),
    }));
    const spec = { ...value.spec, epoch: value.spec.epoch + 1, groups };
    const lost = observing(world, { map: { state: 'present', value: { ...value, spec } } });
    expect(leaves(lost)).toMatchObject({
      kind: 'fail',
      reason: 'TablesInvalid',
      message: expect.stringContaining('shard "s0" has lost bucket'),
    });
  });

  it('are not made without a map', () => {
    expect(leaves(observing(world, { map: { state: 'absent' } }))).toMatchObject({
      kind: 'wait',
      reason: 'MapUnknown',
      actions: [],
    });
  });

  it('that the map gives to another shard are left alone, and said', () => {
    const owner = shardOf(world, 's0').database;
    if (owner.state !== 'present') throw new Error('no answer');
    const stray = owner.value.catalog?.tables.find(({ name }) => name === 'orders_b0000');
    if (stray === undefined) throw new Error('no leaf');
    const result = leaves(withTables(world, 's1', (all) => [...all, stray]));
    expect(result).toMatchObject({
      kind: 'fail',
      reason: 'TablesInvalid',
      message: expect.stringContaining('"orders_b0000"'),
    });
    expect(result.actions ?? []).toEqual([]);
  });

  it('are not touched when the data is newer than the map', () => {
    const { map } = world.observed;
    if (map.state !== 'present') throw new Error('no map');
    const { database } = shardOf(world, 's0');
    if (database.state !== 'present' || database.value.catalog === undefined) throw new Error('no catalog');
    const { catalog } = database.value;
    const markers = catalog.markers.map((marker) => ({ ...marker, epoch: map.value.spec.epoch + 1 }));
    const result = leaves(withFacts(world, 's0', { catalog: { ...catalog, markers } }));
    expect(result).toMatchObject({ kind: 'fail', message: expect.stringContaining('older than the data') });
  });
});

describe('tables that are filled from another server', () => {
  const filling = (phase?: 'waiting' | 'copying' | 'switched' | 'withdrawing'): PlanInput => {
    const spec = {
      ...world.cluster.spec,
      bootstrap: {
        import: {
          host: 'old',
          port: 5432,
          database: 'shop',
          credentials: 'old',
          tls: { mode: 'require' as const },
          cutover: 'manual' as const,
          verify: 'full' as const,
        },
      },
    };
    return {
      ...world,
      cluster: { ...world.cluster, spec },
      ...(phase === undefined ? {} : { import: { phase, source: 'old', slot: 'slot' } }),
    };
  };

  it.each([undefined, 'waiting' as const, 'copying' as const])('are let be while they are: %s', (phase) => {
    expect(tables(filling(phase))).toMatchObject({ kind: 'wait', reason: 'Importing' });
  });

  it.each(['switched' as const, 'withdrawing' as const])('are distributed after it: %s', (phase) => {
    expect(tables(filling(phase))).toEqual({ kind: 'continue' });
  });

  it('are let be as well when the import is given up and not yet taken back', () => {
    const { cluster: _cluster, ...rest } = filling('copying');
    expect(tables({ ...rest, cluster: world.cluster })).toMatchObject({ reason: 'Importing' });
  });
});
