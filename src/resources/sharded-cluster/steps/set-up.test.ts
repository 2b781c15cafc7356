import { beforeAll, describe, expect, it } from 'vitest';
import type { Reading } from '../../../runtime/reading.ts';
import type { PlanInput } from '../model.ts';
import { planOf, settled } from '../test-support/advance.ts';
import { everyStrategy } from '../test-support/scenes.ts';
import {
  emptyWorld,
  observing,
  shardedCluster,
  wanting,
  withFacts,
  withShard,
} from '../test-support/world.ts';
import { schema } from './schema.ts';

const zones = ['zone-0', 'zone-1'];
const migrations = [...(everyStrategy.schema ?? []), { name: '003-more', sql: 'CREATE TABLE more (…)' }];
const silent: Reading<never> = { state: 'unknown', error: new Error('connection refused') };

/** Three shards that own buckets and a fourth that owns none, of which three are wanted, and another migration. */
let surplus: PlanInput;
beforeAll(async () => {
  const world = await settled(emptyWorld(shardedCluster(everyStrategy)));
  const grown = await settled(wanting(world, { ...everyStrategy, shards: { count: 4, zones } }));
  surplus = wanting(grown, { ...everyStrategy, schema: migrations });
});

const migrated = (input: PlanInput) =>
  planOf(input).actions.flatMap((action) => (action.kind === 'migrate' ? [action.shards] : []));

describe('a shard beyond the number wanted that owns nothing', () => {
  it('is not waited for', () => {
    expect(migrated(withShard(surplus, 's3', { database: silent }))).toEqual([['s0', 's1', 's2']]);
  });

  it('is set up when it answers, since it has to show that it is empty, and the others do not wait', () => {
    const input = withFacts(surplus, 's3', { isSetUp: false, catalog: undefined });
    expect(planOf(input).actions).toContainEqual({ kind: 'set-up-database', shard: 's3' });
    expect(migrated(input)).toEqual([['s0', 's1', 's2']]);
  });

  it('is waited for while the map is not known: it may own something', () => {
    const input = observing(withShard(surplus, 's3', { database: silent }), { map: silent });
    expect(migrated(input)).toEqual([]);
  });
});

describe('a shard that owns buckets', () => {
  it('is waited for, however few are wanted', () => {
    const fewer = wanting(surplus, { ...everyStrategy, schema: migrations, shards: { count: 2 } });
    expect(schema(withShard(fewer, 's2', { database: silent }))).toMatchObject({ reason: 'PrimaryUnknown' });
    expect(schema(fewer)).toMatchObject({ actions: [{ kind: 'migrate', shards: ['s0', 's1', 's2'] }] });
  });
});

describe('a shard whose tables somebody holds', () => {
  it('is waited for, and what else is to be done in the cluster is done', () => {
    const input = withFacts(surplus, 's1', { catalog: undefined });
    const { actions, outcomes } = planOf(input);
    expect(actions).toEqual([]);
    expect(outcomes).toMatchObject([
      { result: { kind: 'continue' } },
      { step: 'removal' },
      { step: 'set-up', result: { reason: 'TablesLocked', message: expect.stringContaining('shard s1') } },
    ]);
  });

  it('is waited for by nobody else than the migration that holds them', () => {
    const underWay = 'migration "003-more"';
    const input = observing(withFacts(surplus, 's1', { catalog: undefined }), { underWay });
    const message = `${underWay} is under way`;
    expect(planOf(input).outcomes).toMatchObject([
      { result: { kind: 'continue' } },
      { step: 'long-work', result: { reason: 'Migrating', message } },
      { step: 'set-up', result: { reason: 'Migrating', message } },
    ]);
  });
});
