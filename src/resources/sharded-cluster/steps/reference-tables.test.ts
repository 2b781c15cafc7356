import { beforeAll, describe, expect, it } from 'vitest';
import type { PlanInput } from '../model.ts';
import { settled } from '../test-support/advance.ts';
import { everyStrategy } from '../test-support/scenes.ts';
import {
  emptyWorld,
  observing,
  shardedCluster,
  wanting,
  withFacts,
  withShard,
} from '../test-support/world.ts';
import { referenceTables } from './reference-tables.ts';

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

describe('reference tables', () => {
  it('are copied to a shard that owns nothing, and only they', () => {
    expect(referenceTables(loaded(joined, 's0', 's1', 's2'))).toMatchObject({
      kind: 'wait',
      actions: [{ kind: 'copy-references', tables: ['countries'], from: 's0', to: 's3', replace: false }],
    });
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
