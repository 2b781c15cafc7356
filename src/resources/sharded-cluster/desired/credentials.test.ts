import { expect, test } from 'vitest';
import { shardedClusterSpec } from '../../../api/v1alpha1/sharded-cluster.ts';
import type { ShardedCluster } from '../model.ts';
import { applicationCredentials, monitoringCredentials } from './credentials.ts';
import { decoded } from './secrets.ts';

const cluster: ShardedCluster = {
  apiVersion: 'herdsman.dev/v1alpha1',
  kind: 'ShardedCluster',
  metadata: { name: 'shop', namespace: 'store', uid: 'u' },
  spec: shardedClusterSpec.parse({ storage: { size: '1Gi' } }),
};
const login = { username: 'app', password: 'p@ss/w:rd %&+ö' };

test('the Secret holds all that clients of any kind ask for', () => {
  const secret = applicationCredentials(cluster, { login, authorityBundle: 'PEM', shards: ['s0', 's1'] });
  expect(secret.metadata).toMatchObject({ name: 'shop-app', namespace: 'store' });
  expect(secret.metadata).not.toHaveProperty('ownerReferences');
  const user = 'app:p%40ss%2Fw%3Ard%20%25%26%2B%C3%B6';
  expect(decoded(secret.data)).toEqual({
    username: 'app',
    password: login.password,
    host: 'shop-s0-rw.store.svc',
    port: '5432',
    dbname: 'app',
    uri: `postgresql://${user}@shop-s0-rw.store.svc:5432/app?sslmode=require`,
    'jdbc-uri':
      'jdbc:postgresql://shop-s0-rw.store.svc:5432/app?user=app&password=p%40ss%2Fw%3Ard+%25%26%2B%C3%B6&sslmode=require',
    'ca.crt': 'PEM',
    hosts: 'shop-s0-rw.store.svc,shop-s1-rw.store.svc',
    'uri-s0': `postgresql://${user}@shop-s0-rw.store.svc:5432/app?sslmode=require`,
    'uri-s1': `postgresql://${user}@shop-s1-rw.store.svc:5432/app?sslmode=require`,
  });
});

test('the URI is read back as it was meant', () => {
  const secret = monitoringCredentials(cluster, { login, authorityBundle: 'PEM', shards: ['s0'] });
  const uri = new URL(decoded(secret.data).uri ?? '');
  expect(decodeURIComponent(uri.password)).toBe(login.password);
  expect(uri.pathname).toBe('/app');
});
