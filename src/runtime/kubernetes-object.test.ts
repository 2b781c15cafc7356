import { expect, test } from 'vitest';
import {
  apiVersionOf,
  compareResourceVersions,
  controllerOf,
  controllerReference,
  keyOf,
  keyString,
  parseKey,
  typeName,
} from './kubernetes-object.ts';
import { nodeType, podType, statefulSetType } from './kubernetes-types.ts';
import { collectionPath, objectPath, queryString } from './resource-path.ts';

test.each([
  ['9', '10', -1],
  ['10', '9', 1],
  ['10', '10', 0],
  ['18446744073709551615', '18446744073709551614', 1],
  ['opaque', 'opaque', 0],
  ['opaque', '10', undefined],
])('resourceVersions %s and %s compare as %s', (a, b, order) => {
  expect(compareResourceVersions(a, b)).toBe(order);
});

test.each([
  [{ namespace: 'shop', name: 'shop-s0' }, 'shop/shop-s0'],
  [{ namespace: '', name: 'node-1' }, 'node-1'],
])('the key %o is written %s and read back', (key, text) => {
  expect(keyString(key)).toBe(text);
  expect(parseKey(text)).toEqual(key);
});

test('a cluster-scoped object has a key without a namespace', () => {
  expect(keyOf({ metadata: { name: 'node-1' } })).toEqual({ namespace: '', name: 'node-1' });
});

test('types know their versions, names and paths', () => {
  expect([apiVersionOf(podType), apiVersionOf(statefulSetType)]).toEqual(['v1', 'apps/v1']);
  expect([typeName(podType), typeName(statefulSetType)]).toEqual(['pods', 'statefulsets.apps']);
  expect(collectionPath(podType, undefined)).toBe('/api/v1/pods');
  expect(objectPath(podType, { namespace: 'shop', name: 'p' }, 'status')).toBe(
    '/api/v1/namespaces/shop/pods/p/status',
  );
  expect(objectPath(nodeType, { namespace: '', name: 'n' })).toBe('/api/v1/nodes/n');
  expect(objectPath(statefulSetType, { namespace: 'shop', name: 'a/../b' })).toContain('a%2F..%2Fb');
});

test('a query has only what was given', () => {
  expect(queryString({ limit: 500, continue: undefined, labelSelector: 'a=b,c' })).toBe(
    '?limit=500&labelSelector=a%3Db%2Cc',
  );
  expect(queryString({ continue: undefined })).toBe('');
});

test('an owner without a uid can own nothing', () => {
  const owner = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p' } };
  expect(() => controllerReference(owner)).toThrow('has no uid yet');
  const reference = controllerReference({ ...owner, metadata: { name: 'p', uid: 'u' } });
  expect(controllerOf({ ...owner, metadata: { name: 'q', ownerReferences: [reference] } })).toBe(reference);
});
