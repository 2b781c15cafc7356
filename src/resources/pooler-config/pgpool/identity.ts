import { applicationSecret, monitoringSecret } from '../../sharded-cluster/names.ts';
import { credentialsOf, serverCertificate } from '../credentials.ts';
import type { PgpoolSpec } from '../desired/pgpool-settings.ts';
import type { PlanInput } from '../model.ts';
import { pgpoolKeySecret } from '../names.ts';
import { fail, type Step, stop, wait } from '../step.ts';
import { loginName, type PgpoolLogin } from './passwords.ts';

/** Whom instances let in, and what they prove who they are with. */
export interface PgpoolIdentity {
  readonly monitoring: string;
  readonly logins: readonly PgpoolLogin[];
  readonly key: string;
  readonly certificates: Readonly<Record<string, string>>;
}

/** Gathers it from the Secrets, or says what is to be made first. */
export function identityOf(input: PlanInput, pgpool: PgpoolSpec): Step<PgpoolIdentity> {
  const { name } = input.pooler.metadata;
  const { cluster } = input.pooler.spec.target;
  const credentials = credentialsOf(input);
  if ('stop' in credentials) return credentials;
  const { content } = credentials.value;
  const logins: PgpoolLogin[] = [];
  for (const secret of [applicationSecret(cluster), monitoringSecret(cluster), ...pgpool.logins]) {
    const login = loginOf(secret, content(secret), logins);
    if ('stop' in login) return login;
    logins.push(login.value);
  }
  const keySecret = content(pgpoolKeySecret(name));
  if (keySecret === undefined)
    return stop(wait('CredentialsPending', 'the key for passwords is being made', 0), [
      { kind: 'generate-key' },
    ]);
  const { key } = keySecret;
  if (key === undefined || key === '')
    return stop(
      fail(
        'SecretIncomplete',
        `Secret "${pgpoolKeySecret(name)}" needs the key "key": delete it to have it made again`,
      ),
    );
  const certificates = certificatesOf(input);
  if ('stop' in certificates) return certificates;
  return {
    value: { monitoring: logins[1]?.username ?? '', logins, key, certificates: certificates.value },
  };
}

/** The files that prove who instances are, if they are good; else a certificate is issued. */
export function certificatesOf(input: PlanInput): Step<PgpoolIdentity['certificates']> {
  const credentials = credentialsOf(input);
  if ('stop' in credentials) return credentials;
  const server = serverCertificate(input, credentials.value);
  if ('stop' in server) return server;
  const { bundle } = credentials.value.authority;
  const { certificate, key } = server.value;
  return { value: { 'ca.crt': bundle, 'tls.crt': certificate, 'tls.key': key } };
}

function loginOf(
  secret: string,
  content: Readonly<Record<string, string>> | undefined,
  others: readonly PgpoolLogin[],
): Step<PgpoolLogin> {
  const { username = '', password = '' } = content ?? {};
  if (username === '' || password === '')
    return stop(
      fail(
        'SecretIncomplete',
        `Secret "${secret}" needs the keys "username" and "password": ${others.length < 2 ? 'restore it, or delete it to have it made again' : 'write them, or remove it from spec.pgpool.logins'}`,
      ),
    );
  if (!loginName.test(username) || /[\n\r]/.test(password))
    return stop(
      fail(
        'LoginUnfit',
        `Secret "${secret}" has a username or password that Pgpool-II cannot take: use letters, digits, "_" and "-", and a password of one line`,
      ),
    );
  if (others.some((other) => other.username === username))
    return stop(
      fail(
        'LoginTwice',
        `Secret "${secret}" has the username "${username}" of another one: remove it from spec.pgpool.logins`,
      ),
    );
  return { value: { username, password } };
}
