import { beforeAll, describe, expect, it } from 'vitest';
import type { ShardMapSpec } from '../../../api/v1alpha1/shard-map.ts';
import { layoutOf } from '../../../sharding/layout.ts';
import { markerName } from '../../../sharding/names.ts';
import type { PlanInput, StepResult } from '../model.ts';
import { advanced, planOf, settled } from '../test-support/advance.ts';
import { everyStrategy } from '../test-support/scenes.ts';
import {
  emptyWorld,
  observing,
  shardedCluster,
  shardOf,
  wanting,
  withFacts,
  withShard,
} from '../test-support/world.ts';
import { buckets, map } from './shard-map.ts';

let world: PlanInput;
beforeAll(async () => {
  world = await settled(emptyWorld(shardedCluster(everyStrategy)));
});

const lost = (input: PlanInput) => observing(input, { map: { state: 'absent' } });

function mapOf({ observed }: PlanInput): ShardMapSpec {
  if (observed.map.state !== 'present') throw new Error('there is no map');
  return observed.map.value.spec;
}

function withMap(input: PlanInput, spec: ShardMapSpec): PlanInput {
  if (input.observed.map.state !== 'present') throw new Error('there is no map');
  return observing(input, { map: { state: 'present', value: { ...input.observed.map.value, spec } } });
}

function withCatalog(input: PlanInput, shard: string, change: object): PlanInput {
  const { database } = shardOf(input, shard);
  if (database.state !== 'present' || database.value.catalog === undefined) throw new Error('no catalog');
  return withFacts(input, shard, { catalog: { ...database.value.catalog, ...change } });
}

function contentOf(input: PlanInput): StepResult | undefined {
  return planOf(input).outcomes.find(({ track }) => track === 'content')?.result;
}

function updateOf(input: PlanInput): ShardMapSpec | undefined {
  return planOf(input).actions.flatMap((action) => (action.kind === 'update-map' ? [action.spec] : []))[0];
}

describe('a map that is lost', () => {
  it('is not guessed while a shard is silent', () => {
    for (const database of [
      { state: 'absent' },
      { state: 'unknown', error: new Error('timeout') },
    ] as const) {
      const input = withShard(lost(world), 's2', { database });
      expect(map(input)).toMatchObject({ kind: 'wait', reason: 'MapUnknown' });
      expect(buckets(input)).toMatchObject({ kind: 'wait', actions: [] });
    }
  });

  it.each([
    ['a transaction is prepared', 's0', { preparedTransactions: 1 }, /prepared transactions/],
    [
      'two shards claim a bucket',
      's1',
      { markers: [{ name: 'customer_b0000', bucket: 0, epoch: 1 }] },
      /customer_b0000/,
    ],
    ['a marker is empty', 's0', { markers: [{ name: 'customer_b0000', bucket: 0, epoch: null }] }, /no row/],
    ['a bucket has no owner', 's0', { markers: [] }, /no shard has the marker/],
  ] as const)('is a conflict, and nothing changes, when %s', (_, shard, change, message) => {
    const result = map(withCatalog(lost(world), shard, change));
    expect(result).toMatchObject({ kind: 'fail', reason: 'MapConflict' });
    expect(result.kind === 'fail' && result.message).toMatch(message);
    expect(result.actions ?? []).toEqual([]);
  });

  it('is never replaced by a first one where there are markers', () => {
    const result = buckets(lost(world));
    expect(result).toMatchObject({ kind: 'wait', actions: [] });
  });

  it('is not replaced by a first one where there are only mirrors', () => {
    const input = ['s0', 's1', 's2'].reduce(
      (before, shard) => withCatalog(before, shard, { markers: [] }),
      lost(world),
    );
    expect(map(input)).toMatchObject({ kind: 'fail', reason: 'MapConflict' });
    expect(buckets(input)).toMatchObject({ kind: 'wait', actions: [] });
  });
});

describe('a map that cannot be read', () => {
  it('stops the content, and nothing else', () => {
    const input = observing(world, { map: { state: 'unknown', error: new Error('timeout') } });
    const { outcomes, actions } = planOf(input);
    expect(actions).toEqual([]);
    expect(outcomes.map(({ result }) => result.kind)).toEqual(['continue', 'continue', 'wait']);
  });
});

describe('owners of buckets', () => {
  it('respect pins, and spread the rest evenly', () => {
    const groups = new Map(mapOf(world).groups.map((group) => [group.name, group.buckets]));
    expect(groups.get('customer')?.map(({ shard }) => shard)).toEqual(['s0', 's1', 's2', 's0', 's1', 's2']);
    expect(groups.get('people')?.find(({ region }) => region === 'south')?.shard).toBe('s1');
    expect(groups.get('documents')?.find(({ values }) => values?.[0] === 'acme')?.shard).toBe('s2');
  });

  it('are given when the tables were found to be as described', () => {
    const { tables = [] } = everyStrategy;
    const wrong = wanting(world, {
      ...everyStrategy,
      tables: [...tables, { name: 'missing', strategy: 'hash', key: 'id' }],
    });
    expect(planOf(wrong).actions).toEqual([]);
    expect(contentOf(wrong)).toMatchObject({ kind: 'fail', message: expect.stringContaining('"missing"') });
    // So that leaving the table out again is all that it takes.
    expect(planOf(wanting(wrong, everyStrategy)).actions).toEqual([]);
  });

  it('have the rows of reference tables first', async () => {
    const { tables = [] } = everyStrategy;
    const loaded = ['s0', 's1', 's2'].reduce(
      (input, shard) => withFacts(input, shard, { tablesWithRows: ['countries'] }),
      world,
    );
    const regions = [
      { name: 'north', values: ['is', 'no'], buckets: 2 },
      { name: 'south', values: ['it'], shards: ['s1'] },
      { name: 'east', values: ['jp'], shards: ['s3'] },
    ];
    const spec = {
      ...everyStrategy,
      shards: { count: 4, zones: ['zone-0', 'zone-1'] },
      tables: tables.map((table) => (table.name === 'people' ? { ...table, regions } : table)),
    };
    const seen: string[] = [];
    let input = wanting(loaded, spec);
    for (let pass = 0; pass < 30; pass += 1) {
      const { actions } = planOf(input);
      seen.push(
        ...actions
          .map(({ kind }) => kind)
          .filter((kind) => kind === 'copy-references' || kind === 'update-map'),
      );
      for (const action of actions) input = await advanced(input, action);
    }
    expect(seen).toEqual(['copy-references', 'update-map']);
    const east = mapOf(input)
      .groups.find(({ name }) => name === 'people')
      ?.buckets.at(-1);
    expect(east).toMatchObject({ region: 'east', shard: 's3', epoch: 2 });
  });

  it('are added for ranges that the layout gained, with a new epoch, and none changes', async () => {
    const { tables = [] } = everyStrategy;
    const bounds = [{ to: '2025-01-01' }, { from: '2025-01-01', to: '2026-01-01' }];
    const changed = wanting(world, {
      ...everyStrategy,
      tables: tables.map((table) => (table.name === 'readings' ? { ...table, bounds } : table)),
    });
    expect(contentOf(changed)).toMatchObject({ kind: 'fail', reason: 'MapConflict' });
    const within = (ranges: { from?: string; to?: string }[]) => ({
      ...everyStrategy,
      tables: tables.map((table) => (table.name === 'readings' ? { ...table, bounds: ranges } : table)),
    });
    const shorter = await settled(emptyWorld(shardedCluster(within([{ to: '2025-01-01' }]))));
    const longer = wanting(shorter, within([{ to: '2025-01-01' }, { from: '2025-01-01' }]));
    const update = updateOf(longer);
    expect(update?.epoch).toBe(mapOf(shorter).epoch + 1);
    expect(update?.groups.find(({ name }) => name === 'readings')?.buckets).toHaveLength(2);
    for (const group of mapOf(longer).groups)
      expect(update?.groups.find(({ name }) => name === group.name)?.buckets).toEqual(
        expect.arrayContaining(group.buckets),
      );
  });

  it.each([
    ['a group is left out', (tables: NonNullable<typeof everyStrategy.tables>) => tables.slice(2)],
    [
      'a number of buckets changes',
      (tables: NonNullable<typeof everyStrategy.tables>) =>
        tables.map((table) => (table.name === 'orders' ? { ...table, buckets: 8 } : table)),
    ],
    [
      'a strategy changes',
      (tables: NonNullable<typeof everyStrategy.tables>) =>
        tables.map((table) =>
          table.name === 'readings' ? { name: 'readings', strategy: 'hash' as const, key: 'day' } : table,
        ),
    ],
  ])('are a conflict when %s', (_, change) => {
    const input = wanting(world, { ...everyStrategy, tables: change(everyStrategy.tables ?? []) });
    expect(contentOf(input)).toMatchObject({ kind: 'fail', reason: 'MapConflict' });
    expect(planOf(input).actions).toEqual([]);
  });

  it('need a shard for every pin', () => {
    const { tables = [] } = everyStrategy;
    const pinned = wanting(world, {
      ...everyStrategy,
      tables: tables.map((table) =>
        table.name === 'documents' ? { ...table, tenants: [{ value: 'acme', shard: 's9' }] } : table,
      ),
    });
    expect(contentOf(pinned)).toMatchObject({
      kind: 'fail',
      reason: 'TablesInvalid',
      message: expect.stringContaining('s9'),
    });
  });
});

describe('a group that was converted where its rows were', () => {
  const name = 'customer';
  const without = (input: PlanInput) => {
    const spec = mapOf(input);
    return withMap(input, { ...spec, groups: spec.groups.filter((group) => group.name !== name) });
  };

  it('is owned by the shard that has its markers', () => {
    const known = mapOf(world);
    const group = known.groups.find((candidate) => candidate.name === name);
    const names = (group?.buckets ?? []).map(({ id }) => markerName(name, id));
    const epoch = known.epoch + 7;
    let input = without(world);
    for (const shard of ['s0', 's1', 's2']) {
      const { database } = shardOf(input, shard);
      if (database.state !== 'present') throw new Error('no answer');
      const others = (database.value.catalog?.markers ?? []).filter((marker) => !names.includes(marker.name));
      const own = names.map((marker, bucket) => ({ name: marker, bucket, epoch }));
      input = withCatalog(input, shard, { markers: shard === 's1' ? [...others, ...own] : others });
    }
    const result = buckets(input);
    const [action] = result.actions ?? [];
    if (action?.kind !== 'update-map') throw new Error('no map');
    expect(action.spec.epoch).toBe(epoch);
    const owners = action.spec.groups.find((candidate) => candidate.name === name)?.buckets;
    expect(owners?.map((bucket) => [bucket.id, bucket.shard, bucket.epoch])).toEqual(
      names.map((_, id) => [id, 's1', epoch]),
    );
  });

  it('may leave the spec while it can be taken back', () => {
    const tables = world.cluster.spec.tables.filter(
      (table) => (table.group ?? table.name) !== name || table.strategy === 'reference',
    );
    const leaving = wanting(world, { ...everyStrategy, tables });
    expect(map(leaving)).toMatchObject({ kind: 'fail', reason: 'MapConflict' });
    const layout = layoutOf(world.cluster.spec.tables).groups.find((group) => group.name === name);
    const conversion = { group: name, phase: 'settled', layout, tables: [] };
    const input = withCatalog(leaving, 's0', { conversions: [conversion] });
    expect(map(input)).toMatchObject({ kind: 'wait', reason: 'Reverting' });
  });
});

describe('a map that somebody has edited', () => {
  const stolen = (input: PlanInput) => {
    const spec = mapOf(input);
    const epoch = spec.epoch + 1;
    const groups = spec.groups.map((group) =>
      group.name === 'customer'
        ? {
            ...group,
            buckets: group.buckets.map((bucket) =>
              bucket.id === 0 ? { ...bucket, shard: 's1', epoch } : bucket,
            ),
          }
        : group,
    );
    return withMap(input, { ...spec, epoch, groups });
  };

  it('is put right before anything is done by it, and told of once', async () => {
    let input = stolen(world);
    const { actions } = planOf(input);
    const [change, event] = actions;
    if (change?.kind !== 'update-map' || event?.kind !== 'event') throw new Error('it is not put right');
    expect(event.note).toContain('bucket 0 of group "customer" from shard s1');
    // The API server admits no other owner without a newer epoch.
    const { epoch } = mapOf(input);
    const given = change.spec.groups.find(({ name }) => name === 'customer')?.buckets[0];
    expect(given).toMatchObject({ shard: 's0', epoch: epoch + 1 });
    for (const action of actions) input = await advanced(input, action);
    expect(mapOf(input).groups).toEqual(mapOf(world).groups);
    expect(planOf(input).actions).toEqual([]);
  });

  it('is put right at once where its epoch alone is wrong', () => {
    const spec = mapOf(world);
    const groups = spec.groups.map((group) => ({
      ...group,
      buckets: group.buckets.map((bucket) =>
        group.name === 'customer' && bucket.id === 0 ? { ...bucket, epoch: bucket.epoch + 1 } : bucket,
      ),
    }));
    const { actions } = planOf(withMap(world, { ...spec, epoch: spec.epoch + 1, groups }));
    expect(actions.map(({ kind }) => kind)).toEqual(['update-map', 'event']);
    expect(actions[0]).not.toHaveProperty('next');
  });

  it('is not judged by what shards said before it changed', () => {
    const result = map(observing(stolen(world), { isMapNewer: true }));
    expect(result).toMatchObject({ kind: 'wait', reason: 'MapPending', actions: [] });
    expect(map(observing(world, { isMapNewer: true }))).toMatchObject({ kind: 'continue' });
  });

  it('is not judged while a move may be the one that has changed it', () => {
    const switching = [{ group: 'customer', bucket: 0 }];
    expect(map(observing(stolen(world), { switching }))).toMatchObject({ kind: 'continue' });
  });

  it('stops the content while a shard is silent', () => {
    const input = withShard(stolen(world), 's2', { database: { state: 'absent' } });
    expect(map(input)).toMatchObject({ kind: 'wait', reason: 'MapUnknown' });
  });

  it('is a conflict, and nothing changes, when the shards do not agree', () => {
    const input = withCatalog(stolen(world), 's0', { markers: [] });
    expect(contentOf(input)).toMatchObject({ kind: 'fail', reason: 'MapConflict' });
    expect(planOf(input).actions).toEqual([]);
  });
});
