import type { KeyPair } from '../../pki/key-pair.ts';
import { needsRenewal } from '../../pki/renewal.ts';
import { type AuthorityState, acceptedAuthority } from '../../pki/rotation.ts';
import { authorityOf, pairOf } from '../sharded-cluster/desired/tls-secrets.ts';
import { authoritySecret } from '../sharded-cluster/names.ts';
import { contentOf } from '../sharded-cluster/steps/identity.ts';
import type { PlanInput } from './model.ts';
import { poolerName, poolerServerNames } from './names.ts';
import { type Step, stop, wait } from './step.ts';

/** What the Secrets hold, for both engines. */
export interface Credentials {
  readonly authority: AuthorityState;
  /** Content of a Secret; `undefined` when it is not there. */
  content(secret: string): Readonly<Record<string, string>> | undefined;
}

/** Nothing is decided on a Secret that could not be read, nor without the cluster's authority. */
export function credentialsOf({ pooler, observed }: PlanInput): Step<Credentials> {
  for (const [secret, reading] of observed.secrets)
    if (reading.state === 'unknown')
      return stop(
        wait('SecretUnknown', `Secret "${secret}" could not be read: ${reading.error.message}`, 2_000),
      );
  const content = (secret: string) => contentOf(observed.secrets.get(secret));
  const name = authoritySecret(pooler.spec.target.cluster);
  const authority = authorityOf(content(name) ?? {});
  if (authority === undefined)
    return stop(wait('TargetNotReady', `Secret "${name}" is not there yet`, 2_000));
  return { value: { authority, content } };
}

/** The certificate that instances show to clients, if it is good; else it is issued. */
export function serverCertificate(
  { pooler, now }: PlanInput,
  { authority, content }: Credentials,
): Step<KeyPair> {
  const { name, namespace } = pooler.metadata;
  const server = pairOf(content(poolerName(name)) ?? {}, 'tls');
  if (server === undefined) return certificatesPending('absent');
  const reason = needsRenewal(server, {
    commonName: poolerName(name),
    dnsNames: poolerServerNames(name, namespace, pooler.spec.service.names),
    authority: acceptedAuthority(authority, server.certificate, now),
    now,
  });
  return reason === undefined ? { value: server } : certificatesPending(reason);
}

/** Waits for certificates that are being issued. */
export function certificatesPending(reason: string): ReturnType<typeof stop> {
  return stop(wait('CredentialsPending', 'certificates are being issued', 0), [{ kind: 'issue', reason }]);
}
