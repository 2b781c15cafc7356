import { nearestTo } from './nearest.ts';

/** Settings of `[pgbouncer]` that PgBouncer 1.24.1 knows and Herdsman does not make itself (`SHOW CONFIG`). */
const changeable: readonly string[] = [
  'application_name_add_host',
  'autodb_idle_timeout',
  'cancel_wait_timeout',
  'client_login_timeout',
  'client_tls_ciphers',
  'client_tls_dheparams',
  'client_tls_ecdhcurve',
  'client_tls_protocols',
  'dns_nxdomain_ttl',
  'dns_zone_check_period',
  'ignore_startup_parameters',
  'log_connections',
  'log_disconnections',
  'log_pooler_errors',
  'log_stats',
  'max_db_client_connections',
  'max_packet_size',
  'max_user_client_connections',
  'pkt_buf',
  'reserve_pool_timeout',
  'sbuf_loopcnt',
  'server_check_delay',
  'server_check_query',
  'server_connect_timeout',
  'server_fast_close',
  'server_login_retry',
  'server_reset_query_always',
  'server_round_robin',
  'server_tls_ciphers',
  'server_tls_protocols',
  'stats_period',
  'suspend_timeout',
  'tcp_defer_accept',
  'tcp_keepalive',
  'tcp_keepcnt',
  'tcp_keepidle',
  'tcp_keepintvl',
  'tcp_socket_buffer',
  'tcp_user_timeout',
  'verbose',
];

/** Those that PgBouncer reads at its start only. */
const startOnly: readonly string[] = ['disable_pqexec', 'listen_backlog', 'track_extra_parameters'];

const known: ReadonlySet<string> = new Set([...changeable, ...startOnly]);

/** Settings that take effect only when an instance starts. */
export function restartParameters(
  parameters: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(parameters).filter(([name]) => startOnly.includes(name)));
}

/** What is wrong with the settings, with the nearest name of one that there is; `undefined` when nothing is. */
export function parameterProblem(parameters: Readonly<Record<string, string>>): string | undefined {
  const unknown = Object.keys(parameters).find((name) => !known.has(name));
  if (unknown === undefined) return undefined;
  return `PgBouncer knows no setting "${unknown}": did you mean "${nearestTo(unknown, known)}"?`;
}
