import { settingsByName } from './settings-by-name.ts';

const access = 'who may log in follows from the cluster, and TLS from spec.tls';
const names = 'names of servers are looked up in the pod, which holds clients back while a primary is away';
const files = 'where files lie is part of the pods';
const network = 'instances listen on a port of their pod, behind the Service';
const pools = 'use spec.sizing and spec.poolSize';
const stdout = 'instances log to standard output, which Kubernetes collects';

/** PgBouncer settings that Herdsman makes itself, each with what to use instead or why. */
export const managedPoolerParameters: Readonly<Record<string, string>> = {
  admin_users: access,
  auth_dbname: access,
  auth_file: access,
  auth_hba_file: access,
  auth_ident_file: access,
  auth_query: access,
  auth_type: access,
  auth_user: access,
  client_idle_timeout: 'use spec.timeouts.clientIdle',
  client_tls_ca_file: access,
  client_tls_cert_file: access,
  client_tls_key_file: access,
  client_tls_sslmode: access,
  conffile: files,
  default_pool_size: pools,
  dns_max_ttl: names,
  idle_transaction_timeout: 'use spec.timeouts.idleTransaction',
  job_name: files,
  listen_addr: network,
  listen_port: network,
  logfile: stdout,
  max_client_conn: 'use spec.maxClientConnections',
  max_db_connections: pools,
  max_prepared_statements: 'use spec.maxPreparedStatements',
  max_user_connections: pools,
  min_pool_size: 'use spec.minPoolSize',
  peer_id: 'it is the ordinal of the instance',
  pidfile: files,
  pool_mode: 'use spec.poolMode',
  query_timeout: 'use spec.timeouts.query',
  query_wait_timeout: 'use spec.timeouts.queryWait',
  reserve_pool_size: 'use spec.reservePoolSize',
  resolv_conf: names,
  server_idle_timeout: 'use spec.timeouts.serverIdle',
  server_lifetime: 'use spec.timeouts.serverLifetime',
  server_reset_query: 'use spec.serverResetQuery',
  server_tls_ca_file: access,
  server_tls_cert_file: access,
  server_tls_key_file: access,
  server_tls_sslmode: access,
  so_reuseport: network,
  stats_users: access,
  syslog: stdout,
  syslog_facility: stdout,
  syslog_ident: stdout,
  unix_socket_dir: files,
  unix_socket_group: files,
  unix_socket_mode: files,
  user: 'instances run as an ordinary user',
};

/** `spec.parameters` of a PoolerConfig: what `[pgbouncer]` may say, but for what Herdsman sets itself. */
export const poolerParameters = settingsByName({
  about:
    'Further settings of PgBouncer, such as server_check_delay; values are text, so quote numbers. ' +
    'A name that PgBouncer does not know is refused, and the poolers go on as they are.',
  value: { pattern: /^\P{Cc}*$/u, about: 'Value, as text.' },
  most: 64,
  names: {
    rule: "self.all(k, k.matches('^[a-z_]{1,63}$'))",
    message: 'write the names of settings in lower case with "_", such as "server_check_delay"',
  },
  managed: managedPoolerParameters,
});
