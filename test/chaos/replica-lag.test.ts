import { describe, expect, it } from 'vitest';
import { type Heartbeat, startHeartbeat } from '../support/heartbeat.ts';
import {
  applySet,
  holdReplay,
  readConfig,
  replicaPods,
  waitForSet,
  waitForSetEvent,
  waitUntilServing,
} from '../support/read-replica-set.ts';
import { type LagFault, lagFaults } from '../support/replica-faults.ts';
import { replicaSceneForFile } from '../support/replica-scene.ts';
import { waitFor } from '../support/wait.ts';

// Every way of being late, with a row that is renewed ten times a second and read through the Service all along: on new
// connections, and on sessions that stay on each member for as long as it lets them.

describe('late read replicas', () => {
  const { cluster, set, target: shard, maxSeconds, spec } = replicaSceneForFile('replica-lag');

  it.each(Object.entries<LagFault>(lagFaults))('%s: one leaves and comes back', async (what, inject) => {
    const heartbeat = await startHeartbeat(shard, await readConfig(set, cluster.name), { staysOn: 2 });
    const [pod] = await replicaPods(set);
    if (pod === undefined) throw new Error('there is no member');
    const { name } = pod.metadata;
    try {
      const mend = await inject(shard, pod);
      try {
        await waitForSet(set, `${name} is out`, ({ shards }) => shards?.[0]?.members[0]?.rotation === 'out');
        await waitForSetEvent(set, new RegExp(`MemberLeftRotation.*${name}.*its lag is`));
        const reads = heartbeat.reads();
        await waitFor('more reads', () =>
          heartbeat.reads() > reads + 60 ? { done: true } : { state: [...heartbeat.errors] },
        );
      } finally {
        await mend();
      }
      await waitUntilServing(set, 2);
    } finally {
      await heartbeat.stop();
    }
    console.log(`${what}: stalest read ${heartbeat.stalestMs()} ms of ${heartbeat.reads()}`);
    // Who comes by a slow link before the member has left waits in vain; nobody is refused.
    const errors = [...heartbeat.errors.keys()].filter((message) => message !== 'timeout expired');
    expect(errors).toEqual([]);
    // Nobody is bound to a member that is late: the session on it is ended, and reads on elsewhere.
    expect(heartbeat.ended()).toBeGreaterThan(0);
    expect(heartbeat.stalestMs()).toBeLessThanOrEqual((maxSeconds + 3) * 1_000);
  });

  const failed = ({ errors }: Heartbeat) => [...errors.values()].reduce((sum, count) => sum + count, 0);

  it.each([
    ['keepFreshest', 'freshest'],
    ['primary', 'primary'],
    ['none', 'nobody'],
  ] as const)('all of them: with %s the Service leads to %s', async (whenNoneFresh, servedBy) => {
    await applySet(set, { ...spec, whenNoneFresh });
    const heartbeat = await startHeartbeat(shard, await readConfig(set, cluster.name), { staysOn: 2 });
    try {
      const release = await holdReplay(shard, await replicaPods(set));
      await waitForSet(set, `served by ${servedBy}`, ({ shards }) => shards?.[0]?.servedBy === servedBy);
      const [reads, failures] = [heartbeat.reads(), failed(heartbeat)];
      await waitFor('more reads, or refusals', () => {
        const goesOn = servedBy === 'nobody' ? failed(heartbeat) > failures : heartbeat.reads() > reads + 40;
        return goesOn ? { done: true } : { state: [...heartbeat.errors] };
      });
      await release();
      await waitForSet(set, 'served by members', ({ shards }) => shards?.[0]?.servedBy === 'members');
    } finally {
      await heartbeat.stop();
    }
    const refusals = [...heartbeat.errors.keys()].filter((message) => message.includes('ECONNREFUSED'));
    console.log(`${whenNoneFresh}: stalest read ${heartbeat.stalestMs()} ms of ${heartbeat.reads()}`);
    expect(heartbeat.errors.size).toBe(refusals.length);
    if (servedBy === 'nobody') expect(refusals).not.toEqual([]);
    else expect(refusals).toEqual([]);
    expect(heartbeat.ended()).toBeGreaterThan(servedBy === 'freshest' ? 0 : 1);
    // The freshest of late ones may show anything; the others promise the limit.
    if (servedBy !== 'freshest') expect(heartbeat.stalestMs()).toBeLessThanOrEqual((maxSeconds + 3) * 1_000);
  });
});
