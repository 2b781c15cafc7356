import { expect, test } from 'vitest';
import type { Pod } from '../sharded-cluster/kubernetes.ts';
import type { Sources } from '../sharded-cluster/sources.ts';
import type { Inquiry } from './inquiry.ts';
import { emptyMemory } from './memory.ts';
import { readPrimary } from './observe-primary.ts';
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

/** Asks a primary that does not answer, of which this was seen when it was the pod with uid `a`. */
async function historyWith(pods: readonly Pod[]) {
  const memory = emptyMemory(0);
  memory.histories.set('s0', { primary: 'a', samples });
  const inquiry = {
    set: readers(),
    shard: 's0',
    memory,
    access: { asOperator: () => ({}) },
    poll: { ask: async () => ({ state: 'unknown', error: new Error('it does not answer') }) },
    monotonicMs: () => 1_000,
  } as unknown as Inquiry;
  const sources = { pods: { cache: { byIndex: () => pods } } } as unknown as Sources;
  const { facts, history } = await readPrimary(inquiry, sources, 60_000);
  expect(facts.state).toBe('unknown');
  return history;
}

test('where a primary was is still known while it does not answer', async () => {
  expect(await historyWith([primaryPod('a')])).toEqual(samples);
});

test.each([
  { what: 'there is none', pods: [] },
  { what: 'there are two', pods: [primaryPod('a'), primaryPod('b')] },
  { what: 'it is another', pods: [primaryPod('b')] },
])('it counts for nothing while $what', async ({ pods }) => {
  expect(await historyWith(pods)).toBeUndefined();
});
