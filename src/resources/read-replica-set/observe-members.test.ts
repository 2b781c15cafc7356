import type { X509Certificate } from 'node:crypto';
import { createServer } from 'node:net';
import { expect, test } from 'vitest';
import type { Pod } from '../sharded-cluster/kubernetes.ts';
import type { Inquiry } from './inquiry.ts';
import { emptyMemory } from './memory.ts';
import { isLost, positionOf, takeStaleCertificates, upstreamOf } from './observe-members.ts';
import { member, primary, readers } from './test-support/world.ts';

const ready = [{ type: 'Ready', status: 'True' }];
const { pod } = member(readers(), 0);
const monotonicMs = () => 0;
const silence = { state: 'unknown' as const, error: new Error('silence') };
const seen = { ...primary, standbys: { 'readers-s0-replicas-0': { replayed: 50, received: 60 } } };

test('a member that does not answer is where its primary sees it, else where it was', () => {
  const memory = emptyMemory(0);
  const own = { state: 'present' as const, value: { replayed: 40, received: 45, committedMs: null } };
  expect(positionOf({ memory, monotonicMs }, pod, silence, primary)).toBeUndefined();
  expect(positionOf({ memory, monotonicMs }, pod, own, seen)).toEqual({ replayed: 40, received: 45 });
  expect(positionOf({ memory, monotonicMs }, pod, silence, seen)).toEqual({ replayed: 50, received: 60 });
  expect(positionOf({ memory, monotonicMs }, pod, silence, primary)).toEqual({ replayed: 50, received: 60 });
  expect(positionOf({ memory, monotonicMs }, pod, silence, undefined)).toEqual({
    replayed: 50,
    received: 60,
  });
});

test('the last commit that a member shows is as old as the clock of the primary says', () => {
  const told = { state: 'present' as const, value: { replayed: 40, received: 45, committedMs: 7_000 } };
  const memory = emptyMemory(0);
  expect(positionOf({ memory, monotonicMs }, pod, told, { ...primary, clockMs: 9_000 })).toMatchObject({
    commitAgeMs: 2_000,
  });
  // Of a clock that was told a while ago it is so much older.
  const later = { memory, monotonicMs: () => 60_000 };
  expect(positionOf(later, pod, told, { ...primary, clockMs: 9_000, askedMs: 57_500 })).toMatchObject({
    commitAgeMs: 4_500,
  });
  expect(positionOf({ memory, monotonicMs }, pod, told, undefined)?.commitAgeMs).toBeUndefined();
  expect(positionOf({ memory, monotonicMs }, pod, silence, primary)?.commitAgeMs).toBeUndefined();
});

test('a member that is not ready is nowhere', () => {
  expect(positionOf({ memory: emptyMemory(0), monotonicMs }, pod, { state: 'absent' }, seen)).toBeUndefined();
});

test('a member streams from the pod that it is configured to follow while that serves, unless that is itself', () => {
  const follows = { ...pod, status: { podIP: '10.0.1.1', conditions: ready } } as Pod;
  const { name } = follows.metadata;
  expect(upstreamOf('readers-s0-replicas-1', follows)).toEqual({ name, address: '10.0.1.1' });
  expect(upstreamOf(name, follows)).toBeUndefined();
  expect(upstreamOf('readers-s0-replicas-1', pod)).toBeUndefined();
  expect(upstreamOf('readers-s0-replicas-1', undefined)).toBeUndefined();
});

test('a member is lost that has long been silent and needs WAL that is gone, and not one that was made since', async () => {
  const memory = emptyMemory(0);
  let nowMs = 0;
  const inquiry = {
    set: readers(),
    shard: 's0',
    memory,
    access: { asOperator: () => ({}) },
    // What streams from another server is judged by that one's WAL.
    poll: {
      ask: async (key: string) => ({
        state: 'present',
        value: { position: key.endsWith('at 10.0.0.2') ? 99 : 100 },
      }),
    },
    monotonicMs: () => nowMs,
  } as unknown as Inquiry;
  const stats = { streaming: false, waitsForWal: true, received: 99 };
  const silent = { state: 'present' as const, value: stats };
  expect(await isLost(inquiry, pod, silent, primary)).toBe(false);
  nowMs = 30_000;
  const replaying = { state: 'present' as const, value: { ...stats, waitsForWal: false } };
  expect(await isLost(inquiry, pod, replaying, primary)).toBe(false);
  expect(await isLost(inquiry, pod, silent, primary)).toBe(true);
  expect(await isLost(inquiry, pod, silent, { address: '10.0.0.2' })).toBe(false);
  const namesake = { ...pod, metadata: { ...pod?.metadata, uid: 'another' } } as Pod;
  expect(await isLost(inquiry, namesake, silent, primary)).toBe(false);
});

test('a Patroni that hangs holds up no look at certificates', async () => {
  const { promise: connected, resolve } = Promise.withResolvers<void>();
  const server = createServer(() => resolve());
  await new Promise<void>((done) => server.listen(8008, '127.0.0.9', done));
  try {
    const memory = emptyMemory(0);
    const certificate = { fingerprint256: 'AA' } as X509Certificate;
    const hanging = { ...pod, status: { podIP: '127.0.0.9', conditions: ready } } as Pod;
    const inquiry = { set: readers(), shard: 's0', memory, monotonicMs: () => 60_000 } as Inquiry;
    expect(takeStaleCertificates(inquiry, [hanging], certificate)).toEqual([]);
    await connected;
    memory.staleCertificates.set('s0', ['readers-s0-replicas-1']);
    expect(takeStaleCertificates(inquiry, [hanging], certificate)).toEqual(['readers-s0-replicas-1']);
    expect(takeStaleCertificates(inquiry, [hanging], certificate)).toEqual([]);
  } finally {
    server.close();
  }
});
