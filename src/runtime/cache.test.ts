import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createCache, labelIndex, ownerIndex } from './cache.ts';
import type { KubernetesObject } from './kubernetes-object.ts';

function pod(namespace: string, name: string, labels: Record<string, string> = {}): KubernetesObject {
  return { apiVersion: 'v1', kind: 'Pod', metadata: { namespace, name, labels } };
}

test('an index follows the object through changes', () => {
  const cache = createCache({ shard: labelIndex('shard'), owner: ownerIndex() });
  cache.set(pod('shop', 'p', { shard: 's0' }));
  expect(cache.byIndex('shard', 'shop/s0').length).toBe(1);
  cache.set(pod('shop', 'p', { shard: 's1' }));
  expect(cache.byIndex('shard', 'shop/s0')).toEqual([]);
  expect(cache.byIndex('shard', 'shop/s1').length).toBe(1);
  const owner = { apiVersion: 'apps/v1', kind: 'StatefulSet', name: 's', uid: 'u' };
  const owned = pod('shop', 'q');
  cache.set({ ...owned, metadata: { ...owned.metadata, ownerReferences: [owner] } });
  expect(cache.byIndex('owner', 'u').map(({ metadata }) => metadata.name)).toEqual(['q']);
  cache.remove({ namespace: 'shop', name: 'q' });
  expect(cache.byIndex('owner', 'u')).toEqual([]);
});

test('an index that nobody defined is a mistake, not an empty answer', () => {
  expect(() => createCache().byIndex('shard', 's0')).toThrow('no index "shard"');
});

test('namespaces are apart', () => {
  const cache = createCache();
  cache.set(pod('shop', 'p'));
  cache.set(pod('bank', 'p'));
  expect(cache.list('shop').length).toBe(1);
  expect(cache.list().length).toBe(2);
  expect(cache.list('none')).toEqual([]);
});

test('what was seen is compared as a number, and never before the first list', () => {
  const cache = createCache();
  expect(cache.hasSeen('1', 'shop')).toBe(false);
  cache.advance('shop', '999');
  expect(cache.hasSeen('998', 'shop')).toBe(true);
  expect(cache.hasSeen('1000', 'shop')).toBe(false);
  expect(cache.hasSeen('998', 'bank')).toBe(false);
  expect(cache.hasSeen('opaque', 'shop')).toBe(false);
  cache.advance('', '1000');
  expect(cache.hasSeen('1000', 'bank')).toBe(true);
});

test('law: an index gives what a search through all objects gives', () => {
  const change = fc.record({
    name: fc.constantFrom('a', 'b', 'c', 'd'),
    shard: fc.constantFrom('s0', 's1', undefined),
    removed: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 40 }), (changes) => {
      const cache = createCache({ shard: labelIndex('shard') });
      for (const { name, shard, removed } of changes) {
        if (removed) cache.remove({ namespace: 'shop', name });
        else cache.set(pod('shop', name, shard === undefined ? {} : { shard }));
        for (const value of ['s0', 's1']) {
          const searched = cache.list().filter(({ metadata }) => metadata.labels?.shard === value);
          expect(new Set(cache.byIndex('shard', `shop/${value}`))).toEqual(new Set(searched));
        }
      }
    }),
  );
});
