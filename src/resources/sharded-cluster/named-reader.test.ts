import { describe, expect, it } from 'vitest';
import type { KubernetesObject } from '../../runtime/kubernetes-object.ts';
import { secretType } from '../../runtime/kubernetes-types.ts';
import type { Reading } from '../../runtime/reading.ts';
import { createNamedReader } from './named-reader.ts';

const key = { namespace: 'shop', name: 'shop-app' };
const signal = new AbortController().signal;
const secret = (resourceVersion: string): KubernetesObject => ({
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: { ...key, resourceVersion },
});
const present = (version: string): Reading<KubernetesObject> => ({
  state: 'present',
  value: secret(version),
});
const unknown: Reading<KubernetesObject> = { state: 'unknown', error: new Error('timeout') };

/** A reader whose server gives these answers, one after the other. */
function reader(...answers: readonly Reading<KubernetesObject>[]) {
  const clock = { ms: 0 };
  const asked = { times: 0 };
  const timers: { dueMs: number; call: () => void }[] = [];
  const client = {
    read: async () => {
      const answer = answers[asked.times];
      asked.times += 1;
      if (answer === undefined) throw new Error('asked too often');
      return answer;
    },
  };
  return {
    clock,
    asked,
    /** Lets so much time go by, with all that is due in it. */
    pass(ms: number) {
      clock.ms += ms;
      for (const timer of timers.splice(0)) {
        if (timer.dueMs <= clock.ms) timer.call();
        else timers.push(timer);
      }
    },
    reader: createNamedReader(
      client as Parameters<typeof createNamedReader>[0],
      secretType,
      () => clock.ms,
      (ms, call) => timers.push({ dueMs: clock.ms + ms, call }),
    ),
  };
}

describe('a named reader', () => {
  it('remembers what is there for as long as the caller allows', async () => {
    const { reader: secrets, clock, asked } = reader(present('1'), present('2'));
    expect(await secrets.read(key, 1_000, signal)).toEqual(present('1'));
    clock.ms = 1_000;
    expect(await secrets.read(key, 1_000, signal)).toEqual(present('1'));
    clock.ms = 1_001;
    expect(await secrets.read(key, 1_000, signal)).toEqual(present('2'));
    expect(asked.times).toBe(2);
  });

  it('asks again for what is absent or unknown', async () => {
    const { reader: secrets } = reader({ state: 'absent' }, unknown, present('1'));
    expect((await secrets.read(key, 1_000, signal)).state).toBe('absent');
    expect((await secrets.read(key, 1_000, signal)).state).toBe('unknown');
    expect((await secrets.read(key, 1_000, signal)).state).toBe('present');
  });

  it('does not pass off what it knew for what is now unknown', async () => {
    const { reader: secrets, clock } = reader(present('1'), unknown, present('2'));
    await secrets.read(key, 1_000, signal);
    clock.ms = 2_000;
    expect(await secrets.read(key, 1_000, signal)).toEqual(unknown);
    expect(await secrets.read(key, 1_000, signal)).toEqual(present('2'));
  });

  it('knows what a write left, and forgets what it is told to', async () => {
    const { reader: secrets, asked } = reader(present('2'));
    secrets.note(secret('1'));
    expect(await secrets.read(key, 1_000, signal)).toEqual(present('1'));
    expect(asked.times).toBe(0);
    secrets.forget(key);
    expect(await secrets.read(key, 1_000, signal)).toEqual(present('2'));
  });

  it('forgets what nobody has asked for in a long time', async () => {
    const minutes = 60_000;
    const { reader: secrets, pass, asked } = reader(present('1'), present('2'));
    await secrets.read(key, 0, signal);
    for (let asking = 0; asking < 5; asking += 1) {
      pass(20 * minutes);
      expect(await secrets.read(key, Number.POSITIVE_INFINITY, signal)).toEqual(present('1'));
    }
    pass(30 * minutes);
    pass(30 * minutes);
    expect(await secrets.read(key, Number.POSITIVE_INFINITY, signal)).toEqual(present('2'));
    expect(asked.times).toBe(2);
  });
});
