import { beforeAll, describe, expect, it } from 'vitest';
import type { KubernetesObject } from '../../../runtime/kubernetes-object.ts';
import type { StatefulSet } from '../kubernetes.ts';
import type { ObservedMember, PlanInput } from '../model.ts';
import { settled } from '../test-support/advance.ts';
import { emptyWorld, observing, shardedCluster, shardOf, wanting, withShard } from '../test-support/world.ts';
import { bootstrap, configuration, objects, renewals, rollout, volumes } from './topology.ts';

const spec = { members: 1, shards: { count: 3 } };
let world: PlanInput;
beforeAll(async () => {
  world = await settled(emptyWorld(shardedCluster(spec)));
});

function withMembers(
  input: PlanInput,
  shard: string,
  change: (member: ObservedMember) => Partial<ObservedMember>,
): PlanInput {
  const members = shardOf(input, shard).members.map((member) => ({ ...member, ...change(member) }));
  return withShard(input, shard, { members });
}

const outdated = () => ({ outdated: true });
const pulling = ({ pod }: ObservedMember): Partial<ObservedMember> => ({
  ready: false,
  pod: pod && {
    ...pod,
    status: {
      containerStatuses: [
        { name: 'postgres', ready: false, state: { waiting: { reason: 'ImagePullBackOff' } } },
      ],
    },
  },
});

describe('a rollout over several shards', () => {
  it('goes from shard to shard', () => {
    const input = ['s1', 's2'].reduce((before, shard) => withMembers(before, shard, outdated), world);
    expect(rollout(input)).toMatchObject({
      kind: 'wait',
      reason: 'RollingOut',
      actions: [{ kind: 'delete', object: { metadata: { name: 'shop-s1-0' } } }],
    });
  });

  it('stops where a renewed member cannot run, before another shard has the same', () => {
    const input = withMembers(withMembers(world, 's0', pulling), 's1', outdated);
    const result = rollout(input);
    expect(result).toMatchObject({
      kind: 'fail',
      reason: 'ImagePullBackOff',
      message: expect.stringContaining('shard s0: member shop-s0-0'),
    });
    expect(result.actions ?? []).toEqual([]);
  });

  it('waits for a renewed member that is starting', () => {
    const input = withMembers(
      withMembers(world, 's2', () => ({ ready: false })),
      's1',
      outdated,
    );
    expect(rollout(input)).toMatchObject({ kind: 'wait', reason: 'MemberNotReady' });
  });

  it('replaces what is broken and outdated at once, whatever ails other shards', () => {
    const broken = (member: ObservedMember) => ({ ...pulling(member), outdated: true });
    const input = withShard(withMembers(withMembers(world, 's0', pulling), 's1', broken), 's1', {
      group: { state: 'unknown', error: new Error('connection refused') },
    });
    expect(rollout(input)).toMatchObject({
      actions: [{ kind: 'delete', object: { metadata: { name: 'shop-s1-0' } } }],
    });
  });

  it('does not wait for a shard that is to be taken away', () => {
    const input = wanting(withMembers(withMembers(world, 's2', pulling), 's1', outdated), {
      ...spec,
      shards: { count: 2 },
    });
    expect(rollout(input)).toMatchObject({ reason: 'RollingOut' });
  });

  it('leaves members that are not ready alone while there is nothing to renew', () => {
    expect(rollout(withMembers(world, 's1', pulling))).toEqual({ kind: 'continue' });
  });
});

describe('objects', () => {
  it('are all there already', () => {
    expect(objects(world)).toEqual({ kind: 'continue', actions: [] });
  });

  it('of a StatefulSet that is being deleted come when it is gone', () => {
    const id = 'StatefulSet/shop-s0';
    const live = world.observed.objects.get(id);
    if (live === undefined) throw new Error('no StatefulSet');
    const going = { ...live, metadata: { ...live.metadata, deletionTimestamp: '2026-01-10T00:00:00Z' } };
    const input = wanting(world, { ...spec, postgres: { image: 'postgres:17.1' } });
    const changed = { ...input.observed, objects: new Map(input.observed.objects).set(id, going) };
    const { actions = [] } = objects({ ...input, observed: changed });
    expect(actions.map((action) => action.kind === 'apply' && action.object.metadata.name)).toEqual([
      'shop-s1',
      'shop-s2',
    ]);
  });
});

describe('a StatefulSet that somebody', () => {
  const id = 'StatefulSet/shop-s1';
  const withObject = (live: KubernetesObject | undefined): PlanInput => {
    const others = new Map(world.observed.objects);
    if (live === undefined) others.delete(id);
    else others.set(id, live);
    const statefulSet = live as StatefulSet | undefined;
    return withShard(observing(world, { objects: others }), 's1', { statefulSet });
  };
  const saidOf = (input: PlanInput) => {
    const { actions = [] } = objects(input);
    return actions.map((action) => (action.kind === 'event' ? action.note : action.kind));
  };

  it.each([0, 5])('has scaled to %i is scaled back, and that is told', (replicas) => {
    const live = world.observed.objects.get(id) as StatefulSet;
    const said = saidOf(withObject({ ...live, spec: { ...live.spec, replicas } } as StatefulSet));
    if (replicas === 0) expect(said).toEqual(['apply', expect.stringContaining('had been scaled to 0')]);
    else expect(said[0]).toBe('apply');
  });

  it('has deleted is made again, and that is told', () => {
    expect(saidOf(withObject(undefined))).toEqual(['apply', expect.stringContaining('on the volumes')]);
  });
});

describe('the dynamic configuration', () => {
  it('is patched only where it differs, and only where it is known', () => {
    const input = wanting(world, { ...spec, durability: 'asynchronous', tls: { required: false } });
    const silent = withShard(input, 's1', { config: { state: 'unknown', error: new Error('timeout') } });
    const { actions = [] } = configuration(silent, {});
    expect(actions.map((action) => action.kind === 'patch-config' && action.shard)).toEqual(['s0', 's2']);
    expect(configuration(world, {})).toEqual({ kind: 'continue' });
  });
});

describe('volumes', () => {
  it('grow when they are smaller than wanted, and never shrink', () => {
    expect(volumes(world)).toEqual({ kind: 'continue' });
    const larger = volumes(wanting(world, { ...spec, storage: { size: '2Gi' } }));
    expect(larger).toMatchObject({
      kind: 'continue',
      actions: Array(3).fill({ kind: 'resize-claim', size: '2Gi' }),
    });
    expect(volumes(wanting(world, { ...spec, storage: { size: '512Mi' } }))).toEqual({ kind: 'continue' });
  });

  it('of an unknown size are left', () => {
    const claims = shardOf(world, 's0').claims.map(({ spec: _, ...claim }) => claim);
    const input = withShard(wanting(world, { ...spec, storage: { size: '2Gi' } }), 's0', { claims });
    expect(volumes(input).actions).toHaveLength(2);
  });
});

describe('what members need besides', () => {
  it('is a claim to be cleared where an initialisation was cut off', () => {
    expect(bootstrap(world)).toEqual({ kind: 'continue' });
    expect(bootstrap(withShard(world, 's1', { abandonedClaim: '' }))).toEqual({
      kind: 'continue',
      actions: [{ kind: 'clear-claim', shard: 's1', claim: '' }],
    });
  });

  it('is a reload where an old certificate is served', () => {
    expect(renewals(world)).toEqual({ kind: 'continue' });
    expect(renewals(withShard(world, 's1', { staleCertificates: ['shop-s1-0'] }))).toEqual({
      kind: 'continue',
      actions: [{ kind: 'reload', shard: 's1', member: 'shop-s1-0' }],
    });
  });
});

describe('the image of a cluster', () => {
  const later = (input: PlanInput): PlanInput => ({
    ...input,
    settings: { postgresImage: 'postgres:17-later' },
  });

  it('stays when an operator with another default takes over, also for shards that are added', () => {
    expect(objects(later(world)).actions).toEqual([]);
    const grown = wanting(later(world), { members: 1, shards: { count: 4 } });
    const images = JSON.stringify(objects(grown).actions).match(/postgres:17[-a-z]*/g);
    expect(new Set(images)).toEqual(new Set(['postgres:17']));
  });

  it('changes when the spec names another, and comes back when it no longer does', async () => {
    const named = await settled(wanting(later(world), { ...spec, postgres: { image: 'postgres:17-mine' } }));
    expect(JSON.stringify(named.observed.shards)).toContain('postgres:17-mine');
    const back = JSON.stringify(objects(wanting(named, spec)).actions);
    expect(back).toContain('postgres:17');
    expect(back).not.toContain('postgres:17-later');
  });
});
