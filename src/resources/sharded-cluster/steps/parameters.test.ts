import { beforeAll, describe, expect, it } from 'vitest';
import { hashOf } from '../hash.ts';
import type { MemberFacts, PlanInput } from '../model.ts';
import { parametersOf, planOf, settled } from '../test-support/advance.ts';
import { emptyWorld, shardedCluster, shardOf, wanting, withFacts, withShard } from '../test-support/world.ts';

const good = { work_mem: '16MB' };
const wanted = { work_mem: '32MB' };
const refusedBefore = { hash: hashOf(wanted), message: 'parameter "work_mem": no' };

/** A cluster that runs with `good`, and is asked for `wanted`. */
let asked: PlanInput;
/** The same when Patroni has handed `wanted` out. */
let applied: PlanInput;
beforeAll(async () => {
  const spec = { shards: { count: 2 }, postgres: { parameters: good } };
  const world = await settled(emptyWorld(shardedCluster(spec)));
  const status = { lastGoodParameters: good };
  asked = wanting(world, { ...spec, postgres: { parameters: wanted } }, status);
  applied = await settled(asked);
});

function withoutPrimary(input: PlanInput): PlanInput {
  const silent = { database: { state: 'absent' } } as const;
  return withShard(withShard(input, 's0', silent), 's1', silent);
}

function withMemberFacts(input: PlanInput, facts: Partial<MemberFacts>): PlanInput {
  const { group } = shardOf(input, 's1');
  if (group.state !== 'present') throw new Error('nobody answers');
  const members = new Map(group.value.members);
  const before = members.get('shop-s1-2');
  if (before === undefined) throw new Error('no such member');
  members.set('shop-s1-2', { ...before, ...facts });
  return withShard(input, 's1', { group: { state: 'present', value: { ...group.value, members } } });
}

function withFailedStart(input: PlanInput): PlanInput {
  return withShard(input, 's1', { failedStarts: ['shop-s1-2'] });
}

describe('parameters of the user', () => {
  it('are handed out while nobody refuses them, and are good when all servers run with them', () => {
    expect(parametersOf(asked)).toEqual({ use: wanted, refused: undefined, lastGood: good });
    expect(parametersOf(applied)).toEqual({ use: wanted, refused: undefined, lastGood: wanted });
  });

  it('are not good yet while a member waits for a restart, or a shard does not answer', () => {
    expect(parametersOf(withMemberFacts(applied, { pendingRestart: true })).lastGood).toEqual(good);
    expect(parametersOf(withShard(applied, 's1', { database: { state: 'absent' } })).lastGood).toEqual(good);
    expect(parametersOf(withShard(applied, 's1', { group: { state: 'absent' } })).lastGood).toEqual(good);
    // Handed out just now: nobody has looked yet whether a restart is needed.
    const unread = withFacts(applied, 's1', { runsWithParameters: false });
    expect(parametersOf(unread)).toEqual({ use: wanted, refused: undefined, lastGood: good });
    expect(parametersOf(withFailedStart(unread)).use).toEqual(good);
  });

  it('are kept from a server that has none of them while nobody can judge them', () => {
    expect(parametersOf(withoutPrimary(asked))).toEqual({ use: good, refused: undefined, lastGood: good });
    const fresh = emptyWorld(shardedCluster({ postgres: { parameters: wanted } }));
    expect(parametersOf(fresh)).toEqual({ use: {}, refused: undefined, lastGood: undefined });
  });

  it('stay where they were handed out while the primaries change', () => {
    expect(parametersOf(withoutPrimary(applied)).use).toEqual(wanted);
    expect(planOf(withoutPrimary(applied)).actions).toEqual([]);
  });

  it('give way to the last good ones when the running server says no', () => {
    const problem = { code: 'parameter-value', message: 'parameter "work_mem": no' };
    expect(parametersOf(withFacts(asked, 's1', { parameterProblems: [problem] }))).toEqual({
      use: good,
      refused: refusedBefore,
      lastGood: good,
    });
  });

  it('give way when a server cannot use what it was given', () => {
    const error = 'work_mem: invalid value';
    expect(parametersOf(withFacts(applied, 's1', { fileErrors: [error] }))).toMatchObject({
      use: good,
      refused: { message: expect.stringContaining(error) },
    });
    // Before they are handed out, an error in a file is not theirs.
    expect(parametersOf(withFacts(asked, 's1', { fileErrors: [error] })).refused).toBeUndefined();
  });

  it.each([
    ['while its primary answers', (input: PlanInput) => input],
    ['while nobody answers any more', withoutPrimary],
  ])('are taken back when a member does not start with them, %s', (_, change) => {
    const failing = change(withFailedStart(applied));
    expect(parametersOf(failing)).toMatchObject({
      use: good,
      refused: { hash: hashOf(wanted), message: expect.stringContaining('shop-s1-2') },
    });
    const patches = planOf(failing).actions.flatMap((action) =>
      action.kind === 'patch-config' ? [action.patch] : [],
    );
    expect(patches).toEqual([{ postgresql: { parameters: good } }, { postgresql: { parameters: good } }]);
  });

  it('are not blamed for a member that did not start with others', () => {
    const failing = withFailedStart(asked);
    expect(parametersOf(failing).refused).toBeUndefined();
  });

  it('stay refused until the spec changes', () => {
    const status = { lastGoodParameters: good, refusedParameters: refusedBefore };
    const again = wanting(asked, { shards: { count: 2 }, postgres: { parameters: wanted } }, status);
    expect(parametersOf(again)).toEqual({ use: good, refused: refusedBefore, lastGood: good });
    const other = { work_mem: '64MB' };
    const corrected = wanting(asked, { shards: { count: 2 }, postgres: { parameters: other } }, status);
    expect(parametersOf(corrected)).toMatchObject({ use: other, refused: undefined });
    const back = wanting(asked, { shards: { count: 2 }, postgres: { parameters: good } }, status);
    expect(parametersOf(back)).toEqual({ use: good, refused: undefined, lastGood: good });
  });

  it('are refused without asking anybody when Herdsman itself sets them', () => {
    // Admission refuses it as well; an object from before that rule may have it.
    const input = withoutPrimary(wanting(asked, { shards: { count: 2 } }));
    const { postgres } = input.cluster.spec;
    const spec = { ...input.cluster.spec, postgres: { ...postgres, parameters: { wal_level: 'minimal' } } };
    expect(parametersOf({ ...input, cluster: { ...input.cluster, spec } })).toMatchObject({
      use: {},
      refused: { message: expect.stringContaining('wal_level') },
    });
  });
});
