import { expect, test } from 'vitest';
import { TransportError } from '../../src/runtime/api-error.ts';
import type { KubeClient } from '../../src/runtime/kube-client.ts';
import { createLeaderElection, type LeaderElection } from '../../src/runtime/leader-election.ts';
import { createManualClock, type ManualClock } from '../support/manual-clock.ts';
import type { ScriptedApiServer } from '../support/scripted-api-server.ts';
import { connect, startServer, until } from './connect.ts';

const leases = '/apis/coordination.k8s.io/v1/leases';

interface Candidate {
  readonly election: LeaderElection;
  readonly clock: ManualClock;
  readonly stop: AbortController;
  readonly ended: Promise<'released' | 'lost'>;
  /** What happened, in order. */
  readonly log: string[];
  work: AbortSignal | undefined;
  /** While true the server leaves its requests without an answer. */
  frozen: boolean;
  outcome: string | undefined;
}

/** Each candidate has a clock of its own, far from the others': only the Lease connects them. */
async function stand(
  server: ScriptedApiServer,
  identity: string,
  options: { beforeRelease?: () => Promise<boolean>; start?: Date; client?: KubeClient } = {},
): Promise<Candidate> {
  const client = options.client ?? (await connect(server, { userAgent: identity }));
  const clock = createManualClock(options.start);
  const stop = new AbortController();
  const log: string[] = [];
  const election = createLeaderElection({
    client,
    lease: { namespace: 'herdsman-system', name: 'herdsman' },
    identity,
    clock,
    random: () => 0.5,
    onStartedLeading(signal) {
      candidate.work = signal;
      log.push('leading');
      signal.addEventListener('abort', () => log.push('aborted'));
    },
    onNewLeader: (leader) => log.push(`leader ${leader}`),
    ...(options.beforeRelease === undefined ? {} : { beforeRelease: options.beforeRelease }),
  });
  const candidate: Candidate = {
    election,
    clock,
    stop,
    log,
    ended: election.run(stop.signal),
    work: undefined,
    frozen: false,
    outcome: undefined,
  };
  void candidate.ended.then((outcome) => {
    candidate.outcome = outcome;
  });
  server.intercept((request) => candidate.frozen && request.headers['user-agent'] === identity);
  return candidate;
}

function leaseSpec(server: ScriptedApiServer): Record<string, unknown> {
  return (server.find(leases, 'herdsman-system', 'herdsman')?.spec ?? {}) as Record<string, unknown>;
}

test('the first candidate leads, with times that the API server accepts', async () => {
  const server = await startServer();
  const candidate = await stand(server, 'a');
  await until('it leads', candidate.election.isLeader);
  expect(leaseSpec(server)).toEqual({
    holderIdentity: 'a',
    leaseDurationSeconds: 15,
    acquireTime: '2026-01-01T00:00:00.000000Z',
    renewTime: '2026-01-01T00:00:00.000000Z',
    leaseTransitions: 0,
  });
});

test('the leader renews while it leads, with one request each time', async () => {
  const server = await startServer();
  const candidate = await stand(server, 'a');
  await until('it leads', candidate.election.isLeader);
  const count = (method: string) => server.requests.filter((request) => request.method === method).length;
  // The list that went with the first look may come late, when nobody waits for it any more.
  let reads: number | undefined;
  for (let renewal = 1; renewal <= 12; renewal += 1) {
    candidate.clock.advance(5_000);
    await until('it renewed', () => count('PUT') === renewal);
    await until('it waits again', () => candidate.clock.timers >= 2);
    reads ??= count('GET');
  }
  expect(count('PUT')).toBe(12);
  expect(count('GET')).toBe(reads);
  expect(candidate.election.isLeader()).toBe(true);
  expect(leaseSpec(server).renewTime).toBe('2026-01-01T00:01:00.000000Z');
});

test('a candidate waits without asking while the leader renews', async () => {
  const server = await startServer();
  const leader = await stand(server, 'a');
  await until('it leads', leader.election.isLeader);
  const other = await stand(server, 'b');
  await until('the other watches', () => server.watches.length === 1);
  const asked = (): number => server.requests.filter(({ headers }) => headers['user-agent'] === 'b').length;
  // It reads the lease, lists and watches: three requests, in any order.
  await until('the other has asked', () => asked() === 3);
  await until('the other waits', () => other.clock.timers > 0);
  const before = asked();
  for (let renewal = 0; renewal < 10; renewal += 1) {
    const waits = other.clock.timersSet;
    leader.clock.advance(5_000);
    await until('the other has seen the renewal', () => other.clock.timersSet > waits);
    other.clock.advance(5_000);
    await until('the leader waits again', () => leader.clock.timers >= 2);
  }
  expect(other.election.isLeader()).toBe(false);
  expect(leader.election.isLeader()).toBe(true);
  expect(asked()).toBe(before);
});

test('a leader that is cut off stops before the other starts, whatever their clocks say', async () => {
  const server = await startServer();
  const leader = await stand(server, 'a');
  await until('it leads', leader.election.isLeader);
  const other = await stand(server, 'b', { start: new Date('2031-01-01T00:00:00Z') });
  await until('the other watches', () => server.watches.length === 1);
  leader.frozen = true;
  let bothLed = false;
  await until('the other leads', other.election.isLeader, () => {
    leader.clock.advance(250);
    other.clock.advance(250);
    bothLed ||= leader.election.isLeader() && other.election.isLeader();
  });
  expect(bothLed).toBe(false);
  expect(leader.log).toEqual(['leader a', 'leading', 'aborted']);
  expect(leader.work?.aborted).toBe(true);
  expect(leader.election.isLeader()).toBe(false);
  expect(leaseSpec(server)).toMatchObject({ holderIdentity: 'b', leaseTransitions: 1 });
  await until('the run of the old leader ended', () => leader.outcome !== undefined);
  expect(leader.outcome).toBe('lost');
});

test('a leader that was paused finds out when it goes on, even if the lease is free again', async () => {
  const server = await startServer();
  const leader = await stand(server, 'a');
  await until('it leads', leader.election.isLeader);
  const other = await stand(server, 'b');
  // Only the other's clock goes on: the leader's process stands still.
  await until('the other leads', other.election.isLeader, () => other.clock.advance(500));
  other.stop.abort();
  expect(await other.ended).toBe('released');
  expect(leaseSpec(server).holderIdentity).toBe('');
  leader.clock.advance(5_000);
  expect(await leader.ended).toBe('lost');
  expect(leader.work?.aborted).toBe(true);
  expect(leaseSpec(server).holderIdentity).toBe('');
});

test('on shutdown the work ends first, the lease is renewed meanwhile, then released, and the other follows', async () => {
  const server = await startServer();
  const work = Promise.withResolvers<boolean>();
  const leader = await stand(server, 'a', { beforeRelease: () => work.promise });
  await until('it leads', leader.election.isLeader);
  const other = await stand(server, 'b');
  await until('the other watches', () => server.watches.length === 1);
  leader.stop.abort();
  const seen = server.resourceVersion;
  await until(
    'it renews',
    () => server.resourceVersion > seen,
    () => leader.clock.advance(500),
  );
  expect(leader.election.isLeader()).toBe(true);
  expect(leaseSpec(server).holderIdentity).toBe('a');
  work.resolve(true);
  expect(await leader.ended).toBe('released');
  // The other's clock stands still: it learns of the release by its watch.
  await until('the other leads', other.election.isLeader);
  expect(other.log).toContain('leading');
});

test('a stop just before a renewal does not put it off', async () => {
  const server = await startServer();
  const work = Promise.withResolvers<boolean>();
  const leader = await stand(server, 'a', { beforeRelease: () => work.promise });
  await until('it leads', leader.election.isLeader);
  leader.clock.advance(4_900);
  leader.stop.abort();
  leader.clock.advance(100);
  await until(
    'it renewed',
    () => server.count('PUT', /leases/) === 1,
    () => leader.clock.advance(0),
  );
  work.resolve(true);
  expect(await leader.ended).toBe('released');
});

test('a lease is not released while work goes on that did not heed its signal', async () => {
  const server = await startServer();
  const leader = await stand(server, 'a', { beforeRelease: () => Promise.resolve(false) });
  await until('it leads', leader.election.isLeader);
  leader.stop.abort();
  expect(await leader.ended).toBe('lost');
  expect(leader.work?.aborted).toBe(true);
  expect(leaseSpec(server).holderIdentity).toBe('a');
});

test('a renewal on a connection that died without a word leaves time for another', async () => {
  const server = await startServer();
  const client = await connect(server);
  let isDead = true;
  const leader: Candidate = await stand(server, 'a', {
    client: {
      ...client,
      update(type, object, call) {
        if (!isDead) return client.update(type, object, call);
        isDead = false;
        leader.clock.advance(call?.timeoutMs ?? Number.POSITIVE_INFINITY);
        throw new TransportError({ method: 'PUT', path: leases }, 'nothing came');
      },
    },
  });
  await until('it leads', leader.election.isLeader);
  leader.clock.advance(5_000);
  await until(
    'it renewed',
    () => leaseSpec(server).renewTime !== leaseSpec(server).acquireTime,
    () => leader.clock.advance(0),
  );
  expect(leader.log).toEqual(['leader a', 'leading']);
  expect(leader.election.isLeader()).toBe(true);
});

test('a renewal whose answer is lost is not taken for a loss', async () => {
  const server = await startServer();
  const leader = await stand(server, 'a');
  await until('it leads', leader.election.isLeader);
  const unhook = server.intercept((request, response) => {
    if (request.method !== 'PUT') return false;
    unhook();
    // The write happens; only its answer does not arrive.
    server.put(leases, JSON.parse(request.body));
    response.socket?.resetAndDestroy();
    return true;
  });
  const before = server.count('PUT', /leases/);
  await until(
    'it renewed again',
    () => server.count('PUT', /leases/) === before + 2,
    () => leader.clock.advance(100),
  );
  expect(leader.election.isLeader()).toBe(true);
  expect(leader.log).toEqual(['leader a', 'leading']);
});

test('a Lease that somebody deletes is made anew', async () => {
  const server = await startServer();
  const leader = await stand(server, 'a');
  await until('it leads', leader.election.isLeader);
  server.remove(leases, 'herdsman-system', 'herdsman');
  await until(
    'it is back',
    () => leaseSpec(server).holderIdentity === 'a',
    () => leader.clock.advance(100),
  );
  expect(leader.election.isLeader()).toBe(true);
});

/** One that leads, and another that watches its Lease. */
async function leaderAndFollower() {
  const server = await startServer();
  const leader = await stand(server, 'a');
  await until('it leads', leader.election.isLeader);
  const other = await stand(server, 'b');
  await until('the other watches', () => server.watches.length === 1);
  await until('the other waits', () => other.log.includes('leader a') && other.clock.timers > 0);
  return { server, leader, other };
}

test('nobody takes the place of a leader whose Lease somebody deletes', async () => {
  const { server, leader, other } = await leaderAndFollower();
  const waits = other.clock.timersSet;
  server.remove(leases, 'herdsman-system', 'herdsman');
  await until('the other has seen it', () => other.clock.timersSet > waits);
  other.clock.advance(7_000);
  leader.clock.advance(5_000);
  await until('the leader has noticed', () => server.count('PUT', /leases/) === 1);
  await until('the leader waits', () => leader.clock.timers >= 2);
  leader.clock.advance(2_000);
  await until('it is back', () => server.find(leases, 'herdsman-system', 'herdsman') !== undefined);
  expect(leaseSpec(server).holderIdentity).toBe('a');
  expect(leader.election.isLeader()).toBe(true);
  expect(other.log).toEqual(['leader a']);
});

test('a leader that is gone with its Lease is followed when its time is over', async () => {
  const { server, leader, other } = await leaderAndFollower();
  leader.frozen = true;
  server.remove(leases, 'herdsman-system', 'herdsman');
  let bothLed = false;
  await until('the other leads', other.election.isLeader, () => {
    leader.clock.advance(250);
    other.clock.advance(250);
    bothLed ||= leader.election.isLeader() && other.election.isLeader();
  });
  expect(bothLed).toBe(false);
});

test('of many candidates exactly one leads', async () => {
  const server = await startServer();
  const candidates = await Promise.all(['a', 'b', 'c', 'd', 'e'].map((identity) => stand(server, identity)));
  await until(
    'one leads',
    () => candidates.some(({ election }) => election.isLeader()),
    () => {
      for (const { clock } of candidates) clock.advance(100);
    },
  );
  await until(
    'all have seen it',
    () => candidates.every(({ log }) => log.some((line) => line.startsWith('leader'))),
    () => {
      for (const { clock } of candidates) clock.advance(100);
    },
  );
  expect(candidates.filter(({ election }) => election.isLeader()).length).toBe(1);
  for (const { stop } of candidates) stop.abort();
  await Promise.all(candidates.map(({ ended }) => ended));
});

test('a candidate that is stopped while it waits leaves the lease alone', async () => {
  const server = await startServer();
  const leader = await stand(server, 'a');
  await until('it leads', leader.election.isLeader);
  const other = await stand(server, 'b');
  await until('the other watches', () => server.watches.length === 1);
  other.stop.abort();
  expect(await other.ended).toBe('released');
  expect(leaseSpec(server).holderIdentity).toBe('a');
  expect(other.log).not.toContain('leading');
});

test('times that cannot be safe are refused', async () => {
  const server = await startServer();
  const client = await connect(server);
  const lease = { namespace: 'herdsman-system', name: 'herdsman' };
  expect(() =>
    createLeaderElection({
      client,
      lease,
      identity: 'a',
      leaseDurationMs: 10_000,
      onStartedLeading: () => {},
    }),
  ).toThrow(RangeError);
});
