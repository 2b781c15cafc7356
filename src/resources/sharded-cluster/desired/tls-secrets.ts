import type { ShardedCluster } from '../model.ts';
import { authoritySecret, operatorTlsSecret, shardTlsSecret } from '../names.ts';
import { keptMetadata } from './owned-object.ts';
import { encoded, type Secret } from './secrets.ts';

/** A certificate with its key, both PEM. */
export interface KeyPair {
  readonly certificate: string;
  readonly key: string;
}

/** Secret of the cluster's authority: the key that signs now, and all certificates that are still trusted. */
export function authoritySecretObject(cluster: ShardedCluster, authority: KeyPair, bundle: string): Secret {
  return secret(cluster, authoritySecret(cluster.metadata.name), {
    'ca.crt': authority.certificate,
    'ca.key': authority.key,
    'ca-bundle.crt': bundle,
  });
}

/** Secret of a shard's members: what they serve with, and what they connect to one another with. */
export function shardTlsSecretObject(
  cluster: ShardedCluster,
  shard: string,
  pairs: { readonly server: KeyPair; readonly client: KeyPair },
  bundle: string,
): Secret {
  return secret(
    cluster,
    shardTlsSecret(cluster.metadata.name, shard),
    {
      'ca.crt': bundle,
      'tls.crt': pairs.server.certificate,
      'tls.key': pairs.server.key,
      'client.crt': pairs.client.certificate,
      'client.key': pairs.client.key,
    },
    shard,
  );
}

/** Secret with the operator's own client certificate. */
export function operatorTlsSecretObject(cluster: ShardedCluster, client: KeyPair, bundle: string): Secret {
  return secret(cluster, operatorTlsSecret(cluster.metadata.name), {
    'ca.crt': bundle,
    'tls.crt': client.certificate,
    'tls.key': client.key,
  });
}

function secret(
  cluster: ShardedCluster,
  name: string,
  content: Readonly<Record<string, string>>,
  shard?: string,
): Secret {
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: keptMetadata(cluster, name, shard),
    type: 'Opaque',
    data: encoded(content),
  };
}
