import { managedPgpoolParameters } from '../../../api/v1alpha1/pgpool-parameters.ts';
import { meantBy } from '../nearest.ts';

/** What Pgpool-II takes as a value: text, a switch, a whole number (some with a unit), or one of some words. */
type Kind = 'text' | 'switch' | 'number' | 'time' | 'size' | readonly string[];

const levels = ['debug5', 'debug4', 'debug3', 'debug2', 'debug1', 'log', 'notice', 'warning', 'error'];

/** Settings of Pgpool-II 4.6.1 that Herdsman does not make itself; a new process reads those that start with `!`. */
const table: Readonly<Record<string, Kind>> = {
  allow_sql_comments: 'switch',
  app_name_redirect_preference_list: 'text',
  authentication_timeout: 'time',
  cache_safe_memqcache_table_list: 'text',
  cache_unsafe_memqcache_table_list: 'text',
  check_temp_table: ['catalog', 'trace', 'none', 'on', 'off'],
  check_unlogged_table: 'switch',
  child_life_time: 'time',
  child_max_connections: 'number',
  client_min_messages: levels,
  connect_timeout: 'time',
  database_redirect_preference_list: 'text',
  dml_adaptive_object_relationship_list: 'text',
  '!enable_shared_relcache': 'switch',
  health_check_max_retries: 'number',
  health_check_period: 'time',
  health_check_retry_delay: 'time',
  health_check_timeout: 'time',
  ignore_leading_white_space: 'switch',
  log_backend_messages: ['none', 'terse', 'verbose'],
  log_client_messages: 'switch',
  log_connections: 'switch',
  log_disconnections: 'switch',
  log_error_verbosity: ['terse', 'default', 'verbose'],
  log_hostname: 'switch',
  log_line_prefix: 'text',
  log_min_messages: [...levels, 'fatal', 'panic'],
  log_pcp_processes: 'switch',
  log_per_node_statement: 'switch',
  log_standby_delay: ['always', 'if_over_threshold', 'none'],
  log_statement: 'switch',
  max_spare_children: 'number',
  '!memqcache_auto_cache_invalidation': 'switch',
  '!memqcache_cache_block_size': 'size',
  '!memqcache_max_num_cache': 'number',
  '!memqcache_maxcache': 'size',
  min_spare_children: 'number',
  notice_per_node_statement: 'switch',
  prefer_lower_delay_standby: 'switch',
  primary_routing_query_pattern_list: 'text',
  '!process_management_mode': ['static', 'dynamic'],
  process_management_strategy: ['aggressive', 'gentle', 'lazy'],
  read_only_function_list: 'text',
  relcache_expire: 'time',
  relcache_query_target: ['primary', 'load_balance_node'],
  relcache_size: 'number',
  reserved_connections: 'number',
  '!serialize_accept': 'switch',
  sr_check_period: 'time',
  '!ssl_ciphers': 'text',
  ssl_ecdh_curve: 'text',
  '!ssl_prefer_server_ciphers': 'switch',
  user_redirect_preference_list: 'text',
  write_function_list: 'text',
};

const kinds = new Map(Object.entries(table).map(([name, kind]) => [name.replace('!', ''), kind]));

/** All of them, with those that need a new process. */
export const pgpoolParameterNames: ReadonlyMap<string, { readonly restart: boolean }> = new Map(
  Object.keys(table).map((name) => [name.replace('!', ''), { restart: name.startsWith('!') }]),
);

const patterns = {
  text: { matches: /^/, meant: 'text' },
  switch: { matches: /^(on|off|true|false|yes|no|1|0)$/, meant: '"on" or "off"' },
  number: { matches: /^[0-9]{1,9}$/, meant: 'a whole number' },
  time: { matches: /^[0-9]{1,9}(ms|s|min|h|d)?$/, meant: 'a number such as "10", "10s" or "5min"' },
  size: { matches: /^[0-9]{1,9}(B|kB|MB|GB)?$/, meant: 'a number such as "400kB"' },
} as const;

/** What is wrong with the settings, with what to write instead; `undefined` when nothing is. */
export function pgpoolParameterProblem(parameters: Readonly<Record<string, string>>): string | undefined {
  for (const [name, value] of Object.entries(parameters)) {
    const kind = kinds.get(name);
    if (kind === undefined)
      return `Pgpool-II knows no setting "${name}": ${meantBy(name, kinds.keys(), managedPgpoolParameters)}`;
    const { matches, meant } =
      typeof kind === 'string'
        ? patterns[kind]
        : { matches: new RegExp(`^(${kind.join('|')})$`), meant: `one of ${kind.join(', ')}` };
    if (!matches.test(value)) return `"${value}" is no value for ${name} of Pgpool-II: write ${meant}`;
  }
  return undefined;
}
