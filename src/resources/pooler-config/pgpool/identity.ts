import { needsRenewal } from '../../../pki/renewal.ts';
import { authorityOf, pairOf } from '../../sharded-cluster/desired/tls-secrets.ts';
import { applicationSecret, authoritySecret, monitoringSecret } from '../../sharded-cluster/names.ts';
import { contentOf } from '../../sharded-cluster/steps/identity.ts';
import type { PgpoolSpec } from '../desired/pgpool-settings.ts';
import type { PlanInput } from '../model.ts';
import { pgpoolKeySecret, poolerName, poolerServerNames } from '../names.ts';
import { loginName, type PgpoolLogin } from './passwords.ts';
import { fail, type Step, stop, wait } from './step.ts';

/** Whom instances let in, and what they prove who they are with. */
export interface PgpoolIdentity {
  readonly monitoring: string;
  readonly logins: readonly PgpoolLogin[];
  readonly key: string;
  readonly certificates: Readonly<Record<string, string>>;
}

/** Gathers it from the Secrets, or says what is to be made first. */
export function identityOf(input: PlanInput, pgpool: PgpoolSpec): Step<PgpoolIdentity> {
  const { pooler, observed, now } = input;
  const { name, namespace } = pooler.metadata;
  const { cluster } = pooler.spec.target;
  for (const [secret, reading] of observed.secrets)
    if (reading.state === 'unknown')
      return stop(
        wait('SecretUnknown', `Secret "${secret}" could not be read: ${reading.error.message}`, 2_000),
      );
  const content = (secret: string) => contentOf(observed.secrets.get(secret));
  const authority = authorityOf(content(authoritySecret(cluster)) ?? {});
  if (authority === undefined)
    return stop(wait('TargetNotReady', `Secret "${authoritySecret(cluster)}" is not there yet`, 2_000));
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
  const server = pairOf(content(poolerName(name)) ?? {}, 'tls');
  const reason =
    server === undefined
      ? 'absent'
      : needsRenewal(server, {
          commonName: poolerName(name),
          dnsNames: poolerServerNames(name, namespace),
          authority: authority.current.certificate,
          now,
        });
  if (server === undefined || reason !== undefined)
    return stop(wait('CredentialsPending', 'certificates are being issued', 0), [
      { kind: 'issue', reason: reason ?? 'absent' },
    ]);
  return {
    value: {
      monitoring: logins[1]?.username ?? '',
      logins,
      key,
      certificates: { 'ca.crt': authority.bundle, 'tls.crt': server.certificate, 'tls.key': server.key },
    },
  };
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
