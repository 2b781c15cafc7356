import { expect, test } from 'vitest';
import { createManualClock } from '../../test/support/manual-clock.ts';
import { createCache } from './cache.ts';
import { createExpectations } from './expectations.ts';
import type { KubernetesObject } from './kubernetes-object.ts';

function pod(resourceVersion: string, uid = 'u'): KubernetesObject {
  return { apiVersion: 'v1', kind: 'Pod', metadata: { namespace: 'shop', name: 'p', uid, resourceVersion } };
}

function setUp() {
  const clock = createManualClock();
  const expired: string[] = [];
  const expectations = createExpectations({
    clock,
    onExpired: (owner, { description }) => expired.push(`${owner}: ${description}`),
  });
  const cache = createCache();
  cache.advance('', '10');
  const waits = (): string[] => expectations.pending('shop/a').map(({ description }) => description);
  return { clock, expired, expectations, cache, waits };
}

test('a write is outstanding until the cache has come so far', () => {
  const { expectations, cache, waits } = setUp();
  expectations.expectWritten('shop/a', cache, pod('12'));
  expect(waits()).toEqual(['Pod p at 12']);
  cache.advance('', '11');
  expect(waits().length).toBe(1);
  cache.advance('', '13');
  expect(waits()).toEqual([]);
});

test('an apply that changed nothing is not waited for', () => {
  const { expectations, cache, waits } = setUp();
  expectations.expectWritten('shop/a', cache, pod('9'));
  expect(waits()).toEqual([]);
});

test.each<[string, (cache: ReturnType<typeof createCache>) => void]>([
  ['the object is gone', (cache) => cache.remove({ namespace: 'shop', name: 'p' })],
  ['a namesake took its place', (cache) => cache.set(pod('13', 'other'))],
  [
    'it is shown as being deleted',
    (cache) => {
      const object = pod('13');
      cache.set({ ...object, metadata: { ...object.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' } });
    },
  ],
])('a delete is outstanding until %s', (_, change) => {
  const { expectations, cache, waits } = setUp();
  cache.set(pod('10'));
  expectations.expectDeleted('shop/a', cache, pod('10'));
  expect(waits()).toEqual(['Pod p deleted']);
  change(cache);
  expect(waits()).toEqual([]);
});

test('names are outstanding until each is there', () => {
  const { expectations, cache, waits } = setUp();
  expectations.expectNames('shop/a', cache, 'shop', ['p', 'q']);
  cache.set(pod('11'));
  expect(waits()).toEqual(['shop/q to appear']);
});

test('what never comes is given up after a time, and said so', () => {
  const { expectations, cache, waits, clock, expired } = setUp();
  expectations.expectWritten('shop/a', cache, pod('12'));
  clock.advance(29_999);
  expect(waits().length).toBe(1);
  clock.advance(1);
  expect(waits()).toEqual([]);
  expect(expired).toEqual(['shop/a: Pod p at 12']);
});

test('owners are apart, and one that is gone is forgotten', () => {
  const { expectations, cache, waits } = setUp();
  expectations.expectWritten('shop/b', cache, pod('12'));
  expect(waits()).toEqual([]);
  expectations.forget('shop/b');
  expect(expectations.pending('shop/b')).toEqual([]);
});
