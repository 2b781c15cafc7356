import { needsRenewal } from '../../pki/renewal.ts';
import { acceptedAuthority } from '../../pki/rotation.ts';
import { poolerRole } from '../../postgres/roles.ts';
import { pairOf } from '../sharded-cluster/desired/tls-secrets.ts';
import { applicationSecret, monitoringSecret } from '../sharded-cluster/names.ts';
import { certificatesPending, credentialsOf, serverCertificate } from './credentials.ts';
import { ownUsers } from './desired/settings.ts';
import type { PlanInput } from './model.ts';
import { adminSecret, poolerName } from './names.ts';
import { fail, type Step, stop, wait } from './step.ts';

/** What instances of PgBouncer prove who they are with, and who may use their console. */
export interface Identity {
  readonly files: Readonly<Record<string, string>>;
  readonly monitoring: string;
}

/** Gathers it from the Secrets, or says what is to be made first. */
export function identityOf(input: PlanInput): Step<Identity> {
  const { pooler } = input;
  const { name } = pooler.metadata;
  const { cluster } = pooler.spec.target;
  const credentials = credentialsOf(input);
  if ('stop' in credentials) return credentials;
  const { content } = credentials.value;
  const logins = [applicationSecret(cluster), monitoringSecret(cluster)];
  const usernames = logins.map((secret) => content(secret)?.username ?? '');
  const missing = logins.find((_, index) => usernames[index] === '');
  if (missing !== undefined)
    return stop(
      fail(
        'SecretIncomplete',
        `Secret "${missing}" needs the key "username": restore it, or delete it to have it made again`,
      ),
    );
  const unfit = logins.find((_, index) => ownUsers.includes(usernames[index] ?? ''));
  if (unfit !== undefined)
    return stop(
      fail(
        'LoginUnfit',
        `Secret "${unfit}" has the username "${usernames[logins.indexOf(unfit)]}", which poolers turn away, for it is one of their own (${ownUsers.join(', ')}): use another`,
      ),
    );
  const admin = content(adminSecret(name));
  if (admin === undefined)
    return stop(wait('CredentialsPending', 'passwords of the console are being made', 0), [
      { kind: 'generate-admin' },
    ]);
  const { users } = admin;
  if (users === undefined || admin['admin-password'] === undefined)
    return stop(
      fail(
        'SecretIncomplete',
        `Secret "${adminSecret(name)}" needs the keys "users" and "admin-password": delete it to have it made again`,
      ),
    );
  const certificates = certificatesOf(input);
  if ('stop' in certificates) return certificates;
  return { value: { monitoring: usernames[1] ?? '', files: { users, ...certificates.value } } };
}

/** The files that prove who instances are, if they are good; else certificates are issued. */
export function certificatesOf(input: PlanInput): Step<Readonly<Record<string, string>>> {
  const { pooler, now } = input;
  const credentials = credentialsOf(input);
  if ('stop' in credentials) return credentials;
  const { authority, content } = credentials.value;
  const server = serverCertificate(input, credentials.value);
  if ('stop' in server) return server;
  const client = pairOf(content(poolerName(pooler.metadata.name)) ?? {}, 'client');
  if (client === undefined) return certificatesPending('absent');
  const reason = needsRenewal(client, {
    commonName: poolerRole,
    authority: acceptedAuthority(authority, client.certificate, now),
    now,
  });
  if (reason !== undefined) return certificatesPending(reason);
  return {
    value: {
      'ca.crt': authority.bundle,
      'tls.crt': server.value.certificate,
      'tls.key': server.value.key,
      'client.crt': client.certificate,
      'client.key': client.key,
    },
  };
}
