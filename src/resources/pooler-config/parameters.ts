import { durationMs } from '../../api/v1alpha1/duration.ts';
import type { PoolerConfigSpec } from '../../api/v1alpha1/pooler-config.ts';
import { managedPoolerParameters } from '../../api/v1alpha1/pooler-parameters.ts';
import { connectSeconds } from './desired/settings.ts';
import type { Result } from './model.ts';
import { meantBy } from './nearest.ts';
import { fail } from './step.ts';

/** What PgBouncer takes as a value; units and words such as "on" it takes nowhere. */
type Kind =
  | 'text'
  | 'switch'
  | 'number'
  | 'positive'
  | 'seconds'
  | 'protocols'
  | 'ciphers'
  | readonly string[];

/** Settings of `[pgbouncer]` that PgBouncer 1.24.1 knows and Herdsman does not make itself; it reads those that start with `!` at its start only. */
const table: Readonly<Record<string, Kind>> = {
  application_name_add_host: 'switch',
  autodb_idle_timeout: 'seconds',
  cancel_wait_timeout: 'seconds',
  client_login_timeout: 'seconds',
  client_tls_ciphers: 'ciphers',
  client_tls_dheparams: ['auto', 'none'],
  client_tls_ecdhcurve: ['auto', 'none', 'prime256v1', 'secp384r1', 'secp521r1'],
  client_tls_protocols: 'protocols',
  '!disable_pqexec': 'switch',
  dns_nxdomain_ttl: 'seconds',
  dns_zone_check_period: 'seconds',
  ignore_startup_parameters: 'text',
  '!listen_backlog': 'number',
  log_connections: 'switch',
  log_disconnections: 'switch',
  log_pooler_errors: 'switch',
  log_stats: 'switch',
  max_db_client_connections: 'number',
  max_packet_size: 'positive',
  max_user_client_connections: 'number',
  '!pkt_buf': 'positive',
  reserve_pool_timeout: 'seconds',
  sbuf_loopcnt: 'number',
  server_check_delay: 'seconds',
  server_check_query: 'text',
  server_connect_timeout: 'seconds',
  server_fast_close: 'switch',
  server_login_retry: 'seconds',
  server_reset_query_always: 'switch',
  server_round_robin: 'switch',
  server_tls_ciphers: 'ciphers',
  server_tls_protocols: 'protocols',
  stats_period: 'positive',
  suspend_timeout: 'seconds',
  tcp_defer_accept: 'number',
  tcp_keepalive: 'switch',
  tcp_keepcnt: 'number',
  tcp_keepidle: 'number',
  tcp_keepintvl: 'number',
  tcp_socket_buffer: 'number',
  tcp_user_timeout: 'number',
  '!track_extra_parameters': 'text',
  verbose: 'number',
};

const kinds = new Map(Object.entries(table).map(([name, kind]) => [name.replace('!', ''), kind]));

/** All of them, with those that need a new process. */
export const pgbouncerParameterNames: ReadonlyMap<string, { readonly restart: boolean }> = new Map(
  Object.keys(table).map((name) => [name.replace('!', ''), { restart: name.startsWith('!') }]),
);

const protocol = '(secure|all|!?tlsv1(\\.[0-3])?)';
const cipher =
  /^([A-Za-z]+\+)*(HIGH|ALL|DEFAULT|CHACHA20|AES(GCM|128|256)?|((EC)?DHE-(RSA|ECDSA)-)?(AES(128|256)(-GCM)?-SHA(256|384)?|CHACHA20-POLY1305))$/;
const patterns = {
  text: { matches: (_value: string) => true, meant: 'text' },
  switch: { matches: matching(/^[01]$/), meant: '"0" or "1"' },
  number: { matches: matching(/^[0-9]{1,9}$/), meant: 'a whole number' },
  positive: { matches: matching(/^[1-9][0-9]{0,8}$/), meant: 'a whole number of at least 1' },
  seconds: {
    matches: matching(/^[0-9]{1,9}(\.[0-9]{1,6})?$/),
    meant: 'seconds without a unit, such as "10" or "0.5"',
  },
  protocols: {
    matches: matching(new RegExp(`^${protocol}(,${protocol})*$`, 'i')),
    meant: '"secure", "all", or versions such as "tlsv1.2,tlsv1.3"',
  },
  ciphers: {
    matches: areCiphers,
    meant: '"secure", "fast", or ciphers as OpenSSL names them, such as "HIGH"',
  },
} as const;

/** Settings that take effect only when an instance starts. */
export function restartParameters(
  parameters: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(parameters).filter(([name]) => pgbouncerParameterNames.get(name)?.restart),
  );
}

/**
 * What is wrong with the settings, with what to write instead; `undefined` when nothing is. PgBouncer leaves out all that
 * follows a value that it does not take, and does not start with one.
 */
export function parameterProblem({
  parameters,
  maxPause,
}: Pick<PoolerConfigSpec, 'parameters' | 'maxPause'>): Result | undefined {
  for (const [name, value] of Object.entries(parameters)) {
    const kind = kinds.get(name);
    if (kind === undefined)
      return fail(
        'UnknownParameter',
        `PgBouncer knows no setting "${name}": ${meantBy(name, kinds.keys(), managedPoolerParameters)}`,
      );
    const { matches, meant } = typeof kind === 'string' ? patterns[kind] : oneOf(kind);
    if (!matches(value))
      return fail('InvalidParameter', `"${value}" is no value for ${name}: write ${meant}`);
  }
  return patienceProblem(Number(parameters.server_connect_timeout ?? 0), maxPause);
}

/** An attempt to connect that is given up sooner than clients are held back would have them turned away; 0: it never is. */
function patienceProblem(seconds: number, maxPause: string): Result | undefined {
  const least = connectSeconds(maxPause);
  if (seconds === 0 || seconds >= least || durationMs(maxPause) === 0) return undefined;
  return fail(
    'InvalidParameter',
    `server_connect_timeout of ${seconds} s would have clients turned away while a primary is lost, for which they wait up to maxPause (${maxPause}): write at least ${least}, or lower maxPause`,
  );
}

function matching(pattern: RegExp): (value: string) => boolean {
  return (value) => pattern.test(value);
}

function oneOf(words: readonly string[]) {
  return { matches: (value: string) => words.includes(value), meant: `one of ${words.join(', ')}` };
}

/** PgBouncer's own words, or a list with at least one that OpenSSL has for TLS 1.2: without any PgBouncer does not start. */
function areCiphers(value: string): boolean {
  return (
    /^(default|secure|normal|fast)$/.test(value) || value.split(/[:, ]/).some((name) => cipher.test(name))
  );
}
