import { describe, expect, test } from 'vitest';
import { createManualClock } from '../../../test/support/manual-clock.ts';
import { createAutoscaler, wantedReplicas } from './autoscaler.ts';
import { askBeside } from './inquiry.ts';
import { emptyMemory, type SetMemory } from './memory.ts';
import type { ReadReplicaSet } from './model.ts';
import { plan } from './plan.ts';
import { statusOf, withDecision } from './status.ts';
import { input, member, readers, shard, statefulSet, stats } from './test-support/world.ts';

const name = 'readers-s0-replicas-0';

test('the metrics server is asked beside the passes, and the next decision waits for what it says', async () => {
  const clock = createManualClock();
  const memory = emptyMemory(clock.monotonicMs());
  const set = readers({
    resources: { requests: { cpu: '100m' } },
    autoscaling: { maxReplicas: 3, metrics: [{ type: 'CPU', target: 50 }] },
  });
  const { observed } = input(set, [shard([member(set, 0)])]);
  const answers: ((answer: unknown) => void)[] = [];
  const autoscaler = createAutoscaler({
    client: { request: () => new Promise((resolve) => answers.push(resolve)) },
    events: { record: () => undefined as never, flush: async () => undefined },
    clock,
  });
  const decide = () => autoscaler.decide(set, observed, memory, new AbortController().signal);
  expect(decide()).toBeUndefined();
  clock.advance(60_000);
  expect(decide()).toBeUndefined();
  expect(answers).toHaveLength(1);
  answers[0]?.({
    items: [{ metadata: { name }, containers: [{ name: 'postgres', usage: { cpu: '95m' } }] }],
  });
  await expect.poll(() => memory.cpuUse).toBeInstanceOf(Map);
  const first = decide();
  expect(first).toMatchObject({ metrics: [{ type: 'CPU', measured: 95, proposed: 2 }] });
  // What it said is good for one decision.
  clock.advance(14_999);
  expect(decide()).toBe(first);
  expect(answers).toHaveLength(1);
  clock.advance(1);
  expect(decide()).toBe(first);
  expect(answers).toHaveLength(2);
});

/** Lets an autoscaler decide every 15 s on what each of the members has of connections; answers its events. */
function decideOn(set: ReadReplicaSet, loads: readonly number[]) {
  const clock = createManualClock();
  const memory = emptyMemory(clock.monotonicMs());
  const told: string[] = [];
  const autoscaler = createAutoscaler({
    client: { request: () => Promise.reject(new Error('nobody')) },
    events: {
      record: (_, { reason, note }) => void told.push(`${reason}: ${note}`) as never,
      flush: async () => undefined,
    },
    clock,
  });
  const decisions = loads.map((connections) => {
    const value = stats(set, { connections });
    const { observed } = input(set, [shard([member(set, 0, { stats: { state: 'present', value } })])]);
    clock.advance(15_000);
    return autoscaler.decide(set, observed, memory, new AbortController().signal);
  });
  return { decisions, told };
}

const metrics = [{ type: 'Connections', target: 100 }];

test('a dry run tells of a decision once, not each time that it comes to it', () => {
  const set = readers({ autoscaling: { maxReplicas: 3, metrics, dryRun: true } });
  const { decisions, told } = decideOn(set, [100, 250, 250, 260, 100, 100]);
  expect(decisions.map((decision) => decision?.desired)).toEqual([1, 2, 2, 2, 1, 1]);
  expect(told).toEqual([
    expect.stringMatching(/^Scaled: would scale from 1 to 2 members per shard: /),
    expect.stringMatching(/^Scaled: would stay at 1 members per shard: /),
  ]);
});

test('an event tells of each metric with its numbers, and of what holds a decision when that changes', () => {
  const behavior = { scaleUpWindow: '60s' };
  const set = readers({
    autoscaling: {
      maxReplicas: 5,
      behavior,
      metrics: [
        { type: 'ActiveSessions', target: 8 },
        { type: 'Connections', target: 100 },
      ],
    },
  });
  const { decisions, told } = decideOn(set, [100, 250, 260, 270, 270]);
  expect(decisions[1]).toMatchObject({ desired: 2, chosen: 'Connections' });
  const numbers = 'Measured: ActiveSessions 1 of 8 asks for 1; Connections 250 of 100 asks for 3';
  // The StatefulSet of this world never grows, so that the last step stays under way.
  expect(told).toEqual([
    `Scaled: scales from 1 to 2 members per shard: Connections (250 of 100) asks for 3 members, there are 1. ${numbers}`,
    expect.stringMatching(
      /^ScalingHeld: .*there are 2; held, since members are still missing, or too many\. Measured: /,
    ),
  ]);
});

test('an event tells of a metric that is not known', () => {
  const set = readers({ autoscaling: { maxReplicas: 5, metrics: [{ type: 'QPS', target: 80 }] } });
  const { told } = decideOn(set, [100, 100, 100]);
  expect(told).toEqual([
    expect.stringMatching(
      /^ScalingHeld: .*held, since no measure of QPS\. Measured: QPS of 80: member .* has not been watched/,
    ),
  ]);
});

test('the first decision starts from the members that are there, whatever spec.replicas has become', () => {
  const set = readers({ replicas: 1, autoscaling: { maxReplicas: 5, metrics } });
  const clock = createManualClock();
  const autoscaler = createAutoscaler({
    client: { request: () => Promise.reject(new Error('nobody')) },
    events: { record: () => undefined as never, flush: async () => undefined },
    clock,
  });
  const { observed } = input(set, [shard([0, 1, 2].map((ordinal) => member(set, ordinal)))]);
  const memory = emptyMemory(clock.monotonicMs());
  const decision = autoscaler.decide(set, observed, memory, new AbortController().signal);
  expect(decision).toMatchObject({ desired: 3, heldBy: 'the load has been low for less than 1800s' });
});

test.each<{
  what: string;
  autoscaling: { dryRun: boolean } | undefined;
  replicas?: number;
  decision?: { desired: number } | undefined;
  wanted: number;
}>([
  { what: 'nothing but spec.replicas counts without autoscaling', autoscaling: undefined, wanted: 1 },
  { what: 'the decision counts with it', autoscaling: { dryRun: false }, wanted: 4 },
  {
    what: 'what is there counts until there is a decision',
    autoscaling: { dryRun: false },
    decision: undefined,
    wanted: 3,
  },
  { what: 'a dry run takes nobody away', autoscaling: { dryRun: true }, wanted: 3 },
  { what: 'a dry run adds what is asked for', autoscaling: { dryRun: true }, replicas: 5, wanted: 5 },
])('$what', ({ autoscaling, replicas = 1, wanted, ...given }) => {
  const decision = 'decision' in given ? given.decision : { desired: 4 };
  const set = readers({
    replicas,
    ...(autoscaling === undefined ? {} : { autoscaling: { maxReplicas: 9, metrics, ...autoscaling } }),
  });
  const shards = [
    shard([], { statefulSet: statefulSet(3) }),
    shard([], { name: 's1', statefulSet: undefined }),
    shard([], { name: 's2', isWanted: false, statefulSet: statefulSet(8) }),
  ];
  expect(wantedReplicas(set, shards, decision)).toBe(wanted);
});

test('the next operator goes on from a decision of which only the StatefulSet tells, and its status', () => {
  const clock = createManualClock();
  const autoscaler = createAutoscaler({
    client: { request: () => Promise.reject(new Error('nobody')) },
    events: { record: () => undefined as never, flush: async () => undefined },
    clock,
  });
  const { signal } = new AbortController();
  const set = readers({ autoscaling: { maxReplicas: 5, metrics } });
  const world = (connections: number, size: number) =>
    input(set, [
      shard([member(set, 0, { stats: { state: 'present', value: stats(set, { connections }) } })], {
        statefulSet: statefulSet(size),
      }),
    ]);
  const decide = (present: ReadReplicaSet, memory: SetMemory, connections: number, size: number) => {
    clock.advance(15_000);
    return autoscaler.decide(present, world(connections, size).observed, memory, signal);
  };
  const memory = emptyMemory(clock.monotonicMs());
  const first = decide(set, memory, 100, 1);
  const before = statusOf(world(100, 1), plan(world(100, 1)), first);
  const second = decide({ ...set, status: before }, memory, 250, 1);
  expect(second).toMatchObject({ desired: 2, lastScaleTime: '2026-01-01T00:00:30Z' });
  const written = withDecision({ ...set, status: before }, second);
  if (written === undefined) throw new Error('it is written before the StatefulSet changes');
  const next = decide({ ...set, status: written }, emptyMemory(clock.monotonicMs()), 250, 2);
  expect(next).toMatchObject({ desired: 2, lastScaleTime: '2026-01-01T00:00:30Z' });
  expect(withDecision({ ...set, status: written }, next)).toBeUndefined();
});

test('a decision of a dry run, from which nothing follows, is written with all else', () => {
  const set = readers({ autoscaling: { maxReplicas: 5, metrics, dryRun: true } });
  const decision = { desired: 1, metrics: [], message: '' };
  const status = statusOf(input(set, []), plan(input(set, [])), decision);
  expect(withDecision({ ...set, status }, { ...decision, desired: 2 })).toBeUndefined();
});

test.each([
  { what: 'forward', ms: 3_600_000 },
  { what: 'back', ms: -3_600_000 },
])('no window is over sooner or later when the clock is set $what', ({ ms }) => {
  const behavior = { scaleUpWindow: '0s', scaleDownWindow: '120s', quietBeforeScaleDown: '60s' };
  const set = readers({ autoscaling: { minReplicas: 1, maxReplicas: 2, metrics, behavior } });
  const world = (connections: number, count: number) =>
    input(set, [
      shard(
        [...Array(count).keys()].map((ordinal) =>
          member(set, ordinal, { stats: { state: 'present', value: stats(set, { connections }) } }),
        ),
      ),
    ]).observed;
  const decideWith = (setByMs: number) => {
    const clock = createManualClock();
    let offMs = 0;
    const autoscaler = createAutoscaler({
      client: { request: () => Promise.reject(new Error('nobody')) },
      events: { record: () => undefined as never, flush: async () => undefined },
      clock: { ...clock, now: () => new Date(clock.now().getTime() + offMs) },
    });
    const memory = emptyMemory(clock.monotonicMs());
    return [...Array(16).keys()].map((round) => {
      clock.advance(15_000);
      // Twice within both windows.
      if (round === 3 || round === 6) offMs += setByMs;
      const { signal } = new AbortController();
      return autoscaler.decide(set, round < 1 ? world(200, 1) : world(1, 2), memory, signal)?.desired;
    });
  };
  const steady = decideWith(0);
  expect(steady).toEqual([2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1]);
  expect(decideWith(ms)).toEqual(steady);
});

describe('a quiet time', () => {
  const behavior = { scaleUpWindow: '0s', scaleDownWindow: '0s', quietBeforeScaleDown: '300s' };
  const set = readers({ autoscaling: { maxReplicas: 5, metrics, behavior } });
  const members = [0, 1].map((ordinal) =>
    member(set, ordinal, { stats: { state: 'present', value: stats(set, { connections: 1 }) } }),
  );
  const { observed } = input(set, [shard(members)]);

  /** Decides every 15 s; answers how many are wanted after the first, and after a pause. */
  function decideAround(pauseMs: number, between: (memory: SetMemory) => SetMemory): (number | undefined)[] {
    const clock = createManualClock();
    const autoscaler = createAutoscaler({
      client: { request: () => Promise.reject(new Error('nobody')) },
      events: { record: () => undefined as never, flush: async () => undefined },
      clock,
    });
    const decide = (present: ReadReplicaSet, memory: SetMemory) =>
      autoscaler.decide(present, observed, memory, new AbortController().signal);
    const memory = emptyMemory(clock.monotonicMs());
    const first = decide(set, memory);
    const later = between(memory);
    const status = { autoscaling: first } as NonNullable<ReadReplicaSet['status']>;
    const found = [first?.desired];
    for (let ms = 0; ms < pauseMs; ms += 15_000) {
      clock.advance(15_000);
      if (later === memory) found.push(decide(set, memory)?.desired);
    }
    clock.advance(15_000);
    return [...found.slice(-1), decide({ ...set, status }, later)?.desired];
  }

  test('lets a member go', () => {
    expect(decideAround(285_000, (memory) => memory)).toEqual([2, 1]);
  });

  test('begins anew with an operator: nobody knows what was enough before', () => {
    expect(decideAround(600_000, () => emptyMemory(0))).toEqual([2, 2]);
  });

  test('begins anew when nobody has looked for a while', () => {
    expect(decideAround(600_000, (memory) => ({ ...memory }))).toEqual([2, 2]);
  });
});

test.each<{ what: string; cpu?: string; answer: unknown; measured: unknown }>([
  {
    what: 'pods without containers',
    answer: { items: [{ metadata: { name }, containers: null }] },
    measured: /does not know pod/,
  },
  { what: 'no list', answer: { items: null }, measured: /does not know pod/ },
  {
    what: 'numbers that nobody knows',
    answer: { items: [{ metadata: { name }, containers: [{ name: 'postgres', usage: { cpu: '1e3' } }] }] },
    measured: /does not answer as it should/,
  },
  {
    what: 'a use of nothing',
    cpu: '0',
    answer: { items: [{ metadata: { name }, containers: [{ name: 'postgres', usage: { cpu: '9m' } }] }] },
    measured: /no CPU request/,
  },
])('a metrics server that tells of $what says nothing', async ({ cpu = '100m', answer, measured }) => {
  const set = readers({
    resources: { requests: { cpu } },
    autoscaling: { maxReplicas: 3, metrics: [{ type: 'CPU', target: 50 }] },
  });
  const clock = createManualClock();
  const memory = emptyMemory(clock.monotonicMs());
  const { observed } = input(set, [shard([member(set, 0)])]);
  const autoscaler = createAutoscaler({
    client: { request: async () => answer },
    events: { record: () => undefined as never, flush: async () => undefined },
    clock,
  });
  const decide = () => autoscaler.decide(set, observed, memory, new AbortController().signal);
  decide();
  await expect.poll(() => memory.cpuUse).toBeDefined();
  expect(decide()).toMatchObject({
    desired: 1,
    metrics: [{ type: 'CPU', message: expect.stringMatching(measured as RegExp) }],
  });
});

test('what is asked beside the passes may fail, and is asked again', async () => {
  const memory = emptyMemory(0);
  let asked = 0;
  const ask = () => {
    asked += 1;
    return Promise.reject(new Error('it says something else'));
  };
  askBeside(memory, 'something', ask);
  await expect.poll(() => memory.asking.size).toBe(0);
  askBeside(memory, 'something', ask);
  expect(asked).toBe(2);
});
