import { describe, expect, test } from 'vitest';
import type { Pod } from '../sharded-cluster/kubernetes.ts';
import type { Sources } from '../sharded-cluster/sources.ts';
import type { Inquiry } from './inquiry.ts';
import { lagOf } from './lag.ts';
import { emptyMemory } from './memory.ts';
import { hasReadyPrimary, readPrimary } from './observe-primary.ts';
import { readers } from './test-support/world.ts';

const samples = [{ atMs: 10, untilMs: 900, position: 100 }];

function primaryPod(uid: string): Pod {
  const labels = { 'herdsman.dev/shard': 's0', 'herdsman.dev/role': 'primary' };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'shop-s0-0', namespace: 'store', uid, labels },
    status: { podIP: '10.0.0.1' },
  };
}

type Answer = Awaited<ReturnType<Inquiry['poll']['ask']>>;
const silence: Answer = { state: 'unknown', error: new Error('it does not answer') };

/** Asks for the primary among pods, when this was seen of the one with uid `a`; answers what is known of where it was. */
async function historyWith(pods: readonly Pod[], answer = silence) {
  const memory = emptyMemory(0);
  memory.histories.set('s0', samples);
  const inquiry = {
    set: readers(),
    shard: 's0',
    memory,
    access: { asOperator: () => ({}) },
    poll: { ask: async () => answer },
    monotonicMs: () => 1_000,
    connections: { use: async () => 0 },
  } as unknown as Inquiry;
  const sources = { pods: { cache: { byIndex: () => pods } } } as unknown as Sources;
  const { facts, history } = await readPrimary(inquiry, sources, { keepMs: 60_000, fineMs: 60_000 });
  expect(facts.state).toBe(answer === silence ? 'unknown' : 'present');
  return history;
}

test('where a primary was is still known while it does not answer', async () => {
  expect(await historyWith([primaryPod('a')])).toEqual(samples);
});

test.each([
  { what: 'there is none', pods: [] },
  { what: 'there are two', pods: [primaryPod('a'), primaryPod('b')] },
])('it counts for nothing while $what', async ({ pods }) => {
  expect(await historyWith(pods)).toBeUndefined();
});

test.each([
  { what: 'somebody', status: 'True', deletionTimestamp: undefined, expected: true },
  { what: 'nobody, while it is not ready', status: 'False', deletionTimestamp: undefined, expected: false },
  {
    what: 'nobody, while it ends',
    status: 'True',
    deletionTimestamp: '2026-01-01T00:00:00Z',
    expected: false,
  },
])('a Service leads by the primary to $what', ({ status, deletionTimestamp, expected }) => {
  const pod = primaryPod('a');
  const found = {
    ...pod,
    metadata: { ...pod.metadata, ...(deletionTimestamp === undefined ? {} : { deletionTimestamp }) },
    status: { ...pod.status, conditions: [{ type: 'Ready', status }] },
  };
  const sources = { pods: { cache: { byIndex: () => [found] } } } as unknown as Sources;
  expect(hasReadyPrimary({ set: readers(), shard: 's0' }, sources)).toBe(expected);
  expect(hasReadyPrimary({ set: readers(), shard: 's1' }, sources)).toBe(false);
});

// Its WAL goes on where that of the one before ended: a member that stood still before a failover is late by the whole time.
describe('where the primary before was', () => {
  const promoted = primaryPod('b');
  const at = (position: number): Answer => ({
    state: 'present',
    value: { inRecovery: false, position, askedMs: 5_000, answeredMs: 5_001, standbys: {} },
  });
  const look = (position: number) => ({ atMs: 5_001, untilMs: 5_000, position });

  test('is known while another does not answer yet', async () => {
    expect(await historyWith([promoted])).toEqual(samples);
  });

  test('is known when another has gone on from there', async () => {
    const history = await historyWith([promoted], at(150));
    expect(history).toEqual([...samples, look(150)]);
    const before = { received: 90, replayed: 90 };
    expect(lagOf(before, history, 0, 5_001)?.seconds).toBeGreaterThanOrEqual(4.9);
  });

  test('counts for nothing when another has not got so far', async () => {
    expect(await historyWith([promoted], at(50))).toEqual([look(50)]);
  });
});
