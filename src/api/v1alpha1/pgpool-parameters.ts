import { settingsByName } from './settings-by-name.ts';

const access = 'who may log in follows from the cluster and pgpool.logins, and TLS from spec.tls';
const backends = 'backends follow from spec.target and pgpool.readReplicaSets';
const cache = 'use pgpool.queryCache';
const failover = 'Patroni alone decides on a failover';
const files = 'where files lie is part of the pods';
const network = 'instances listen on a port of their pod, behind the Service';
const pools = 'use spec.sizing and spec.poolSize';
const recovery = 'Patroni makes members anew';
const stdout = 'instances log to standard error, which Kubernetes collects';

/** Pgpool-II settings that Herdsman makes itself, each with what to use instead or why. */
export const managedPgpoolParameters: Readonly<Record<string, string>> = {
  allow_clear_text_frontend_auth: access,
  auto_failback: failover,
  auto_failback_interval: failover,
  backend_clustering_mode: backends,
  client_idle_limit: 'use spec.timeouts.clientIdle',
  connection_cache: pools,
  connection_life_time: 'use spec.timeouts.serverIdle',
  delay_threshold: 'use pgpool.maxLag',
  delay_threshold_by_time: 'use pgpool.maxLag',
  detach_false_primary: failover,
  disable_load_balance_on_write: 'use pgpool.disableLoadBalanceOnWrite',
  enable_pool_hba: access,
  failback_command: failover,
  failover_command: failover,
  failover_on_backend_error: failover,
  failover_on_backend_shutdown: failover,
  follow_primary_command: failover,
  health_check_database: access,
  health_check_password: access,
  health_check_user: access,
  listen_addresses: network,
  listen_backlog_multiplier: 'use spec.maxClientConnections',
  load_balance_mode: 'use pgpool.primaryWeight and the weights of pgpool.readReplicaSets',
  log_destination: stdout,
  logdir: files,
  logging_collector: stdout,
  max_pool: pools,
  memory_cache_enabled: cache,
  memqcache_expire: cache,
  memqcache_method: cache,
  memqcache_oiddir: files,
  memqcache_total_size: cache,
  num_init_children: pools,
  pcp_listen_addresses: network,
  pcp_port: network,
  pcp_socket_dir: files,
  pid_file_name: files,
  pool_passwd: access,
  port: network,
  recovery_1st_stage_command: recovery,
  recovery_2nd_stage_command: recovery,
  recovery_password: recovery,
  recovery_user: recovery,
  reset_query_list: 'use spec.serverResetQuery',
  search_primary_node_timeout: failover,
  sr_check_database: access,
  sr_check_password: access,
  sr_check_user: access,
  ssl: access,
  ssl_ca_cert: access,
  ssl_ca_cert_dir: access,
  ssl_cert: access,
  ssl_key: access,
  statement_level_load_balance: 'use pgpool.balance',
  syslog_ident: stdout,
  unix_socket_directories: files,
  use_watchdog: 'instances share nothing, and stand behind a Service',
  work_dir: files,
};

/** `spec.pgpool.parameters`: what `pgpool.conf` may say, but for what Herdsman sets itself. */
export const pgpoolParameters = settingsByName({
  about:
    'Further settings of Pgpool-II, such as write_function_list; values are text, so quote numbers. ' +
    'A name that Pgpool-II does not know is refused, and the instances go on as they are.',
  value: { pattern: /^[^\p{Cc}'\\]*$/u, about: 'Value, as text without quotes and backslashes.' },
  most: 64,
  names: {
    rule: "self.all(k, k.matches('^[a-z_0-9]{1,63}$'))",
    message: 'write the names of settings in lower case with "_", such as "write_function_list"',
  },
  managed: managedPgpoolParameters,
});
