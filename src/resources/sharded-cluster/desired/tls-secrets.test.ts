import { expect, test } from 'vitest';
import { shardedClusterSpec } from '../../../api/v1alpha1/sharded-cluster.ts';
import { authorityLifetime, createAuthority } from '../../../pki/authority.ts';
import type { KeyPair } from '../../../pki/key-pair.ts';
import type { AuthorityState } from '../../../pki/rotation.ts';
import type { ShardedCluster } from '../model.ts';
import { decoded } from './secrets.ts';
import {
  authorityOf,
  authoritySecretObject,
  operatorTlsSecretObject,
  pairOf,
  shardTlsSecretObject,
} from './tls-secrets.ts';

const cluster: ShardedCluster = {
  apiVersion: 'herdsman.dev/v1alpha1',
  kind: 'ShardedCluster',
  metadata: { name: 'shop', namespace: 'store', uid: 'u' },
  spec: shardedClusterSpec.parse({ storage: { size: '1Gi' } }),
};
const pair = (name: string) => ({ certificate: `${name} certificate`, key: `${name} key` });

async function authority(commonName: string): Promise<KeyPair> {
  return createAuthority({ commonName, now: new Date(), lifetime: authorityLifetime });
}

test('an authority can be read back from its Secret, in rotation or not', async () => {
  const [current, next] = await Promise.all([authority('a'), authority('b')]);
  for (const state of [
    { current, bundle: 'a' },
    { current, next, bundle: 'ab' },
  ]) {
    const secret = authoritySecretObject(cluster, state);
    expect(authorityOf(decoded(secret.data))).toEqual(state);
    expect(secret.metadata).not.toHaveProperty('ownerReferences');
  }
});

test('a Secret without a key is no authority', () => {
  expect(authorityOf({ 'ca.crt': 'a', 'ca-bundle.crt': 'a' })).toBeUndefined();
  expect(authorityOf({ 'ca.crt': 'a', 'ca.key': 'a' })).toBeUndefined();
});

test('a pair that does not belong together is no authority, neither now nor next', async () => {
  const [a, b] = await Promise.all([authority('a'), authority('b')]);
  const odd = { certificate: a.certificate, key: b.key };
  const read = (state: AuthorityState) => authorityOf(decoded(authoritySecretObject(cluster, state).data));
  expect(read({ current: odd, bundle: 'a' })).toBeUndefined();
  expect(read({ current: a, next: odd, bundle: 'ab' })).toEqual({ current: a, bundle: 'ab' });
});

test("a shard's Secret holds what its members serve and connect with", () => {
  const secret = shardTlsSecretObject(
    cluster,
    's1',
    { server: pair('server'), client: pair('client') },
    'bundle',
  );
  expect(secret.metadata.name).toBe('shop-s1-tls');
  const content = decoded(secret.data);
  expect(pairOf(content, 'tls')).toEqual(pair('server'));
  expect(pairOf(content, 'client')).toEqual(pair('client'));
  expect(content['ca.crt']).toBe('bundle');
});

test("the operator's Secret holds its client certificate", () => {
  const secret = operatorTlsSecretObject(cluster, pair('operator'), 'bundle');
  expect(secret.metadata.name).toBe('shop-operator-tls');
  expect(pairOf(decoded(secret.data), 'tls')).toEqual(pair('operator'));
});
