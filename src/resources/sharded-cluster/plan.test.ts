import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Reading } from '../../runtime/reading.ts';
import { farewellMs } from './forgotten.ts';
import type { Action, ObservedShard, PlanInput } from './model.ts';
import { secretNames } from './steps/identity.ts';
import { objectId } from './steps/objects.ts';
import { advanced, parametersOf, planOf, settled } from './test-support/advance.ts';
import { everyStrategy, specs } from './test-support/scenes.ts';
import { mirrorOf } from './test-support/shard-content.ts';
import {
  emptyWorld,
  observing,
  shardedCluster,
  shardOf,
  wanting,
  withFacts,
  withShard,
} from './test-support/world.ts';

const unknown: Reading<never> = { state: 'unknown', error: new Error('connection refused') };
const kindsOf = (actions: readonly Action[]) => actions.map(({ kind }) => kind);
const deletions = (actions: readonly Action[]) =>
  actions.flatMap((action) => (action.kind === 'delete' ? [action] : []));

describe('a plan', () => {
  it.each(Object.keys(specs))('has an end from nothing, and nothing to do then: %s', async (name) => {
    const world = await settled(emptyWorld(shardedCluster(specs[name])));
    const { actions, outcomes } = planOf(world);
    expect(actions).toEqual([]);
    expect(outcomes.map(({ track, result }) => [track, result.kind])).toEqual([
      ['identity', 'continue'],
      ['topology', 'continue'],
      ['content', 'continue'],
    ]);
  });

  it('does the same twice: a plan depends on nothing but its input', async () => {
    const world = emptyWorld(shardedCluster(everyStrategy));
    expect(planOf(world)).toEqual(planOf(world));
  });

  it('begins with identities, and with nothing else', () => {
    const { actions, outcomes } = planOf(emptyWorld(shardedCluster()));
    expect(kindsOf(actions)).toEqual(['create-authority']);
    expect(outcomes).toHaveLength(1);
  });
});

describe('a cluster that is as wanted', () => {
  let world: PlanInput;
  beforeAll(async () => {
    world = await settled(emptyWorld(shardedCluster(everyStrategy)));
  });

  it('gets again what somebody deleted', () => {
    for (const [id, object] of world.observed.objects) {
      const objects = new Map(world.observed.objects);
      objects.delete(id);
      const { actions } = planOf(observing(world, { objects }));
      expect(actions.filter(({ kind }) => kind !== 'event')).toEqual([
        { kind: 'apply', type: expect.anything(), object: withoutUid(object) },
      ]);
    }
  });

  it('gets its ShardMap rebuilt as it was', () => {
    const { actions } = planOf(observing(world, { map: { state: 'absent' } }));
    const [create, event] = actions;
    expect(event).toMatchObject({ kind: 'event', reason: 'MapRebuilt' });
    if (create?.kind !== 'create-map' || world.observed.map.state !== 'present') throw new Error('no map');
    const before = world.observed.map.value.spec;
    expect(create.spec.groups.map(({ name }) => name).toSorted()).toEqual(
      before.groups.map(({ name }) => name).toSorted(),
    );
    for (const group of before.groups) {
      const rebuilt = create.spec.groups.find(({ name }) => name === group.name);
      expect(rebuilt?.buckets).toEqual(group.buckets);
    }
    expect(create.spec.epoch).toBeGreaterThan(before.epoch);
  });

  it('goes to another image shard by shard: standbys, switchover, old primary', async () => {
    const order: string[] = [];
    let next = wanting(world, { ...everyStrategy, postgres: { image: 'postgres:17.1' } });
    for (let pass = 0; pass < 40; pass += 1) {
      const { actions } = planOf(next);
      if (actions.length === 0) break;
      for (const action of actions) {
        if (action.kind === 'delete') order.push(action.object.metadata.name);
        if (action.kind === 'switchover') order.push(`${action.leader} → ${action.candidate}`);
        next = await advanced(next, action);
      }
    }
    // Each shard has its primary in its home zone, zone-0 or zone-1, to which it goes back in the end.
    expect(order).toEqual([
      ...['shop-s0-2', 'shop-s0-1', 'shop-s0-0 → shop-s0-1', 'shop-s0-0'],
      ...['shop-s1-2', 'shop-s1-0', 'shop-s1-1 → shop-s1-0', 'shop-s1-1'],
      ...['shop-s2-2', 'shop-s2-1', 'shop-s2-0 → shop-s2-1', 'shop-s2-0'],
      ...['shop-s0-1 → shop-s0-0', 'shop-s1-0 → shop-s1-1', 'shop-s2-1 → shop-s2-0'],
    ]);
    expect(planOf(next).actions).toEqual([]);
  });

  it('grows by a shard and a member, and gives no bucket away by itself', async () => {
    const spec = { ...everyStrategy, members: 4, shards: { count: 4, zones: ['zone-0', 'zone-1'] } };
    const grown = await settled(wanting(world, spec));
    expect(grown.observed.shards.map(({ members }) => members.length)).toEqual([4, 4, 4, 4]);
    expect(grown.observed.map).toEqual(world.observed.map);
  });

  it('takes its parameters from the spec when the servers have accepted them', async () => {
    const spec = { ...everyStrategy, postgres: { parameters: { work_mem: '32MB' } } };
    const changed = await settled(wanting(world, spec));
    expect(shardOf(changed, 's0').config).toMatchObject({
      value: { postgresql: { parameters: { work_mem: '32MB' } } },
    });
    expect(parametersOf(changed)).toEqual({
      use: { work_mem: '32MB' },
      refused: undefined,
      lastGood: { work_mem: '32MB' },
    });
  });

  it('makes larger volumes, and its StatefulSets anew around the pods', async () => {
    const larger = wanting(world, { ...everyStrategy, storage: { size: '2Gi' } });
    const { actions } = planOf(larger);
    expect(deletions(actions).map(({ object, orphan }) => [objectId(object), orphan])).toEqual([
      ['StatefulSet/shop-s0', true],
      ['StatefulSet/shop-s1', true],
      ['StatefulSet/shop-s2', true],
    ]);
    expect(actions.filter(({ kind }) => kind === 'resize-claim')).toHaveLength(9);
    const pods = larger.observed.shards.map(({ members }) => members.map(({ pod }) => pod?.metadata.uid));
    const after = await settled(larger);
    expect(after.observed.shards.map(({ members }) => members.map(({ pod }) => pod?.metadata.uid))).toEqual(
      pods,
    );
  });

  it('keeps a shard that owns buckets, and says what to do', () => {
    const fewer = wanting(world, { ...everyStrategy, tables: [], shards: { count: 2 } });
    const { outcomes, actions } = planOf(fewer);
    expect(deletions(actions)).toEqual([]);
    expect(outcomes.find(({ track }) => track === 'topology')?.result).toMatchObject({
      kind: 'fail',
      reason: 'ShardOwnsBuckets',
      message: expect.stringMatching(/s2 owns buckets.*raise spec.shards.count to 3/),
    });
  });

  it('waits for a shard to be emptied, when the rebalancer may do that', () => {
    const fewer = wanting(world, { ...everyStrategy, shards: { count: 2 } });
    const result = (rebalance: object) =>
      planOf(wanting(fewer, { ...everyStrategy, shards: { count: 2 }, rebalance })).outcomes.find(
        ({ track }) => track === 'topology',
      )?.result;
    expect(result({})).toMatchObject({ kind: 'wait', reason: 'Draining' });
    expect(result({ dryRun: true })).toMatchObject({ kind: 'fail', reason: 'ShardOwnsBuckets' });
    expect(result({ mode: 'manual' })).toMatchObject({ kind: 'fail', reason: 'ShardOwnsBuckets' });
  });

  describe('whatever is unknown', () => {
    /** Takes knowledge away: each flag makes one thing unknown or absent. */
    const ignorance = fc.record({
      map: fc.constantFrom('known' as const, 'unknown' as const, 'absent' as const),
      secrets: fc.array(fc.nat({ max: 20 }), { maxLength: 3 }),
      shards: fc.array(
        fc.record({
          group: fc.constantFrom('known' as const, 'unknown' as const, 'absent' as const),
          database: fc.constantFrom('known' as const, 'unknown' as const, 'absent' as const),
          config: fc.constantFrom('known' as const, 'unknown' as const),
          settled: fc.boolean(),
          outdated: fc.array(fc.boolean(), { minLength: 3, maxLength: 3 }),
          ready: fc.array(fc.boolean(), { minLength: 3, maxLength: 3 }),
          losesVolume: fc.array(fc.boolean(), { minLength: 3, maxLength: 3 }),
        }),
        { minLength: 3, maxLength: 3 },
      ),
      count: fc.constantFrom(1, 2, 3, 4),
      members: fc.constantFrom(1, 2, 3, 4),
    });

    type Ignorance = typeof ignorance extends fc.Arbitrary<infer T> ? T : never;

    function blurred(known: PlanInput, less: Ignorance): PlanInput {
      const spec = { ...everyStrategy, members: less.members, shards: { count: less.count } };
      const input = wanting(known, spec);
      const names = secretNames(input.cluster, ['s0', 's1', 's2']);
      const secrets = new Map(input.observed.secrets);
      for (const place of less.secrets) {
        const name = names[place];
        if (name !== undefined) secrets.set(name, unknown);
      }
      const reading = (state: 'known' | 'unknown' | 'absent') =>
        state === 'unknown' ? unknown : ({ state: 'absent' } as const);
      const shards = input.observed.shards.map((shard, place): ObservedShard => {
        const blur = less.shards[place];
        if (blur === undefined) return shard;
        return {
          ...shard,
          settled: blur.settled,
          group: blur.group === 'known' ? shard.group : reading(blur.group),
          database: blur.database === 'known' ? shard.database : reading(blur.database),
          config: blur.config === 'known' ? shard.config : unknown,
          members: shard.members.map((member) => ({
            ...member,
            outdated: blur.outdated[member.ordinal] ?? false,
            ready: blur.ready[member.ordinal] ?? true,
            losesVolume: blur.losesVolume[member.ordinal] ?? false,
          })),
        };
      });
      const map = less.map === 'known' ? input.observed.map : reading(less.map);
      return observing(input, { map, secrets, shards });
    }

    it('deletes no data, no secret, no map and no shard that owns something', () => {
      fc.assert(
        fc.property(ignorance, (less) => {
          const input = blurred(world, less);
          for (const { object, orphan } of deletions(planOf(input).actions)) {
            expect(['PersistentVolumeClaim', 'Secret', 'ShardMap', 'ConfigMap']).not.toContain(object.kind);
            // Every shard of this world owns buckets, so that its StatefulSet goes only to be made anew.
            if (object.kind === 'StatefulSet') expect(orphan).toBe(true);
            else expect(object.kind).toBe('Pod');
          }
        }),
        { numRuns: 100 },
      );
    });

    it('makes nothing anew that may be there', () => {
      fc.assert(
        fc.property(ignorance, (less) => {
          const input = blurred(world, less);
          const kinds = kindsOf(planOf(input).actions);
          expect(kinds).not.toContain('create-authority');
          expect(kinds).not.toContain('generate-login');
          expect(kinds).not.toContain('clear-claim');
          const isLost = input.observed.map.state === 'absent';
          const answers = input.observed.shards.every(({ database }) => database.state === 'present');
          if (!isLost || !answers) expect(kinds).not.toContain('create-map');
          if (
            less.secrets.length > 0 &&
            less.secrets.some((place) => place < secretNames(input.cluster, ['s0', 's1', 's2']).length)
          )
            expect(kinds).toEqual([]);
        }),
        { numRuns: 100 },
      );
    });

    it('takes down at most one member that serves, of all shards', () => {
      fc.assert(
        fc.property(ignorance, (less) => {
          const input = blurred(world, less);
          const taken = planOf(input).actions.flatMap((action): string[] => {
            if (action.kind === 'restart') return [action.member];
            if (action.kind !== 'delete' || action.object.kind !== 'Pod') return [];
            const { name } = action.object.metadata;
            const member = input.observed.shards
              .flatMap(({ members }) => members)
              .find((one) => one.name === name);
            return member?.ready === true ? [name] : [];
          });
          expect(taken.length).toBeLessThanOrEqual(1);
        }),
        { numRuns: 100 },
      );
    });
  });
});

describe('a shard beyond the number wanted that owns nothing', () => {
  let world: PlanInput;
  beforeAll(async () => {
    const grown = await settled(
      wanting(await settled(emptyWorld(shardedCluster({ shards: { count: 1 } }))), { shards: { count: 2 } }),
    );
    if (grown.observed.map.state !== 'present') throw new Error('no map');
    const { value } = grown.observed.map;
    const map = { ...value, metadata: { ...value.metadata, resourceVersion: '7' } };
    const known = observing(grown, { map: { state: 'present', value: map } });
    world = withShard(wanting(known, { shards: { count: 1 } }), 's1', { forgottenMs: farewellMs });
  });

  it('is taken away, its volumes stay', async () => {
    const { actions } = planOf(world);
    expect(deletions(actions).map(({ object }) => object.kind)).toEqual([
      'ServiceAccount',
      'Role',
      'RoleBinding',
      'ConfigMap',
      'Service',
      'Service',
      'Service',
      'PodDisruptionBudget',
      'StatefulSet',
    ]);
    for (const action of deletions(actions)) {
      expect(action.evidence).toContain('it owns no bucket');
      expect(objectId(action.object)).toMatch(/shop-s1/);
      expect(action.uid).not.toBe('');
      expect(action.orphan).toBeUndefined();
      expect(action.mapVersion).toBe('7');
    }
    expect((await settled(world)).observed.shards.map(({ name }) => name)).toEqual(['s0']);
  });

  it.each([
    ['rows', withRows],
    ['rows in another schema', withRowsElsewhere],
    ['another database', withDatabase],
    ['a slot', withSlot],
    ['a prepared transaction', withPreparedTransaction],
    ['a marker', withMarker],
  ])('stays while it has %s', (_, change) => {
    const { actions, outcomes } = planOf(change(world));
    expect(deletions(actions)).toEqual([]);
    expect(outcomes.find(({ track }) => track === 'topology')?.result).toMatchObject({ kind: 'fail' });
  });

  it('stays while clients that were sent there may be on their way', () => {
    const { actions, outcomes } = planOf(withShard(world, 's1', { forgottenMs: farewellMs - 1 }));
    expect(deletions(actions)).toEqual([]);
    expect(outcomes.find(({ track }) => track === 'topology')?.result).toMatchObject({ reason: 'Draining' });
  });

  it('stays while another shard sends clients there', () => {
    const { database } = shardOf(world, 's0');
    if (database.state !== 'present' || database.value.catalog === undefined) throw new Error('no answer');
    const catalog = { ...database.value.catalog, mirror: mirrorOf('s0', 's1') };
    const { map } = world.observed;
    if (map.state !== 'present') throw new Error('no map');
    const groups = [{ name: 'orders', strategy: 'hash' as const, buckets: [] }];
    const value = { ...map.value, spec: { ...map.value.spec, groups } };
    const late = observing(withFacts(world, 's0', { catalog }), { map: { state: 'present', value } });
    const { actions, outcomes } = planOf(late);
    expect(deletions(actions)).toEqual([]);
    expect(outcomes.find(({ track }) => track === 'topology')?.result).toMatchObject({
      reason: 'Draining',
      message: expect.stringContaining('now on s0'),
    });
  });

  it.each([
    ['its primary does not answer', { database: unknown }],
    ['it has no primary', { database: { state: 'absent' } as const }],
  ])('stays while %s', (_, change) => {
    const { actions, outcomes } = planOf(withShard(world, 's1', change));
    expect(deletions(actions)).toEqual([]);
    expect(outcomes.find(({ track }) => track === 'topology')?.result).toMatchObject({
      reason: 'ShardUnknown',
    });
  });

  it.each([
    ['unknown', unknown],
    ['absent', { state: 'absent' } as const],
  ])('stays while the ShardMap is %s', (_, map) => {
    expect(deletions(planOf(observing(world, { map })).actions)).toEqual([]);
  });
});

function withRows(world: PlanInput): PlanInput {
  return withFacts(world, 's1', { tablesWithRows: ['notes'] });
}

function withSlot(world: PlanInput): PlanInput {
  const { database } = shardOf(world, 's1');
  if (database.state !== 'present') throw new Error('no answer');
  const slot = { name: 'shop_changes', active: false, retainedBytes: 0, walStatus: 'reserved' };
  return withFacts(world, 's1', { stats: { ...database.value.stats, slots: [slot] } });
}

function withPreparedTransaction(world: PlanInput): PlanInput {
  return withFacts(world, 's1', { preparedTransactions: 1 });
}

function withDatabase(world: PlanInput): PlanInput {
  return withFacts(world, 's1', { otherDatabases: ['reports'] });
}

function withRowsElsewhere(world: PlanInput): PlanInput {
  return withFacts(world, 's1', { tablesWithRows: ['audit.log'] });
}

function withMarker(world: PlanInput): PlanInput {
  const { database } = shardOf(world, 's1');
  if (database.state !== 'present' || database.value.catalog === undefined) throw new Error('no answer');
  const marker = { name: 'orders_b0001', bucket: 1, epoch: 1 };
  return withFacts(world, 's1', { catalog: { ...database.value.catalog, markers: [marker] } });
}

function withoutUid<T extends { metadata: { uid?: string } }>(object: T): T {
  const { uid: _, ...metadata } = object.metadata;
  return { ...object, metadata };
}
