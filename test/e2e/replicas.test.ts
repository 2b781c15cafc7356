import { describe, expect, it } from 'vitest';
import { persistentVolumeClaimType, podType } from '../../src/runtime/kubernetes-types.ts';
import { kube } from '../support/cluster.ts';
import { startHeartbeat } from '../support/heartbeat.ts';
import { kubectl } from '../support/kubectl.ts';
import { openClient, query } from '../support/pg.ts';
import {
  applySet,
  copiesOf,
  holdReplay,
  inPod,
  readConfig,
  readOnce,
  readSet,
  replicaPods,
  waitForSet,
  waitForSetEvent,
  waitUntilServing,
} from '../support/read-replica-set.ts';
import { pauseReplay } from '../support/replica-faults.ts';
import { replicaSceneForFile } from '../support/replica-scene.ts';
import { applyCluster, primaryPod, waitUntilReady } from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';

const { namespace, cluster, set, target, maxSeconds, spec } = replicaSceneForFile('replicas');
/** No read is staler than the limit, and the 3 s within which a change reaches the Service. */
const stalestMs = (maxSeconds + 3) * 1_000;
async function memberState(name: string): Promise<string | undefined> {
  const { status } = await readSet(set);
  return status?.shards?.[0]?.members.find((member) => member.name === name)?.rotation;
}

it('reads through the Service, with its name verified, from members that are never promoted or waited for', async () => {
  const config = await readConfig(set, cluster.name);
  expect(
    await readOnce(config, 'SELECT count(*)::int AS n, pg_is_in_recovery() AS standby FROM items'),
  ).toEqual({
    n: 1000,
    standby: true,
  });
  const primary = await primaryPod(cluster);
  const names = (await replicaPods(set)).map(({ metadata }) => metadata.name);
  expect(names).toEqual(['readers-s0-replicas-0', 'readers-s0-replicas-1']);
  const states = await inPod(
    namespace,
    primary.metadata.name,
    "SELECT DISTINCT sync_state FROM pg_stat_replication WHERE application_name LIKE 'readers-%'",
  );
  expect(states).toBe('async');
});

it('leaves the standbys of the shard to their own Service', async () => {
  const { items } = await (await kube()).list(podType, {
    namespace,
    labelSelector: 'herdsman.dev/component=member',
  });
  expect(items.map(({ metadata }) => metadata.name).toSorted()).toEqual(['shop-s0-0', 'shop-s0-1']);
  expect((await waitUntilReady(cluster)).status?.members).toMatchObject({ desired: 2, ready: 2 });
});

describe('lag', () => {
  it('keeps a member whose replay is paused out of the Service, and no read is staler than the limit', async () => {
    const [late] = await replicaPods(set);
    if (late === undefined) throw new Error('there is no member');
    const { name } = late.metadata;
    const heartbeat = await startHeartbeat(target, await readConfig(set, cluster.name), { staysOn: 2 });
    try {
      const release = await pauseReplay(target, late);
      await waitFor('the member is out', async () => {
        const state = await memberState(name);
        return state === 'out' ? { done: true } : { state };
      });
      await waitForSetEvent(set, new RegExp(`MemberLeftRotation.*${name}.*its lag is`));
      // Reads go on for as long as the member would have been stale for twice the limit.
      const reads = heartbeat.reads();
      await waitFor('more reads', () =>
        heartbeat.reads() > reads + 40 ? { done: true } : { state: [...heartbeat.errors] },
      );
      await release();
      await waitUntilServing(set, 2);
      await waitForSetEvent(set, new RegExp(`MemberJoinedRotation.*${name}`));
    } finally {
      await heartbeat.stop();
    }
    expect([...heartbeat.errors]).toEqual([]);
    expect(heartbeat.ended()).toBeGreaterThan(0);
    expect(heartbeat.stalestMs()).toBeLessThanOrEqual(stalestMs);
  });

  it.each([
    ['keepFreshest', 'freshest', true],
    ['primary', 'primary', false],
  ] as const)(
    'of every member leads the Service to whom %s says',
    async (whenNoneFresh, servedBy, standby) => {
      await applySet(set, { ...spec, whenNoneFresh });
      const heartbeat = await startHeartbeat(target, await readConfig(set, cluster.name));
      try {
        const release = await holdReplay(target, await replicaPods(set));
        await waitForSet(set, `served by ${servedBy}`, ({ shards }) => shards?.[0]?.servedBy === servedBy);
        const config = await readConfig(set, cluster.name);
        await waitFor('a read from whom the policy says', async () => {
          const row = await readOnce<{ standby: boolean }>(config, 'SELECT pg_is_in_recovery() AS standby');
          return row.standby === standby ? { done: true } : { state: row };
        });
        await release();
        await waitForSet(set, 'served by members', ({ shards }) => shards?.[0]?.servedBy === 'members');
      } finally {
        await heartbeat.stop();
      }
      // The least late of members that are all late may be as late as it is.
      if (servedBy !== 'freshest') expect(heartbeat.stalestMs()).toBeLessThanOrEqual(stalestMs);
    },
  );
});

it('follows another primary without a new copy', async () => {
  const members = await replicaPods(set);
  const before = await copiesOf(set, members);
  const primary = await primaryPod(cluster);
  await (await kube()).delete(podType, { namespace, name: primary.metadata.name });
  await waitFor('another primary', async () => {
    const now = await primaryPod(cluster);
    return now.metadata.uid !== primary.metadata.uid ? { done: now } : { state: now.metadata.name };
  });
  await waitUntilReady(cluster);
  await query(target, 'INSERT INTO items VALUES (1001)');
  for (const { metadata } of members) {
    await waitFor(`${metadata.name} has the new row`, async () => {
      const found = await inPod(namespace, metadata.name, 'SELECT count(*) FROM items WHERE id = 1001');
      return found === '1' ? { done: true } : { state: found };
    });
  }
  expect(await copiesOf(set, await replicaPods(set))).toEqual(before);
  await waitUntilServing(set, 2);
});

it('copies a member anew whose volume is gone', async () => {
  const client = await kube();
  const name = 'readers-s0-replicas-1';
  const claim = { namespace, name: `data-${name}` };
  const before = await client.get(persistentVolumeClaimType, claim);
  await client.delete(persistentVolumeClaimType, claim);
  await waitFor('another volume', async () => {
    const now = await client.get(persistentVolumeClaimType, claim);
    const isNew = now !== undefined && now.metadata.uid !== before?.metadata.uid;
    return isNew ? { done: true } : { state: now?.metadata };
  });
  await waitUntilServing(set, 2);
});

it('lets a query that runs finish in a member that is taken away', async () => {
  const config = await readConfig(set, cluster.name);
  const sessions = await Promise.all(Array.from({ length: 8 }, () => openClient(config)));
  try {
    const running = sessions.map((client) => client.query('SELECT pg_sleep(6), inet_server_addr()'));
    await kubectl(['scale', 'readreplicaset', set.name, '-n', namespace, '--replicas=1']);
    const results = await Promise.all(running);
    expect(results.map(({ rows }) => rows.length)).toEqual(sessions.map(() => 1));
  } finally {
    for (const client of sessions) client.end().catch(() => undefined);
  }
  await waitUntilServing(set, 1);
  expect((await replicaPods(set)).map(({ metadata }) => metadata.name)).toEqual(['readers-s0-replicas-0']);
});

it('gains members in a shard that is added', async () => {
  await applyCluster(cluster, { members: 2, shards: { count: 2 } });
  await waitForSet(set, 'two shards', ({ shards }) => shards?.length === 2);
  await waitUntilServing(set, 2);
  const config = await readConfig(set, cluster.name, 's1');
  expect(await readOnce(config, 'SELECT pg_is_in_recovery() AS standby')).toEqual({ standby: true });
});
