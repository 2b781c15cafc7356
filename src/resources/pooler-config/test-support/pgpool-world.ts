import { readReplicaSetSpec } from '../../../api/v1alpha1/read-replica-set.ts';
import { issueCertificate } from '../../../pki/certificate.ts';
import type { SecretReading } from '../../sharded-cluster/model.ts';
import type { Observed, PoolerConfig } from '../model.ts';
import { poolerServerNames } from '../names.ts';
import type { ReadSet } from '../pgpool/backends.ts';
import { now, observedWorld, poolerConfig, secret, targetSecrets } from './world.ts';

/** A PoolerConfig `web` with Pgpool-II, which reads `readers`. */
export function pgpoolConfig(
  pgpool: Record<string, unknown> = {},
  spec: Record<string, unknown> = {},
  status?: PoolerConfig['status'],
): PoolerConfig {
  return poolerConfig(
    { engine: 'pgpool', pgpool: { readReplicaSets: [{ name: 'readers', weight: 2 }], ...pgpool }, ...spec },
    status,
  );
}

/** A member as a set's status shows it. */
export type Member = NonNullable<NonNullable<ReadSet['set']['status']>['shards']>[number]['members'][number];

/** A member in rotation. */
export function member(ordinal: number, changes: Partial<Member> = {}): Member {
  return { name: `readers-s0-replicas-${ordinal}`, ready: true, rotation: 'in', ...changes };
}

/** The ReadReplicaSet `readers` of `shop`. */
export function readers(
  spec: Record<string, unknown> = {},
  members = [member(0), member(1)],
): ReadSet['set'] {
  return {
    apiVersion: 'herdsman.dev/v1alpha1',
    kind: 'ReadReplicaSet',
    metadata: { name: 'readers', namespace: 'store', uid: '6a2f5b1e-0000-4000-8000-000000000003' },
    spec: readReplicaSetSpec.parse({ cluster: 'shop', replicas: 2, ...spec }),
    status: { shards: [{ name: 's0', service: 'readers-s0-read', servedBy: 'members', members }] },
  };
}

/** Secrets of the cluster and of the instances, as after the first passes. */
export async function pgpoolSecrets(): Promise<Map<string, SecretReading>> {
  const secrets = await targetSecrets();
  const data = (secrets.get('shop-ca') as Extract<SecretReading, { state: 'present' }>).value.data;
  const text = (key: string) => Buffer.from(data[key] ?? '', 'base64').toString('utf8');
  const server = await issueCertificate(
    { certificate: text('ca.crt'), key: text('ca.key') },
    {
      commonName: 'web-pooler',
      dnsNames: poolerServerNames('web', 'store'),
      usage: 'server',
      now,
      lifetime: 90 * 86_400_000,
    },
  );
  secrets.set('web-pooler-key', secret({ key: 'k' }));
  secrets.set('web-pooler', secret({ 'tls.crt': server.certificate, 'tls.key': server.key }));
  return secrets;
}

/** One shard, and the set. */
export function pgpoolWorld(changes: Partial<Observed> = {}): Observed {
  return observedWorld({ sets: [readers()], ...changes });
}
