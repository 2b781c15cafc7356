import type { KeyPair } from '../../../pki/key-pair.ts';
import { isPair } from '../../../pki/renewal.ts';
import type { AuthorityState } from '../../../pki/rotation.ts';
import type { ShardedCluster } from '../model.ts';
import { authoritySecret, operatorTlsSecret, shardTlsSecret } from '../names.ts';
import { keptMetadata } from './owned-object.ts';
import { encoded, type Secret } from './secrets.ts';

/** Secret of the cluster's authority: what signs now, what will sign next, and all that is still trusted. */
export function authoritySecretObject(cluster: ShardedCluster, authority: AuthorityState): Secret {
  return secret(cluster, authoritySecret(cluster.metadata.name), {
    'ca.crt': authority.current.certificate,
    'ca.key': authority.current.key,
    'ca-bundle.crt': authority.bundle,
    ...(authority.next === undefined
      ? {}
      : { 'next.crt': authority.next.certificate, 'next.key': authority.next.key }),
  });
}

/**
 * The authority that a Secret's (decoded) content holds; `undefined` when something is missing or does not belong together: what
 * it signed would be issued again for ever.
 */
export function authorityOf(content: Readonly<Record<string, string>>): AuthorityState | undefined {
  const current = pairOf(content, 'ca');
  const bundle = content['ca-bundle.crt'];
  if (current === undefined || bundle === undefined || !isPair(current)) return undefined;
  const next = pairOf(content, 'next');
  return next === undefined || !isPair(next) ? { current, bundle } : { current, next, bundle };
}

/** The pair `NAME.crt`, `NAME.key` of a Secret's (decoded) content; `undefined` when one is missing. */
export function pairOf(content: Readonly<Record<string, string>>, name: string): KeyPair | undefined {
  const certificate = content[`${name}.crt`];
  const key = content[`${name}.key`];
  return certificate === undefined || key === undefined ? undefined : { certificate, key };
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
