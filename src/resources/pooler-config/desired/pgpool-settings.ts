import { durationMs } from '../../../api/v1alpha1/duration.ts';
import type { PoolerConfigSpec } from '../../../api/v1alpha1/pooler-config.ts';
import { bytesOf } from '../../sharded-cluster/desired/quantity.ts';
import { hashOf } from '../../sharded-cluster/hash.ts';
import { postgresPort } from '../../sharded-cluster/names.ts';
import { poolerPort } from '../names.ts';
import type { Backend } from '../pgpool/backends.ts';
import { pgpoolParameterNames } from '../pgpool/parameters.ts';
import { type PgpoolLogin, poolPasswords } from '../pgpool/passwords.ts';
import { settingsDirectory } from './settings.ts';

/** Where an instance keeps its sockets, its process id and its key: in memory, for as long as its pod lives. */
export const pgpoolDirectory = '/run/pgpool';
/** Where the key of the passwords is mounted. */
export const pgpoolKeyDirectory = '/etc/herdsman/pooler-key';

/** Marks a revision in a setting that Pgpool-II shows and that means nothing, since it does not log to syslog. */
const revisionPrefix = 'herdsman_';

/** Stands between what only a new process reads, and what running ones read again. */
const boundary = '# Read again by a running instance:\n';

/** `spec.pgpool`, which is there with the engine. */
export type PgpoolSpec = NonNullable<PoolerConfigSpec['pgpool']>;

/** What the settings are made from. */
export interface PgpoolSettingsInput {
  readonly spec: PoolerConfigSpec;
  readonly pgpool: PgpoolSpec;
  /** Name of the database on the servers. */
  readonly database: string;
  readonly backends: readonly Backend[];
  /** Clients that an instance serves at a time. */
  readonly clients: number;
  /** Role that looks at health and lag. */
  readonly monitoring: string;
  readonly logins: readonly PgpoolLogin[];
  readonly key: string;
  readonly certificates: Readonly<Record<string, string>>;
}

/** The files of an instance, and what tells whether it runs with them. */
export interface PgpoolFiles {
  readonly files: Readonly<Record<string, string>>;
  /** Of all of it: an instance shows the one that it runs with. */
  readonly revision: string;
  /** Of what only a new process reads. */
  readonly start: string;
}

/** Writes the files, which all instances share. */
export function pgpoolFiles(input: PgpoolSettingsInput): PgpoolFiles {
  const { spec, logins, key, certificates } = input;
  const starting = lines({
    ...startSettings(input),
    ...parameters(input.pgpool, true),
    ...hosts(input.backends),
  });
  const changing = lines({
    ...changeableSettings(input),
    ...parameters(input.pgpool, false),
    ...weights(input.backends),
  });
  const poolHba = hostBasedAuthentication(logins, spec.tls.required);
  return stamped({ certificates, key, starting, changing, poolHba, passwords: poolPasswords(logins, key) });
}

/** The files that are there, as other certificates make them; `undefined` when they are not whole. */
export function restampedPgpool(
  files: Readonly<Record<string, string>>,
  key: string,
  certificates: PgpoolSettingsInput['certificates'],
): PgpoolFiles | undefined {
  const { 'pgpool.conf': text = '', 'pool_hba.conf': poolHba, pool_passwd: passwords } = files;
  const [starting, changing] = text.slice(text.indexOf('\n') + 1).split(boundary);
  if (starting === undefined || changing === undefined || poolHba === undefined || passwords === undefined)
    return undefined;
  return stamped({ certificates, key, starting, changing, poolHba, passwords });
}

interface Unstamped {
  readonly certificates: PgpoolSettingsInput['certificates'];
  readonly key: string;
  readonly starting: string;
  readonly changing: string;
  readonly poolHba: string;
  readonly passwords: string;
}

function stamped({ certificates, key, starting, changing, poolHba, passwords }: Unstamped): PgpoolFiles {
  const start = hashOf({ ...certificates, key, starting });
  const revision = hashOf({ start, changing, poolHba, passwords });
  return {
    revision,
    start,
    files: {
      'pgpool.conf': `syslog_ident = '${revisionPrefix}${revision}'\n${starting}${boundary}${changing}`,
      'pool_hba.conf': poolHba,
      pool_passwd: passwords,
      revision: `${revision}\n`,
      start: `${start}\n`,
    },
  };
}

/** The revision that `PGPOOL SHOW syslog_ident` tells of. */
export function pgpoolRevisionOf(syslogIdent: string): string | undefined {
  return syslogIdent.startsWith(revisionPrefix) ? syslogIdent.slice(revisionPrefix.length) : undefined;
}

/** `max_spare_children` where nobody sets it. */
const mostSpare = 10;

type Settings = Readonly<Record<string, string | number>>;

/**
 * Members may be detached by an instance's own check and come back by themselves: while one that is away is not detached, the
 * lag of none is measured. The primary is never detached, and none is ever promoted: there is no failover_command.
 */
function startSettings({ spec, pgpool, clients }: PgpoolSettingsInput): Settings {
  return {
    backend_clustering_mode: 'streaming_replication',
    listen_addresses: '*',
    port: poolerPort,
    unix_socket_directories: pgpoolDirectory,
    pcp_listen_addresses: '',
    pcp_socket_dir: pgpoolDirectory,
    pid_file_name: `${pgpoolDirectory}/pid`,
    logdir: pgpoolDirectory,
    work_dir: pgpoolDirectory,
    log_destination: 'stderr',
    pool_passwd: `${settingsDirectory}/pool_passwd`,
    enable_pool_hba: 'on',
    ssl: 'on',
    ssl_ca_cert: `${settingsDirectory}/ca.crt`,
    ssl_cert: `${settingsDirectory}/tls.crt`,
    ssl_key: `${settingsDirectory}/tls.key`,
    ssl_prefer_server_ciphers: 'on',
    load_balance_mode: 'on',
    num_init_children: clients,
    // Clients over the number that is served at a time wait in the queue of the listening socket.
    listen_backlog_multiplier: Math.max(1, Math.ceil((spec.maxClientConnections - clients) / clients)),
    max_pool: 1,
    connection_cache: 'on',
    // Pgpool-II does not start with fewer than it would keep in reserve.
    process_management_mode: clients < mostSpare ? 'static' : 'dynamic',
    ...cacheSettings(pgpool),
  };
}

function cacheSettings({ queryCache }: PgpoolSpec): Settings {
  // The memory is taken even while there is no cache.
  if (queryCache === undefined)
    return { memory_cache_enabled: 'off', memqcache_total_size: '1MB', memqcache_max_num_cache: 1000 };
  const bytes = bytesOf(queryCache.size);
  return {
    memory_cache_enabled: 'on',
    memqcache_method: 'shmem',
    memqcache_total_size: `${Math.max(1, Math.floor(bytes / 1_048_576))}MB`,
    memqcache_max_num_cache: Math.max(1000, Math.floor(bytes / 4096)),
    memqcache_expire: seconds(queryCache.expire),
    memqcache_auto_cache_invalidation: 'on',
    memqcache_maxcache: '400kB',
    memqcache_cache_block_size: '1MB',
    memqcache_oiddir: `${pgpoolDirectory}/oids`,
  };
}

function changeableSettings({ spec, pgpool, database, monitoring }: PgpoolSettingsInput): Settings {
  const maxLagMs = durationMs(pgpool.maxLag) ?? 0;
  return {
    disable_load_balance_on_write: {
      transaction: 'transaction',
      transTransaction: 'trans_transaction',
      dmlAdaptive: 'dml_adaptive',
      always: 'always',
    }[pgpool.disableLoadBalanceOnWrite],
    statement_level_load_balance: pgpool.balance === 'statement' ? 'on' : 'off',
    prefer_lower_delay_standby: 'on',
    delay_threshold_by_time: maxLagMs,
    sr_check_period: 1,
    sr_check_user: monitoring,
    sr_check_database: database,
    health_check_period: 2,
    // Where there is nothing to be decided, nothing is asked.
    health_check_period0: 0,
    health_check_timeout: 3,
    health_check_max_retries: 1,
    health_check_retry_delay: 1,
    health_check_user: monitoring,
    health_check_database: database,
    connect_timeout: 2000,
    auto_failback: 'on',
    auto_failback_interval: 2,
    failover_on_backend_error: 'off',
    failover_on_backend_shutdown: 'off',
    detach_false_primary: 'off',
    failover_command: '',
    failback_command: '',
    follow_primary_command: '',
    use_watchdog: 'off',
    allow_clear_text_frontend_auth: 'off',
    reset_query_list: `ABORT; ${spec.serverResetQuery}`,
    client_idle_limit: seconds(spec.timeouts.clientIdle),
    connection_life_time: seconds(spec.timeouts.serverIdle),
    log_standby_delay: 'none',
    log_pcp_processes: 'off',
    log_min_messages: 'warning',
  };
}

/** The Service always leads to whoever is primary, so it is the primary for good. */
function hosts(backends: readonly Backend[]): Settings {
  return Object.assign(
    {},
    ...backends.map(({ name, host }, index) => ({
      [`backend_hostname${index}`]: host,
      [`backend_port${index}`]: postgresPort,
      [`backend_flag${index}`]: index === 0 ? 'ALWAYS_PRIMARY|DISALLOW_TO_FAILOVER' : 'ALLOW_TO_FAILOVER',
      [`backend_application_name${index}`]: name,
    })),
  );
}

function weights(backends: readonly Backend[]): Settings {
  return Object.fromEntries(backends.map(({ weight }, index) => [`backend_weight${index}`, weight]));
}

function parameters(pgpool: PgpoolSpec, restart: boolean): Settings {
  return Object.fromEntries(
    Object.entries(pgpool.parameters).filter(([name]) => pgpoolParameterNames.get(name)?.restart === restart),
  );
}

function lines(settings: Settings): string {
  return Object.entries(settings)
    .map(
      ([name, value]) =>
        `${name} = ${typeof value === 'number' ? value : `'${value.replaceAll("'", "''")}'`}\n`,
    )
    .join('');
}

/** Whoever has no password here cannot log in: Pgpool-II can pass none on that it does not have. */
function hostBasedAuthentication(logins: readonly PgpoolLogin[], tlsRequired: boolean): string {
  const type = tlsRequired ? 'hostssl' : 'host';
  return logins.map(({ username }) => `${type} all "${username}" all scram-sha-256\n`).join('');
}

function seconds(duration: string): number {
  return Math.ceil((durationMs(duration) ?? 0) / 1000);
}
