import { beforeAll, describe, expect, it } from 'vitest';
import type { PlanInput } from '../model.ts';
import { settled } from '../test-support/advance.ts';
import { everyStrategy } from '../test-support/scenes.ts';
import {
  emptyWorld,
  observing,
  type SpecSketch,
  shardedCluster,
  shardOf,
  wanting,
  withFacts,
  withShard,
} from '../test-support/world.ts';
import { referenceTables } from './reference-tables.ts';
import { catalogOf } from './shards.ts';

/** Three shards that own buckets, and a fourth that joined. */
let joined: PlanInput;
beforeAll(async () => {
  const world = await settled(emptyWorld(shardedCluster(everyStrategy)));
  joined = await settled(
    wanting(world, { ...everyStrategy, shards: { count: 4, zones: ['zone-0', 'zone-1'] } }),
  );
});

const loaded = (input: PlanInput, ...shards: readonly string[]) =>
  shards.reduce(
    (before, shard) => withFacts(before, shard, { tablesWithRows: ['countries', 'orders'] }),
    input,
  );

describe('reference tables of a cluster that has nothing else', () => {
  const spec: SpecSketch = {
    schema: [{ name: '001-tables', sql: 'CREATE TABLE countries (…)' }],
    tables: [{ name: 'countries', strategy: 'reference' }],
  };

  /** Two shards from the beginning, and a third whose StatefulSet is from this time; the map is of noon. */
  async function grown(since: string): Promise<PlanInput> {
    const two = await settled(emptyWorld(shardedCluster({ ...spec, shards: { count: 2 } })));
    const three = await settled(wanting(two, { ...spec, shards: { count: 3 } }));
    if (three.observed.map.state !== 'present') throw new Error('no map');
    const { value } = three.observed.map;
    const map = { ...value, metadata: { ...value.metadata, creationTimestamp: '2026-01-01T12:00:00Z' } };
    const times = { s0: '2026-01-01T11:58:00Z', s1: '2026-01-01T11:58:01Z', s2: since };
    return Object.entries(times).reduce(
      (input, [name, creationTimestamp]) => {
        const { statefulSet } = shardOf(input, name);
        if (statefulSet === undefined) throw new Error('no StatefulSet');
        return withShard(input, name, {
          statefulSet: { ...statefulSet, metadata: { ...statefulSet.metadata, creationTimestamp } },
        });
      },
      observing(three, { map: { state: 'present', value: map } }),
    );
  }

  it('are copied to a shard that is younger than the map, from the first with rows', async () => {
    const joined = loaded(await grown('2026-01-02T00:00:00Z'), 's1');
    expect(referenceTables(joined)).toMatchObject({
      kind: 'wait',
      actions: [{ kind: 'copy-references', tables: ['countries'], from: 's1', to: 's2' }],
    });
  });

  it('are not copied while the user loads them into the shards of the beginning', async () => {
    const input = loaded(await grown('2026-01-01T11:58:02Z'), 's0');
    expect(referenceTables(input)).toEqual({ kind: 'continue' });
  });
});

describe('reference tables', () => {
  it('are copied to a shard that owns nothing, and only they', () => {
    expect(referenceTables(loaded(joined, 's0', 's1', 's2'))).toMatchObject({
      kind: 'wait',
      actions: [{ kind: 'copy-references', tables: ['countries'], from: 's0', to: 's3', replace: false }],
    });
  });

  it('that were plain ones before go to every shard without rows of them', () => {
    const forget = (input: PlanInput, name: string) => {
      const catalog = catalogOf(shardOf(input, name));
      if (catalog === undefined) throw new Error('no catalog');
      return withFacts(input, name, { catalog: { ...catalog, distribution: [] } });
    };
    const fresh = ['s0', 's1', 's2', 's3'].reduce(forget, loaded(joined, 's1'));
    const copy = {
      kind: 'copy-references',
      tables: ['countries'],
      from: 's1',
      replace: false,
      isFirst: true,
    };
    expect(referenceTables(fresh)).toMatchObject({
      kind: 'wait',
      actions: ['s0', 's2', 's3'].map((to) => ({ ...copy, to })),
    });
    const everywhere = ['s0', 's1', 's2', 's3'].reduce(forget, loaded(joined, 's0', 's1'));
    expect(JSON.stringify(referenceTables(everywhere))).not.toContain('isFirst');
    const silent = withShard(fresh, 's2', { database: { state: 'absent' } });
    expect(JSON.stringify(referenceTables(silent))).not.toContain('isFirst');
  });

  it('of another time are replaced when that is sure, and buckets wait for it', async () => {
    const rows = loaded(joined, 's0', 's1', 's2', 's3');
    const comparing = observing(rows, { references: new Map([['s3', 'comparing']]) });
    expect(referenceTables(comparing)).toMatchObject({ kind: 'wait', actions: [] });
    const stale = observing(rows, { references: new Map([['s3', 'stale']]) });
    expect(referenceTables(stale)).toMatchObject({
      kind: 'wait',
      actions: [{ kind: 'copy-references', tables: ['countries'], from: 's0', to: 's3', replace: true }],
    });
    const after = await settled(stale);
    expect(referenceTables(after)).toEqual({ kind: 'continue' });
  });

  it('of a shard that owns buckets are never replaced', () => {
    const rows = loaded(joined, 's0', 's1', 's2', 's3');
    const stale = observing(rows, { references: new Map([['s1', 'stale']]) });
    expect(referenceTables(stale)).toEqual({ kind: 'continue' });
  });

  it('are not copied to a shard that owns buckets, however empty they are there', () => {
    expect(referenceTables(loaded(joined, 's0', 's3'))).toEqual({ kind: 'continue' });
  });

  it('are not copied to a shard that is to be taken away', () => {
    const fewer = wanting(loaded(joined, 's0', 's1', 's2'), everyStrategy);
    expect(referenceTables(fewer)).toEqual({ kind: 'continue' });
  });

  it('are not copied over rows', () => {
    expect(referenceTables(loaded(joined, 's0', 's1', 's2', 's3'))).toEqual({ kind: 'continue' });
  });

  it('are not copied while either side is silent, or there is no map', () => {
    const rows = loaded(joined, 's0', 's1', 's2');
    const silent = { database: { state: 'unknown', error: new Error('timeout') } } as const;
    expect(referenceTables(withShard(rows, 's3', silent))).toEqual({ kind: 'continue' });
    expect(referenceTables(withShard(rows, 's0', silent))).toEqual({ kind: 'continue' });
    expect(referenceTables(observing(rows, { map: { state: 'absent' } }))).toEqual({ kind: 'continue' });
  });
});
