import { type PoolerConfigSpec, poolerConfigSpec } from '../../../api/v1alpha1/pooler-config.ts';
import { shardedClusterSpec } from '../../../api/v1alpha1/sharded-cluster.ts';
import { authorityLifetime, createAuthority } from '../../../pki/authority.ts';
import { issueCertificate } from '../../../pki/certificate.ts';
import { initialAuthority } from '../../../pki/rotation.ts';
import { encoded } from '../../sharded-cluster/desired/secrets.ts';
import type { SecretReading, ShardedCluster } from '../../sharded-cluster/model.ts';
import type { InstanceFacts, Observed, ObservedInstance, PlanInput, PoolerConfig } from '../model.ts';
import { instanceName, poolerServerNames } from '../names.ts';

/** When all of it happens. */
export const now = new Date('2026-01-01T00:00:00Z');

/** A PoolerConfig `web` in front of `shop`. */
export function poolerConfig(
  spec: Record<string, unknown> = {},
  status?: PoolerConfig['status'],
): PoolerConfig {
  return {
    apiVersion: 'herdsman.dev/v1alpha1',
    kind: 'PoolerConfig',
    metadata: {
      name: 'web',
      namespace: 'store',
      uid: '6a2f5b1e-0000-4000-8000-000000000002',
      generation: 1,
    },
    spec: poolerConfigSpec.parse({ target: { cluster: 'shop' }, ...spec }),
    ...(status === undefined ? {} : { status }),
  };
}

/** The spec with its defaults. */
export function poolerSpec(spec: Record<string, unknown> = {}): PoolerConfigSpec {
  return poolerConfig(spec).spec;
}

/** The ShardedCluster `shop`. */
export function targetCluster(spec: Record<string, unknown> = {}): ShardedCluster {
  return {
    apiVersion: 'herdsman.dev/v1alpha1',
    kind: 'ShardedCluster',
    metadata: { name: 'shop', namespace: 'store', uid: '6a2f5b1e-0000-4000-8000-000000000001' },
    spec: shardedClusterSpec.parse({ storage: { size: '1Gi' }, ...spec }),
  };
}

/** Secrets of the cluster, made once. */
export async function targetSecrets(): Promise<Map<string, SecretReading>> {
  const pair = await createAuthority({ commonName: 'store/shop', now, lifetime: authorityLifetime });
  const { current, bundle } = initialAuthority(pair);
  return new Map([
    ['shop-ca', secret({ 'ca.crt': current.certificate, 'ca.key': current.key, 'ca-bundle.crt': bundle })],
    ['shop-app', secret({ username: 'app', password: 'x' })],
    ['shop-monitoring', secret({ username: 'monitoring', password: 'x' })],
  ]);
}

/** Those and what the poolers have of their own, as after the first passes. */
export async function allSecrets(): Promise<Map<string, SecretReading>> {
  const secrets = await targetSecrets();
  const data = (secrets.get('shop-ca') as Extract<SecretReading, { state: 'present' }>).value.data;
  const text = (key: string) => Buffer.from(data[key] ?? '', 'base64').toString('utf8');
  const authority = { certificate: text('ca.crt'), key: text('ca.key') };
  const validity = { now, lifetime: 90 * 86_400_000 };
  const server = await issueCertificate(authority, {
    commonName: 'web-pooler',
    dnsNames: poolerServerNames('web', 'store'),
    usage: 'server',
    ...validity,
  });
  const client = await issueCertificate(authority, {
    commonName: 'herdsman_pooler',
    usage: 'client',
    ...validity,
  });
  secrets.set('web-pooler-admin', secret({ 'admin-password': 'x', users: '"herdsman" "SCRAM"\n' }));
  secrets.set(
    'web-pooler',
    secret({
      'tls.crt': server.certificate,
      'tls.key': server.key,
      'client.crt': client.certificate,
      'client.key': client.key,
    }),
  );
  return secrets;
}

/** A Secret that was read. */
export function secret(content: Record<string, string>): SecretReading {
  return { state: 'present', value: { data: encoded(content), resourceVersion: '1' } };
}

/** An instance that answers. */
export function instance(ordinal: number, facts: Partial<InstanceFacts> = {}): ObservedInstance {
  const name = instanceName('web', ordinal);
  return {
    name,
    ordinal,
    ready: true,
    cpuPercent: undefined,
    pod: {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace: 'store', uid: `uid-${ordinal}` },
      status: { phase: 'Running', podIP: `10.0.0.${ordinal + 1}` },
    },
    facts: {
      state: 'present',
      value: {
        revision: undefined,
        databases: [],
        clients: 0,
        waits: [],
        servers: 0,
        ...facts,
      },
    },
  };
}

/** One shard with a server that allows 100 connections. */
export function observedWorld(changes: Partial<Observed> = {}): Observed {
  return {
    cluster: targetCluster(),
    replicaSet: undefined,
    sets: [],
    targets: [
      {
        shard: 's0',
        servedBy: 'shop-s0-0/1',
        servedMs: 60_000,
        limits: { state: 'present', value: { maxConnections: 100, reserved: 3 } },
        listeners: [],
      },
    ],
    sharing: { poolers: 1, taken: { names: [], total: 0 } },
    secrets: new Map(),
    statefulSet: undefined,
    instances: [],
    objects: new Map(),
    held: new Set(),
    switched: new Set(),
    ...changes,
  };
}

/** What a plan is made from. */
export function planInput(pooler: PoolerConfig, observed: Observed): PlanInput {
  return { pooler, observed, settings: { postgresImage: 'herdsman/postgres:17' }, now };
}
